/* utf8.h - one character of UTF-8 at a time, strict (Unicode 15.0, table 3-7). */
#ifndef MEMORY_UTF8_H
#define MEMORY_UTF8_H

#include <stddef.h>
#include <stdint.h>

enum { UTF8_MAX_BYTES = 4 };
#define UTF8_ILL_FORMED UINT32_MAX
#define UTF8_REPLACEMENT "\xEF\xBF\xBD"        /* U+FFFD, three bytes */

/* Length of the character that text begins with and its code point in *code. Where text is
 * ill-formed or cut short, *code is UTF8_ILL_FORMED and the length that of the maximal subpart
 * (Unicode 15.0, section 3.9), which one U+FFFD replaces. bytes is at least 1. */
uint32_t utf8_decode(const char *text, size_t bytes, uint32_t *code);
/* Whether bytes (fewer than a character) could still become one. */
int utf8_is_prefix(const char *text, size_t bytes);
/* Writes code, a scalar value, and returns its length. */
uint32_t utf8_encode(uint32_t code, char out[UTF8_MAX_BYTES]);

#endif
