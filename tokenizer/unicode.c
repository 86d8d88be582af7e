/* unicode.c - finds the last change of classes at or before a code point. */
#include "tokenizer/unicode.h"

uint32_t unicode_search(uint32_t code) {
    uint32_t low = 0, high = unicode_change_count;       /* the change is in [low, high) */
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (unicode_changes[middle] >> 8 <= code) low = middle;
        else high = middle;
    }
    return unicode_changes[low] & 0xFF;
}
