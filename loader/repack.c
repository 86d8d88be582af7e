/* repack.c - what is inside a checkpoint's blocks. A stored row has the blocks' units in front,
 * high bits and scales behind, so most types are the same bytes in another order; decoding those
 * is decoding what they become. Source of the blocks: ggml-quants.c, dequantize_row_*. */
#include "loader/repack.h"
#include "gpu/cpu/weights.h"

#include <assert.h>
#include <string.h>

enum { RUN = 32, BLOCK = 256, LARGEST_ROW = BLOCK * 4, LARGEST_BLOCK = 210 };

static float half_at(const uint8_t *bytes) {
    return half_to_float((uint16_t)(bytes[0] | bytes[1] << 8));
}

/* One block to the planes of a row: its unit, its high bits, its scale. */
typedef void (*repack_fn)(const uint8_t *block, uint8_t *unit, uint8_t *high, uint8_t *scale);
/* One block of numbers. */
typedef void (*decode_fn)(const uint8_t *block, float *out);

/* Scale i of 16 of a Q3_K block: 6 bits, low four in bytes 0-7 (i < 8 the low nibble), high two in
 * bytes 8-11 (two bits for each i / 4). */
static int32_t q3_k_scale(const uint8_t *packed, uint32_t i) {
    uint32_t low = packed[i % 8] >> i / 8 * 4 & 15, high = packed[8 + i % 4] >> i / 4 * 2 & 3;
    return (int32_t)(low | high << 4) - 32;
}

/* Q3_K is w = d * sc[i / 16] * q with q in -4..3: q6_k with the same d and scales holds it exactly.
 * Block: hmask 32 bytes (bit set: q is not lowered by 4), qs 64 (pairs), scales 12, d. Run r has
 * bit r of hmask's bytes, and the pairs 2 (r % 4) of the bytes 32 (r / 4). */
static void repack_q3_k(const uint8_t *block, uint8_t *unit, uint8_t *plane, uint8_t *scale) {
    (void)plane;
    memset(unit, 0, 192);
    for (uint32_t r = 0; r < 8; r++) {
        uint32_t h = r / 4, j = r % 4;
        uint8_t *low = unit + 64 * h + RUN * (j % 2), *high = unit + 128 + RUN * h;
        for (uint32_t i = 0; i < RUN; i++) {
            uint32_t pair = block[32 + RUN * h + i] >> 2 * j & 3, bit = block[i] >> r & 1;
            uint32_t q = 32 + pair - 4 + 4 * bit;
            low[i] |= (uint8_t)((q & 15) << j / 2 * 4);
            high[i] |= (uint8_t)(q >> 4 << 2 * j);
        }
    }
    for (uint32_t i = 0; i < 16; i++) unit[192 + i] = (uint8_t)q3_k_scale(block + 96, i);
    memcpy(scale, block + 108, 2);
}

/* w[i] = d * q[i] + m; weights 0-15 in the low nibbles, 16-31 in the high ones. */
static void decode_q4_1(const uint8_t *block, float *out) {
    float d = half_at(block), m = half_at(block + 2);
    for (uint32_t i = 0; i < 16; i++) {
        out[i] = (float)(block[4 + i] & 15) * d + m;
        out[16 + i] = (float)(block[4 + i] >> 4) * d + m;
    }
}

static uint32_t fifth_bits(const uint8_t *at) {
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* The same with a fifth bit of weight i in bit i of a word before the nibbles. */
static void decode_q5_1(const uint8_t *block, float *out) {
    float d = half_at(block), m = half_at(block + 2);
    uint32_t high = fifth_bits(block + 4);
    for (uint32_t i = 0; i < 16; i++) {
        out[i] = (float)((block[8 + i] & 15) | (high >> i & 1) << 4) * d + m;
        out[16 + i] = (float)(block[8 + i] >> 4 | (high >> (16 + i) & 1) << 4) * d + m;
    }
}

/* w[i] = d * sc * q[i] - dmin * mn for each 16: sc low, mn high nibble of bytes 0-15; pairs in
 * bytes 16-79 as in Q3_K; d, dmin. */
static void decode_q2_k(const uint8_t *block, float *out) {
    float d = half_at(block + 80), dmin = half_at(block + 82);
    for (uint32_t i = 0; i < BLOCK; i++) {
        uint32_t r = i / RUN, q = block[16 + RUN * (r / 4) + i % RUN] >> r % 4 * 2 & 3;
        uint8_t scale = block[i / 16];
        out[i] = d * (float)(scale & 15) * (float)q - dmin * (float)(scale >> 4);
    }
}

/* Byte i holds weights 2i and 2i + 1, the first in its low nibble; ours hold i and i + 16. Scales
 * are apart. Source: convert_moe_packed_tensors in transformers' integrations/mxfp4.py. */
static void repack_pairs(const uint8_t *block, uint8_t *unit, uint8_t *high, uint8_t *scale) {
    (void)high, (void)scale;
    for (uint32_t i = 0; i < 16; i++) {
        uint32_t shift = i % 2 * 4;
        unit[i] = (uint8_t)((block[i / 2] >> shift & 15) | (block[8 + i / 2] >> shift & 15) << 4);
    }
}

/* Numbers that a host has decoded already. */
static void decode_loose(const uint8_t *block, float *out) {
    memcpy(out, block, RUN * sizeof *out);
}

/* What keep stores, and how: the block's bytes in other places (plain types have none), or its
 * numbers in another format that holds them (repack), or their nearest in one (decode). */
static const struct {
    weight_format format;
    repack_fn repack;
    decode_fn decode;
    uint8_t unit_at, high_at, scale_at;  /* in the block */
} types[SOURCE_TYPE_COUNT] = {
    [SOURCE_F32] = {.format = FORMAT_F32},
    [SOURCE_F16] = {.format = FORMAT_F16},
    [SOURCE_BF16] = {.format = FORMAT_BF16},
    [SOURCE_Q4_0] = {.format = FORMAT_Q4_0, .unit_at = 2},
    [SOURCE_Q4_1] = {.format = FORMAT_Q8_0, .decode = decode_q4_1},
    [SOURCE_Q5_0] = {.format = FORMAT_Q5_0, .high_at = 2, .unit_at = 6},
    [SOURCE_Q5_1] = {.format = FORMAT_Q8_0, .decode = decode_q5_1},
    [SOURCE_Q8_0] = {.format = FORMAT_Q8_0, .unit_at = 2},
    [SOURCE_Q2_K] = {.format = FORMAT_Q8_0, .decode = decode_q2_k},
    [SOURCE_Q3_K] = {.format = FORMAT_Q6_K, .repack = repack_q3_k},
    [SOURCE_Q4_K] = {.format = FORMAT_Q4_K},
    [SOURCE_Q5_K] = {.format = FORMAT_Q5_K},
    [SOURCE_Q6_K] = {.format = FORMAT_Q6_K, .scale_at = 208},
    [SOURCE_MXFP4] = {.format = FORMAT_MXFP4, .unit_at = 1},
    [SOURCE_MXFP4_PAIRS] = {.format = FORMAT_MXFP4, .repack = repack_pairs},
    [SOURCE_Q4_K_LOOSE] = {.format = FORMAT_Q8_0, .decode = decode_loose},
};

weight_format repack_format(source_type type) { return types[type].format; }

bool repack_is_exact(source_type type) { return !types[type].decode; }

void repack_row(source_type type, const uint8_t *blocks, uint32_t cols, uint8_t *row) {
    weight_format format = types[type].format;
    assert(repack_is_exact(type) && cols % RUN == 0);
    const format_info *f = &formats[format];
    uint32_t count = format_blocks(format, cols);
    uint8_t *high = row + format_high_offset(format, cols);
    uint8_t *scale = row + format_scales_offset(format, cols);
    uint8_t *unit = row, *row_end = row + format_row_bytes(format, cols);
    if (f->unit_bytes == source_types[type].block_bytes) {   /* no planes: all bytes stay */
        memcpy(row, blocks, (size_t)count * f->unit_bytes);
        count = 0;
    }
    uint32_t apart = source_types[type].scale_bytes, close = source_types[type].block_bytes - apart;
    const uint8_t *scales = blocks + (size_t)format_blocks(format, cols) * close;
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *block = blocks + (size_t)i * close;
        if (types[type].repack) {
            types[type].repack(block, unit, high, scale);
            memcpy(scale, scales + (size_t)i * apart, apart);
        } else {
            memcpy(unit, block + types[type].unit_at, f->unit_bytes);
            memcpy(high, block + types[type].high_at, f->high_bytes);
            memcpy(scale, block + types[type].scale_at, f->scale_bytes);
        }
        unit += f->unit_bytes;
        high += f->high_bytes;
        scale += f->scale_bytes;
    }
    if (scale < row_end) memset(scale, 0, (size_t)(row_end - scale));
}

void repack_decode(source_type type, const uint8_t *blocks, uint32_t cols, float *out) {
    uint32_t weights = source_types[type].block_weights;
    uint32_t apart = source_types[type].scale_bytes, close = source_types[type].block_bytes - apart;
    const uint8_t *scales = blocks + (size_t)cols / weights * close;
    if (weights == 1) {
        weights_decode(types[type].format, blocks, (cols + RUN - 1) / RUN * RUN, out);
        return;
    }
    assert(cols % RUN == 0);
    for (uint32_t at = 0; at < cols; at += weights, blocks += close, scales += apart) {
        uint8_t row[LARGEST_ROW], joined[LARGEST_BLOCK];
        float last[BLOCK];
        float *to = cols - at < weights ? last : out + at;
        if (types[type].decode) {
            types[type].decode(blocks, to);
        } else {
            if (apart) {
                memcpy(joined, blocks, close);
                memcpy(joined + close, scales, apart);
            }
            repack_row(type, apart ? joined : blocks, weights, row);
            weights_decode(types[type].format, row, weights, to);
        }
        if (to == last) memcpy(out + at, last, (cols - at) * sizeof *out);
    }
}
