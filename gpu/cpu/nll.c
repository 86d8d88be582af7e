/* nll.c - twin of gpu/wgsl/nll.wgsl, summing in double precision. */
#include "gpu/cpu/twins.h"
#include "gpu/dims.h"

#include <math.h>

/* nll[first + r] = log(sum_i exp(x[r, i] - m)) + m - x[r, targets[first + r]], m = max_i x[r, i].
 * x [rows, vocab], targets and nll [*]. */
void twin_nll(const gpu_call *call) {
    const struct nll_dims *d = call->dims;
    const uint32_t *targets = (const uint32_t *)call->buffer[1] + d->first;
    float *nll = (float *)call->buffer[2] + d->first;
    for (uint32_t r = 0; r < d->rows; r++) {
        const float *x = (const float *)call->buffer[0] + (size_t)r * d->vocab;
        float top = x[0];
        for (uint32_t i = 1; i < d->vocab; i++) top = x[i] > top ? x[i] : top;
        double sum = 0;
        for (uint32_t i = 0; i < d->vocab; i++) sum += (double)expf(x[i] - top);
        nll[r] = (float)(log(sum) + top - x[targets[r]]);
    }
}
