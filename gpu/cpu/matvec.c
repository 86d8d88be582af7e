/* matvec.c - twin of gpu/wgsl/matvec.wgsl. */
#include "gpu/cpu/project.h"
#include "gpu/cpu/twins.h"

/* y[s, r] = (ADD: itself +) sum_i W[m, r, i] x[s / share, i] (+ BIAS), r < rows. */
static void matvec_slot(const gpu_call *call, uint32_t m, uint32_t s) {
    const struct project_dims *d = call->dims;
    const float *x = project_x(call, s);
    float w[WEIGHTS_PART];
    for (uint32_t r = 0; r < d->rows; r++) {
        float lane[DOT_LANES] = {0};
        for (uint32_t i = 0; i < d->k; i += WEIGHTS_PART) {
            uint32_t n = project_part(d, i);
            weights_decode_part(call->format, project_row(call, m * d->rows + r), d->k, i, n, w);
            dot_accumulate(lane, w, x + i, n);
        }
        project_store(call, m, r, s, dot_fold(lane));
    }
}

/* Every slot through the matrix of its expert, where that is bound; dense: one of each. */
void twin_matvec(const gpu_call *call) {
    const struct project_dims *d = call->dims;
    const uint32_t *experts = d->flags & PROJECT_EXPERTS ? call->buffer[3] : NULL;
    for (uint32_t s = 0; s < d->tokens; s++) {
        uint32_t m = experts ? experts[s] - d->first_matrix : 0;
        if (m < d->matrices) matvec_slot(call, m, s);
    }
}
