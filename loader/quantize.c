/* quantize.c - rows of every format: the plain ones, q8_0, and the row around the K formats.
 *
 * Loops run over neighbouring weights without branches, so that the compiler vectorizes them. */
#include "loader/quantize.h"

#include <assert.h>
#include <float.h>
#include <string.h>

#include "gpu/cpu/weights.h"
#include "loader/quantize_k.h"

uint16_t quantize_scale(float scale) {
    scale = clamp(scale, 0.0f, 65504.0f);
    uint16_t half = float_to_half(scale);
    return (uint16_t)(half + (half_to_float(half) < scale * 0.99f));
}

static void put_half(uint8_t *out, uint16_t half) {
    out[0] = (uint8_t)half;
    out[1] = (uint8_t)(half >> 8);
}

static uint32_t float_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static void quantize_f32(const float *x, uint32_t cols, uint8_t *row) {
    memcpy(row, x, (size_t)cols * sizeof *x);
}

static void quantize_f16(const float *x, uint32_t cols, uint8_t *row) {
    for (uint32_t i = 0; i < cols; i++) put_half(row + 2 * (size_t)i, float_to_half(x[i]));
}

/* The upper half of x's bits, rounded to nearest even; a carry into the exponent is right, up to
 * infinity. NaN keeps its upper bits and is made quiet, lest its payload round away. */
static void quantize_bf16(const float *x, uint32_t cols, uint8_t *row) {
    for (uint32_t i = 0; i < cols; i++) {
        uint32_t bits = float_bits(x[i]);
        uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
        uint32_t nan = (bits & 0x7fffffff) > 0x7f800000;
        uint16_t half = (uint16_t)(nan ? (bits >> 16) | 0x40 : rounded);
        memcpy(row + 2 * (size_t)i, &half, sizeof half);
    }
}

/* out[i] = x[i] with NaN as 0 and magnitudes cut to QUANTIZE_LIMIT. x, out: [count] f32 */
static void make_finite(const float *x, uint32_t count, float *out) {
    for (uint32_t i = 0; i < count; i++) {
        float t = x[i] == x[i] ? x[i] : 0.0f;
        out[i] = clamp(t, -QUANTIZE_LIMIT, QUANTIZE_LIMIT);
    }
}

/* The sum of squares of what d leaves of x: [32] f32. Four rounds of eight lanes. */
static float q8_0_error(const float *x, float d) {
    enum { LANES = 8 };
    float inverse = reciprocal(d), error[LANES] = {0}, sum = 0.0f;
    for (int i = 0; i < 32; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            float t = x[i + j];
            float off = t - d * nearest(t * inverse, -127.0f, 127.0f);
            error[j] += off * off;
        }
    }
    for (int j = 0; j < LANES; j++) sum += error[j];
    return sum;
}

/* w[i] = d * q[i], i in 0..31, q in -127..127. x: [32] f32, finite; q: [32] int8; returns f16 d.
 *
 * The largest weight gets q = most; the best of a few is taken, the first of equals. So a decoded
 * block, whose own d is among those tried and without error, is quantized to itself. */
static uint16_t quantize_q8_0(const float *x, uint8_t *q) {
    enum { MOST = 127, LEAST = 118 };
    uint32_t largest = 0;
    for (int i = 0; i < 32; i++) {
        uint32_t bits = float_bits(x[i]) & 0x7fffffff;       /* orders as |x| does */
        largest = bits > largest ? bits : largest;
    }
    float extreme, best = FLT_MAX;
    memcpy(&extreme, &largest, sizeof extreme);
    uint16_t chosen = 0;
    for (int most = MOST; most >= LEAST; most--) {
        uint16_t half = quantize_scale(extreme / (float)most);
        float error = q8_0_error(x, half_to_float(half));
        chosen = error < best ? half : chosen;
        best = error < best ? error : best;
    }
    float inverse = reciprocal(half_to_float(chosen));
    for (int i = 0; i < 32; i++)
        q[i] = (uint8_t)(int8_t)nearest(x[i] * inverse, -127.0f, 127.0f);
    return chosen;
}

/* One block's unit; where the format keeps its scale behind the units, returns it as f16. */
typedef uint16_t block_fn(const float *x, uint8_t *unit);

static uint16_t block_q4_k(const float *x, uint8_t *unit) {
    quantize_q4_k(x, unit);
    return 0;
}

static void quantize_blocks(weight_format format, block_fn *block, const float *x, uint32_t cols,
                            uint8_t *row) {
    const format_info *f = &formats[format];
    uint8_t *scales = row + format_scales_offset(format, cols);
    float finite[K_WEIGHTS];
    assert(f->block_weights <= K_WEIGHTS);
    for (uint32_t i = 0; i < cols / f->block_weights; i++) {
        make_finite(x + (size_t)i * f->block_weights, f->block_weights, finite);
        uint16_t scale = block(finite, row + (size_t)i * f->unit_bytes);
        if (f->scale_bytes) put_half(scales + 2 * (size_t)i, scale);
    }
}

typedef void plain_fn(const float *x, uint32_t cols, uint8_t *row);

static const struct {
    plain_fn *plain;             /* the whole row; or NULL and */
    block_fn *block;             /* one block of it */
} quantizers[FORMAT_COUNT] = {
    [FORMAT_F32]  = {.plain = quantize_f32},
    [FORMAT_F16]  = {.plain = quantize_f16},
    [FORMAT_BF16] = {.plain = quantize_bf16},
    [FORMAT_Q8_0] = {.block = quantize_q8_0},
    [FORMAT_Q4_K] = {.block = block_q4_k},
    [FORMAT_Q6_K] = {.block = quantize_q6_k},
};

void quantize_row(weight_format format, const float *x, uint32_t cols, uint8_t *row) {
    assert(format < FORMAT_COUNT && format_suits(format, cols));
    const format_info *f = &formats[format];
    size_t used = (size_t)cols / f->block_weights * (f->unit_bytes + f->scale_bytes);
    memset(row + used, 0, (size_t)format_row_bytes(format, cols) - used);
    if (quantizers[format].plain) quantizers[format].plain(x, cols, row);
    else quantize_blocks(format, quantizers[format].block, x, cols, row);
}
