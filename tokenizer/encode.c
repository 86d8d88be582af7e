/* encode.c - text to ids. It is cut three times: added tokens out of the text, words out of what is
 * left, pieces out of words (words.c). */
#include "memory/utf8.h"
#include "tokenizer/spelling.h"
#include "tokenizer/words.h"

#include <stdlib.h>
#include <string.h>

typedef struct encoder {
    const tokenizer *t;
    pretokenize_fn next_word;
    added_special special;
    bool failed;
    const char *text;            /* the whole */
    uint32_t *ids;               /* borrowed: the caller's [capacity] */
    size_t capacity, count;
    char *spaced;                /* owned: a text between added tokens, as it is looked up */
    size_t spaced_capacity;
    char *unmarked;              /* owned: a text between added tokens without its marks */
    size_t unmarked_capacity;
    word_encoder word;
} encoder;

static void emit(encoder *x, uint32_t id) {
    if (x->count < x->capacity) x->ids[x->count] = id;
    x->count++;
}

static void emit_list(encoder *x, token_list list) {
    for (uint32_t i = 0; i < list.count; i++) emit(x, list.ids[i]);
}

/* A text without its marks; *bytes is its length. The result is x->unmarked or text itself. */
static const char *unmarked_text(encoder *x, const char *text, size_t *bytes) {
    if (x->special != SPECIAL_UNMARKED || !memchr(text, TOKENIZE_MARK, *bytes)) return text;
    if (*bytes > x->unmarked_capacity) {
        free(x->unmarked);
        x->unmarked_capacity = 2 * *bytes;
        x->unmarked = malloc(x->unmarked_capacity);
    }
    size_t given = *bytes;
    *bytes = 0;
    if (!x->unmarked) {
        x->failed = true;
        x->unmarked_capacity = 0;
        return text;
    }
    for (size_t i = 0; i < given; i++)
        if ((unsigned char)text[i] != TOKENIZE_MARK) x->unmarked[(*bytes)++] = text[i];
    return x->unmarked;
}

static void encode_words(encoder *x, const char *text, size_t bytes) {
    text = unmarked_text(x, text, &bytes);
    for (size_t at = 0, n; at < bytes; at += n) {
        n = x->next_word(text + at, bytes - at);
        for (size_t from = at, part; from < at + n; from += part) {
            part = word_cut(x->t, text + from, at + n - from);
            x->failed |= !word_encode(&x->word, text + from, part);
            if (x->failed) return;
            emit_list(x, (token_list){x->word.ids, (uint32_t)x->word.count});
        }
    }
}

/* A text between added tokens with the spaces that the flags ask for; *bytes is its length. The
 * result is x->spaced or text itself. */
static const char *spaced_text(encoder *x, const char *text, size_t *bytes) {
    uint32_t flags = x->t->flags;
    if (!(flags & (TOKENIZER_MARKED_SPACE | TOKENIZER_PREFIX_SPACE))) return text;
    if (*bytes >= x->spaced_capacity) {
        free(x->spaced);
        x->spaced_capacity = 2 * *bytes + 1;
        x->spaced = malloc(x->spaced_capacity);
    }
    if (!x->spaced) {
        x->failed = true;
        x->spaced_capacity = *bytes = 0;
        return text;
    }
    char *spaced = x->spaced + 1;                        /* behind room for a prefix */
    bool first = text == x->text;
    if (flags & TOKENIZER_MARKED_SPACE) *bytes = unmark_spaces(text, *bytes, spaced);
    else memcpy(spaced, text, *bytes);
    if (flags & TOKENIZER_SQUEEZE_SPACE) *bytes = squeeze_spaces(spaced, *bytes);
    bool prefix = flags & TOKENIZER_PREFIX_SPACE && *bytes &&
                  !(flags & TOKENIZER_PREFIX_MISSING && *spaced == ' ') &&
                  !(flags & TOKENIZER_PREFIX_FIRST && !first);
    if (!prefix) return spaced;
    ++*bytes;
    *--spaced = ' ';
    return spaced;
}

/* Text in which the added tokens of the passes before have been found. */
static void encode_text(encoder *x, const char *text, size_t bytes, int pass) {
    int spaced = x->t->flags & TOKENIZER_NORMALIZED ? ADDED_NORMALIZED : ADDED_PASSES;
    if (pass == spaced) text = spaced_text(x, text, &bytes);
    if (pass == ADDED_PASSES) {
        encode_words(x, text, bytes);
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

/* Whether a character, or with marks a mark, stands at the start of a text; *step is its length. */
static bool well_formed_at(const char *text, size_t bytes, bool marks, uint32_t *step) {
    uint32_t code;
    *step = utf8_decode(text, bytes, &code);
    return code != UTF8_ILL_FORMED || (marks && (unsigned char)*text == TOKENIZE_MARK);
}

/* Bytes of text as well-formed UTF-8, ill-formed parts as U+FFFD; written where out is given. */
static uint64_t well_formed(const char *text, size_t bytes, bool marks, char *out) {
    uint64_t n = 0;
    for (size_t at = 0; at < bytes;) {
        uint32_t step;
        bool ill = !well_formed_at(text + at, bytes - at, marks, &step);
        if (out) memcpy(out + n, ill ? UTF8_REPLACEMENT : text + at, ill ? 3 : step);
        n += ill ? 3 : step;
        at += step;
    }
    return n;
}

static bool is_well_formed(const char *text, size_t bytes, bool marks) {
    for (size_t at = 0; at < bytes;) {
        uint32_t step;
        if (!well_formed_at(text + at, bytes - at, marks, &step)) return false;
        at += step;
    }
    return true;
}

size_t tokenizer_encode(const tokenizer *t, const char *text, size_t bytes, uint32_t flags,
                        uint32_t *ids, size_t capacity) {
    const added_special specials[] = {
        [TOKENIZE_SPECIAL] = SPECIAL_ALL,
        [TOKENIZE_SPECIAL | TOKENIZE_MARKED] = SPECIAL_UNMARKED};
    encoder x = {.t = t, .next_word = splitter_match(t->split),
                 .special = specials[flags & (TOKENIZE_SPECIAL | TOKENIZE_MARKED)],
                 .ids = ids, .capacity = capacity, .word = {.t = t}};
    bool marks = x.special == SPECIAL_UNMARKED;
    char *repaired = NULL;
    if (bytes > INT32_MAX) return (size_t)-1;
    if (!is_well_formed(text, bytes, marks)) {
        uint64_t repaired_bytes = well_formed(text, bytes, marks, NULL);
        repaired = repaired_bytes > INT32_MAX ? NULL : malloc((size_t)repaired_bytes);
        if (!repaired) return (size_t)-1;
        well_formed(text, bytes, marks, repaired);
        text = repaired;
        bytes = (size_t)repaired_bytes;
    }
    x.text = text;
    if (flags & TOKENIZE_TEMPLATE) emit_list(&x, t->prefix);
    encode_text(&x, text, bytes, ADDED_RAW);
    if (flags & TOKENIZE_TEMPLATE) emit_list(&x, t->suffix);
    free(repaired);
    free(x.spaced);
    free(x.unmarked);
    word_encoder_free(&x.word);
    return x.failed ? (size_t)-1 : x.count;
}
