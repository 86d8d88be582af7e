/* test_json.c - the JSON reader on good, odd and hostile documents. */
#include "memory/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct document {
    arena a;
    error e;
    json *root;
    char *copy;                  /* exactly as long as the text: reading past it is caught */
} document;

static doppler_status parse(document *d, const char *text, size_t bytes) {
    *d = (document){.copy = malloc(bytes ? bytes : 1)};
    assert_non_null(d->copy);
    memcpy(d->copy, text, bytes);
    doppler_status status = json_parse(&d->e, &d->a, "test.json", d->copy, bytes, &d->root);
    assert_int_equal(status, d->e.status);
    assert_true(status ? d->root == NULL : d->root != NULL);
    assert_int_equal(status != DOPPLER_OK, d->e.message[0] != 0);
    return status;
}

static void release(document *d) {
    arena_free(&d->a);
    free(d->copy);
}

static void refused(const char *text, const char *message_part) {
    document d;
    assert_int_equal(parse(&d, text, strlen(text)), DOPPLER_BAD_FILE);
    if (!strstr(d.e.message, message_part)) fail_msg("%s: %s", text, d.e.message);
    release(&d);
}

static void accepted(const char *text) {
    document d;
    if (parse(&d, text, strlen(text))) fail_msg("%s: %s", text, d.e.message);
    release(&d);
}

static void reads_every_type(void **state) {
    (void)state;
    static const char text[] =
        " {\"null\": null, \"yes\": true, \"no\":false,\r\n\t\"list\": [1, [], {}, \"x\"],"
        "\"text\": \"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uD83D\\uDE00\\u0000z\xE2\x82\xAC\"} ";
    document d;
    assert_int_equal(parse(&d, text, sizeof text - 1), DOPPLER_OK);
    assert_int_equal(d.root->type, JSON_OBJECT);
    assert_int_equal(d.root->count, 5);
    assert_int_equal(json_get(d.root, "null")->type, JSON_NULL);
    assert_true(json_get(d.root, "yes")->boolean);
    assert_int_equal(json_get(d.root, "no")->type, JSON_BOOL);
    assert_false(json_get(d.root, "no")->boolean);
    const json *list = json_get(d.root, "list");
    assert_int_equal(list->count, 4);
    assert_int_equal(list->first->integer, 1);
    assert_int_equal(list->first->next->type, JSON_ARRAY);
    assert_int_equal(list->first->next->next->type, JSON_OBJECT);
    assert_true(json_is(list->first->next->next->next, "x"));
    assert_null(list->first->next->next->next->next);
    const json *string = json_get(d.root, "text");
    static const char want[] = "a\"\\/\b\f\n\r\t\xC3\xA9\xF0\x9F\x98\x80\0z\xE2\x82\xAC";
    assert_int_equal(string->text_bytes, sizeof want - 1);
    assert_memory_equal(string->text, want, sizeof want);
    assert_null(json_get(d.root, "absent"));
    assert_null(json_get(list, "absent"));
    assert_null(json_get(NULL, "absent"));
    release(&d);
}

static void every_truncation_is_refused(void **state) {
    (void)state;
    static const char text[] =
        "{\"a\": [1, -2.5e+3, \"\\u00e9\\ud83d\\ude00\xE2\x82\xAC\", true, false, null,"
        " {\"b\": {}}]}";
    document d;
    for (size_t bytes = 0; bytes < sizeof text - 1; bytes++) {
        assert_int_equal(parse(&d, text, bytes), DOPPLER_BAD_FILE);
        release(&d);
    }
    assert_int_equal(parse(&d, text, sizeof text - 1), DOPPLER_OK);
    release(&d);
}

static void every_flipped_byte_is_survived(void **state) {
    (void)state;
    char text[] = "{\"a\":[1,-2.5e3,\"\\ud83d\\ude00\xE2\x82\xAC\",true],\"b\":{\"c\":null}}";
    for (size_t i = 0; i < sizeof text - 1; i++) {
        char keep = text[i];
        for (int value = 0; value < 256; value++) {
            text[i] = (char)value;
            document d;
            parse(&d, text, sizeof text - 1);
            release(&d);
        }
        text[i] = keep;
    }
}

static void depth_is_limited(void **state) {
    (void)state;
    char text[200001];
    for (int depth = 63; depth <= 65; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        text[2 * depth] = 0;
        if (depth <= 64) accepted(text);
        else refused(text, "deeper");
    }
    memset(text, '[', 200000);
    text[200000] = 0;
    refused(text, "deeper");
    for (int i = 0; i < 200000; i += 5) memcpy(text + i, "{\"a\":", 5);
    refused(text, "deeper");
}

static void grammar_is_strict(void **state) {
    (void)state;
    static const char *const texts[] = {
        "", " ", "[1,]", "[,1]", "{\"a\":1,}", "{,}", "{\"a\"}", "{\"a\":}", "{a:1}", "{'a':1}",
        "[1 2]", "[1]]", "[1] 2", "nul", "nulll", "True", "NaN", "Infinity", "-Infinity", "// x\n1",
        "\"a", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\n\"", "\"\t\"", "\"\x01\"",
        "\xEF\xBB\xBF{}",
        "\"\x80\"", "\"\xC0\xAF\"", "\"\xED\xA0\x80\"", "\"\xF4\x90\x80\x80\"", "\"\xE2\x82\"",
        "\f1",
        "\"\\uD800\"", "\"\\uDC00\"", "\"\\uD800x\"", "\"\\uD800\\n\"", "\"\\uD800\\u0041\"",
        "\"\\uD800\\uD800\"", "\"\\uDC00\\uD800\"",
        "01", "-01", "00", "-", "+1", ".5", "1.", "1.e5", "1e", "1e+", "0x10", "1_000", "--1",
        "1e400", "-1e400",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) refused(texts[i], "test.json: byte ");
    document d;
    assert_int_equal(parse(&d, "1\0", 2), DOPPLER_BAD_FILE);
    release(&d);
    assert_int_equal(parse(&d, "[\"a\0b\"]", 7), DOPPLER_BAD_FILE);
    release(&d);
}

static void numbers_are_exact(void **state) {
    (void)state;
    static const struct {
        const char *text;
        double number;
        bool is_integer;
        int64_t integer;
    } cases[] = {
        {"0", 0, true, 0},
        {"-1", -1, true, -1},
        {"9223372036854775807", 9223372036854775807.0, true, INT64_MAX},
        {"-9223372036854775808", -9223372036854775808.0, true, INT64_MIN},
        {"9223372036854775808", 9223372036854775808.0, false, 0},
        {"-9223372036854775809", -9223372036854775808.0, false, 0},
        {"18446744073709551615", 18446744073709551615.0, false, 0},
        {"18446744073709551616", 18446744073709551616.0, false, 0},
        {"1000000000000000019884624838656", 1e30, false, 0},
        {"1.0", 1, false, 0},
        {"1e2", 100, false, 0},
        {"1E-2", 0.01, false, 0},
        {"0.1", 0.1, false, 0},
        {"1e-400", 0, false, 0},
        {"1.7976931348623157e308", 1.7976931348623157e308, false, 0},
        {"5e-324", 5e-324, false, 0},
        {"9007199254740993", 9007199254740992.0, true, 9007199254740993},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        document d;
        assert_int_equal(parse(&d, cases[i].text, strlen(cases[i].text)), DOPPLER_OK);
        assert_int_equal(d.root->type, JSON_NUMBER);
        assert_true(d.root->number == cases[i].number);
        assert_int_equal(d.root->is_integer, cases[i].is_integer);
        assert_true(d.root->integer == cases[i].integer);
        release(&d);
    }
    document d;
    assert_int_equal(parse(&d, "-0", 2), DOPPLER_OK);
    assert_true(d.root->is_integer && d.root->integer == 0 && 1 / d.root->number < 0);
    release(&d);
    char digits[5001];
    memset(digits, '7', 300);
    memset(digits + 300, '0', 4700);
    digits[5000] = 0;
    refused(digits, "range");
    memcpy(digits, "0.", 2);
    accepted(digits);
}

static void duplicate_names_are_refused(void **state) {
    (void)state;
    refused("{\"a\":1,\"b\":2,\"a\":3}", "\"a\" appears twice");
    refused("{\"a\":1,\"\\u0061\":3}", "\"a\" appears twice");
    accepted("{\"a\":1,\"b\":{\"a\":1},\"aa\":2,\"\":3}");
    accepted("{\"a\":1,\"a\\u0000\":2}");
    char text[64 * 1024], *at = text;
    at += sprintf(at, "{");
    for (int i = 0; i < 3000; i++) at += sprintf(at, "\"name%d\":%d,", i, i);
    sprintf(at, "\"name\":0}");
    accepted(text);
    sprintf(at, "\"name1500\":0}");
    refused(text, "\"name1500\" appears twice");
}

static void typed_members_are_checked(void **state) {
    (void)state;
    static const char text[] =
        "{\"n\":7,\"neg\":-1,\"big\":4294967296,\"half\":0.5,\"huge\":1e39,"
        "\"s\":\"x\",\"nul\":\"a\\u0000b\","
        "\"t\":true,\"none\":null}";
    document d;
    assert_int_equal(parse(&d, text, sizeof text - 1), DOPPLER_OK);
    error e = {0};
    uint32_t u = 0;
    uint64_t u64 = 0;
    float f = 0;
    bool b = false;
    const char *s = NULL;
    assert_int_equal(json_u32(&e, "t", d.root, "n", 1, 7, &u), DOPPLER_OK);
    assert_int_equal(u, 7);
    assert_int_equal(json_u32(&e, "t", d.root, "n", 1, 6, &u), DOPPLER_BAD_FILE);
    assert_string_equal(e.message, "t: \"n\" is 7, wanted an integer from 1 to 6");
    assert_int_equal(json_u32(&e, "t", d.root, "n", 8, 9, &u), DOPPLER_BAD_FILE);
    assert_int_equal(json_u32(&e, "t", d.root, "neg", 0, 9, &u), DOPPLER_BAD_FILE);
    assert_int_equal(json_u32(&e, "t", d.root, "half", 0, 9, &u), DOPPLER_BAD_FILE);
    assert_int_equal(json_u32(&e, "t", d.root, "big", 0, UINT32_MAX, &u), DOPPLER_BAD_FILE);
    assert_int_equal(json_u32(&e, "t", d.root, "gone", 0, 9, &u), DOPPLER_BAD_FILE);
    assert_string_equal(e.message, "t: \"gone\" is missing, wanted an integer from 0 to 9");
    assert_int_equal(json_u32(&e, "t", d.root, "none", 0, 9, &u), DOPPLER_BAD_FILE);
    assert_int_equal(json_u64(&e, "t", d.root, "big", UINT64_MAX, &u64), DOPPLER_OK);
    assert_true(u64 == 4294967296u);
    assert_int_equal(json_u64(&e, "t", d.root, "big", 4294967295u, &u64), DOPPLER_BAD_FILE);
    assert_int_equal(json_f32(&e, "t", d.root, "half", &f), DOPPLER_OK);
    assert_true(f == 0.5f);
    assert_int_equal(json_f32(&e, "t", d.root, "huge", &f), DOPPLER_BAD_FILE);
    assert_int_equal(json_f32(&e, "t", d.root, "s", &f), DOPPLER_BAD_FILE);
    assert_int_equal(json_string(&e, "t", d.root, "s", &s), DOPPLER_OK);
    assert_string_equal(s, "x");
    assert_int_equal(json_string(&e, "t", d.root, "nul", &s), DOPPLER_BAD_FILE);
    assert_int_equal(json_string(&e, "t", d.root, "n", &s), DOPPLER_BAD_FILE);
    assert_int_equal(json_bool_or(&e, "t", d.root, "t", false, &b), DOPPLER_OK);
    assert_true(b);
    assert_int_equal(json_bool_or(&e, "t", d.root, "none", true, &b), DOPPLER_OK);
    assert_true(b);
    assert_int_equal(json_bool_or(&e, "t", d.root, "n", true, &b), DOPPLER_BAD_FILE);
    assert_int_equal(json_u32_or(&e, "t", d.root, "gone", 0, 9, 5, &u), DOPPLER_OK);
    assert_int_equal(u, 5);
    assert_int_equal(json_u32_or(&e, "t", d.root, "s", 0, 9, 5, &u), DOPPLER_BAD_FILE);
    assert_int_equal(json_f32_or(&e, "t", d.root, "none", 2.5f, &f), DOPPLER_OK);
    assert_true(f == 2.5f);
    release(&d);
}

static void messages_stay_one_clean_line(void **state) {
    (void)state;
    error e = {0};
    (fail)(&e, DOPPLER_IO, "a\nb\x1B[31m\x7F\xC2\x85\xE2\x80\xA8\xFF %s", "\xE2\x82\xAC");
    assert_string_equal(e.message, "a?b?[31m??" "?" "???" "? \xE2\x82\xAC");
    char longer[600];
    for (int i = 0; i < 599; i++) longer[i] = "\xE2\x82\xAC"[i % 3];
    longer[599] = 0;
    assert_int_equal((fail)(&e, DOPPLER_IO, "%s", longer), DOPPLER_IO);
    assert_int_equal(strlen(e.message), 255);
    for (int i = DOPPLER_OK; i < DOPPLER_STATUS_COUNT; i++) {
        assert_true(doppler_status_name((doppler_status)i)[0] != 0);
        assert_true(doppler_status_text((doppler_status)i)[0] != 0);
    }
    assert_string_equal(doppler_status_name(DOPPLER_BAD_FILE), "BAD_FILE");
    assert_string_equal(doppler_status_text(DOPPLER_BAD_FILE), "malformed or corrupt model file");
    assert_string_equal(doppler_status_name((doppler_status)99), "UNKNOWN");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_type),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_flipped_byte_is_survived),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(grammar_is_strict),
        cmocka_unit_test(numbers_are_exact),
        cmocka_unit_test(duplicate_names_are_refused),
        cmocka_unit_test(typed_members_are_checked),
        cmocka_unit_test(messages_stay_one_clean_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
