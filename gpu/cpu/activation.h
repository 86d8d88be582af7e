/* activation.h - twin of gpu/wgsl/activation.wgsl. */
#ifndef GPU_CPU_ACTIVATION_H
#define GPU_CPU_ACTIVATION_H

#include "memory/model.h"

#include <math.h>

static const float SATURATED = 20, LEAST_GATE = -47;     /* as in the shader */

/* g / (1 + exp(-z)), exp kept finite. */
static inline float gated(float g, float z) { return g / (1 + expf(fminf(-z, 80))); }

static inline float clamp(float x, float low, float high) { return fmaxf(low, fminf(x, high)); }

static inline float silu(float gate, float up, float limit) {
    (void)limit;
    return gated(gate, gate) * up;
}

/* (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)), u = sqrt(2 / pi) (g + 0.044715 g^3).
 * Hendrycks and Gimpel 2016, section 2. */
static inline float gelu_tanh(float gate, float up, float limit) {
    (void)limit;
    float g = clamp(gate, -SATURATED, SATURATED);
    return gated(gate, 1.5957691216057308f * (g + 0.044715f * g * g * g)) * up;
}

/* (u + 1) g sigmoid(1.702 g) */
static inline float swiglu_clamped(float gate, float up, float limit) {
    float g = clamp(gate, LEAST_GATE, limit);
    return gated(g, 1.702f * g) * (clamp(up, -limit, limit) + 1);
}

static inline float activate(uint32_t activation, float gate, float up, float limit) {
    static float (*const activations[ACTIVATION_COUNT])(float, float, float) = {
        [ACTIVATION_SILU] = silu, [ACTIVATION_GELU_TANH] = gelu_tanh,
        [ACTIVATION_SWIGLU_CLAMPED] = swiglu_clamped};
    return activations[activation](gate, up, limit);
}

#endif
