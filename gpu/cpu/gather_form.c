/* gather_form.c - twin of gpu/wgsl/gather_form.wgsl. */
#include "gpu/cpu/twins.h"
#include "gpu/cpu/weights.h"
#include "gpu/cpu/x_form.h"

/* y[i] = W[ids[0] - first, i] * scale,  out = form(y * gain). W [rows, k] in the program's format,
 * y, out: [k]. */
static void gather_form(const gpu_call *call, x_form form) {
    const struct gather_form_dims *d = call->dims;
    const uint32_t *ids = call->buffer[1];
    const float *gain = (const float *)call->buffer[2] + d->gain;
    float *y = call->buffer[3];
    uint32_t row = ids[0] - d->first;                    /* wraps to a large number below first */
    if (row >= d->rows) return;
    const uint8_t *weights = call->buffer[0];
    weights_decode(call->format, weights + (size_t)(row * format_row_bytes(call->format, d->k)),
                   d->k, y);
    for (uint32_t i = 0; i < d->k; i++) y[i] *= d->scale;
    for (uint32_t run = 0; run < d->k / X_RUN; run++, y += X_RUN, gain += X_RUN) {
        float v[X_RUN];
        for (uint32_t i = 0; i < X_RUN; i++) v[i] = y[i] * gain[i];
        x_store(form, call->buffer[4], d->k, run, v, x_run_square(y));
    }
}

void twin_gather_form(const gpu_call *call) { gather_form(call, X_F32); }
void twin_gather_packed(const gpu_call *call) { gather_form(call, X_PACKED); }
void twin_gather_digits(const gpu_call *call) { gather_form(call, X_DIGITS); }
