/* quantize_32.c - blocks of 32 weights with one scale: q8_0, q5_0 and mxfp4.
 *
 *   q8_0    32 bytes of int8                                w = d * q              d f16
 *   q5_0    byte i: q[i] % 16 | q[i + 16] % 16 << 4;        w = d * (q - 16)       d f16
 *           bit i of the high word: q[i] / 16
 *   mxfp4   byte i: c[i] | c[i + 16] << 4                   w = 2^(e - 127) * E2M1(c)
 *
 * Source of the layouts: ggml-quants.c; OCP Microscaling Formats 1.0 for E2M1 and E8M0.
 *
 * With one scale for 32 weights the error of a scale is largely luck: many are tried. */
#include <float.h>
#include <string.h>

#include "gpu/cpu/weights.h"
#include "loader/quantize_blocks.h"

enum { LANES = 8 };

/* The weight of largest magnitude. x: [32] f32 */
static float extreme_of(const float *x) {
    float low[LANES] = {0}, high[LANES] = {0}, least = 0.0f, most = 0.0f;
    for (int i = 0; i < BLOCK_WEIGHTS; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            float t = x[i + j];
            low[j] = t < low[j] ? t : low[j];
            high[j] = t > high[j] ? t : high[j];
        }
    }
    for (int j = 0; j < LANES; j++) {
        least = low[j] < least ? low[j] : least;
        most = high[j] > most ? high[j] : most;
    }
    return most < -least ? least : most;
}

static float sum_of_lanes(const float *lane) {
    float sum = 0.0f;
    for (int j = 0; j < LANES; j++) sum += lane[j];
    return sum;
}

/* The sum of squares of what steps of d, low to high of them, leave of x: [32] f32. Four rounds of
 * eight lanes. */
static float grid_error(const float *x, float d, float low, float high) {
    float inverse = reciprocal(d), error[LANES] = {0};
    for (int i = 0; i < BLOCK_WEIGHTS; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            float t = x[i + j];
            float off = t - d * nearest(t * inverse, low, high);
            error[j] += off * off;
        }
    }
    return sum_of_lanes(error);
}

/* q in -127..127. The largest weight gets q = most; the best of a few is taken, the first of
 * equals. So a decoded block, whose own d is among those tried and without error, is quantized to
 * itself. */
void quantize_q8_0(const float *x, block_bytes to) {
    enum { MOST = 127, LEAST = 118 };
    float extreme = extreme_of(x), best = FLT_MAX;
    uint16_t chosen = 0;
    if (extreme < 0.0f) extreme = -extreme;
    for (int most = MOST; most >= LEAST; most--) {
        uint16_t half = quantize_scale(extreme / (float)most);
        float error = grid_error(x, half_to_float(half), -MOST, MOST);
        chosen = error < best ? half : chosen;
        best = error < best ? error : best;
    }
    float inverse = reciprocal(half_to_float(chosen));
    for (int i = 0; i < BLOCK_WEIGHTS; i++)
        to.unit[i] = (uint8_t)(int8_t)nearest(x[i] * inverse, -MOST, MOST);
    put_half(to.scale, chosen);
}

/* The d of least error for the q that x has on the grid of d: sum of x q over sum of q^2. */
static float refit(const float *x, float d) {
    float inverse = reciprocal(d), qq[LANES] = {0}, xq[LANES] = {0};
    for (int i = 0; i < BLOCK_WEIGHTS; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            float q = nearest(x[i + j] * inverse, -16.0f, 15.0f);
            qq[j] += q * q;
            xq[j] += x[i + j] * q;
        }
    }
    float below = sum_of_lanes(qq);
    return below > 0.0f ? sum_of_lanes(xq) / below : d;
}

/* d as it is stored. */
static float stored(float d) {
    float size = half_to_float(quantize_scale(d < 0.0f ? -d : d));
    return d < 0.0f ? -size : size;
}

/* The largest weight gets q = -level, which the side with one step more makes room for; a level
 * above 16 cuts it off. Then d moves to where the q of the best of these fit best. RMS error on
 * normal weights: 0.04208 of RMS with 16 alone, 0.03969 with all, 0.03945 moved, and 0.03934 with
 * twice the levels. */
void quantize_q5_0(const float *x, block_bytes to) {
    static const float levels[] = {16.0f, 15.75f, 15.5f, 15.25f, 15.0f, 14.5f, 14.0f, 13.5f,
                                   16.25f, 16.5f, 17.0f};
    enum { LEVELS = sizeof levels / sizeof *levels, REFITS = 1 };
    float extreme = extreme_of(x), chosen = 0.0f, best = FLT_MAX;
    for (int k = 0; k < LEVELS + REFITS; k++) {
        float d = stored(k < LEVELS ? -extreme / levels[k] : refit(x, chosen));
        float error = grid_error(x, d, -16.0f, 15.0f);
        chosen = error < best ? d : chosen;
        best = error < best ? error : best;
    }
    float inverse = reciprocal(chosen);
    uint8_t q[BLOCK_WEIGHTS];
    for (int i = 0; i < BLOCK_WEIGHTS; i++)
        q[i] = (uint8_t)(int)(nearest(x[i] * inverse, -16.0f, 15.0f) + 16.0f);
    memset(to.high, 0, BLOCK_WEIGHTS / 8);
    for (int i = 0; i < 16; i++) to.unit[i] = (uint8_t)((q[i] & 15) | (q[i + 16] & 15) << 4);
    for (int i = 0; i < BLOCK_WEIGHTS; i++) to.high[i / 8] |= (uint8_t)(q[i] >> 4 << i % 8);
    put_half(to.scale, float_to_half(chosen));
}

/* Twice the E2M1 number nearest to t / 2: one of 0 1 2 3 4 6 8 12. t >= 0 */
static inline float e2m1_twice(float t) {
    return (t > 0.5f ? 1.0f : 0.0f) + (t > 1.5f ? 1.0f : 0.0f) + (t > 2.5f ? 1.0f : 0.0f)
         + (t > 3.5f ? 1.0f : 0.0f) + (t > 5.0f ? 2.0f : 0.0f) + (t > 7.0f ? 2.0f : 0.0f)
         + (t > 10.0f ? 4.0f : 0.0f);
}

/* Its code without sign: 0 to 7. */
static inline int e2m1_code(float t) {
    return (t > 0.5f) + (t > 1.5f) + (t > 2.5f) + (t > 3.5f) + (t > 5.0f) + (t > 7.0f)
         + (t > 10.0f);
}

/* The sum of squares of what E2M1 numbers leave of the magnitudes size, in steps whose inverse is
 * given. size: [32] f32 */
static float e2m1_error(const float *size, float inverse) {
    float error[LANES] = {0};
    for (int i = 0; i < BLOCK_WEIGHTS; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            float t = size[i + j] * inverse;
            float off = t - e2m1_twice(t);
            error[j] += off * off;
        }
    }
    return sum_of_lanes(error) / (inverse * inverse);
}

/* Three powers of two are tried: where the largest weight, in 2^k..2^(k + 1), is 4..8 steps, of
 * which 6 are stored at most; 2..4 steps; or 8..16, cut off at 6. */
void quantize_mxfp4(const float *x, block_bytes to) {
    enum { TRIED = 3, LEAST_EXPONENT = 3 };
    static const struct { float inverse; int more; } half_steps[TRIED] = {
        {8.0f, 0}, {4.0f, 1}, {16.0f, -1}};
    float extreme = extreme_of(x), size[BLOCK_WEIGHTS], best = FLT_MAX, to_one;
    uint32_t bits;
    memcpy(&bits, &extreme, sizeof bits);
    int exponent = (int)(bits >> 23 & 255), chosen = 0;          /* k + 127 */
    memset(to.unit, 0, BLOCK_WEIGHTS / 2);
    *to.scale = 0;
    if (exponent < LEAST_EXPONENT) return;
    bits = (uint32_t)(254 - exponent) << 23;
    memcpy(&to_one, &bits, sizeof to_one);                       /* 2^-k */
    for (int i = 0; i < BLOCK_WEIGHTS; i++) size[i] = (x[i] < 0.0f ? -x[i] : x[i]) * to_one;
    for (int i = 0; i < TRIED; i++) {
        float error = e2m1_error(size, half_steps[i].inverse);
        chosen = error < best ? i : chosen;
        best = error < best ? error : best;
    }
    for (int i = 0; i < BLOCK_WEIGHTS; i++) {
        int code = e2m1_code(size[i] * half_steps[chosen].inverse);
        int sign = x[i] < 0.0f && code ? 8 : 0;
        to.unit[i % 16] |= (uint8_t)((code | sign) << i / 16 * 4);
    }
    *to.scale = (uint8_t)(exponent - 2 + half_steps[chosen].more);
}
