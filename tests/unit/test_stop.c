/* test_stop.c - stop strings in a streamed text, against a search in the whole of it. */
#include "tokenizer/stop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { MOST = 64, STRINGS = 4 };

typedef struct outcome { char text[2 * MOST]; size_t bytes; uint32_t found; } outcome;

static uint32_t random_below(uint64_t *state, uint32_t n) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33) % n;
}

static bool ends_with(const char *text, size_t bytes, const char *end, size_t end_bytes) {
    return bytes >= end_bytes && !memcmp(text + bytes - end_bytes, end, end_bytes);
}

/* By definition: the text ends where a stop string is first complete. */
static outcome expected(const char *text, size_t bytes, char (*stops)[8], uint32_t count) {
    outcome o = {.bytes = bytes, .found = count};
    size_t longest = 0;
    for (size_t end = 1; end <= bytes && o.found == count; end++)
        for (uint32_t k = 0; k < count; k++)
            if (ends_with(text, end, stops[k], strlen(stops[k])) && strlen(stops[k]) > longest) {
                o.found = k;
                longest = strlen(stops[k]);
                o.bytes = end - longest;
            }
    memcpy(o.text, text, o.bytes);
    return o;
}

/* How much of a text must be held back: the longest end that begins a stop string. */
static size_t must_hold(const char *text, size_t bytes, char (*stops)[8], uint32_t count) {
    size_t longest = 0;
    for (uint32_t k = 0; k < count; k++)
        for (size_t n = longest + 1; n < strlen(stops[k]); n++)
            if (ends_with(text, bytes, stops[k], n)) longest = n;
    return longest;
}

static outcome scanned(const char *text, size_t bytes, char (*stops)[8], uint32_t count,
                       uint64_t *state) {
    char list[STRINGS * 8];
    size_t list_bytes = 0;
    for (uint32_t k = 0; k < count; k++) {
        strcpy(list + list_bytes, stops[k]);
        list_bytes += strlen(stops[k]) + 1;
    }
    stop_scanner s;
    error e = {0};
    outcome o = {0};
    assert_int_equal(stop_open(&e, list, list_bytes, &s), DOPPLER_OK);
    bool stopped = false;
    for (size_t at = 0, n; at < bytes && !stopped; at += n) {
        n = random_below(state, 5);
        if (n > bytes - at) n = bytes - at;
        char *out = malloc(s.longest_bytes + n + 1);     /* exact, for the sanitizer */
        size_t given = stop_take(&s, text + at, n, out, &stopped);
        assert_true(given <= s.longest_bytes + n);
        memcpy(o.text + o.bytes, out, given);
        free(out);
        o.bytes += given;
        if (!stopped) assert_int_equal(at + n - o.bytes, must_hold(text, at + n, stops, count));
    }
    o.found = s.found;
    if (!stopped) o.bytes += stop_end(&s, o.text + o.bytes);
    stop_close(&s);
    return o;
}

static void any_pieces_end_where_the_whole_text_does(void **state) {
    (void)state;
    uint64_t random = 1;
    uint32_t ended = 0;
    for (int i = 0; i < 20000; i++) {
        char text[MOST], stops[STRINGS][8] = {{0}};
        size_t bytes = random_below(&random, MOST);
        for (size_t k = 0; k < bytes; k++) text[k] = "abc"[random_below(&random, 3)];
        uint32_t count = random_below(&random, STRINGS + 1);
        for (uint32_t k = 0; k < count; k++)
            for (uint32_t n = 1 + random_below(&random, 7); n-- > 0;)
                stops[k][n] = "abc"[random_below(&random, 3)];
        outcome want = expected(text, bytes, stops, count);
        outcome got = scanned(text, bytes, stops, count, &random);
        assert_int_equal(got.bytes, want.bytes);
        assert_memory_equal(got.text, want.text, want.bytes);
        if (want.found == count || got.found == count) assert_int_equal(got.found, want.found);
        else assert_string_equal(stops[got.found], stops[want.found]);
        ended += want.found < count;
    }
    assert_in_range(ended, 5000, 15000);
}

static void unusable_lists_are_refused(void **state) {
    (void)state;
    static const struct { const char *texts; size_t bytes; const char *message; } cases[] = {
        {"a", 1, "the last stop string has no end"},
        {"a\0\0", 3, "stop string 1 is empty"},
        {"", 1, "stop string 0 is empty"}};
    error e = {0};
    stop_scanner s;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(stop_open(&e, cases[i].texts, cases[i].bytes, &s), DOPPLER_BAD_ARGUMENT);
        assert_string_equal(e.message, cases[i].message);
    }
    char many[2 * STOP_MAX_STRINGS + 2];
    for (size_t i = 0; i < sizeof many; i++) many[i] = i % 2 ? 0 : 'a';
    assert_int_equal(stop_open(&e, many, sizeof many - 2, &s), DOPPLER_OK);
    stop_close(&s);
    assert_int_equal(stop_open(&e, many, sizeof many, &s), DOPPLER_BAD_ARGUMENT);
    assert_int_equal(stop_open(&e, many, STOP_MAX_BYTES + 1, &s), DOPPLER_BAD_ARGUMENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_pieces_end_where_the_whole_text_does),
        cmocka_unit_test(unusable_lists_are_refused),
    };
    return cmocka_run_group_tests_name("stop", tests, NULL, NULL);
}
