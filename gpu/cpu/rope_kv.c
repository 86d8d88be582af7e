/* rope_kv.c - twin of gpu/wgsl/rope_kv.wgsl. */
#include "gpu/cpu/dot.h"
#include "gpu/cpu/kv.h"
#include "gpu/cpu/twins.h"
#include "gpu/dims.h"

#include <math.h>

/* i < half, (c, s) = rope[i]:  x[i] = x[i] c - x[i + half] s,  x[i + half] = x[i + half] c + x[i] s
 * x: [2 * half], rope: [half, 2]. Su et al. 2021, section 3.4.2, rotate-half. */
static void rotate(float *x, const float *rope, uint32_t half) {
    for (uint32_t i = 0; i < half; i++) {
        float a = x[i], b = x[half + i], c = rope[2 * i], s = rope[2 * i + 1];
        x[i] = a * c - b * s;
        x[half + i] = b * c + a * s;
    }
}

/* x = x / sqrt(mean(x^2) + eps) * gain. x, gain: [n]. Zhang and Sennrich 2019, equation 4. */
static void normalize(float *x, const float *gain, uint32_t n, float eps) {
    float scale = 1 / sqrtf(dot_f32(x, x, n) / (float)n + eps);
    for (uint32_t i = 0; i < n; i++) x[i] *= scale * gain[i];
}

/* Norm and rotation of a query or a key; values stay. x: [head_dim], row: which of qkv it is,
 * rope: [head_dim / 2] pairs. */
static void turn(const struct rope_kv_dims *d, float *x, uint32_t row, const float *vectors,
                 const float *rope) {
    if (row >= d->heads + d->kv_heads) return;
    uint32_t gain = row < d->heads ? d->q_gain : d->k_gain;
    if (d->flags & ROPE_KV_NORM) normalize(x, vectors + gain, d->head_dim, d->eps);
    rotate(x, rope, d->head_dim / 2);
}

void twin_rope_kv(const gpu_call *call) {
    const struct rope_kv_dims *d = call->dims;
    const step_state *state = call->buffer[0];
    const float *rope = call->buffer[1], *vectors = call->buffer[2];
    const kv_rows kv = {(kv_format)call->format, d->head_dim,
                        2 * (size_t)d->kv_count * d->slots, call->buffer[4]};
    uint32_t rows = d->heads + 2 * d->kv_heads, group = d->heads / d->kv_heads;
    for (uint32_t t = 0; t < d->tokens; t++) {
        uint32_t position = state->position + t;
        if (position >= d->context) continue;
        float *token = (float *)call->buffer[3] + (size_t)t * rows * d->head_dim;
        const float *angles = rope + (size_t)(position % d->rope_rows) * d->head_dim;
        for (uint32_t h = d->kv_first * group; h < (d->kv_first + d->kv_count) * group; h++)
            turn(d, token + (size_t)h * d->head_dim, h, vectors, angles);
        for (uint32_t h = 0; h < 2 * d->kv_count; h++) {       /* K and V of each */
            uint32_t row = d->heads + h % 2 * d->kv_heads + d->kv_first + h / 2;
            float turned[ATTENTION_MAX_HEAD_DIM];
            memcpy(turned, token + (size_t)row * d->head_dim, d->head_dim * sizeof *turned);
            turn(d, turned, row, vectors, angles);
            kv_store(&kv, (size_t)h * d->slots + position % d->slots, turned);
        }
    }
}
