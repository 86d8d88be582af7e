/* test_arena.c - arena blocks, growing text, and UTF-8. */
#include "memory/arena.h"
#include "memory/text.h"
#include "memory/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void arena_gives_aligned_zeroed_memory(void **state) {
    (void)state;
    arena a = {0};
    unsigned char *kept[2000];
    for (size_t i = 0; i < 2000; i++) {
        size_t bytes = (i * 7919) % (i % 100 == 0 ? 3000000 : 300);
        kept[i] = arena_alloc(&a, bytes);
        assert_non_null(kept[i]);
        assert_int_equal((uintptr_t)kept[i] % 16, 0);
        for (size_t j = 0; j < bytes; j += 97) assert_int_equal(kept[i][j], 0);
        memset(kept[i], 0xA5, bytes);        /* overlaps would show up as non-zero above */
    }
    arena_free(&a);
    assert_null(a.blocks);
    arena_free(&a);
}

static void arena_refuses_overflowing_sizes(void **state) {
    (void)state;
    arena a = {0};
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, SIZE_MAX - 16));
    assert_null(arena_array(&a, SIZE_MAX / 2, 3));
    size_t root = (size_t)1 << sizeof(size_t) * 4;
    assert_null(arena_array(&a, root, root));
    assert_non_null(arena_array(&a, 0, 8));
    assert_non_null(arena_array(&a, 8, 0));
    assert_string_equal(arena_text(&a, "abcdef", 3), "abc");
    assert_string_equal(arena_text(&a, NULL, 0), "");
    arena_free(&a);
}

static void text_grows_and_formats(void **state) {
    (void)state;
    text t = {0};
    text_add(&t, "", 0);
    assert_string_equal(t.data, "");
    for (int i = 0; i < 1000; i++) text_format(&t, "%d,", i);
    assert_int_equal(t.bytes, 10 * 2 + 90 * 3 + 900 * 4);
    assert_int_equal(strlen(t.data), t.bytes);
    assert_memory_equal(t.data + t.bytes - 8, "998,999,", 8);
    assert_false(t.failed);
    text_free(&t);
    assert_null(t.data);
}

static void text_json_escapes(void **state) {
    (void)state;
    text t = {0};
    static const char raw[] = "a\"\\/\b\f\n\r\t\x01\x1F\x7F\0\xC3\xA9\xFF\xE2\x82z";
    text_json(&t, raw, sizeof raw - 1);
    assert_string_equal(t.data, "\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f\\u0000\xC3\xA9"
                                "\xEF\xBF\xBD\xEF\xBF\xBDz\"");
    text_free(&t);
}

static void utf8_round_trips_every_code(void **state) {
    (void)state;
    for (uint32_t code = 0; code < 0x110000; code++) {
        if (code >= 0xD800 && code < 0xE000) continue;
        char out[UTF8_MAX_BYTES];
        uint32_t bytes = utf8_encode(code, out), back;
        assert_int_equal(utf8_decode(out, bytes, &back), bytes);
        assert_int_equal(back, code);
        for (uint32_t cut = 1; cut < bytes; cut++) {
            assert_int_equal(utf8_decode(out, cut, &back), cut);
            assert_int_equal(back, UTF8_ILL_FORMED);
            assert_true(utf8_is_prefix(out, cut));
        }
        assert_false(utf8_is_prefix(out, bytes));
    }
}

static void utf8_ill_formed_has_maximal_subparts(void **state) {
    (void)state;
    /* Unicode 15.0, table 3-8 and further: the text and the lengths of its parts. */
    static const struct { const char *text; uint32_t parts[8]; } cases[] = {
        {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82", {1, 1, 1, 1, 1, 1, 1, 1}},
        {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF", {1, 1, 1, 1, 1, 1, 1, 1}},
        {"\xF4\x91\x92\x93\xFF\x41\x80\xBF", {1, 1, 1, 1, 1, 1, 1, 1}},
        {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF", {2, 1, 3, 2}},
        {"\xC3\xC3\xA9\xF0\x9F\x98\x80\x80", {1, 2, 4, 1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t at = 0, bytes = strlen(cases[i].text);
        for (size_t part = 0; at < bytes; part++) {
            uint32_t code;
            uint32_t step = utf8_decode(cases[i].text + at, bytes - at, &code);
            assert_int_equal(step, cases[i].parts[part]);
            at += step;
        }
    }
    assert_false(utf8_is_prefix("\xE0\x80", 2));
    assert_false(utf8_is_prefix("\x80", 1));
    assert_false(utf8_is_prefix("\xE2\x82\xAC", 3));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arena_gives_aligned_zeroed_memory),
        cmocka_unit_test(arena_refuses_overflowing_sizes),
        cmocka_unit_test(text_grows_and_formats),
        cmocka_unit_test(text_json_escapes),
        cmocka_unit_test(utf8_round_trips_every_code),
        cmocka_unit_test(utf8_ill_formed_has_maximal_subparts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
