/* norm_form.c - twin of gpu/wgsl/norm_form.wgsl. */
#include "gpu/cpu/dot.h"
#include "gpu/cpu/twins.h"
#include "gpu/cpu/x_form.h"

#include <math.h>

/* x[i] = x[i] + y[i] / sqrt(mean(y^2) + eps) * gain[i],  out = form(x * next_gain).
 * x, y, out: [dim], a run at a time. */
void twin_norm_form(const gpu_call *call) {
    const struct norm_form_dims *d = call->dims;
    const float *y = call->buffer[0], *vectors = call->buffer[1];
    float *x = call->buffer[2];
    float scale = 1 / sqrtf(dot_f32(y, y, d->dim) / (float)d->dim + d->eps);
    for (uint32_t run = 0; run < d->dim / X_RUN; run++) {
        float next[X_RUN];
        for (uint32_t j = 0; j < X_RUN; j++) {
            uint32_t i = run * X_RUN + j;
            x[i] += y[i] * scale * vectors[d->gain + i];
            next[j] = x[i] * vectors[d->next_gain + i];
        }
        x_store((x_form)call->format, call->buffer[3], d->dim, run, next,
                x_run_square(x + (size_t)run * X_RUN));
    }
}
