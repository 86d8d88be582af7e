/* unicode.h - the classes of characters that pre-tokenizers and added tokens ask for. */
#ifndef TOKENIZER_UNICODE_H
#define TOKENIZER_UNICODE_H

#include <stdint.h>

enum {
    UNICODE_LETTER = 1,          /* \p{L} */
    UNICODE_NUMBER = 2,          /* \p{N} */
    UNICODE_SPACE = 4,           /* \s: White_Space */
    UNICODE_WORD = 8,            /* \w: Alphabetic, M, Nd, Pc, Join_Control */
    UNICODE_UPPER = 16,          /* [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}] */
    UNICODE_LOWER = 32           /* [\p{Ll}\p{Lm}\p{Lo}\p{M}] */
};

/* Generated tables (unicode_tables.c): code << 8 | classes where classes change, ascending. */
extern const char unicode_version[];             /* "16.0.0" */
extern const uint32_t unicode_change_count;
extern const uint32_t unicode_changes[];
extern const uint8_t unicode_ascii[128];

/* Classes of a code point beyond ASCII. */
uint32_t unicode_search(uint32_t code);

static inline uint32_t unicode_classes(uint32_t code) {
    return code < 128 ? unicode_ascii[code] : unicode_search(code);
}

#endif
