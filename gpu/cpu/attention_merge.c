/* attention_merge.c - twin of gpu/wgsl/attention_merge.wgsl. */
#include "gpu/cpu/twins.h"
#include "gpu/cpu/x_form.h"

#include <math.h>

/* Four elements of one head:
 * M = max_s m[s],  y[:] = sum_s exp(m[s] - M) o[s, :] / sum_s exp(m[s] - M) l[s]
 * partial: splits rows of o [n], m, l, `step` apart; at: of the elements in o */
static void merge(float *y, const float *partial, uint32_t splits, size_t step, uint32_t n,
                  uint32_t at) {
    float top = partial[n], l = 0;
    for (uint32_t s = 1; s < splits; s++)
        if (partial[s * step + n] > top) top = partial[s * step + n];
    for (uint32_t i = 0; i < 4; i++) y[i] = 0;
    for (uint32_t s = 0; s < splits; s++) {
        const float *o = partial + s * step;
        float factor = expf(o[n] - top);
        l += factor * o[n + 1];
        for (uint32_t i = 0; i < 4; i++) y[i] += factor * o[at + i];
    }
    for (uint32_t i = 0; i < 4; i++) y[i] /= l;
}

/* out = form of y [tokens, heads * n], a run at a time. */
void twin_attention_merge(const gpu_call *call) {
    const struct attention_merge_dims *d = call->dims;
    uint32_t n = d->head_dim, runs = d->heads * n / X_RUN;
    size_t step = (size_t)d->heads * (n + 4);
    for (uint64_t run = 0; run < (uint64_t)runs * d->tokens; run++) {
        const float *partial = (const float *)call->buffer[1] + run / runs * d->splits * step;
        float y[X_RUN];
        for (uint32_t i = 0; i < X_RUN; i += 4) {
            uint32_t element = (uint32_t)(run % runs) * X_RUN + i;
            merge(y + i, partial + (size_t)(element / n) * (n + 4), d->splits, step, n,
                  element % n);
        }
        uint64_t k = (uint64_t)runs * X_RUN;
        char *out = (char *)call->buffer[2] + run / runs * x_form_bytes((x_form)call->format, k);
        x_store((x_form)call->format, out, k, run % runs, y, x_run_square(y));
    }
}
