/* quantize_blocks.h - one block of f32 weights to what the formats store of it. */
#ifndef LOADER_QUANTIZE_BLOCKS_H
#define LOADER_QUANTIZE_BLOCKS_H

#include <stdint.h>

enum { BLOCK_WEIGHTS = 32, K_WEIGHTS = 256 };       /* of a block; of a K format's super-block */

/* Where a block's bytes go in its row; see memory/format.h. Only what the format has is written. */
typedef struct block_bytes { uint8_t *unit, *high, *scale; } block_bytes;

/* x: the block's weights, finite, magnitudes at most QUANTIZE_LIMIT. All search for the scales that
 * make the sum of squared errors small. */
void quantize_q5_0(const float *x, block_bytes to);
void quantize_q8_0(const float *x, block_bytes to);
void quantize_mxfp4(const float *x, block_bytes to);
void quantize_q4_k(const float *x, block_bytes to);
void quantize_q6_k(const float *x, block_bytes to);

/* The lowest number of q4_k, 63 x f16's largest: within it every format but q5_0, whose lowest is
 * 16 x f16's largest, can store everything, and no sum of squares comes near overflow. */
#define QUANTIZE_LIMIT 4126752.0f

/* The f16 nearest to a scale >= 0, but never more than 1 % below it, so that steps of it reach
 * what they must: f16 is coarse for tiny scales. 0 only for 0; at most 65504. */
uint16_t quantize_scale(float scale);

static inline void put_half(uint8_t *out, uint16_t half) {
    out[0] = (uint8_t)half;
    out[1] = (uint8_t)(half >> 8);
}

/* The integer in low..high nearest to t, ties to even; low and high are integers, |.| < 2^22.
 * Taken from 1.5 x 2^23, t keeps no bits for a fraction: a form that vectorizes everywhere, unlike
 * rintf(). Both bounds are written as `a < b ? a : b`, which SSE2 and wasm have one instruction
 * for; clang makes many of any form of the larger of two. */
static inline float nearest(float t, float low, float high) {
    const float far = 0x1.8p23f;
    float away = far - t;
    away = away < far - low ? away : far - low;
    float integer = far - away;
    return integer < high ? integer : high;
}

static inline float clamp(float t, float low, float high) {
    t = t < low ? low : t;
    return high < t ? high : t;
}

/* 1 / t; 0 where t is 0 or so small that no weight of its size can be stored. */
static inline float reciprocal(float t) {
    float size = t < 0.0f ? -t : t;
    return size > 1e-30f ? 1.0f / (size > 1e-30f ? t : 1.0f) : 0.0f;
}

#endif
