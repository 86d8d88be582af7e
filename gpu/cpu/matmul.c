/* matmul.c - twin of gpu/wgsl/matmul.wgsl. A part of a weight row is decoded once for TOKENS
 * tokens, whose sums wait as lanes; sums are the same as matvec's, bit for bit. */
#include "gpu/cpu/project.h"
#include "gpu/cpu/twins.h"

#include <string.h>

/* x of a part of that many tokens fits the L1 or L2 cache: 256 * 4 * 32 bytes. */
enum { TOKENS = 32 };

/* y[t, r] for tokens [first, first + count). */
static void matmul_row(const gpu_call *call, uint32_t r, uint32_t first, uint32_t count) {
    const struct project_dims *d = call->dims;
    float w[WEIGHTS_PART];
    float lane[TOKENS][DOT_LANES];
    memset(lane, 0, sizeof lane);
    for (uint32_t i = 0; i < d->k; i += WEIGHTS_PART) {
        const float *x = (const float *)call->buffer[1] + (size_t)first * d->k + i;
        uint32_t n = project_part(d, i);
        weights_decode_part(call->format, project_row(call, r), d->k, i, n, w);
        for (uint32_t t = 0; t < count; t++) dot_accumulate(lane[t], w, x + (size_t)t * d->k, n);
    }
    float *y = (float *)call->buffer[3] + d->y_first + r;
    for (uint32_t t = 0; t < count; t++)
        project_store(call, r, dot_fold(lane[t]), y + (size_t)(first + t) * d->y_stride);
}

/* y[t * y_stride + y_first + r] = (ADD: itself +) sum_i W[r, i] x[t, i] (+ BIAS).
 * W [rows, k], x [tokens, k]. */
void twin_matmul(const gpu_call *call) {
    const struct project_dims *d = call->dims;
    for (uint32_t first = 0; first < d->tokens; first += TOKENS) {
        uint32_t count = d->tokens - first < TOKENS ? d->tokens - first : TOKENS;
        for (uint32_t r = 0; r < d->rows; r++) matmul_row(call, r, first, count);
    }
}
