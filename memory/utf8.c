/* utf8.c - a lead byte says how many bytes follow and which range the second one must be in;
 * that range alone keeps out overlong forms, surrogates and codes above U+10FFFF. */
#include "memory/utf8.h"

#include <assert.h>

/* Number of continuation bytes after lead, and the range [low, high] of the first of them.
 * 0 for bytes that begin nothing. Unicode 15.0, table 3-7. */
static uint32_t follow(unsigned char lead, unsigned char *low, unsigned char *high) {
    *low = 0x80;
    *high = 0xBF;
    if (lead < 0xC2 || lead > 0xF4) return 0;
    if (lead == 0xE0) *low = 0xA0;
    if (lead == 0xED) *high = 0x9F;
    if (lead == 0xF0) *low = 0x90;
    if (lead == 0xF4) *high = 0x8F;
    return lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
}

/* Bytes of text that are a valid beginning of one character; *wanted: how many it has. */
static uint32_t valid_bytes(const unsigned char *text, size_t bytes, uint32_t *wanted) {
    unsigned char low, high;
    uint32_t more = follow(text[0], &low, &high);
    *wanted = more + 1;
    if (!more) return 0;
    uint32_t n = 1;
    for (; n <= more && n < bytes; n++) {
        if (text[n] < low || text[n] > high) break;
        low = 0x80;
        high = 0xBF;
    }
    return n;
}

uint32_t utf8_decode(const char *text, size_t bytes, uint32_t *code) {
    assert(bytes > 0);
    const unsigned char *t = (const unsigned char *)text;
    if (t[0] < 0x80) {
        *code = t[0];
        return 1;
    }
    uint32_t wanted, valid = valid_bytes(t, bytes, &wanted);
    *code = UTF8_ILL_FORMED;
    if (valid == 0) return 1;
    if (valid < wanted) return valid;
    uint32_t c = t[0] & (0x7Fu >> wanted);
    for (uint32_t i = 1; i < wanted; i++) c = c << 6 | (t[i] & 0x3Fu);
    *code = c;
    return wanted;
}

int utf8_is_prefix(const char *text, size_t bytes) {
    if (bytes == 0) return 1;
    uint32_t wanted, valid = valid_bytes((const unsigned char *)text, bytes, &wanted);
    return valid == bytes && valid < wanted;
}

uint32_t utf8_encode(uint32_t code, char out[UTF8_MAX_BYTES]) {
    assert(code < 0x110000 && (code < 0xD800 || code > 0xDFFF));
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    uint32_t more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const unsigned char leads[] = {0, 0xC0, 0xE0, 0xF0};
    for (uint32_t i = more; i > 0; i--) {
        out[i] = (char)(0x80 | (code & 0x3F));
        code >>= 6;
    }
    out[0] = (char)(leads[more] | code);
    return more + 1;
}
