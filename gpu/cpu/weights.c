/* weights.c - decoders of the stored formats of memory/format.h, as plain loops that compilers
 * vectorize. Every product is exact in f32 (an f16 scale has 11 bits, the integers it meets at
 * most 10 together); only the difference in q4_k rounds. So the order of operations is free, and
 * results equal ggml's dequantization bit for bit. Source of the K formats: ggml-quants.c. */
#include "gpu/cpu/weights.h"

#include <assert.h>
#include <string.h>

enum { RUN = 32, BLOCK = 256 };

static uint16_t half_at(const uint8_t *bytes) { return (uint16_t)(bytes[0] | bytes[1] << 8); }

/* ---- formats: `count` weights whose first is number `first` of a row; scales of all its blocks */

static void decode_f32(const uint8_t *row, const uint8_t *scales, uint32_t first, uint32_t count,
                       float *out) {
    (void)scales;
    memcpy(out, row + (size_t)first * 4, (size_t)count * 4);
}

static void decode_f16(const uint8_t *row, const uint8_t *scales, uint32_t first, uint32_t count,
                       float *out) {
    (void)scales;
    uint16_t w[RUN];
    for (uint32_t r = 0; r < count; r += RUN) {
        memcpy(w, row + (size_t)(first + r) * 2, sizeof w);
        for (uint32_t i = 0; i < RUN; i++) out[r + i] = half_to_float(w[i]);
    }
}

static void decode_bf16(const uint8_t *row, const uint8_t *scales, uint32_t first, uint32_t count,
                        float *out) {
    (void)scales;
    uint16_t w[RUN];
    uint32_t bits[RUN];
    for (uint32_t r = 0; r < count; r += RUN) {
        memcpy(w, row + (size_t)(first + r) * 2, sizeof w);
        for (uint32_t i = 0; i < RUN; i++) bits[i] = (uint32_t)w[i] << 16;
        memcpy(out + r, bits, sizeof bits);
    }
}

/* w[i] = d * q[i] */
static void decode_q8_0(const uint8_t *row, const uint8_t *scales, uint32_t first, uint32_t count,
                        float *out) {
    for (uint32_t r = 0; r < count; r += RUN) {
        const int8_t *q = (const int8_t *)row + first + r;
        float d = half_to_float(half_at(scales + (first + r) / RUN * 2));
        for (uint32_t i = 0; i < RUN; i++) out[r + i] = d * (float)q[i];
    }
}

/* w[i] = d * sc[i / 32] * q[i] - dmin * mn[i / 32]; the block is d, dmin, 12 bytes of 6-bit
 * (sc, mn), 128 bytes of nibbles: 32 bytes hold runs 2c (low) and 2c + 1 (high). */
static void decode_q4_k(const uint8_t *row, const uint8_t *scales, uint32_t first, uint32_t count,
                        float *out) {
    (void)scales;
    for (uint32_t b = 0; b < count / BLOCK; b++, out += BLOCK) {
        const uint8_t *block = row + (size_t)(first / BLOCK + b) * 144;
        const uint8_t *packed = block + 4;
        float d = half_to_float(half_at(block)), dmin = half_to_float(half_at(block + 2));
        for (uint32_t r = 0; r < 8; r++) {
            uint32_t sc = r < 4 ? packed[r] & 63u : (packed[r + 4] & 15u) | packed[r - 4] >> 6 << 4;
            uint32_t mn = r < 4 ? packed[r + 4] & 63u : packed[r + 4] >> 4 | packed[r] >> 6 << 4;
            const uint8_t *q = block + 16 + r / 2 * RUN;
            float scale = d * (float)sc, low = dmin * (float)mn;
            uint32_t shift = r % 2 * 4;
            for (uint32_t i = 0; i < RUN; i++)
                out[r * RUN + i] = scale * (float)(q[i] >> shift & 15) - low;
        }
    }
}

/* w[i] = d * sc[i / 16] * (q[i] - 32); the unit is 128 bytes of low nibbles, 64 of high bit pairs,
 * 16 int8 scales. Run 4h + j has its nibbles in bytes 64h + 32 (j % 2), shifted by 4 (j / 2), and
 * its pairs in bytes 32h, shifted by 2j. */
static void decode_q6_k(const uint8_t *row, const uint8_t *scales, uint32_t first, uint32_t count,
                        float *out) {
    for (uint32_t b = 0; b < count / BLOCK; b++, out += BLOCK) {
        const uint8_t *unit = row + (size_t)(first / BLOCK + b) * 208;
        float d = half_to_float(half_at(scales + (first / BLOCK + b) * 2));
        for (uint32_t r = 0; r < 8; r++) {
            uint32_t h = r / 4, j = r % 4, low_shift = j / 2 * 4, high_shift = 2 * j;
            const uint8_t *ql = unit + 64 * h + RUN * (j % 2), *qh = unit + 128 + RUN * h;
            const int8_t *sc = (const int8_t *)unit + 192 + 2 * r;
            float scale[2] = {d * sc[0], d * sc[1]};
            for (uint32_t i = 0; i < RUN; i++) {
                int32_t q = (ql[i] >> low_shift & 15) | (qh[i] >> high_shift & 3) << 4;
                out[r * RUN + i] = scale[i / 16] * (float)(q - 32);
            }
        }
    }
}

typedef void (*decode_fn)(const uint8_t *row, const uint8_t *scales, uint32_t first,
                          uint32_t count, float *out);

static const decode_fn decoders[FORMAT_COUNT] = {
    [FORMAT_F32] = decode_f32,   [FORMAT_F16] = decode_f16,   [FORMAT_BF16] = decode_bf16,
    [FORMAT_Q8_0] = decode_q8_0, [FORMAT_Q4_K] = decode_q4_k, [FORMAT_Q6_K] = decode_q6_k,
};

void weights_decode_part(weight_format format, const uint8_t *row, uint32_t cols, uint32_t first,
                         uint32_t count, float *out) {
    assert(format_suits(format, cols) && first % WEIGHTS_PART == 0 && count <= cols - first);
    assert(count % WEIGHTS_PART == 0 || first + count == cols);
    decoders[format](row, row + format_scales_offset(format, cols), first, count, out);
}

void weights_decode(weight_format format, const uint8_t *row, uint32_t cols, float *out) {
    weights_decode_part(format, row, cols, 0, cols, out);
}
