/* matmul.c - twin of gpu/wgsl/matmul.wgsl. A part of a weight row is decoded once for TOKENS
 * tokens, whose sums wait as lanes; sums are the same as matvec's, bit for bit. */
#include "gpu/cpu/project.h"
#include "gpu/cpu/twins.h"

#include <string.h>

/* x of a part of that many tokens fits the L1 or L2 cache: 256 * 4 * 32 bytes. */
enum { TOKENS = 32 };

/* Tokens or slots that go through matrix m: list[first + i], or first + i without a list. */
typedef struct part { uint32_t m, first, count; const uint32_t *list; } part;

/* y[t, r] of a part of at most TOKENS. */
static void matmul_row(const gpu_call *call, uint32_t r, const part *p) {
    const struct project_dims *d = call->dims;
    const uint8_t *row = project_row(call, p->m * d->rows + r);
    uint32_t tokens[TOKENS];
    const float *x[TOKENS];
    float w[WEIGHTS_PART];
    float lane[TOKENS][DOT_LANES];
    memset(lane, 0, sizeof lane);
    for (uint32_t t = 0; t < p->count; t++) {
        tokens[t] = p->list ? p->list[p->first + t] : p->first + t;
        x[t] = project_x(call, tokens[t]);
    }
    for (uint32_t i = 0; i < d->k; i += WEIGHTS_PART) {
        uint32_t n = project_part(d, i);
        weights_decode_part(call->format, row, d->k, i, n, w);
        for (uint32_t t = 0; t < p->count; t++) dot_accumulate(lane[t], w, x[t] + i, n);
    }
    for (uint32_t t = 0; t < p->count; t++)
        project_store(call, p->m, r, tokens[t], dot_fold(lane[t]));
}

static void matmul_part(const gpu_call *call, part p) {
    const struct project_dims *d = call->dims;
    for (uint32_t end = p.first + p.count; p.first < end; p.first += TOKENS) {
        p.count = end - p.first < TOKENS ? end - p.first : TOKENS;
        for (uint32_t r = 0; r < d->rows; r++) matmul_row(call, r, &p);
    }
}

/* y[t, r] = (ADD: itself +) sum_i W[m, r, i] x[t / share, i] (+ BIAS), for all tokens, or for the
 * slots of tiles whose expert is bound. */
void twin_matmul(const gpu_call *call) {
    const struct project_dims *d = call->dims;
    if (!(d->flags & PROJECT_EXPERTS)) {
        matmul_part(call, (part){0, 0, d->tokens, NULL});
        return;
    }
    const uint32_t *routing = call->buffer[3];
    for (const uint32_t *tile = routing; tile < routing + d->order; tile += 3) {
        uint32_t m = tile[0] - d->first_matrix;
        if (m < d->matrices) matmul_part(call, (part){m, tile[1], tile[2], routing + d->order});
    }
}
