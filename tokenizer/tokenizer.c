/* tokenizer.c - a tokenizer's memory, and ids to text: the bytes of pieces are joined, and only
 * whole characters let out. */
#include "tokenizer/tokenizer.h"
#include "memory/utf8.h"
#include "tokenizer/parts.h"

#include <stdlib.h>
#include <string.h>

tokenizer *tokenizer_new(void) {
    tokenizer *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->words = WORDS_COUNT;
    t->unknown = NO_TOKEN;
    t->byte_ids = arena_array(&t->memory, 256, sizeof *t->byte_ids);
    if (t->byte_ids) return t;
    tokenizer_close(t);
    return NULL;
}

void tokenizer_close(tokenizer *t) {
    if (!t) return;
    arena_free(&t->memory);
    free(t);
}

uint32_t tokenizer_vocab(const tokenizer *t) {
    return t->pieces.ids;
}

const char *tokenizer_piece(const tokenizer *t, uint32_t id, size_t *bytes) {
    return vocabulary_piece(&t->pieces, id, bytes);
}

bool tokenizer_is_special(const tokenizer *t, uint32_t id) {
    return id < t->pieces.ids && t->marks[id] & TOKEN_SPECIAL;
}

static size_t put(char *out, const char *bytes, size_t count) {
    memcpy(out, bytes, count);
    return count;
}

/* Tries to complete the held character with bytes of the piece; returns how many were taken. */
static size_t complete_held(token_stream *s, const char *piece, size_t bytes, char *out,
                            size_t *n) {
    size_t taken = 0;
    while (s->held_bytes && taken < bytes) {
        uint32_t code;
        s->held[s->held_bytes] = piece[taken];
        utf8_decode(s->held, s->held_bytes + 1, &code);
        if (code != UTF8_ILL_FORMED) {
            *n += put(out + *n, s->held, s->held_bytes + 1);
            s->held_bytes = 0;
            taken++;
        } else if (utf8_is_prefix(s->held, s->held_bytes + 1)) {
            s->held_bytes++;
            taken++;
        } else {                         /* what was held cannot become a character */
            *n += put(out + *n, UTF8_REPLACEMENT, 3);
            s->held_bytes = 0;
        }
    }
    return taken;
}

static size_t stream_bytes(token_stream *s, const char *piece, size_t bytes, char *out) {
    size_t n = 0;
    for (size_t at = complete_held(s, piece, bytes, out, &n); at < bytes;) {
        uint32_t code, step = utf8_decode(piece + at, bytes - at, &code);
        if (code != UTF8_ILL_FORMED) {
            n += put(out + n, piece + at, step);
        } else if (utf8_is_prefix(piece + at, bytes - at)) {
            s->held_bytes = (uint32_t)put(s->held, piece + at, bytes - at);
        } else {
            n += put(out + n, UTF8_REPLACEMENT, 3);
        }
        at += step;
    }
    return n;
}

/* The first token of a text, without the spaces that the flags say are not the text's. */
static size_t stream_first(const tokenizer *t, token_stream *s, const char *piece, size_t bytes,
                           char *out) {
    size_t n = 0, from = t->flags & TOKENIZER_STRIP_SPACE && bytes && *piece == ' ';
    if (!(t->flags & TOKENIZER_STRIP_TOKEN))
        return stream_bytes(s, piece + from, bytes - from, out);
    for (size_t at = 0; at < bytes; at++)
        if (piece[at] != ' ') n += stream_bytes(s, piece + at, 1, out + n);
    return n;
}

size_t tokenizer_stream(const tokenizer *t, token_stream *s, uint32_t id, char *out) {
    size_t bytes, n = 0;
    const char *piece = tokenizer_piece(t, id, &bytes);
    if (tokenizer_is_special(t, id) || !bytes) return 0;
    if (!s->started) {
        s->started = true;
        return stream_first(t, s, piece, bytes, out);
    }
    if (t->flags & TOKENIZER_JOIN_SPACE) n = stream_bytes(s, " ", 1, out);
    return n + stream_bytes(s, piece, bytes, out + n);
}

size_t tokenizer_stream_end(token_stream *s, char *out) {
    if (!s->held_bytes) return 0;
    s->held_bytes = 0;
    return put(out, UTF8_REPLACEMENT, 3);
}

/* A byte of a piece may become a U+FFFD; one more for what was held, and a space between. */
size_t tokenizer_stream_max(const tokenizer *t) {
    return 3 * (size_t)t->pieces.longest_bytes + 4;
}
