/* rmsnorm.c - twin of gpu/wgsl/rmsnorm.wgsl. */
#include "gpu/cpu/dot.h"
#include "gpu/cpu/twins.h"
#include "gpu/dims.h"

#include <math.h>

/* y[t, i] = (ADD: y[t, i] +) x[first + t, i] / sqrt(mean(x^2) + eps) * gain[i].
 * x [*, dim], y [tokens, dim]. */
void twin_rmsnorm(const gpu_call *call) {
    const struct rmsnorm_dims *d = call->dims;
    const float *gain = (const float *)call->buffer[1] + d->gain;
    for (uint32_t t = 0; t < d->tokens; t++) {
        const float *x = (const float *)call->buffer[0] + (size_t)(d->first + t) * d->dim;
        float *y = (float *)call->buffer[2] + (size_t)t * d->dim;
        float scale = 1 / sqrtf(dot_f32(x, x, d->dim) / (float)d->dim + d->eps);
        for (uint32_t i = 0; i < d->dim; i++) {
            float n = x[i] * scale * gain[i];
            y[i] = d->flags & RMSNORM_ADD ? y[i] + n : n;
        }
    }
}
