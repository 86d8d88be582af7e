/* act_mul.c - twin of gpu/wgsl/act_mul.wgsl. */
#include "gpu/cpu/twins.h"
#include "gpu/dims.h"
#include "memory/model.h"

#include <math.h>

static const float SATURATED = 20;       /* as in the shader */

/* g / (1 + exp(-z)), exp kept finite. */
static float gated(float g, float z) { return g / (1 + expf(fminf(-z, 80))); }

static float silu(float g) { return gated(g, g); }

/* (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)), u = sqrt(2 / pi) (g + 0.044715 g^3).
 * Hendrycks and Gimpel 2016, section 2. */
static float gelu_tanh(float gate) {
    float g = fmaxf(-SATURATED, fminf(gate, SATURATED));
    return gated(gate, 1.5957691216057308f * (g + 0.044715f * g * g * g));
}

static float (*const activations[ACTIVATION_COUNT])(float) = {
    [ACTIVATION_SILU] = silu, [ACTIVATION_GELU_TANH] = gelu_tanh};

/* y[t, i] = act(gu[t, i]) * gu[t, hidden + i]. gu [tokens, 2 * hidden], y [tokens, hidden]. */
void twin_act_mul(const gpu_call *call) {
    const struct act_mul_dims *d = call->dims;
    for (uint32_t t = 0; t < d->tokens; t++) {
        const float *gate = (const float *)call->buffer[0] + (size_t)t * 2 * d->hidden;
        const float *up = gate + d->hidden;
        float *y = (float *)call->buffer[1] + (size_t)t * d->hidden;
        for (uint32_t i = 0; i < d->hidden; i++) y[i] = activations[d->activation](gate[i]) * up[i];
    }
}
