/* words.c - see words.h. */
#include "tokenizer/words.h"
#include "memory/utf8.h"

#include <stdlib.h>
#include <string.h>

void word_encoder_free(word_encoder *x) {
    free(x->ids);
    bpe_work_free(&x->work);
    *x = (word_encoder){0};
}

static void push(word_encoder *x, uint32_t id) {
    if (id != NO_TOKEN) x->ids[x->count++] = id;
}

/* Pieces of the bytes of a character without a piece; false when a byte has none. */
static bool push_bytes(word_encoder *x, const char *text, size_t bytes) {
    const uint32_t *byte_ids = x->t->byte_ids;
    for (size_t i = 0; i < bytes; i++)
        if (byte_ids[(unsigned char)text[i]] == NO_TOKEN) return false;
    for (size_t i = 0; i < bytes; i++) push(x, byte_ids[(unsigned char)text[i]]);
    return true;
}

/* Pieces of single characters, or of their bytes, or unknown. An unknown one is put down when the
 * next known comes, as Hugging Face tokenizers does. */
static void split_characters(word_encoder *x, const char *text, size_t bytes) {
    const tokenizer *t = x->t;
    bool unknown = false;
    for (size_t at = 0, step; at < bytes; at += step) {
        uint32_t code;
        step = utf8_decode(text + at, bytes - at, &code);
        uint32_t id = vocabulary_find(&t->pieces, text + at, step);
        if (id != NO_TOKEN) {
            if (unknown) push(x, t->unknown);
            unknown = false;
            push(x, id);
        } else if (!(t->flags & TOKENIZER_BYTE_FALLBACK) || !push_bytes(x, text + at, step)) {
            if (unknown && !(t->flags & TOKENIZER_FUSE_UNKNOWN)) push(x, t->unknown);
            unknown = true;
        }
    }
    if (unknown) push(x, t->unknown);
}

/* Bytes that no piece stands for are left out, as Hugging Face tokenizers does. */
static void split_bytes(word_encoder *x, const char *text, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) push(x, x->t->byte_ids[(unsigned char)text[i]]);
}

static void (*const splits[WORDS_COUNT])(word_encoder *x, const char *text, size_t bytes) = {
    [WORDS_BYTES] = split_bytes, [WORDS_CHARACTERS] = split_characters};

/* A byte gives one id at most, a character too, and bytes at least one. */
static bool reserve(word_encoder *x, size_t bytes) {
    if (bytes <= x->capacity) return true;
    free(x->ids);
    x->capacity = bytes * 2;
    x->ids = bytes > SIZE_MAX / (2 * sizeof *x->ids) ? NULL
                                                     : malloc(x->capacity * sizeof *x->ids);
    if (!x->ids) x->capacity = 0;
    return x->ids != NULL;
}

static bool merge(word_encoder *x, const char *text, size_t bytes) {
    splits[x->t->words](x, text, bytes);
    return bpe_merge(&x->t->rules, &x->work, x->ids, &x->count);
}

bool word_encode(word_encoder *x, const char *text, size_t bytes) {
    const tokenizer *t = x->t;
    x->count = 0;
    if (!reserve(x, bytes)) return false;
    uint32_t whole = bytes > t->pieces.longest_bytes ? NO_TOKEN
                                                     : vocabulary_find(&t->pieces, text, bytes);
    bool found = whole != NO_TOKEN &&
                 (t->flags & TOKENIZER_WHOLE_WORDS || t->marks[whole] & TOKEN_REACHED);
    if (!found) return merge(x, text, bytes);
    push(x, whole);
    return true;
}

size_t word_cut(const tokenizer *t, const char *text, size_t bytes) {
    const unsigned char *b = (const unsigned char *)text;
    size_t at = t->joins ? 1 : bytes;
    for (; at < bytes; at++) {
        bool inside = (b[at] & 0xC0) == 0x80;            /* a character */
        if (!inside && !(t->joins[b[at - 1] * 32 + b[at] / 8] >> b[at] % 8 & 1)) break;
    }
    return at;
}

/* Notes what a rule joins. False when the piece that it makes has not the bytes of both: then texts
 * do not show what is merged. */
static bool note_join(const tokenizer *t, bpe_rule r, uint8_t *joins) {
    size_t left_bytes, right_bytes, bytes;
    const char *left = vocabulary_piece(&t->pieces, r.left, &left_bytes);
    const char *right = vocabulary_piece(&t->pieces, r.right, &right_bytes);
    const char *merged = vocabulary_piece(&t->pieces, r.merged, &bytes);
    if (!left_bytes || !right_bytes || bytes != left_bytes + right_bytes ||
        memcmp(merged, left, left_bytes) || memcmp(merged + left_bytes, right, right_bytes))
        return false;
    unsigned char last = (unsigned char)left[left_bytes - 1], first = (unsigned char)*right;
    joins[last * 32 + first / 8] |= (uint8_t)(1 << first % 8);
    return true;
}

/* Where bytes stand for what has no piece, nothing is ever unknown, and so texts may be cut. */
static bool find_joins(tokenizer *t) {
    if (t->words != WORDS_CHARACTERS || !(t->flags & TOKENIZER_BYTE_FALLBACK)) return true;
    for (int byte = 0; byte < 256; byte++)
        if (t->byte_ids[byte] == NO_TOKEN) return true;
    uint8_t *joins = arena_alloc(&t->memory, JOINS_BYTES);
    if (!joins) return false;
    for (uint32_t i = 0; i < t->rules.count; i++)
        if (!note_join(t, t->rules.rules[i], joins)) return true;
    t->joins = joins;
    return true;
}

bool words_prepare(tokenizer *t) {
    word_encoder x = {.t = t};
    bool good = find_joins(t);
    for (uint32_t id = 0; id < t->pieces.ids && good; id++) {
        size_t bytes;
        const char *piece = vocabulary_piece(&t->pieces, id, &bytes);
        if (!bytes || vocabulary_find(&t->pieces, piece, bytes) != id) continue;
        x.count = 0;
        good = reserve(&x, bytes) && merge(&x, piece, bytes);
        if (good && x.count == 1 && x.ids[0] == id) t->marks[id] |= TOKEN_REACHED;
    }
    word_encoder_free(&x);
    return good;
}
