/* router.c - twin of gpu/wgsl/router.wgsl. */
#include "gpu/cpu/dot.h"
#include "gpu/cpu/twins.h"
#include "gpu/cpu/weights.h"
#include "gpu/dims.h"

#include <math.h>

/* y[e] = W[e, :] . (gain * x) / sqrt(mean(x^2) + eps) (+ BIAS).  W [experts, k], x [k]. */
void twin_router(const gpu_call *call) {
    const struct router_dims *d = call->dims;
    const float *x = call->buffer[1], *vectors = call->buffer[2];
    size_t row_bytes = (size_t)format_row_bytes(call->format, d->k);
    float scale = 1 / sqrtf(dot_f32(x, x, d->k) / (float)d->k + d->eps);
    for (uint32_t e = 0; e < call->groups[0]; e++) {
        const uint8_t *row = (const uint8_t *)call->buffer[0] + e * row_bytes;
        float w[WEIGHTS_PART], gained[WEIGHTS_PART], lane[DOT_LANES] = {0};
        for (uint32_t i = 0; i < d->k; i += WEIGHTS_PART) {
            uint32_t n = d->k - i < WEIGHTS_PART ? d->k - i : WEIGHTS_PART;
            weights_decode_part(call->format, row, d->k, i, n, w);
            for (uint32_t j = 0; j < n; j++) gained[j] = x[i + j] * vectors[d->gain + i + j];
            dot_accumulate(lane, w, gained, n);
        }
        float bias = d->flags & ROUTER_BIAS ? vectors[d->bias + e] : 0;
        ((float *)call->buffer[3])[e] = scale * dot_fold(lane) + bias;
    }
}
