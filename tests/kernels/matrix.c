/* matrix.c - random matrices, and a decoder that goes from byte to byte and weight to weight as
 * the formats are defined (ggml-quants.c for the K formats), in double precision. */
#include "tests/kernels/matrix.h"
#include "tests/kernels/kernel_test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- random */

/* Bits of an f16 in +-[0.5, 1) * 2^exponent, or of a subnormal. */
static uint16_t random_half(int exponent, uint64_t *seed) {
    uint32_t bits = kernel_random_bits(seed);
    uint32_t biased = bits % 10 == 0 ? 0 : (uint32_t)(exponent + 14);
    return (uint16_t)((bits >> 16 & 0x83FF) | biased << 10);
}

static void put_half(uint8_t *at, uint16_t half) { memcpy(at, &half, sizeof half); }

static void random_row(weight_format format, uint8_t *row, uint32_t cols, uint64_t *seed) {
    const format_info *f = &formats[format];
    uint32_t blocks = format_blocks(format, cols), scales = format_scales_offset(format, cols);
    for (uint32_t i = 0; i < scales; i++) row[i] = (uint8_t)kernel_random_bits(seed);
    for (uint32_t b = 0; b < blocks; b++) {
        uint8_t *unit = row + (size_t)b * f->unit_bytes;
        uint8_t *scale = row + scales + (size_t)b * f->scale_bytes;
        float value = kernel_random(seed);
        if (format == FORMAT_F32) memcpy(unit, &value, 4);
        if (format == FORMAT_BF16) memcpy(unit, (uint8_t *)&value + 2, 2);
        if (format == FORMAT_F16) put_half(unit, random_half(0, seed));
        if (format == FORMAT_Q4_0) put_half(scale, random_half(-3, seed));
        if (format == FORMAT_Q5_0) put_half(scale, random_half(-4, seed));
        if (format == FORMAT_Q8_0) put_half(scale, random_half(-7, seed));
        if (format == FORMAT_Q6_K) put_half(scale, random_half(-12, seed));
        if (format == FORMAT_MXFP4) *scale = (uint8_t)(117 + kernel_random_bits(seed) % 8);
        if (format == FORMAT_Q4_K || format == FORMAT_Q5_K) {
            put_half(unit, random_half(format == FORMAT_Q4_K ? -10 : -11, seed));
            put_half(unit + 2, random_half(-6, seed));
        }
    }
}

void *matrix_random(weight_format format, uint32_t rows, uint32_t cols, uint64_t *seed,
                    size_t *bytes) {
    size_t row_bytes = (size_t)format_row_bytes(format, cols);
    uint8_t *matrix = calloc(rows, row_bytes);
    if (!matrix) abort();
    for (uint32_t r = 0; r < rows; r++) random_row(format, matrix + r * row_bytes, cols, seed);
    *bytes = rows * row_bytes;
    return matrix;
}

float *floats_random(size_t count, uint64_t *seed) {
    float *values = malloc(count * sizeof *values);
    if (!values) abort();
    for (size_t i = 0; i < count; i++) values[i] = kernel_random(seed);
    return values;
}

float *floats_poison(size_t count) {
    float *values = malloc(count * sizeof *values);
    if (!values) abort();
    memset(values, 0xFF, count * sizeof *values);
    return values;
}

/* ---- reference */

static double half_value(const uint8_t *at) {
    int bits = at[0] | at[1] << 8;
    int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    double value = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
    return bits >> 15 ? -value : value;
}

/* Of q4_0, q5_0 and mxfp4: weight i's four bits. */
static int nibble(const uint8_t *unit, int i) { return unit[i % 16] / (i < 16 ? 1 : 16) % 16; }

static double e2m1(int code) {
    int exponent = code / 2 % 4, mantissa = code % 2;
    double value = exponent ? ldexp(1 + 0.5 * mantissa, exponent - 1) : 0.5 * mantissa;
    return code & 8 ? -value : value;
}

/* high: 32 bytes with a fifth bit for each run, or NULL. */
static void q4_k_block(const uint8_t *b, const uint8_t *high, const uint8_t *q, double *out) {
    double d = half_value(b), dmin = half_value(b + 2);
    const uint8_t *s = b + 4;
    for (int run = 0; run < 8; run++) {
        int sc, mn;
        if (run < 4) {
            sc = s[run] % 64;
            mn = s[run + 4] % 64;
        } else {
            sc = s[run + 4] % 16 + s[run - 4] / 64 * 16;
            mn = s[run + 4] / 16 + s[run] / 64 * 16;
        }
        for (int i = 0; i < 32; i++) {
            int byte = q[run / 2 * 32 + i];
            int fifth = high ? high[i] >> run & 1 : 0;
            out[run * 32 + i] = d * sc * ((run % 2 ? byte / 16 : byte % 16) + 16 * fifth)
                              - dmin * mn;
        }
    }
}

static void q6_k_block(const uint8_t *unit, double d, double *out) {
    for (int half = 0; half < 2; half++) {
        const uint8_t *ql = unit + 64 * half, *qh = unit + 128 + 32 * half;
        const int8_t *sc = (const int8_t *)unit + 192 + 8 * half;
        double *y = out + 128 * half;
        for (int i = 0; i < 32; i++) {
            int h = qh[i];
            y[i]      = d * sc[i / 16]     * (ql[i] % 16      + h % 4 * 16      - 32);
            y[i + 32] = d * sc[i / 16 + 2] * (ql[i + 32] % 16 + h / 4 % 4 * 16  - 32);
            y[i + 64] = d * sc[i / 16 + 4] * (ql[i] / 16      + h / 16 % 4 * 16 - 32);
            y[i + 96] = d * sc[i / 16 + 6] * (ql[i + 32] / 16 + h / 64 * 16     - 32);
        }
    }
}

void matrix_row(weight_format format, const void *matrix, uint32_t cols, uint32_t row,
                double *out) {
    const format_info *f = &formats[format];
    const uint8_t *at = (const uint8_t *)matrix + (size_t)(row * format_row_bytes(format, cols));
    uint32_t blocks = (cols + f->block_weights - 1) / f->block_weights;
    const uint8_t *high = at + (size_t)blocks * f->unit_bytes;
    const uint8_t *scales = high + (size_t)blocks * f->high_bytes;
    for (uint32_t b = 0; b < blocks; b++, at += f->unit_bytes) {
        double block[256];
        float value;
        uint32_t bits = (uint32_t)at[0] << 16 | (uint32_t)at[1] << 24;
        if (format == FORMAT_F32) memcpy(&value, at, 4);
        else memcpy(&value, &bits, 4);
        if (format == FORMAT_F32 || format == FORMAT_BF16) *block = value;
        if (format == FORMAT_F16) *block = half_value(at);
        for (int i = 0; i < 32 && f->block_weights == 32; i++) {
            int low = nibble(at, i), bit = f->high_bytes ? high[4 * b + i / 8] >> i % 8 & 1 : 0;
            if (format == FORMAT_Q4_0) block[i] = half_value(scales + 2 * b) * (low - 8);
            if (format == FORMAT_Q5_0)
                block[i] = half_value(scales + 2 * b) * (low + 16 * bit - 16);
            if (format == FORMAT_Q8_0) block[i] = half_value(scales + 2 * b) * (int8_t)at[i];
            if (format == FORMAT_MXFP4) block[i] = ldexp(e2m1(low), scales[b] - 127);
        }
        if (format == FORMAT_Q4_K) q4_k_block(at, NULL, at + 16, block);
        if (format == FORMAT_Q5_K) q4_k_block(at, at + 16, at + 48, block);
        if (format == FORMAT_Q6_K) q6_k_block(at, half_value(scales + 2 * b), block);
        uint32_t first = b * f->block_weights, left = cols - first;
        memcpy(out + first, block,
               (left < f->block_weights ? left : f->block_weights) * sizeof *block);
    }
}
