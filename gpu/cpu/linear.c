/* linear.c - twin of gpu/wgsl/linear.wgsl, for x in every form. */
#include "gpu/cpu/activation.h"
#include "gpu/cpu/dot.h"
#include "gpu/cpu/twins.h"
#include "gpu/cpu/weights.h"
#include "gpu/cpu/x_form.h"

#include <math.h>

/* W[r, :] . x.  W [*, k], x: a form of [k] */
static float row_dot(const gpu_call *call, x_form form, uint32_t r) {
    const struct linear_dims *d = call->dims;
    const uint8_t *row = (const uint8_t *)call->buffer[0] +
                         (size_t)(r * format_row_bytes(call->format, d->k));
    float w[WEIGHTS_PART], x[WEIGHTS_PART], lane[DOT_LANES] = {0};
    for (uint32_t i = 0; i < d->k; i += WEIGHTS_PART) {
        uint32_t n = d->k - i < WEIGHTS_PART ? d->k - i : WEIGHTS_PART;
        weights_decode_part(call->format, row, d->k, i, n, w);
        x_load(form, call->buffer[1], i, n, x);
        dot_accumulate(lane, w, x, n);
    }
    return dot_fold(lane);
}

/* v[r], written to y where the flags say so. scale: the norm's. */
static float row_value(const gpu_call *call, x_form form, float scale, uint32_t r) {
    const struct linear_dims *d = call->dims;
    const float *bias = (const float *)call->buffer[2] + d->bias;
    float v = scale * row_dot(call, form, r);
    if (d->flags & LINEAR_BIAS) v += bias[r];
    if (d->flags & LINEAR_ACT) {
        float up = scale * row_dot(call, form, d->up + r);
        if (d->flags & LINEAR_BIAS) up += bias[d->up + r];
        return activate(d->activation, v, up, 0);
    }
    float *y = (float *)call->buffer[3] + d->y_first + r;
    if (d->flags & LINEAR_ADD) v += *y;
    return *y = v;
}

/* d[r] = scale * W[r, :] . x + bias;  v = d, act(d[r]) d[up + r] or d + y;  y = v;
 * out = form(v * gain).  W [*, k], x [k], y [*], out [out_k] */
static void linear(const gpu_call *call, x_form form) {
    const struct linear_dims *d = call->dims;
    const float *gain = (const float *)call->buffer[2] + d->gain;
    float scale = 1;
    if (d->flags & LINEAR_NORM)
        scale = 1 / sqrtf(x_square(form, call->buffer[1], d->k) / (float)d->k + d->eps);
    for (uint32_t first = 0; first < d->rows; first += X_RUN) {
        float v[X_RUN] = {0}, gained[X_RUN] = {0};
        for (uint32_t i = 0; i < X_RUN && first + i < d->rows; i++) {
            v[i] = row_value(call, form, scale, first + i);
            gained[i] = d->flags & LINEAR_GAIN ? v[i] * gain[first + i] : v[i];
        }
        if (d->flags & LINEAR_FORM)
            x_store(form, call->buffer[4], d->out_k, (d->y_first + first) / X_RUN, gained,
                    x_run_square(v));
    }
}

void twin_linear(const gpu_call *call) { linear(call, X_F32); }
void twin_linear_packed(const gpu_call *call) { linear(call, X_PACKED); }
void twin_linear_digits(const gpu_call *call) { linear(call, X_DIGITS); }
