/* pretokenize.c - hand-written matchers, one per known regex.
 *
 * Each is the regex's alternatives in order. Classes of characters are disjoint (letter, number,
 * white space, other), so that backtracking only ever happens inside white space, and where upper
 * and lower case share letters without case (match_cased). Each character is looked at a bounded
 * number of times, however long a run is. */
#include "tokenizer/pretokenize.h"
#include "memory/utf8.h"
#include "tokenizer/unicode.h"

#include <stdbool.h>
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

static bool is_newline(character c) {
    return c.bytes && (c.code == '\n' || c.code == '\r');
}

/* Neither white space nor letter nor number: [^\s\p{L}\p{N}] */
static bool is_other(character c) {
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

/* 's|'t|'re|'ve|'m|'ll|'d, as (?i:...) where any_case: bytes matched, 0 for none. U+017F folds to
 * s. */
static size_t match_contraction(const char *text, size_t bytes, bool any_case) {
    static const char *const endings[] = {"s", "t", "re", "ve", "m", "ll", "d", "\xC5\xBF"};
    size_t count = sizeof endings / sizeof *endings - !any_case;
    if (bytes < 2 || text[0] != '\'') return 0;
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(endings[i]), same = 0;
        if (n > bytes - 1) continue;
        for (; same < n; same++) {
            char c = text[1 + same];
            if (any_case && c >= 'A' && c <= 'Z') c = (char)(c - 'A' + 'a');
            if (c != endings[i][same]) break;
        }
        if (same == n) return 1 + n;
    }
    return 0;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ on text that begins with white space: up to the last newline of the
 * run, where newlines count; else the run, less its last character where a word follows and
 * something remains. */
static size_t match_space(const char *text, size_t bytes, bool newlines) {
    size_t at = 0, last = 0, newline_end = 0;
    for (;;) {
        character c = character_at(text, bytes, at);
        if (!(c.classes & UNICODE_SPACE)) break;
        last = at;
        at += c.bytes;
        if (newlines && is_newline(c)) newline_end = at;
    }
    if (newline_end) return newline_end;
    return at == bytes || last == 0 ? at : last;
}

/*  ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ with [\r\n/]* where slashes count. */
static size_t match_others(const char *text, size_t bytes, bool slashes) {
    size_t start = bytes && text[0] == ' ', at = start;
    for (character o; is_other(o = character_at(text, bytes, at));) at += o.bytes;
    if (at == start) return match_space(text, bytes, true);
    while (at < bytes && (text[at] == '\n' || text[at] == '\r' || (slashes && text[at] == '/')))
        at++;
    return at;
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|
 * \s*[\r\n]+|\s+(?!\S)|\s+ */
static size_t match_llama3(const char *text, size_t bytes) {
    size_t contraction = match_contraction(text, bytes, true);
    if (contraction) return contraction;
    character c = character_at(text, bytes, 0);
    if (c.classes & UNICODE_NUMBER) return skip_class(text, bytes, 0, UNICODE_NUMBER, 3);
    if (is_newline(c)) return match_space(text, bytes, true);
    size_t letters = c.classes & UNICODE_LETTER ? 0 : c.bytes;
    size_t at = skip_class(text, bytes, letters, UNICODE_LETTER, bytes);
    return at > letters ? at : match_others(text, bytes, false);
}

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static size_t match_gpt2(const char *text, size_t bytes) {
    static const uint32_t classes[] = {UNICODE_LETTER, UNICODE_NUMBER};
    size_t contraction = match_contraction(text, bytes, false);
    if (contraction) return contraction;
    size_t start = text[0] == ' ', at = start;
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if ((at = skip_class(text, bytes, start, classes[i], bytes)) > start) return at;
    for (character o; is_other(o = character_at(text, bytes, at));) at += o.bytes;
    return at > start ? at : match_space(text, bytes, false);
}

/* U*V+ at `at`, with U = [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}], V = [\p{Ll}\p{Lm}\p{Lo}\p{M}]: its end,
 * or 0. *upper_end: end of U*. U* takes all it can; where no lower case letter follows it gives
 * back what lies behind its last letter that is in V too. */
static size_t match_lower(const char *text, size_t bytes, size_t at, size_t *upper_end) {
    size_t shared_end = 0;
    character c;
    for (; (c = character_at(text, bytes, at)).classes & UNICODE_UPPER;) {
        at += c.bytes;
        if (c.classes & UNICODE_LOWER) shared_end = at;
    }
    *upper_end = at;
    if (c.classes & UNICODE_LOWER) return skip_class(text, bytes, at, UNICODE_LOWER, bytes);
    return shared_end;
}

/* With P = [^\r\n\p{L}\p{N}]? and S = (?i:'s|'t|'re|'ve|'m|'ll|'d)? where there are contractions:
 * PU*V+S|PU+V*S|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
 * P may be a mark (\p{M}), which is in U and V as well: then the first alternative is tried without
 * P, too. The second has only upper case letters left to match. */
static size_t match_cased(const char *text, size_t bytes, bool contractions, size_t digits) {
    character c = character_at(text, bytes, 0);
    if (c.classes & UNICODE_NUMBER) return skip_class(text, bytes, 0, UNICODE_NUMBER, digits);
    if (is_newline(c)) return match_space(text, bytes, true);
    size_t start = c.classes & UNICODE_LETTER ? 0 : c.bytes, upper_end, unused;
    size_t end = match_lower(text, bytes, start, &upper_end);
    if (!end && c.classes & UNICODE_LOWER) end = match_lower(text, bytes, 0, &unused);
    if (!end && upper_end > start) end = upper_end;
    if (!end) return match_others(text, bytes, true);
    return end + (contractions ? match_contraction(text + end, bytes - end, true) : 0);
}

static size_t match_o200k(const char *text, size_t bytes) {
    return match_cased(text, bytes, true, 3);
}

static size_t match_tekken(const char *text, size_t bytes) {
    return match_cased(text, bytes, false, 1);
}

/* Up to the next space. */
static size_t match_spaced(const char *text, size_t bytes) {
    const char *space = memchr(text + 1, ' ', bytes - 1);
    return space ? (size_t)(space - text) : bytes;
}

static size_t match_all(const char *text, size_t bytes) {
    (void)text;
    return bytes;
}

#define LETTERS_UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LETTERS_LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define PREFIX "[^\\r\\n\\p{L}\\p{N}]?"
#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES "\\s+(?!\\S)|\\s+"

static const struct { const char *regex; pretokenize_fn match; } matchers[SPLIT_COUNT] = {
    [SPLIT_NONE] = {NULL, match_all},
    [SPLIT_LLAMA3] = {CONTRACTION "|" PREFIX "\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
                      "\\s*[\\r\\n]+|" SPACES, match_llama3},
    [SPLIT_GPT2] = {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|" SPACES,
                    match_gpt2},
    [SPLIT_O200K] = {PREFIX LETTERS_UPPER "*" LETTERS_LOWER "+" CONTRACTION "?|"
                     PREFIX LETTERS_UPPER "+" LETTERS_LOWER "*" CONTRACTION "?|"
                     "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|" SPACES,
                     match_o200k},
    [SPLIT_TEKKEN] = {PREFIX LETTERS_UPPER "*" LETTERS_LOWER "+|"
                      PREFIX LETTERS_UPPER "+" LETTERS_LOWER "*|"
                      "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|" SPACES,
                      match_tekken},
    [SPLIT_SPACES] = {NULL, match_spaced},
};

pretokenize_fn splitter_match(splitter s) {
    return matchers[s].match;
}

splitter splitter_by_regex(const char *regex) {
    int s = 0;
    while (s < SPLIT_COUNT && !(matchers[s].regex && strcmp(regex, matchers[s].regex) == 0)) s++;
    return (splitter)s;
}
