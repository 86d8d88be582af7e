/* act_mul.c - twin of gpu/wgsl/act_mul.wgsl. */
#include "gpu/cpu/twins.h"
#include "gpu/dims.h"
#include "memory/model.h"

#include <math.h>

static const float SATURATED = 20, LOWEST = -47;         /* as in the shader */

/* g / (1 + exp(-z)), exp kept finite. */
static float gated(float g, float z) { return g / (1 + expf(fminf(-z, 80))); }

static float clamp(float x, float low, float high) { return fmaxf(low, fminf(x, high)); }

static float silu(float gate, float up, float limit) {
    (void)limit;
    return gated(gate, gate) * up;
}

/* (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)), u = sqrt(2 / pi) (g + 0.044715 g^3).
 * Hendrycks and Gimpel 2016, section 2. */
static float gelu_tanh(float gate, float up, float limit) {
    (void)limit;
    float g = clamp(gate, -SATURATED, SATURATED);
    return gated(gate, 1.5957691216057308f * (g + 0.044715f * g * g * g)) * up;
}

/* (u + 1) g sigmoid(1.702 g) */
static float swiglu_clamped(float gate, float up, float limit) {
    float g = clamp(gate, LOWEST, limit);
    return gated(g, 1.702f * g) * (clamp(up, -limit, limit) + 1);
}

static float (*const activations[ACTIVATION_COUNT])(float gate, float up, float limit) = {
    [ACTIVATION_SILU] = silu, [ACTIVATION_GELU_TANH] = gelu_tanh,
    [ACTIVATION_SWIGLU_CLAMPED] = swiglu_clamped};

/* y[t, i] = act(gu[t, i]) * gu[t, hidden + i]. gu [tokens, 2 * hidden], y [tokens, hidden]. */
void twin_act_mul(const gpu_call *call) {
    const struct act_mul_dims *d = call->dims;
    for (uint32_t t = 0; t < d->tokens; t++) {
        const float *gate = (const float *)call->buffer[0] + (size_t)t * 2 * d->hidden;
        const float *up = gate + d->hidden;
        float *y = (float *)call->buffer[1] + (size_t)t * d->hidden;
        for (uint32_t i = 0; i < d->hidden; i++)
            y[i] = activations[d->activation](gate[i], up[i], d->limit);
    }
}
