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

enum { PAIR_WORDS = 20, PAIR_TAILS = 16 };

/* Words of a run in the packed form: its integers and, behind those of two runs, its tail. */
static size_t x_packed_at(uint64_t run) { return (size_t)(run / 2 * PAIR_WORDS + run % 2 * 8); }
static size_t x_packed_tail(uint64_t run) {
    return (size_t)(run / 2 * PAIR_WORDS + PAIR_TAILS + run % 2 * 2);
}

/* The word where part `part` of a run begins in the digits form: groups of eight runs, [7 parts of
 * 16 bytes][8 runs]. */
enum { DIGITS_TAIL = 6 };
static size_t x_digits_at(uint64_t run, uint32_t part) {
    return (size_t)((run / X_GROUP * 7 + part) * X_GROUP + run % X_GROUP) * 4;
}

/* The word of the sum of squares of run `run` of an x [k]. */
static size_t x_square_at(x_form form, uint64_t k, uint64_t run) {
    uint64_t groups = (k + X_GROUP_FLOATS - 1) / X_GROUP_FLOATS;
    if (form == X_DIGITS) return x_digits_at(run, DIGITS_TAIL) + 3;
    return (size_t)(groups * (form == X_PACKED ? X_GROUP / 2 * PAIR_WORDS : X_GROUP_FLOATS) + run);
}

/* A run as scale times integers of at most `most`, whose halves have these sums. */
typedef struct rounded { int32_t q[X_RUN], sums[2]; float scale; } rounded;

static rounded x_round(const float *v, float most) {
    rounded r = {.scale = 0};
    float largest = 0, inverse = 0;
    for (uint32_t i = 0; i < X_RUN; i++) largest = fmaxf(largest, fabsf(v[i]));
    if (largest > 1e-30f) {
        r.scale = largest / most;
        inverse = most / largest;
    }
    for (uint32_t i = 0; i < X_RUN; i++) {
        r.q[i] = (int32_t)fmaxf(-most, fminf(rintf(v[i] * inverse), most));
        r.sums[i / 16] += r.q[i];
    }
    return r;
}

static void x_store_packed(float *to, uint64_t run, const float *v) {
    rounded r = x_round(v, 127);
    int8_t bytes[X_RUN];
    int16_t sums[] = {(int16_t)r.sums[0], (int16_t)(r.sums[0] + r.sums[1])};
    for (uint32_t i = 0; i < X_RUN; i++) bytes[i] = (int8_t)r.q[i];
    memcpy(to + x_packed_at(run), bytes, sizeof bytes);
    to[x_packed_tail(run)] = r.scale;
    memcpy(to + x_packed_tail(run) + 1, sums, sizeof sums);
}

/* Digits are the bytes of q + 0x808080 with their top bits turned. */
static void x_store_digits(float *to, uint64_t run, const float *v) {
    rounded r = x_round(v, 127 * 65536);
    float tail[] = {r.scale, (float)r.sums[0], (float)r.sums[1]};
    for (uint32_t i = 0; i < X_RUN; i++) {
        uint32_t digits = (uint32_t)(r.q[i] + 0x808080) ^ 0x808080;
        for (uint32_t d = 0; d < 3; d++) {
            uint8_t *bytes = (uint8_t *)(to + x_digits_at(run, 2 * d + i / 16));
            bytes[i % 16] = (uint8_t)(digits >> (16 - 8 * d));
        }
    }
    memcpy(to + x_digits_at(run, DIGITS_TAIL), tail, sizeof tail);
}

static void x_load_digits(const float *from, uint64_t run, float *out) {
    float scale = from[x_digits_at(run, DIGITS_TAIL)];
    for (uint32_t i = 0; i < X_RUN; i++) {
        int32_t q = 0;
        for (uint32_t d = 0; d < 3; d++)
            q = q * 256 + ((const int8_t *)(from + x_digits_at(run, 2 * d + i / 16)))[i % 16];
        out[i] = scale * (float)q;
    }
}

void x_store(x_form form, void *to, uint64_t k, uint64_t run, const float *v, float square) {
    if (form == X_HALF) {
        for (uint32_t i = 0; i < X_RUN; i++)
            ((uint16_t *)to)[run * X_RUN + i] = float_to_finite_half(v[i] / X_HALF_SCALE);
        return;
    }
    if (form == X_PLAIN) {
        memcpy((float *)to + run * X_RUN, v, X_RUN * sizeof *v);
        return;
    }
    if (form == X_PACKED) x_store_packed(to, run, v);
    if (form == X_DIGITS) x_store_digits(to, run, v);
    for (uint32_t i = 0; form == X_F32 && i < X_RUN; i += 4)
        memcpy((float *)to + x_f32_at(run, i), v + i, 16);
    ((float *)to)[x_square_at(form, k, run)] = square;
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
        const int8_t *q = (const int8_t *)((const float *)from + x_packed_at(run));
        float scale = ((const float *)from)[x_packed_tail(run)];
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
