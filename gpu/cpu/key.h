/* key.h - floats as keys: u32 in the same order; NaN counts as -infinity. Twin of
 * gpu/wgsl/key.wgsl. */
#ifndef GPU_CPU_KEY_H
#define GPU_CPU_KEY_H

#include "gpu/cpu/half.h"

enum { KEY_MINUS_INFINITY = 0x007FFFFF };

static inline uint32_t key_of(uint32_t bits) {
    uint32_t magnitude = bits & 0x7FFFFFFF;
    if (magnitude > 0x7F800000) return KEY_MINUS_INFINITY;
    if (magnitude == 0) return 0x80000000;               /* -0 equals 0 */
    return bits & 0x80000000 ? ~bits : bits | 0x80000000;
}

/* The value of a key, kept so far from the largest float that differences stay finite. */
static inline float key_value(uint32_t key) {
    uint32_t bits = key & 0x80000000 ? key & 0x7FFFFFFF : ~key, magnitude = bits & 0x7FFFFFFF;
    if (magnitude > 0x7E967699) magnitude = 0x7E967699;          /* 1e38 */
    return float_of_bits(magnitude | (bits & 0x80000000));
}

#endif
