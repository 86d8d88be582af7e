/* tokenizer_test.h - opening tokenizers, and comparing their ids and texts. */
#ifndef TESTS_UNIT_TOKENIZER_TEST_H
#define TESTS_UNIT_TOKENIZER_TEST_H

#include "memory/json.h"
#include "memory/text.h"
#include "tokenizer/tokenizer.h"
#include "tools/file.h"
#include "tools/tokenizers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SHARED "../shared/"
#define FIXTURES "tests/fixtures/tokenizer/"
enum { MAX_IDS = 1 << 16 };

/* Bytes of a file or of a .gz; NULL, saying so, when it is not there. */
static inline char *load(const char *path, size_t *bytes) {
    error e = {0};
    char *data = NULL;
    if (access(path, R_OK) != 0) {
        print_message("skipped: %s is not here\n", path);
        return NULL;
    }
    if (!strstr(path, ".gz")) {
        assert_int_equal(file_read(&e, path, &data, bytes), DOPPLER_OK);
        return data;
    }
    char unzip[300];
    snprintf(unzip, sizeof unzip, "gzip -dc '%s'", path);
    FILE *pipe = popen(unzip, "r");
    assert_non_null(pipe);
    assert_int_equal(file_read_stream(&e, pipe, path, &data, bytes), DOPPLER_OK);
    assert_int_equal(pclose(pipe), 0);
    return data;
}

static inline json *load_json(arena *a, const char *path) {
    size_t bytes;
    char *data = load(path, &bytes);
    if (!data) return NULL;
    error e = {0};
    json *root;
    if (json_parse(&e, a, path, data, bytes, &root)) fail_msg("%s", e.message);
    free(data);
    return root;
}

/* What a tokenizer points into lives until the program ends. */
static inline tokenizer *compiled_again(tokenizer *t) {
    static arena kept;
    text compiled = {0};
    error e = {0};
    tokenizer_compile(t, &compiled);
    assert_false(compiled.failed);
    tokenizer_close(t);
    char *copy = arena_text(&kept, compiled.data, compiled.bytes);
    if (tokenizer_open(&e, copy, compiled.bytes, &t)) fail_msg("%s", e.message);
    text again = {0};
    tokenizer_compile(t, &again);
    assert_int_equal(again.bytes, compiled.bytes);
    assert_memory_equal(again.data, compiled.data, again.bytes);
    text_free(&again);
    text_free(&compiled);
    return t;
}

/* Read, compiled and opened: what the tests then see is what packages give. NULL: not here. */
static inline tokenizer *open_file(const char *path) {
    loaded_tokenizer l;
    error e = {0};
    if (access(path, R_OK) == 0 && !strstr(path, ".gz")) {
        if (tokenizer_load(&e, path, &l)) fail_msg("%s: %s", path, e.message);
        return compiled_again(l.t);
    }
    size_t bytes;
    tokenizer *t;
    char *data = load(path, &bytes);
    if (!data) return NULL;
    if (tokenizer_read_json(&e, data, bytes, &t)) fail_msg("%s: %s", path, e.message);
    free(data);
    return compiled_again(t);
}

static inline void check_ids(const tokenizer *t, const json *text, uint32_t flags,
                             const json *want) {
    static uint32_t ids[MAX_IDS];
    size_t count = tokenizer_encode(t, text->text, text->text_bytes, flags, ids, MAX_IDS), i = 0;
    bool same = count == want->count;
    for (const json *id = want->first; id && same; id = id->next, i++)
        same = ids[i] == (uint32_t)id->integer;
    if (!same) fail_msg("\"%.200s\" (flags %u): %zu ids, wanted %u; id %zu", text->text, flags,
                        count, want->count, i);
    /* Any capacity: the same count, and nothing written behind it. */
    uint32_t few[3] = {7, 7, 7};
    assert_int_equal(tokenizer_encode(t, text->text, text->text_bytes, flags, few, 2), count);
    assert_int_equal(few[2], 7);
}

static inline void decode(const tokenizer *t, const uint32_t *ids, size_t count, text *out) {
    token_stream s = {0};
    size_t most = tokenizer_stream_max(t);
    char *piece = malloc(most);
    assert_non_null(piece);
    for (size_t i = 0; i < count; i++) {
        size_t bytes = tokenizer_stream(t, &s, ids[i], piece);
        assert_true(bytes <= most);
        text_add(out, piece, bytes);
    }
    text_add(out, piece, tokenizer_stream_end(&s, piece));
    free(piece);
}

static inline void check_round_trip(const tokenizer *t, const char *bytes, size_t count) {
    uint32_t *ids = malloc((count + 1) * sizeof *ids);
    assert_non_null(ids);
    size_t n = tokenizer_encode(t, bytes, count, 0, ids, count + 1);
    assert_true(n <= count + 1);                 /* SentencePiece puts a space in front */
    text out = {0};
    decode(t, ids, n, &out);
    assert_int_equal(out.bytes, count);
    if (count) assert_memory_equal(out.data, bytes, count);
    text_free(&out);
    free(ids);
}

#endif
