/* act_mul.c - twin of gpu/wgsl/act_mul.wgsl. */
#include "gpu/cpu/activation.h"
#include "gpu/cpu/twins.h"
#include "gpu/dims.h"

/* y[t, i] = act(gu[t, i]) * gu[t, hidden + i]. gu [tokens, 2 * hidden], y [tokens, hidden]. */
void twin_act_mul(const gpu_call *call) {
    const struct act_mul_dims *d = call->dims;
    for (uint32_t t = 0; t < d->tokens; t++) {
        const float *gate = (const float *)call->buffer[0] + (size_t)t * 2 * d->hidden;
        const float *up = gate + d->hidden;
        float *y = (float *)call->buffer[1] + (size_t)t * d->hidden;
        for (uint32_t i = 0; i < d->hidden; i++)
            y[i] = activate(d->activation, gate[i], up[i], d->limit);
    }
}
