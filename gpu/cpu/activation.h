/* activation.h - twin of gpu/wgsl/activation.wgsl. */
#ifndef GPU_CPU_ACTIVATION_H
#define GPU_CPU_ACTIVATION_H

#include "memory/model.h"

#include <math.h>

static const float SATURATED = 20;       /* as in the shader */

/* g / (1 + exp(-z)), exp kept finite. */
static inline float gated(float g, float z) { return g / (1 + expf(fminf(-z, 80))); }

static inline float silu(float g) { return gated(g, g); }

/* (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)), u = sqrt(2 / pi) (g + 0.044715 g^3).
 * Hendrycks and Gimpel 2016, section 2. */
static inline float gelu_tanh(float gate) {
    float g = fmaxf(-SATURATED, fminf(gate, SATURATED));
    return gated(gate, 1.5957691216057308f * (g + 0.044715f * g * g * g));
}

static inline float activate(uint32_t activation, float gate) {
    static float (*const activations[ACTIVATION_COUNT])(float) = {
        [ACTIVATION_SILU] = silu, [ACTIVATION_GELU_TANH] = gelu_tanh};
    return activations[activation](gate);
}

#endif
