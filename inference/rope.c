/* rope.c - rotary position embedding (Su et al. 2021) as a table of cosines and sines. WGSL's sin
 * and cos are only good to 2^-11, so the table comes from here. Angles are rounded to f32 as in
 * Hugging Face transformers (modeling_rope_utils.py), whose logits are the reference. */
#include "inference/engine.h"

#include <math.h>

static const double two_pi = 6.283185307179586476925;

/* Llama 3.1: wavelengths longer than the trained context are stretched by factor, short ones are
 * kept, those between blended. Source: transformers, _compute_llama3_parameters. */
static double llama3_scale(const rope_config *r, uint32_t i, double frequency) {
    (void)i;
    double wavelength = two_pi / frequency;
    double low = r->original_context / (double)r->low_freq_factor;
    double high = r->original_context / (double)r->high_freq_factor;
    if (wavelength < high) return frequency;
    if (wavelength > low) return frequency / r->factor;
    double smooth = (r->original_context / wavelength - r->low_freq_factor) /
                    ((double)r->high_freq_factor - r->low_freq_factor);
    return (1 - smooth) * frequency / r->factor + smooth * frequency;
}

static double linear_scale(const rope_config *r, uint32_t i, double frequency) {
    (void)i;
    return frequency / r->factor;
}

static double default_scale(const rope_config *r, uint32_t i, double frequency) {
    (void)r;
    (void)i;
    return frequency;
}

static double factors_scale(const rope_config *r, uint32_t i, double frequency) {
    return frequency / (double)r->factors[i];
}

static double (*const scales[ROPE_COUNT])(const rope_config *, uint32_t i, double frequency) = {
    [ROPE_DEFAULT] = default_scale, [ROPE_LINEAR] = linear_scale, [ROPE_LLAMA3] = llama3_scale,
    [ROPE_FACTORS] = factors_scale};

void rope_frequencies(const rope_config *r, uint32_t head_dim, float *inv_freq) {
    for (uint32_t i = 0; i < head_dim / 2; i++) {
        double frequency = pow(r->theta, -2.0 * i / head_dim);
        inv_freq[i] = (float)scales[r->type](r, i, frequency);
    }
}

void rope_rows(const float *inv_freq, uint32_t head_dim, uint32_t first, uint32_t count,
               float *out) {
    for (uint32_t p = first; p < first + count; p++)
        for (uint32_t i = 0; i < head_dim / 2; i++) {
            float angle = (float)p * inv_freq[i];
            *out++ = (float)cos((double)angle);
            *out++ = (float)sin((double)angle);
        }
}
