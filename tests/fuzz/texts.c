/* texts.c - see texts.h. */
#include "tests/fuzz/texts.h"
#include "memory/utf8.h"
#include <stdlib.h>
#include <string.h>

enum { MOST_IDS = 1024, OWN_TEXT = 512, MOST_PIECES = 64, LONGEST_PIECE = 1 << 16 };

static void check_well_formed(const char *text, size_t bytes) {
    for (size_t at = 0; at < bytes;) {
        uint32_t code;
        at += utf8_decode(text + at, bytes - at, &code);
        assert(code != UTF8_ILL_FORMED);
    }
}

static void decode(const tokenizer *t, const uint32_t *ids, size_t count) {
    size_t most = tokenizer_stream_max(t);
    token_stream stream = {0};
    for (size_t i = 0; i < count; i++) {
        char *out = malloc(most);
        assert(out);
        size_t bytes = tokenizer_stream(t, &stream, ids[i], out);
        assert(bytes <= most);
        check_well_formed(out, bytes);
        free(out);
    }
    char rest[4];
    assert(tokenizer_stream_end(&stream, rest) <= sizeof rest);
}

static void encode(const tokenizer *t, const char *text, size_t bytes) {
    uint32_t ids[MOST_IDS];
    const uint32_t all = TOKENIZE_SPECIAL | TOKENIZE_TEMPLATE | TOKENIZE_MARKED;
    for (uint32_t flags = 0; flags <= all; flags++) {
        size_t count = tokenizer_encode(t, text, bytes, flags, ids, MOST_IDS);
        assert(count == tokenizer_encode(t, text, bytes, flags, NULL, 0));
        assert(count != (size_t)-1);
        if (count > MOST_IDS) count = MOST_IDS;
        for (size_t i = 0; i < count; i++) assert(ids[i] < tokenizer_vocab(t));
        decode(t, ids, count);
    }
}

static void check(const tokenizer *t, const uint8_t *text, size_t bytes) {
    static const char *const texts[] = {
        "", " ", "a", "Hello,  world's 1234567 \n\n x", "<s>ab</s> <s> b", "\xFF\xC3\x28\xE2\x82",
        "\xFF<s>\xFF\xFF</s> <\xFFs>\xFF"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) encode(t, texts[i], strlen(texts[i]));
    encode(t, (const char *)text, bytes < OWN_TEXT ? bytes : OWN_TEXT);
    for (uint32_t id = 0; id < tokenizer_vocab(t) && id < MOST_PIECES; id++) {
        size_t piece_bytes;
        const char *piece = tokenizer_piece(t, id, &piece_bytes);
        assert(piece[piece_bytes] == 0);
        if (piece_bytes > LONGEST_PIECE) continue;
        encode(t, piece, piece_bytes);
        decode(t, &id, 1);
    }
}

static void check_same(const tokenizer *a, const tokenizer *b, const char *text, size_t bytes) {
    uint32_t x[MOST_IDS], y[MOST_IDS];
    const uint32_t flags = TOKENIZE_SPECIAL | TOKENIZE_TEMPLATE;
    size_t count = tokenizer_encode(a, text, bytes, flags, x, MOST_IDS);
    assert(tokenizer_encode(b, text, bytes, flags, y, MOST_IDS) == count);
    if (count > MOST_IDS) count = MOST_IDS;
    assert(!memcmp(x, y, count * sizeof *x));
}

void fuzz_texts(const tokenizer *t, const uint8_t *own, size_t bytes) {
    text compiled = {0};
    error e = {0};
    tokenizer *opened;
    check(t, own, bytes);
    tokenizer_compile(t, &compiled);
    assert(!compiled.failed);
    doppler_status status = tokenizer_open(&e, compiled.data, compiled.bytes, &opened);
    assert(!status);
    check_same(t, opened, (const char *)own, bytes < OWN_TEXT ? bytes : OWN_TEXT);
    tokenizer_close(opened);
    text_free(&compiled);
}
