/* x_form.c - see x_form.h. */
#include "gpu/cpu/x_form.h"
#include "gpu/cpu/dot.h"

#include <math.h>
#include <string.h>

/* Element i of a run in the f32 form: groups of eight runs, [8 vec4s][8 runs]. */
static size_t x_f32_at(uint64_t run, uint32_t i) {
    return (size_t)(run / X_GROUP * X_GROUP_FLOATS + i / 4 * X_GROUP * 4 + run % X_GROUP * 4 +
                    i % 4);
}

/* Where the sum of squares of run `run` of an x [k] is. */
static size_t x_square_at(x_form form, uint64_t k, uint64_t run) {
    if (form == X_PACKED) return (size_t)run * X_PACKED_WORDS + 11;
    return (size_t)((k + X_GROUP_FLOATS - 1) / X_GROUP_FLOATS * X_GROUP_FLOATS + run);
}

static void x_store_packed(uint32_t *to, uint64_t run, const float *v, float square) {
    float largest = 0, scale = 0, inverse = 0, sums[2] = {0, 0};
    int8_t q[X_RUN];
    for (uint32_t i = 0; i < X_RUN; i++) largest = fmaxf(largest, fabsf(v[i]));
    if (largest > 1e-30f) {
        scale = largest / 127;
        inverse = 127 / largest;
    }
    for (uint32_t i = 0; i < X_RUN; i++) {
        q[i] = (int8_t)fmaxf(-127, fminf(rintf(v[i] * inverse), 127));
        sums[i / 16] += q[i];
    }
    const float tail[] = {scale, scale * sums[0], scale * sums[1], square};
    memcpy(to + run * X_PACKED_WORDS, q, sizeof q);
    memcpy(to + run * X_PACKED_WORDS + 8, tail, sizeof tail);
}

void x_store(x_form form, void *to, uint64_t k, uint64_t run, const float *v, float square) {
    if (form == X_PACKED) {
        x_store_packed(to, run, v, square);
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
