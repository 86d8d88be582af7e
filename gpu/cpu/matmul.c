/* matmul.c - twin of gpu/wgsl/matmul.wgsl and its variants. */
#include "gpu/cpu/project.h"
#include "gpu/cpu/twins.h"
#include "gpu/dims.h"

/* y[t, r] = (ADD: itself +) sum_i W[m, r, i] x[t / share, i] (+ BIAS), for all tokens, or for the
 * slots of tiles whose expert is bound. Sums are matvec's, bit for bit. */
static void matmul(const gpu_call *call, x_form form) {
    const struct project_dims *d = call->dims;
    if (!(d->flags & PROJECT_EXPERTS)) {
        project_tokens(call, form, 0, NULL, 0, d->tokens);
        return;
    }
    const uint32_t *routing = call->buffer[3], *slots = routing + d->order;
    for (const uint32_t *tile = routing; tile < slots; tile += 3) {
        uint32_t m = tile[0] - d->first_matrix;
        if (m < d->matrices) project_tokens(call, form, m, slots + tile[1], 0, tile[2]);
    }
}

void twin_matmul(const gpu_call *call) { matmul(call, X_PLAIN); }
void twin_matmul_few(const gpu_call *call) { matmul(call, X_PLAIN); }
void twin_matmul_packed(const gpu_call *call) { matmul(call, X_PACKED); }
void twin_matmul_few_packed(const gpu_call *call) { matmul(call, X_PACKED); }
void twin_matmul_matrix(const gpu_call *call) { matmul(call, X_HALF); }
