/* matvec.c - twin of gpu/wgsl/matvec.wgsl. */
#include "gpu/cpu/project.h"
#include "gpu/cpu/twins.h"
#include "gpu/dims.h"

/* Slots of one expert that are taken together: its rows are decoded once for them. */
enum { TOGETHER = 32 };

/* y[s, r] = (ADD: itself +) sum_i W[m, r, i] x[s / share, i] (+ BIAS) for the slots s of every
 * expert that is bound; dense: one slot, one matrix. */
void twin_matvec(const gpu_call *call) {
    const struct project_dims *d = call->dims;
    const uint32_t *experts = call->buffer[3];
    if (!(d->flags & PROJECT_EXPERTS)) {
        project_tokens(call, X_PLAIN, 0, NULL, 0, d->tokens);
        return;
    }
    for (uint32_t m = 0; m < d->matrices; m++) {
        uint32_t list[TOGETHER], count = 0;
        for (uint32_t s = 0; s < d->tokens; s++) {
            if (experts[s] - d->first_matrix == m) list[count++] = s;
            if (count < TOGETHER && s + 1 < d->tokens) continue;
            project_tokens(call, X_PLAIN, m, list, 0, count);
            count = 0;
        }
    }
}
