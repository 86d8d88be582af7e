/* weights.c - decoders of the stored formats of memory/format.h, as plain loops that compilers
 * vectorize. Every product is exact in f32 (an f16 scale has 11 bits, the integers it meets at
 * most 11 together); only the difference in q4_k and q5_k rounds. So the order of operations is
 * free, and results equal ggml's dequantization bit for bit. Source of the quantized formats:
 * ggml-quants.c. */
#include "gpu/cpu/weights.h"

#include <assert.h>
#include <string.h>

enum { RUN = 32, BLOCK = 256 };

static uint16_t half_at(const uint8_t *bytes) { return (uint16_t)(bytes[0] | bytes[1] << 8); }

/* ---- formats: `count` weights, whole blocks, whose first is number `first` of a row */

typedef struct planes { const uint8_t *units, *high, *scales; } planes;

static void decode_f32(planes p, uint32_t first, uint32_t count, float *out) {
    memcpy(out, p.units + (size_t)first * 4, (size_t)count * 4);
}

static void decode_f16(planes p, uint32_t first, uint32_t count, float *out) {
    uint16_t w[RUN];
    for (uint32_t r = 0; r < count; r += RUN) {
        memcpy(w, p.units + (size_t)(first + r) * 2, sizeof w);
        for (uint32_t i = 0; i < RUN; i++) out[r + i] = half_to_float(w[i]);
    }
}

static void decode_bf16(planes p, uint32_t first, uint32_t count, float *out) {
    uint16_t w[RUN];
    uint32_t bits[RUN];
    for (uint32_t r = 0; r < count; r += RUN) {
        memcpy(w, p.units + (size_t)(first + r) * 2, sizeof w);
        for (uint32_t i = 0; i < RUN; i++) bits[i] = (uint32_t)w[i] << 16;
        memcpy(out + r, bits, sizeof bits);
    }
}

/* w[i] = d * (q[i] - 8); byte i of the unit holds q[i] (low nibble) and q[i + 16] (high). */
static void decode_q4_0(planes p, uint32_t first, uint32_t count, float *out) {
    for (uint32_t b = first / RUN; count; b++, count -= RUN, out += RUN) {
        const uint8_t *q = p.units + (size_t)b * 16;
        float d = half_to_float(half_at(p.scales + (size_t)b * 2));
        for (uint32_t i = 0; i < 16; i++) {
            out[i] = d * (float)((q[i] & 15) - 8);
            out[i + 16] = d * (float)((q[i] >> 4) - 8);
        }
    }
}

/* w[i] = d * (q[i] - 16); nibbles as in q4_0, bit 4 of q[i] is bit i of the block's high word. */
static void decode_q5_0(planes p, uint32_t first, uint32_t count, float *out) {
    for (uint32_t b = first / RUN; count; b++, count -= RUN, out += RUN) {
        const uint8_t *q = p.units + (size_t)b * 16, *h = p.high + (size_t)b * 4;
        float d = half_to_float(half_at(p.scales + (size_t)b * 2));
        uint32_t low = h[0] | (uint32_t)h[1] << 8, high = h[2] | (uint32_t)h[3] << 8;
        for (uint32_t i = 0; i < 16; i++) {
            out[i] = d * (float)((int32_t)((q[i] & 15u) | (low >> i & 1) << 4) - 16);
            out[i + 16] = d * (float)((int32_t)(q[i] >> 4 | (high >> i & 1) << 4) - 16);
        }
    }
}

/* w[i] = d * q[i] */
static void decode_q8_0(planes p, uint32_t first, uint32_t count, float *out) {
    for (uint32_t r = 0; r < count; r += RUN) {
        const int8_t *q = (const int8_t *)p.units + first + r;
        float d = half_to_float(half_at(p.scales + (first + r) / RUN * 2));
        for (uint32_t i = 0; i < RUN; i++) out[r + i] = d * (float)q[i];
    }
}

/* w[i] = 2^(e - 128) * t[q[i]]; nibbles as in q4_0: E2M1, whose doubles t are integers. The power
 * is subnormal for e < 2 and finite for e = 255, which is no number in the OCP's E8M0 but one in
 * ggml's, where products may be infinite. */
static void decode_mxfp4(planes p, uint32_t first, uint32_t count, float *out) {
    static const int8_t twice[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    for (uint32_t b = first / RUN; count; b++, count -= RUN, out += RUN) {
        const uint8_t *q = p.units + (size_t)b * 16;
        uint32_t e = p.scales[b];
        float scale = float_of_bits(e < 2 ? 0x00200000u << e : (e - 1) << 23);
        for (uint32_t i = 0; i < 16; i++) {
            out[i] = scale * (float)twice[q[i] & 15];
            out[i + 16] = scale * (float)twice[q[i] >> 4];
        }
    }
}

/* The 6-bit scale and minimum of run r, from the 12 bytes behind d and dmin of a q4_k or q5_k
 * block. */
typedef struct run_scales { uint32_t sc, mn; } run_scales;

static inline run_scales k_scales(const uint8_t *packed, uint32_t r) {
    if (r < 4) return (run_scales){packed[r] & 63u, packed[r + 4] & 63u};
    return (run_scales){(packed[r + 4] & 15u) | packed[r - 4] >> 6 << 4,
                        packed[r + 4] >> 4 | packed[r] >> 6 << 4};
}

/* w[i] = d * sc[i / 32] * q[i] - dmin * mn[i / 32]; the block is d, dmin, 12 bytes of 6-bit
 * (sc, mn), 128 bytes of nibbles: 32 bytes hold runs 2c (low) and 2c + 1 (high). */
static void decode_q4_k(planes p, uint32_t first, uint32_t count, float *out) {
    for (uint32_t b = 0; b < count / BLOCK; b++, out += BLOCK) {
        const uint8_t *block = p.units + (size_t)(first / BLOCK + b) * 144;
        float d = half_to_float(half_at(block)), dmin = half_to_float(half_at(block + 2));
        for (uint32_t r = 0; r < 8; r++) {
            const uint8_t *q = block + 16 + r / 2 * RUN;
            run_scales s = k_scales(block + 4, r);
            float scale = d * (float)s.sc, low = dmin * (float)s.mn;
            uint32_t shift = r % 2 * 4;
            for (uint32_t i = 0; i < RUN; i++)
                out[r * RUN + i] = scale * (float)(q[i] >> shift & 15) - low;
        }
    }
}

/* As q4_k, with 32 bytes in front of the nibbles: bit r of byte i is bit 4 of weight i of run r. */
static void decode_q5_k(planes p, uint32_t first, uint32_t count, float *out) {
    for (uint32_t b = 0; b < count / BLOCK; b++, out += BLOCK) {
        const uint8_t *block = p.units + (size_t)(first / BLOCK + b) * 176, *high = block + 16;
        float d = half_to_float(half_at(block)), dmin = half_to_float(half_at(block + 2));
        for (uint32_t r = 0; r < 8; r++) {
            const uint8_t *q = block + 48 + r / 2 * RUN;
            run_scales s = k_scales(block + 4, r);
            float scale = d * (float)s.sc, low = dmin * (float)s.mn;
            uint32_t shift = r % 2 * 4;
            for (uint32_t i = 0; i < RUN; i++) {
                int32_t bits = (q[i] >> shift & 15) | (high[i] >> r & 1) << 4;
                out[r * RUN + i] = scale * (float)bits - low;
            }
        }
    }
}

/* w[i] = d * sc[i / 16] * (q[i] - 32); the unit is 128 bytes of low nibbles, 64 of high bit pairs,
 * 16 int8 scales. Run 4h + j has its nibbles in bytes 64h + 32 (j % 2), shifted by 4 (j / 2), and
 * its pairs in bytes 32h, shifted by 2j. */
static void decode_q6_k(planes p, uint32_t first, uint32_t count, float *out) {
    for (uint32_t b = 0; b < count / BLOCK; b++, out += BLOCK) {
        const uint8_t *unit = p.units + (size_t)(first / BLOCK + b) * 208;
        float d = half_to_float(half_at(p.scales + (first / BLOCK + b) * 2));
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

typedef void (*decode_fn)(planes p, uint32_t first, uint32_t count, float *out);

static const decode_fn decoders[FORMAT_COUNT] = {
    [FORMAT_F32] = decode_f32,   [FORMAT_F16] = decode_f16,   [FORMAT_BF16] = decode_bf16,
    [FORMAT_Q4_0] = decode_q4_0, [FORMAT_Q5_0] = decode_q5_0, [FORMAT_Q8_0] = decode_q8_0,
    [FORMAT_Q4_K] = decode_q4_k, [FORMAT_Q5_K] = decode_q5_k, [FORMAT_Q6_K] = decode_q6_k,
    [FORMAT_MXFP4] = decode_mxfp4,
};

void weights_decode_part(weight_format format, const uint8_t *row, uint32_t cols, uint32_t first,
                         uint32_t count, float *out) {
    assert(format_suits(cols) && first % WEIGHTS_PART == 0 && count <= cols - first);
    assert(count % WEIGHTS_PART == 0 || first + count == cols);
    planes p = {row, row + format_high_offset(format, cols),
                row + format_scales_offset(format, cols)};
    uint32_t rest = count % formats[format].block_weights, whole = count - rest;
    decoders[format](p, first, whole, out);
    if (rest == 0) return;
    float block[BLOCK];                       /* the row ends inside it */
    decoders[format](p, first + whole, BLOCK, block);
    memcpy(out + whole, block, rest * sizeof *block);
}

void weights_decode(weight_format format, const uint8_t *row, uint32_t cols, float *out) {
    weights_decode_part(format, row, cols, 0, cols, out);
}
