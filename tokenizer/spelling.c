/* spelling.c - see spelling.h. */
#include "tokenizer/spelling.h"
#include "memory/utf8.h"

#include <string.h>

/* Bytes that print as Latin-1 are their own character, the 68 others are U+0100 and on. */
void alphabet_fill(alphabet *a) {
    for (int i = 0; i < ALPHABET_CODES; i++) a->bytes_of[i] = -1;
    int next = 256;
    for (int byte = 0; byte < 256; byte++) {
        bool prints = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD);
        a->bytes_of[prints ? byte : next++] = (int16_t)byte;
    }
}

bool alphabet_bytes(const alphabet *a, const char *text, size_t bytes, char *out,
                    size_t *out_bytes) {
    *out_bytes = 0;
    for (size_t at = 0; at < bytes;) {
        uint32_t code;
        at += utf8_decode(text + at, bytes - at, &code);
        if (code >= ALPHABET_CODES || a->bytes_of[code] < 0) return false;
        out[(*out_bytes)++] = (char)a->bytes_of[code];
    }
    return true;
}

size_t unmark_spaces(const char *text, size_t bytes, char *out) {
    size_t n = 0;
    for (size_t at = 0; at < bytes;) {
        const char *mark = memchr(text + at, SPACE_MARK[0], bytes - at);
        size_t before = (mark ? (size_t)(mark - text) : bytes) - at;
        memcpy(out + n, text + at, before);
        n += before;
        at += before;
        if (at == bytes) break;
        bool found = bytes - at >= 3 && !memcmp(text + at, SPACE_MARK, 3);
        out[n++] = found ? ' ' : text[at];
        at += found ? 3 : 1;
    }
    return n;
}

size_t squeeze_spaces(char *text, size_t bytes) {
    size_t n = 0;
    for (size_t at = 0; at < bytes; at++)
        if (text[at] != ' ' || (n && text[n - 1] != ' ')) text[n++] = text[at];
    return n && text[n - 1] == ' ' ? n - 1 : n;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int spelled_byte(const char *text, size_t bytes) {
    if (bytes != 6 || memcmp(text, "<0x", 3) || text[5] != '>') return -1;
    int high = hex_digit(text[3]), low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

bool merge_split(const char *merge, size_t bytes, piece_text side[2]) {
    const char *space = memchr(merge, ' ', bytes);
    if (!space) return false;
    size_t left = (size_t)(space - merge);
    side[0] = (piece_text){merge, left};
    side[1] = (piece_text){space + 1, bytes - left - 1};
    return memchr(side[1].text, ' ', side[1].bytes) == NULL;
}

doppler_status merge_add(error *e, const char *what, tokenizer *t, const vocabulary *texts,
                         const piece_text side[2], char *buffer) {
    uint32_t ids[2], rank = t->rules.count;
    for (int i = 0; i < 2; i++) {
        ids[i] = vocabulary_find(texts, side[i].text, side[i].bytes);
        if (ids[i] == NO_TOKEN)
            return fail(e, DOPPLER_BAD_FILE, "%s: merge %u: \"%.*s\" is not in the vocabulary",
                        what, rank, (int)(side[i].bytes < 60 ? side[i].bytes : 60), side[i].text);
    }
    memcpy(buffer, side[0].text, side[0].bytes);
    memcpy(buffer + side[0].bytes, side[1].text, side[1].bytes);
    size_t both = side[0].bytes + side[1].bytes;
    uint32_t merged = vocabulary_find(texts, buffer, both);
    if (merged == NO_TOKEN)
        return fail(e, DOPPLER_BAD_FILE, "%s: merge %u makes \"%.*s\", not in the vocabulary",
                    what, rank, (int)(both < 60 ? both : 60), buffer);
    bpe_add(&t->rules, (bpe_rule){ids[0], ids[1], merged});
    return DOPPLER_OK;
}
