/* form.c - twin of gpu/wgsl/form.wgsl. */
#include "gpu/cpu/twins.h"
#include "gpu/cpu/x_form.h"

/* out[t, :] = form(x[first + t, :] * (GAIN: gain[:])). x [*, k], out [tokens, k]. */
void twin_form(const gpu_call *call) {
    const struct form_dims *d = call->dims;
    const float *gain = (const float *)call->buffer[1] + d->gain;
    uint32_t runs = d->k / X_RUN;
    for (uint64_t i = 0; i < (uint64_t)runs * d->tokens; i++) {
        const float *x = (const float *)call->buffer[0] + ((size_t)d->first * runs + i) * X_RUN;
        float v[X_RUN];
        for (uint32_t j = 0; j < X_RUN; j++)
            v[j] = d->flags & FORM_GAIN ? x[j] * gain[i % runs * X_RUN + j] : x[j];
        char *out = (char *)call->buffer[2] + i / runs * x_form_bytes((x_form)call->format, d->k);
        x_store((x_form)call->format, out, d->k, i % runs, v, x_run_square(x));
    }
}
