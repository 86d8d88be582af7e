/* rope.c - rotary position embedding (Su et al. 2021) as a table of cosines and sines. WGSL's sin
 * and cos are only good to 2^-11, so the table comes from here. Angles are rounded to f32 as in
 * Hugging Face transformers (modeling_rope_utils.py), whose logits are the reference. */
#include "inference/engine.h"

#include <math.h>

static const double two_pi = 6.283185307179586476925;

/* A pair of components that turn together, and how fast before scaling. */
typedef struct pair { uint32_t index, head_dim; double frequency; } pair;

static double default_scale(const rope_config *r, pair p) {
    (void)r;
    return p.frequency;
}

static double linear_scale(const rope_config *r, pair p) { return p.frequency / r->factor; }

/* Llama 3.1: wavelengths longer than the trained context are stretched by factor, short ones are
 * kept, those between blended. Source: transformers, _compute_llama3_parameters. */
static double llama3_scale(const rope_config *r, pair p) {
    double wavelength = two_pi / p.frequency;
    double low = r->original_context / (double)r->low_freq_factor;
    double high = r->original_context / (double)r->high_freq_factor;
    if (wavelength < high) return p.frequency;
    if (wavelength > low) return p.frequency / r->factor;
    double smooth = (r->original_context / wavelength - r->low_freq_factor) /
                    ((double)r->high_freq_factor - r->low_freq_factor);
    return (1 - smooth) * p.frequency / r->factor + smooth * p.frequency;
}

/* YaRN (Peng et al. 2023, section 3.2): pairs that turn more than beta_fast times in the original
 * context are kept, those that turn less than beta_slow times slowed down by factor; between them
 * a ramp over the index. Source: transformers, _compute_yarn_parameters. */
static double yarn_scale(const rope_config *r, pair p) {
    double ends[2] = {r->beta_fast, r->beta_slow};
    for (int i = 0; i < 2; i++)
        ends[i] = p.head_dim * log(r->original_context / (ends[i] * two_pi)) / (2 * log(r->theta));
    double low = fmax(r->truncate ? floor(ends[0]) : ends[0], 0);
    double high = fmin(r->truncate ? ceil(ends[1]) : ends[1], p.head_dim - 1.0);
    double ramp = (p.index - low) / (high == low ? 0.001 : high - low);
    ramp = fmin(fmax(ramp, 0), 1);
    return p.frequency / r->factor * ramp + p.frequency * (1 - ramp);
}

static double factors_scale(const rope_config *r, pair p) {
    return p.frequency / (double)r->factors[p.index];
}

static double (*const scales[ROPE_COUNT])(const rope_config *, pair) = {
    [ROPE_DEFAULT] = default_scale, [ROPE_LINEAR] = linear_scale, [ROPE_LLAMA3] = llama3_scale,
    [ROPE_YARN] = yarn_scale, [ROPE_FACTORS] = factors_scale};

void rope_frequencies(const rope_config *r, uint32_t head_dim, float *inv_freq) {
    for (uint32_t i = 0; i < head_dim / 2; i++) {
        pair p = {i, head_dim, pow(r->theta, -2.0 * i / head_dim)};
        inv_freq[i] = (float)scales[r->type](r, p);
    }
}

float rope_table_scale(const rope_config *r) {
    return r->type == ROPE_YARN ? r->attention_factor : 1;
}

void rope_rows(const float *inv_freq, float scale, uint32_t head_dim, uint32_t first,
               uint32_t count, float *out) {
    for (uint32_t p = first; p < first + count; p++)
        for (uint32_t i = 0; i < head_dim / 2; i++) {
            float angle = (float)p * inv_freq[i];
            *out++ = (float)cos((double)angle) * scale;
            *out++ = (float)sin((double)angle) * scale;
        }
}
