/* quantize_k.h - super-blocks of 256 f32 weights to the units of the K formats. */
#ifndef LOADER_QUANTIZE_K_H
#define LOADER_QUANTIZE_K_H

#include <stdint.h>

enum { K_WEIGHTS = 256, Q4_K_BYTES = 144, Q6_K_BYTES = 208 };

/* x: [256] f32, finite, magnitudes at most QUANTIZE_LIMIT; both pick the scales that make the
 * squared error small. unit: as drawn above each. */
void quantize_q4_k(const float *x, uint8_t *unit);                /* unit: [144] */
uint16_t quantize_q6_k(const float *x, uint8_t *unit);            /* unit: [208]; returns f16 d */

/* Squares of numbers up to this, 256 of them added, are far from overflow; it is above what any
 * format can store. */
#define QUANTIZE_LIMIT 0x1p40f

/* The f16 nearest to a scale > 0 such that `scale` is not cut by more than 1 %: rounded up where
 * f16 is that coarse, at least its smallest and at most its largest number. 0 gives 0. */
uint16_t quantize_scale(float scale);

/* t to the nearest integer, ties to even, |t| < 2^22: adding 1.5 x 2^23 leaves no fraction bits.
 * A form that vectorizes everywhere, unlike rintf(). */
static inline float nearest(float t) {
    return (t + 12582912.0f) - 12582912.0f;
}

static inline float clamp(float t, float low, float high) {
    t = t > low ? t : low;
    return t < high ? t : high;
}

#endif
