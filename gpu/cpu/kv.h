/* kv.h - K and V as the cache stores them: twin of gpu/wgsl/kv/. */
#ifndef GPU_CPU_KV_H
#define GPU_CPU_KV_H

#include "gpu/cpu/weights.h"
#include "gpu/kernel.h"
#include <string.h>

/* count elements from element `first` of the cache as f32: in place, or converted into scratch
 * [count]. */
static inline const float *kv_load(kv_format format, const void *kv, size_t first, size_t count,
                                   float *scratch) {
    if (format == KV_F32) return (const float *)kv + first;
    const uint16_t *half = (const uint16_t *)kv + first;
    for (size_t i = 0; i < count; i++) scratch[i] = half_to_float(half[i]);
    return scratch;
}

/* Elements first .. first + count - 1 of the cache = values. f16 rounds to nearest even and
 * saturates at 65504: an infinity would turn a whole softmax into NaN. */
static inline void kv_store(kv_format format, void *kv, size_t first, size_t count,
                            const float *values) {
    if (format == KV_F32) {
        memcpy((float *)kv + first, values, count * sizeof *values);
        return;
    }
    uint16_t *half = (uint16_t *)kv + first;
    for (size_t i = 0; i < count; i++) {
        uint16_t h = float_to_half(values[i]);
        half[i] = (h & 0x7FFF) > 0x7BFF ? (uint16_t)((h & 0x8000) | 0x7BFF) : h;
    }
}

#endif
