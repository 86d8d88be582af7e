/* linear.c - twin of gpu/wgsl/linear.wgsl, for x in every form, with linear_dense.wgsl and with
 * linear_experts.wgsl. */
#include "gpu/cpu/activation.h"
#include "gpu/cpu/dot.h"
#include "gpu/cpu/route.h"
#include "gpu/cpu/twins.h"
#include "gpu/cpu/weights.h"
#include "gpu/cpu/x_form.h"

#include <math.h>

/* What is added up: one matrix times one x, or those of a token's experts. */
typedef struct parts {
    uint32_t count;
    uint32_t row[ROUTE_MAX_USED], x[ROUTE_MAX_USED];     /* first of W, first element of x */
    float share[ROUTE_MAX_USED];
    uint32_t out_run, out_k;     /* where out begins, and all of its length */
} parts;

static uint32_t padded(uint32_t k) {
    return (k + X_GROUP_FLOATS - 1) / X_GROUP_FLOATS * X_GROUP_FLOATS;
}

/* W[r, :] . x[x_first ..].  W [*, k], x: a form */
static float row_dot(const gpu_call *call, x_form form, uint32_t r, uint32_t x_first) {
    const struct linear_dims *d = call->dims;
    const uint8_t *row = (const uint8_t *)call->buffer[0] +
                         (size_t)(r * format_row_bytes(call->format, d->k));
    float w[WEIGHTS_PART], x[WEIGHTS_PART], lane[DOT_LANES] = {0};
    for (uint32_t i = 0; i < d->k; i += WEIGHTS_PART) {
        uint32_t n = d->k - i < WEIGHTS_PART ? d->k - i : WEIGHTS_PART;
        weights_decode_part(call->format, row, d->k, i, n, w);
        x_load(form, call->buffer[1], x_first + i, n, x);
        dot_accumulate(lane, w, x, n);
    }
    return dot_fold(lane);
}

/* d[r] of linear.wgsl. scale: the norm's. */
static float sum_parts(const gpu_call *call, x_form form, const parts *p, float scale,
                       uint32_t r) {
    const struct linear_dims *d = call->dims;
    const float *bias = (const float *)call->buffer[2] + d->bias;
    float sum = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        float share = d->flags & LINEAR_ACT ? 1 : p->share[i];
        sum += scale * row_dot(call, form, p->row[i] + r, p->x[i]);
        if (d->flags & LINEAR_BIAS) sum += share * bias[p->row[i] + r];
    }
    return sum;
}

/* v[r], written to y where the flags say so. */
static float row_value(const gpu_call *call, x_form form, const parts *p, float scale,
                       uint32_t r) {
    const struct linear_dims *d = call->dims;
    float v = sum_parts(call, form, p, scale, r);
    if (d->flags & LINEAR_ACT) {
        float up = sum_parts(call, form, p, scale, d->up + r);
        return activate(d->activation, v, up, d->limit) * p->share[0];
    }
    float *y = (float *)call->buffer[3] + d->y_first + r;
    if (d->flags & LINEAR_ADD) v += *y;
    return *y = v;
}

/* d[r] = scale * W[r, :] . x + bias;  v = d, act(d[r]) d[up + r] or d + y;  y = v;
 * out = form(v * gain).  W [*, k], x [k], y [*], out [out_k] */
static void linear(const gpu_call *call, x_form form, const parts *p) {
    const struct linear_dims *d = call->dims;
    const float *gain = (const float *)call->buffer[2] + d->gain;
    float scale = 1;
    if (d->flags & LINEAR_NORM)
        scale = 1 / sqrtf(x_square(form, call->buffer[1], d->k) / (float)d->k + d->eps);
    for (uint32_t first = 0; first < d->rows; first += X_RUN) {
        float v[X_RUN] = {0}, gained[X_RUN] = {0};
        for (uint32_t i = 0; i < X_RUN && first + i < d->rows; i++) {
            v[i] = row_value(call, form, p, scale, first + i);
            gained[i] = d->flags & LINEAR_GAIN ? v[i] * gain[first + i] : v[i];
        }
        if (d->flags & LINEAR_FORM)
            x_store(form, call->buffer[4], p->out_k, p->out_run + (d->y_first + first) / X_RUN,
                    gained, x_run_square(v));
    }
}

static void linear_dense(const gpu_call *call, x_form form) {
    const struct linear_dims *d = call->dims;
    linear(call, form, &(parts){.count = 1, .share = {1}, .out_k = d->out_k});
}

/* With ACT every expert alone, else their sum. */
static void linear_experts(const gpu_call *call, x_form form) {
    const struct linear_dims *d = call->dims;
    uint32_t ids[ROUTE_MAX_USED];
    parts all = {.count = d->used, .out_k = d->out_k};
    route_token(&(struct route_dims){d->experts, d->used}, call->buffer[5], ids, all.share);
    bool alone = d->flags & LINEAR_ACT;
    for (uint32_t s = 0; s < d->used; s++) {
        all.row[s] = ids[s] * d->rows * (alone ? 2 : 1);
        all.x[s] = s * padded(d->k);
        if (alone)
            linear(call, form, &(parts){.count = 1, .row = {all.row[s]}, .share = {all.share[s]},
                                        .out_run = s * padded(d->out_k) / X_RUN,
                                        .out_k = d->used * padded(d->out_k)});
    }
    if (!alone) linear(call, form, &all);
}

void twin_linear(const gpu_call *call) { linear_dense(call, X_F32); }
void twin_linear_packed(const gpu_call *call) { linear_dense(call, X_PACKED); }
void twin_linear_digits(const gpu_call *call) { linear_dense(call, X_DIGITS); }
void twin_linear_experts(const gpu_call *call) { linear_experts(call, X_F32); }
void twin_linear_experts_packed(const gpu_call *call) { linear_experts(call, X_PACKED); }
void twin_linear_experts_digits(const gpu_call *call) { linear_experts(call, X_DIGITS); }
