/* dot.h - the dot product of every CPU twin: 16 lanes, each summed in order, then added pairwise.
 * The order is fixed and written out, so any compiler may keep the lanes in vector registers
 * (4 x f32x4 in wasm, SSE2) and every build gives the same bits (with -ffp-contract=off). */
#ifndef GPU_CPU_DOT_H
#define GPU_CPU_DOT_H

#include <stdint.h>

enum { DOT_LANES = 16 };

/* ((l0 + l8) + (l4 + l12)) + ... : halves folded onto each other. */
static inline float dot_fold(float lane[DOT_LANES]) {
    for (uint32_t half = DOT_LANES / 2; half > 0; half /= 2)
        for (uint32_t i = 0; i < half; i++) lane[i] += lane[i + half];
    return lane[0];
}

/* lane[i % 16] += a[i] * b[i], i < n. */
static inline void dot_accumulate(float lane[DOT_LANES], const float *a, const float *b,
                                  uint32_t n) {
    float sum[DOT_LANES];
    uint32_t i = 0;
    for (uint32_t j = 0; j < DOT_LANES; j++) sum[j] = lane[j];
    for (; i + DOT_LANES <= n; i += DOT_LANES)
        for (uint32_t j = 0; j < DOT_LANES; j++) sum[j] += a[i + j] * b[i + j];
    for (uint32_t j = 0; i + j < n; j++) sum[j] += a[i + j] * b[i + j];
    for (uint32_t j = 0; j < DOT_LANES; j++) lane[j] = sum[j];
}

/* sum over i < n of a[i] * b[i]. */
static inline float dot_f32(const float *a, const float *b, uint32_t n) {
    float lane[DOT_LANES] = {0};
    dot_accumulate(lane, a, b, n);
    return dot_fold(lane);
}

#endif
