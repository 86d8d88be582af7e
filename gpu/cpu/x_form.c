/* x_form.c - see x_form.h. */
#include "gpu/cpu/x_form.h"
#include "gpu/cpu/dot.h"
#include "gpu/cpu/half.h"

#include <math.h>
#include <string.h>

/* Element i of a run in the f32 form: groups of eight runs, [8 vec4s][8 runs]. */
static size_t x_f32_at(uint64_t run, uint32_t i) {
    return (size_t)(run / X_GROUP * X_GROUP_FLOATS + i / 4 * X_GROUP * 4 + run % X_GROUP * 4 +
                    i % 4);
}

/* Byte 16 * part of a run in the digits form: groups of eight runs, [7 parts][8 runs]. */
static size_t x_digits_at(uint64_t run, uint32_t part) {
    return (size_t)((run / X_GROUP * 7 + part) * X_GROUP + run % X_GROUP) * 16;
}

/* Where the sum of squares of run `run` of an x [k] is. */
static size_t x_square_at(x_form form, uint64_t k, uint64_t run) {
    if (form == X_PACKED) return (size_t)run * X_PACKED_WORDS + 11;
    if (form == X_DIGITS) return x_digits_at(run, 6) / 4 + 3;
    return (size_t)((k + X_GROUP_FLOATS - 1) / X_GROUP_FLOATS * X_GROUP_FLOATS + run);
}

/* A run as integers of at most `most`: q; tail: scale, scale times the sums of both halves, square. */
static void x_round(const float *v, float most, float square, int32_t *q, float *tail) {
    float largest = 0, scale = 0, inverse = 0;
    int32_t sums[2] = {0, 0};
    for (uint32_t i = 0; i < X_RUN; i++) largest = fmaxf(largest, fabsf(v[i]));
    if (largest > 1e-30f) {
        scale = largest / most;
        inverse = most / largest;
    }
    for (uint32_t i = 0; i < X_RUN; i++) {
        q[i] = (int32_t)fmaxf(-most, fminf(rintf(v[i] * inverse), most));
        sums[i / 16] += q[i];
    }
    tail[0] = scale;
    tail[1] = scale * (float)sums[0];
    tail[2] = scale * (float)sums[1];
    tail[3] = square;
}

static void x_store_packed(uint8_t *to, uint64_t run, const float *v, float square) {
    int32_t q[X_RUN];
    int8_t bytes[X_RUN];
    float tail[4];
    x_round(v, 127, square, q, tail);
    for (uint32_t i = 0; i < X_RUN; i++) bytes[i] = (int8_t)q[i];
    memcpy(to + 4 * run * X_PACKED_WORDS, bytes, sizeof bytes);
    memcpy(to + 4 * run * X_PACKED_WORDS + 32, tail, sizeof tail);
}

/* Digits are the bytes of q + 0x808080 with their top bits turned. */
static void x_store_digits(uint8_t *to, uint64_t run, const float *v, float square) {
    int32_t q[X_RUN];
    float tail[4];
    x_round(v, 127 * 65536, square, q, tail);
    for (uint32_t i = 0; i < X_RUN; i++) {
        uint32_t digits = (uint32_t)(q[i] + 0x808080) ^ 0x808080;
        for (uint32_t d = 0; d < 3; d++)
            to[x_digits_at(run, 2 * d + i / 16) + i % 16] = (uint8_t)(digits >> (16 - 8 * d));
    }
    memcpy(to + x_digits_at(run, 6), tail, sizeof tail);
}

static void x_load_digits(const uint8_t *from, uint64_t run, float *out) {
    float scale;
    memcpy(&scale, from + x_digits_at(run, 6), sizeof scale);
    for (uint32_t i = 0; i < X_RUN; i++) {
        int32_t q = 0;
        for (uint32_t d = 0; d < 3; d++)
            q = q * 256 + (int8_t)from[x_digits_at(run, 2 * d + i / 16) + i % 16];
        out[i] = scale * (float)q;
    }
}

void x_store(x_form form, void *to, uint64_t k, uint64_t run, const float *v, float square) {
    if (form == X_PACKED || form == X_DIGITS) {
        (form == X_PACKED ? x_store_packed : x_store_digits)(to, run, v, square);
        return;
    }
    if (form == X_HALF) {
        for (uint32_t i = 0; i < X_RUN; i++)
            ((uint16_t *)to)[run * X_RUN + i] = float_to_finite_half(v[i] / X_HALF_SCALE);
        return;
    }
    for (uint32_t i = 0; i < X_RUN; i += 4) {
        size_t at = form == X_F32 ? x_f32_at(run, i) : (size_t)run * X_RUN + i;
        memcpy((float *)to + at, v + i, 16);
    }
    if (form == X_F32) ((float *)to)[x_square_at(form, k, run)] = square;
}

void x_load(x_form form, const void *from, uint32_t first, uint32_t count, float *out) {
    for (uint64_t run = first / X_RUN; count; run++, count -= X_RUN, out += X_RUN) {
        if (form == X_F32) {
            for (uint32_t i = 0; i < X_RUN; i += 4)
                memcpy(out + i, (const float *)from + x_f32_at(run, i), 16);
            continue;
        }
        if (form == X_DIGITS) {
            x_load_digits(from, run, out);
            continue;
        }
        if (form == X_HALF) {
            const uint16_t *h = (const uint16_t *)from + run * X_RUN;
            for (uint32_t i = 0; i < X_RUN; i++) out[i] = half_to_float(h[i]) * X_HALF_SCALE;
            continue;
        }
        const float *words = (const float *)from + run * X_PACKED_WORDS;
        const int8_t *q = (const int8_t *)words;
        float scale = words[8];
        for (uint32_t i = 0; i < X_RUN; i++) out[i] = scale * (float)q[i];
    }
}

float x_square(x_form form, const void *from, uint32_t k) {
    float sum = 0;
    for (uint32_t run = 0; run < k / X_RUN; run++)
        sum += ((const float *)from)[x_square_at(form, k, run)];
    return sum;
}

float x_run_square(const float *v) { return dot_f32(v, v, X_RUN); }
