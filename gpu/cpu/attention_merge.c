/* attention_merge.c - twin of gpu/wgsl/attention_merge.wgsl. */
#include "gpu/cpu/twins.h"
#include "gpu/dims.h"

#include <math.h>
#include <stddef.h>

/* M = max_s m[s],  y[:] = sum_s exp(m[s] - M) o[s, :] / sum_s exp(m[s] - M) l[s]
 * partial: splits rows of o [n], m, l, `step` apart; y: [n] */
static void merge(float *y, const float *partial, uint32_t splits, size_t step, uint32_t n) {
    float top = partial[n], l = 0;
    for (uint32_t s = 1; s < splits; s++)
        if (partial[s * step + n] > top) top = partial[s * step + n];
    for (uint32_t i = 0; i < n; i++) y[i] = 0;
    for (uint32_t s = 0; s < splits; s++) {
        const float *o = partial + s * step;
        float factor = expf(o[n] - top);
        l += factor * o[n + 1];
        for (uint32_t i = 0; i < n; i++) y[i] += factor * o[i];
    }
    for (uint32_t i = 0; i < n; i++) y[i] /= l;
}

void twin_attention_merge(const gpu_call *call) {
    const struct attention_merge_dims *d = call->dims;
    const float *partial = call->buffer[0];
    float *y = call->buffer[1];
    uint32_t n = d->head_dim;
    size_t step = (size_t)d->heads * (n + 2);
    for (uint32_t t = 0; t < d->tokens; t++)
        for (uint32_t h = 0; h < d->heads; h++)
            merge(y + ((size_t)t * d->heads + h) * n,
                  partial + t * d->splits * step + (size_t)h * (n + 2), d->splits, step, n);
}
