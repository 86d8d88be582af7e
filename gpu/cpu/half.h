/* half.h - IEEE binary16 in C, exactly: twin of gpu/wgsl/half.wgsl. Inline, because it is called
 * once a number in the loops over f16 weights and KV caches. */
#ifndef GPU_CPU_HALF_H
#define GPU_CPU_HALF_H

#include <stdint.h>
#include <string.h>

static inline float float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t bits_of_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* The exponent is rebased by 127 - 15 = 112, twice for infinities and NaNs. A subnormal is read as
 * if it had exponent 1 and a leading bit, which is subtracted. Without branches or conversions,
 * for the sake of loops. */
static inline float half_to_float(uint16_t half) {
    uint32_t bits = half;                    /* 16-bit comparisons would be widened in loops */
    int32_t m = (int32_t)(bits << 17 >> 4);  /* exponent and mantissa in f32's place */
    uint32_t normal = (uint32_t)m + (m >= 0x0F800000 ? 0x70000000u : 0x38000000u);
    uint32_t small = bits_of_float(float_of_bits((uint32_t)m + 0x38800000u) - 0x1p-14f);
    return float_of_bits((m < 0x00800000 ? small : normal) | (bits & 0x8000u) << 16);
}

/* Rounds to nearest even, overflows to infinity. Adding half a unit less one, plus the last kept
 * bit, carries where it should; into the exponent, too. */
static inline uint16_t float_to_half(float value) {
    uint32_t bits = bits_of_float(value), a = bits & 0x7FFFFFFFu, h;
    if (a > 0x7F800000u) h = 0x7E00;                                     /* NaN */
    else if (a >= 0x477FF000u) h = 0x7C00;                               /* 65520 and more */
    else if (a >= 0x38800000u) h = (a - 0x38000000u + 0xFFF + (a >> 13 & 1)) >> 13;
    else if (a < 0x33000000u) h = 0;                                     /* below 2^-25 */
    else {
        /* The 24-bit mantissa means m 2^(e - 150), wanted in units of 2^-24. */
        uint32_t m = (a & 0x7FFFFFu) | 0x800000u, shift = 126 - (a >> 23);
        h = (m + (1u << (shift - 1)) - 1 + (m >> shift & 1)) >> shift;
    }
    return (uint16_t)(h | (bits >> 16 & 0x8000u));
}

/* The same, but saturates at 65504: an infinity would turn all that is made of it into NaN. */
static inline uint16_t float_to_finite_half(float value) {
    uint16_t h = float_to_half(value);
    return (h & 0x7FFF) > 0x7BFF ? (uint16_t)((h & 0x8000) | 0x7BFF) : h;
}

#endif
