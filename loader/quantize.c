/* quantize.c - rows of every format: the plain ones, and the row around the quantized blocks.
 *
 * Loops run over neighbouring weights without branches, so that the compiler vectorizes them. */
#include "loader/quantize.h"

#include <assert.h>
#include <string.h>

#include "gpu/cpu/weights.h"
#include "loader/quantize_blocks.h"

uint16_t quantize_scale(float scale) {
    scale = clamp(scale, 0.0f, 65504.0f);
    uint16_t half = float_to_half(scale);
    return (uint16_t)(half + (half_to_float(half) < scale * 0.99f));
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

typedef void plain_fn(const float *x, uint32_t cols, uint8_t *row);
typedef void block_fn(const float *x, block_bytes to);

static const struct {
    plain_fn *plain;             /* the whole row; or NULL and */
    block_fn *block;             /* one block of it; or NULL too: not made */
} quantizers[FORMAT_COUNT] = {
    [FORMAT_F32]   = {.plain = quantize_f32},
    [FORMAT_F16]   = {.plain = quantize_f16},
    [FORMAT_BF16]  = {.plain = quantize_bf16},
    [FORMAT_Q5_0]  = {.block = quantize_q5_0},
    [FORMAT_Q8_0]  = {.block = quantize_q8_0},
    [FORMAT_Q4_K]  = {.block = quantize_q4_k},
    [FORMAT_Q6_K]  = {.block = quantize_q6_k},
    [FORMAT_MXFP4] = {.block = quantize_mxfp4},
};

bool quantize_makes(weight_format format) {
    return quantizers[format].plain || quantizers[format].block;
}

/* The last block is filled up with zeros, which cost the others nothing: no error to weigh. */
static void quantize_blocks(weight_format format, const float *x, uint32_t cols, uint8_t *row) {
    const format_info *f = &formats[format];
    block_bytes to = {row, row + format_high_offset(format, cols),
                      row + format_scales_offset(format, cols)};
    float finite[K_WEIGHTS] = {0};
    assert(f->block_weights <= K_WEIGHTS);
    for (uint32_t first = 0; first < cols; first += f->block_weights) {
        uint32_t left = cols - first, count = left < f->block_weights ? left : f->block_weights;
        make_finite(x + first, count, finite);
        for (uint32_t i = count; i < f->block_weights; i++) finite[i] = 0.0f;
        quantizers[format].block(finite, to);
        to.unit += f->unit_bytes;
        to.high += f->high_bytes;
        to.scale += f->scale_bytes;
    }
}

void quantize_row(weight_format format, const float *x, uint32_t cols, uint8_t *row) {
    assert(format < FORMAT_COUNT && format_suits(cols) && quantize_makes(format));
    size_t used = format_scales_offset(format, cols)
                + (size_t)format_blocks(format, cols) * formats[format].scale_bytes;
    memset(row + used, 0, (size_t)format_row_bytes(format, cols) - used);
    if (quantizers[format].plain) quantizers[format].plain(x, cols, row);
    else quantize_blocks(format, x, cols, row);
}
