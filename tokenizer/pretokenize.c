/* pretokenize.c - hand-written matchers, one per known regex.
 *
 * Each is the regex's alternatives in order. Classes of characters are disjoint (letter, number,
 * white space, other), so that backtracking only ever happens inside white space. */
#include "tokenizer/pretokenize.h"
#include "memory/utf8.h"
#include "tokenizer/unicode.h"

#include <string.h>

typedef struct character { uint32_t code, classes, bytes; } character;

/* The character at `at`; no bytes and no classes at the end. */
static inline character character_at(const char *text, size_t bytes, size_t at) {
    character c = {0};
    if (at == bytes) return c;
    unsigned char first = (unsigned char)text[at];
    if (first < 0x80) return (character){first, unicode_ascii[first], 1};
    c.bytes = utf8_decode(text + at, bytes - at, &c.code);
    c.classes = unicode_classes(c.code);
    return c;
}

static int is_newline(character c) {
    return c.bytes && (c.code == '\n' || c.code == '\r');
}

/* Neither white space nor letter nor number: [^\s\p{L}\p{N}] */
static int is_other(character c) {
    return c.bytes && !(c.classes & (UNICODE_LETTER | UNICODE_NUMBER | UNICODE_SPACE));
}

/* End of the run of at most limit characters of a class that begins at `at`. */
static size_t skip_class(const char *text, size_t bytes, size_t at, uint32_t class, size_t limit) {
    for (; limit; limit--) {
        character c = character_at(text, bytes, at);
        if (!(c.classes & class)) break;
        at += c.bytes;
    }
    return at;
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d): bytes matched, 0 for none. U+017F folds to s. */
static size_t match_contraction(const char *text, size_t bytes) {
    static const char *const endings[] = {"s", "t", "re", "ve", "m", "ll", "d", "\xC5\xBF"};
    if (bytes < 2 || text[0] != '\'') return 0;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t n = strlen(endings[i]), same = 0;
        if (n > bytes - 1) continue;
        for (; same < n; same++) {
            char c = text[1 + same];
            if (c >= 'A' && c <= 'Z') c = (char)(c - 'A' + 'a');
            if (c != endings[i][same]) break;
        }
        if (same == n) return 1 + n;
    }
    return 0;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ on text that begins with white space: up to the last newline of the
 * run; else the run, less its last character where a word follows and something remains. */
static size_t match_space(const char *text, size_t bytes) {
    size_t at = 0, last = 0, newline_end = 0;
    for (;;) {
        character c = character_at(text, bytes, at);
        if (!(c.classes & UNICODE_SPACE)) break;
        last = at;
        at += c.bytes;
        if (is_newline(c)) newline_end = at;
    }
    if (newline_end) return newline_end;
    return at == bytes || last == 0 ? at : last;
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|
 * \s*[\r\n]+|\s+(?!\S)|\s+ */
static size_t match_llama3(const char *text, size_t bytes) {
    size_t contraction = match_contraction(text, bytes);
    if (contraction) return contraction;
    character c = character_at(text, bytes, 0);
    if (c.classes & UNICODE_NUMBER) return skip_class(text, bytes, 0, UNICODE_NUMBER, 3);
    size_t letters = c.classes & UNICODE_LETTER || is_newline(c) ? 0 : c.bytes;
    size_t at = is_newline(c) ? 0 : skip_class(text, bytes, letters, UNICODE_LETTER, bytes);
    if (at > letters) return at;
    size_t others = at = c.code == ' ';
    for (character o; is_other(o = character_at(text, bytes, at));) at += o.bytes;
    if (at == others) return match_space(text, bytes);
    while (is_newline(character_at(text, bytes, at))) at++;
    return at;
}

static size_t match_all(const char *text, size_t bytes) {
    (void)text;
    return bytes;
}

const pretokenize_fn splitters[SPLIT_COUNT] = {
    [SPLIT_NONE] = match_all, [SPLIT_LLAMA3] = match_llama3};

splitter splitter_by_regex(const char *regex) {
    static const char llama3[] =
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
        " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    return strcmp(regex, llama3) ? SPLIT_COUNT : SPLIT_LLAMA3;
}

/* Names as in llama.cpp's src/llama-vocab.cpp. */
splitter splitter_by_ggml(const char *pre) {
    static const char *const llama3[] = {"llama-bpe", "llama3", "llama-v3", "smaug-bpe"};
    for (size_t i = 0; i < sizeof llama3 / sizeof *llama3; i++)
        if (!strcmp(pre, llama3[i])) return SPLIT_LLAMA3;
    return SPLIT_COUNT;
}
