/* test_tokenizer_hostile.c - tokenizers that ask for time or memory without end. */
#include "memory/hash.h"
#include "memory/text.h"
#include "tests/package.h"
#include "tokenizer/bpe.h"
#include "tokenizer/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Each part of a template adds the ids of its token: a file of 30 kB once took gigabytes. */
static void endless_templates_are_refused(void **state) {
    (void)state;
    static const struct { int parts, ids; doppler_status wanted; } cases[] = {
        {1, 1, DOPPLER_OK}, {8, 8, DOPPLER_OK}, {60, 2, DOPPLER_UNSUPPORTED},
        {1, 65, DOPPLER_UNSUPPORTED}, {1000, 0, DOPPLER_UNSUPPORTED},
        {1000, 1000, DOPPLER_UNSUPPORTED}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        text t = {0};
        text_add(&t, package_tokenizer, strlen(package_tokenizer) - 1);
        text_format(&t, ", \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [");
        for (int i = 0; i < cases[c].parts; i++)
            text_format(&t, "{\"SpecialToken\": {\"id\": \"a\"}}, ");
        text_format(&t, "{\"Sequence\": {\"id\": \"A\"}}], ");
        text_format(&t, "\"special_tokens\": {\"a\": {\"ids\": [");
        for (int i = 0; i < cases[c].ids; i++) text_format(&t, i ? ", 0" : "0");
        text_format(&t, "]}}}}");
        error e = {0};
        tokenizer *opened;
        assert_int_equal(tokenizer_read_json(&e, t.data, t.bytes, &opened), cases[c].wanted);
        tokenizer_close(opened);
        text_free(&t);
    }
}

/* A tokenizer.json like package_tokenizer with another vocabulary. */
static doppler_status open_with(const char *vocab, const char *added) {
    const char *at = strstr(package_tokenizer, "{\"a\": 0}");
    text t = {0};
    error e = {0};
    tokenizer *opened;
    text_add(&t, package_tokenizer, (size_t)(at - package_tokenizer));
    text_format(&t, "{%s}", vocab);
    text_add(&t, at + 8, strlen(at + 8) - 1);
    text_format(&t, ", \"added_tokens\": [%s]}", added);
    assert_false(t.failed);
    doppler_status status = tokenizer_read_json(&e, t.data, t.bytes, &opened);
    tokenizer_close(opened);
    text_free(&t);
    return status;
}

/* Pieces of one hash: entering n of them takes n * n / 2 steps, hours for a file of some MB. */
static void pieces_made_to_collide_are_refused(void **state) {
    (void)state;
    enum { PIECES = 1200 };
    size_t mask = hash_slots(PIECES) - 1;
    text honest = {0}, made = {0};
    for (uint32_t i = 0, found = 0; found < PIECES; i++) {
        char piece[16];
        int bytes = snprintf(piece, sizeof piece, " %08x", i);
        if (i < PIECES)                          /* a space is U+0120 in the file */
            text_format(&honest, "%s\"\xC4\xA0%s\": %u", i ? ", " : "", piece + 1, i);
        if (hash_bytes(piece, (size_t)bytes) & mask) continue;
        text_format(&made, "%s\"\xC4\xA0%s\": %u", found ? ", " : "", piece + 1, found);
        found++;
    }
    assert_int_equal(open_with(honest.data, ""), DOPPLER_OK);
    assert_int_equal(open_with(made.data, ""), DOPPLER_BAD_FILE);
    text_free(&honest);
    text_free(&made);
}

static void merges_made_to_collide_are_noticed(void **state) {
    (void)state;
    enum { RULES = 1200 };
    size_t mask = hash_slots(RULES) - 1;
    arena a = {0};
    bpe honest, made;
    assert_true(bpe_init(&honest, &a, RULES) && bpe_init(&made, &a, RULES));
    for (uint32_t i = 0; made.count < RULES; i++) {
        if (i < RULES) bpe_add(&honest, (bpe_rule){7, i, i});
        if (!(hash_u64((uint64_t)7 << 32 | i) & mask)) bpe_add(&made, (bpe_rule){7, i, i});
    }
    assert_false(honest.collides);
    assert_true(made.collides);
    arena_free(&a);
}

/* A search tries a token at each byte of a text: n * length steps. */
static void endless_added_tokens_are_refused(void **state) {
    (void)state;
    for (int bytes = 1023; bytes <= 1025; bytes++) {
        text added = {0};
        text_format(&added, "{\"id\": 1, \"content\": \"%0*d\"}", bytes, 0);
        assert_int_equal(open_with("\"a\": 0", added.data),
                         bytes > 1024 ? DOPPLER_UNSUPPORTED : DOPPLER_OK);
        text_free(&added);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endless_templates_are_refused),
        cmocka_unit_test(pieces_made_to_collide_are_refused),
        cmocka_unit_test(merges_made_to_collide_are_noticed),
        cmocka_unit_test(endless_added_tokens_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
