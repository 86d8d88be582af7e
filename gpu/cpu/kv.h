/* kv.h - K and V as the cache stores them: twin of gpu/wgsl/kv/. */
#ifndef GPU_CPU_KV_H
#define GPU_CPU_KV_H

#include "gpu/cpu/half.h"
#include "gpu/kernel.h"

#include <math.h>
#include <string.h>

enum { KV_RUN = 32 };                    /* elements of q8_0 that share a scale */

/* A buffer of the cache: [rows, head_dim], and of q8_0 the scales [rows, ceil(head_dim / 64)] in
 * words of two f16 behind. */
typedef struct kv_rows {
    kv_format format;
    uint32_t head_dim;
    size_t rows;
    void *data;
} kv_rows;

static inline uint16_t *kv_scales(const kv_rows *kv, size_t row) {
    size_t each = (kv->head_dim / KV_RUN + 1) / 2 * 2;
    return (uint16_t *)((int8_t *)kv->data + kv->rows * kv->head_dim) + row * each;
}

static inline void kv_load_q8_0(const kv_rows *kv, size_t row, float *out) {
    const int8_t *q = (const int8_t *)kv->data + row * kv->head_dim;
    const uint16_t *scales = kv_scales(kv, row);
    for (uint32_t run = 0; run < kv->head_dim / KV_RUN; run++) {
        float d = half_to_float(scales[run]);
        for (uint32_t i = run * KV_RUN; i < (run + 1) * KV_RUN; i++) out[i] = d * q[i];
    }
}

/* Rows [row, row + count) as f32: in place, or converted into scratch [count, head_dim]. */
static inline const float *kv_load(const kv_rows *kv, size_t row, size_t count, float *scratch) {
    size_t first = row * kv->head_dim, elements = count * kv->head_dim;
    if (kv->format == KV_F32) return (const float *)kv->data + first;
    if (kv->format == KV_Q8_0) {
        for (size_t r = 0; r < count; r++)
            kv_load_q8_0(kv, row + r, scratch + r * kv->head_dim);
        return scratch;
    }
    const uint16_t *half = (const uint16_t *)kv->data + first;
    for (size_t i = 0; i < elements; i++) scratch[i] = half_to_float(half[i]);
    return scratch;
}

/* d = max |x| / 127 rounded to f16, q = round(x / d), ties to even. */
static inline void kv_store_q8_0(const kv_rows *kv, size_t row, const float *x) {
    int8_t *q = (int8_t *)kv->data + row * kv->head_dim;
    uint16_t *scales = kv_scales(kv, row);
    for (uint32_t run = 0; run < kv->head_dim / KV_RUN; run++, x += KV_RUN, q += KV_RUN) {
        float largest = 0;
        for (int i = 0; i < KV_RUN; i++) largest = fmaxf(largest, fabsf(x[i]));
        scales[run] = float_to_finite_half(largest / 127);
        float d = fmaxf(half_to_float(scales[run]), 1e-30f);
        for (int i = 0; i < KV_RUN; i++)                 /* NaN becomes -127 */
            q[i] = (int8_t)fminf(fmaxf(rintf(x[i] / d), -127), 127);
    }
    if (kv->head_dim / KV_RUN % 2) scales[kv->head_dim / KV_RUN] = 0;
}

/* A row of the cache = values [head_dim]. f16 rounds to nearest even. */
static inline void kv_store(const kv_rows *kv, size_t row, const float *values) {
    size_t first = row * kv->head_dim;
    if (kv->format == KV_F32) {
        memcpy((float *)kv->data + first, values, kv->head_dim * sizeof *values);
        return;
    }
    if (kv->format == KV_Q8_0) {
        kv_store_q8_0(kv, row, values);
        return;
    }
    uint16_t *half = (uint16_t *)kv->data + first;
    for (uint32_t i = 0; i < kv->head_dim; i++) half[i] = float_to_finite_half(values[i]);
}

#endif
