/* combine.c - twin of gpu/wgsl/combine.wgsl. */
#include "gpu/cpu/twins.h"
#include "gpu/dims.h"

/* y[t, i] = (ADD: itself +) sum_r weights[t, r] x[t * used + r, i], in order of r.
 * x [tokens * used, dim], weights [tokens, used], y [tokens, dim]. */
void twin_combine(const gpu_call *call) {
    const struct combine_dims *d = call->dims;
    for (uint32_t t = 0; t < d->tokens; t++) {
        const float *x = (const float *)call->buffer[0] + (size_t)t * d->used * d->dim;
        const float *weights = (const float *)call->buffer[1] + (size_t)t * d->used;
        float *y = (float *)call->buffer[2] + (size_t)t * d->dim;
        for (uint32_t i = 0; i < d->dim; i++) {
            float sum = 0;
            for (uint32_t r = 0; r < d->used; r++) sum += weights[r] * x[(size_t)r * d->dim + i];
            y[i] = d->flags & COMBINE_ADD ? y[i] + sum : sum;
        }
    }
}
