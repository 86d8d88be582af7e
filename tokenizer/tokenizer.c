/* tokenizer.c - text to ids and ids to text.
 *
 * Encoding cuts three times: added tokens out of the text, words out of what is left, pieces out
 * of words. Decoding joins the bytes of pieces and lets only whole characters out. */
#include "tokenizer/tokenizer.h"
#include "memory/utf8.h"
#include "tokenizer/spelling.h"

#include <stdlib.h>
#include <string.h>

typedef struct encoder {
    const tokenizer *t;
    bool special, failed;
    uint32_t *ids;               /* borrowed: the caller's [capacity] */
    size_t capacity, count;
    uint32_t *word;              /* owned: ids of the word at hand */
    size_t word_capacity;
    bpe_work work;
} encoder;

static void emit(encoder *x, uint32_t id) {
    if (x->count < x->capacity) x->ids[x->count] = id;
    x->count++;
}

static void emit_list(encoder *x, token_list list) {
    for (uint32_t i = 0; i < list.count; i++) emit(x, list.ids[i]);
}

static void push(encoder *x, size_t *count, uint32_t id) {
    if (id != NO_TOKEN) x->word[(*count)++] = id;
}

/* Pieces of single characters, to be merged; or of their bytes, or unknown. */
static size_t split_characters(encoder *x, const char *text, size_t bytes) {
    const tokenizer *t = x->t;
    bool unknown_before = false;
    size_t count = 0;
    for (size_t at = 0, step; at < bytes; at += step) {
        uint32_t code;
        step = utf8_decode(text + at, bytes - at, &code);
        uint32_t id = vocabulary_find(&t->pieces, text + at, step);
        bool fallback = id == NO_TOKEN && t->flags & TOKENIZER_BYTE_FALLBACK;
        for (size_t i = 0; i < step && fallback; i++)
            fallback = t->byte_ids[(unsigned char)text[at + i]] != NO_TOKEN;
        bool unknown = id == NO_TOKEN && !fallback;
        for (size_t i = 0; i < step && fallback; i++)
            push(x, &count, t->byte_ids[(unsigned char)text[at + i]]);
        if (unknown && !(unknown_before && t->flags & TOKENIZER_FUSE_UNKNOWN))
            push(x, &count, t->unknown);
        push(x, &count, id);
        unknown_before = unknown;
    }
    return count;
}

/* Bytes that no piece stands for are left out, as Hugging Face tokenizers does. */
static size_t split_bytes(encoder *x, const char *text, size_t bytes) {
    size_t count = 0;
    for (size_t i = 0; i < bytes; i++) push(x, &count, x->t->byte_ids[(unsigned char)text[i]]);
    return count;
}

static size_t (*const splits[WORDS_COUNT])(encoder *x, const char *text, size_t bytes) = {
    [WORDS_BYTES] = split_bytes, [WORDS_CHARACTERS] = split_characters};

static void encode_word(encoder *x, const char *text, size_t bytes) {
    const tokenizer *t = x->t;
    bool whole_words = t->flags & TOKENIZER_WHOLE_WORDS;
    uint32_t whole = whole_words ? vocabulary_find(&t->pieces, text, bytes) : NO_TOKEN;
    if (whole != NO_TOKEN) {
        emit(x, whole);
        return;
    }
    if (bytes > x->word_capacity) {
        free(x->word);
        x->word_capacity = bytes * 2;
        x->word = malloc(x->word_capacity * sizeof *x->word);
        if (!x->word) x->word_capacity = 0;
    }
    size_t count = x->word ? splits[t->words](x, text, bytes) : 0;
    if (!x->word || !bpe_merge(&t->rules, &x->work, x->word, &count)) {
        x->failed = true;
        return;
    }
    emit_list(x, (token_list){x->word, (uint32_t)count});
}

static void encode_words(encoder *x, const char *text, size_t bytes) {
    for (size_t at = 0, n; at < bytes && !x->failed; at += n) {
        n = splitters[x->t->split](text + at, bytes - at);
        encode_word(x, text + at, n);
    }
}

/* A text between added tokens, with the spaces that the flags ask for. */
static void encode_spaced(encoder *x, const char *text, size_t bytes) {
    char *spaced = malloc(bytes + 1);
    if (!spaced) {
        x->failed = true;
        return;
    }
    size_t prefix = (x->t->flags & TOKENIZER_PREFIX_SPACE) != 0;
    spaced[0] = ' ';
    encode_words(x, spaced, prefix + unmark_spaces(text, bytes, spaced + prefix));
    free(spaced);
}

/* Text in which the added tokens of the passes before have been found. */
static void encode_text(encoder *x, const char *text, size_t bytes, int pass) {
    if (pass == ADDED_PASSES) {
        bool spaced = x->t->flags & (TOKENIZER_MARKED_SPACE | TOKENIZER_PREFIX_SPACE);
        (spaced ? encode_spaced : encode_words)(x, text, bytes);
        return;
    }
    added_match match = {0};
    size_t done = 0;
    while (added_next(&x->t->added[pass], text, bytes, x->special, done, &match)) {
        if (done < match.from) encode_text(x, text + done, match.from - done, pass + 1);
        emit(x, match.id);
        done = match.to;
    }
    if (done < bytes) encode_text(x, text + done, bytes - done, pass + 1);
}

/* Bytes of text as well-formed UTF-8, ill-formed parts as U+FFFD; written where out is given. */
static size_t well_formed(const char *text, size_t bytes, char *out) {
    size_t n = 0;
    for (size_t at = 0; at < bytes;) {
        uint32_t code, step = utf8_decode(text + at, bytes - at, &code);
        bool ill = code == UTF8_ILL_FORMED;
        if (out) memcpy(out + n, ill ? UTF8_REPLACEMENT : text + at, ill ? 3 : step);
        n += ill ? 3 : step;
        at += step;
    }
    return n;
}

static bool is_well_formed(const char *text, size_t bytes) {
    for (size_t at = 0; at < bytes;) {
        uint32_t code;
        at += utf8_decode(text + at, bytes - at, &code);
        if (code == UTF8_ILL_FORMED) return false;
    }
    return true;
}

size_t tokenizer_encode(const tokenizer *t, const char *text, size_t bytes, uint32_t flags,
                        uint32_t *ids, size_t capacity) {
    encoder x = {.t = t, .special = flags & TOKENIZE_SPECIAL, .ids = ids, .capacity = capacity};
    char *repaired = NULL;
    if (bytes > INT32_MAX) return (size_t)-1;
    if (!is_well_formed(text, bytes)) {
        size_t repaired_bytes = well_formed(text, bytes, NULL);
        repaired = malloc(repaired_bytes);
        if (!repaired) return (size_t)-1;
        well_formed(text, bytes, repaired);
        text = repaired;
        bytes = repaired_bytes;
    }
    if (flags & TOKENIZE_TEMPLATE) emit_list(&x, t->prefix);
    encode_text(&x, text, bytes, ADDED_RAW);
    if (flags & TOKENIZE_TEMPLATE) emit_list(&x, t->suffix);
    free(repaired);
    free(x.word);
    bpe_work_free(&x.work);
    return x.failed ? (size_t)-1 : x.count;
}

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
    return id < t->pieces.ids && t->special[id];
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

size_t tokenizer_stream(const tokenizer *t, token_stream *s, uint32_t id, char *out) {
    if (tokenizer_is_special(t, id)) return 0;
    size_t bytes, n = 0;
    if (s->started && t->flags & TOKENIZER_JOIN_SPACE) n = put(out, " ", 1);
    const char *piece = tokenizer_piece(t, id, &bytes);
    if (!s->started && t->flags & TOKENIZER_STRIP_SPACE && bytes && *piece == ' ') {
        piece++;
        bytes--;
    }
    s->started = true;
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

size_t tokenizer_stream_end(token_stream *s, char *out) {
    if (!s->held_bytes) return 0;
    s->held_bytes = 0;
    return put(out, UTF8_REPLACEMENT, 3);
}

/* A byte of a piece may become a U+FFFD; one more for what was held, and a space between. */
size_t tokenizer_stream_max(const tokenizer *t) {
    return 3 * (size_t)t->pieces.longest_bytes + 4;
}
