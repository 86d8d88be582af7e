/* matvec.c - twin of gpu/wgsl/matvec.wgsl. */
#include "gpu/cpu/project.h"
#include "gpu/cpu/twins.h"

/* y[y_first + r] = (ADD: itself +) sum_i W[r, i] x[i] (+ BIAS). W [rows, k], x [k]. */
void twin_matvec(const gpu_call *call) {
    const struct project_dims *d = call->dims;
    const float *x = call->buffer[1];
    float *y = (float *)call->buffer[3] + d->y_first;
    float w[WEIGHTS_PART];
    for (uint32_t r = 0; r < d->rows; r++) {
        float lane[DOT_LANES] = {0};
        for (uint32_t i = 0; i < d->k; i += WEIGHTS_PART) {
            uint32_t n = project_part(d, i);
            weights_decode_part(call->format, project_row(call, r), d->k, i, n, w);
            dot_accumulate(lane, w, x + i, n);
        }
        project_store(call, r, dot_fold(lane), y + r);
    }
}
