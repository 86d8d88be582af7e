/* fuzz_text.c - any bytes are a text to a byte-level tokenizer: decoding what it was encoded to
 * gives the text back, ill-formed parts as U+FFFD. Runs from the project's root. */
#include "memory/text.h"
#include "memory/utf8.h"
#include "tests/fuzz/fuzz.h"
#include "tokenizer/tokenizer.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES = 1 << 16 };

static tokenizer *open_micro(void) {
    FILE *f = fopen("tests/fixtures/micro/llama3/tokenizer.json", "rb");
    char *json = malloc(FILE_BYTES);
    error e = {0};
    tokenizer *t = NULL;
    assert(f && json);
    size_t bytes = fread(json, 1, FILE_BYTES, f);
    assert(bytes < FILE_BYTES);
    doppler_status status = tokenizer_read_json(&e, json, bytes, &t);
    assert(!status);
    free(json);
    fclose(f);
    return t;
}

static text repaired(const char *data, size_t bytes) {
    text out = {0};
    for (size_t at = 0; at < bytes;) {
        uint32_t code, step = utf8_decode(data + at, bytes - at, &code);
        if (code == UTF8_ILL_FORMED) text_add(&out, UTF8_REPLACEMENT, 3);
        else text_add(&out, data + at, step);
        at += step;
    }
    return out;
}

/* Special tokens by their literal text: a stream leaves them out. */
static text decoded(const tokenizer *t, const uint32_t *ids, size_t count) {
    text out = {0};
    token_stream stream = {0};
    char *piece = malloc(tokenizer_stream_max(t));
    assert(piece);
    for (size_t i = 0; i < count; i++) {
        size_t bytes;
        const char *literal = tokenizer_piece(t, ids[i], &bytes);
        if (tokenizer_is_special(t, ids[i])) text_add(&out, literal, bytes);
        text_add(&out, piece, tokenizer_stream(t, &stream, ids[i], piece));
    }
    text_add(&out, piece, tokenizer_stream_end(&stream, piece));
    free(piece);
    assert(!out.failed);
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static tokenizer *t;
    if (!t) t = open_micro();
    const char *given = (const char *)data;
    text wanted = repaired(given, bytes);
    for (uint32_t flags = 0; flags <= TOKENIZE_SPECIAL; flags += TOKENIZE_SPECIAL) {
        size_t count = tokenizer_encode(t, given, bytes, flags, NULL, 0);
        uint32_t *ids = malloc((count + 1) * sizeof *ids);
        assert(ids && count != (size_t)-1 && count <= wanted.bytes);
        ids[count] = UINT32_MAX;
        assert(tokenizer_encode(t, given, bytes, flags, ids, count) == count);
        assert(ids[count] == UINT32_MAX);
        text got = decoded(t, ids, count);
        assert(got.bytes == wanted.bytes);
        assert(!got.bytes || !memcmp(got.data, wanted.data, got.bytes));
        text_free(&got);
        free(ids);
    }
    text_free(&wanted);
    return 0;
}
