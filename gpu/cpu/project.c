/* project.c - see project.h. A part of a weight row is decoded once for TOKENS tokens, whose sums
 * wait as lanes. The matrices of experts lie one behind the other: row r of matrix m is row
 * m * rows + r. */
#include "gpu/cpu/project.h"
#include "gpu/cpu/dot.h"
#include "gpu/cpu/weights.h"
#include "gpu/dims.h"

#include <string.h>

/* x of a part of that many tokens fits the L1 or L2 cache: 256 * 4 * 32 bytes. */
enum { TOKENS = 32 };

/* Rows of x and y of up to TOKENS tokens. */
typedef struct batch {
    uint32_t m, count;
    const float *x[TOKENS];
    float *y[TOKENS];
} batch;

static batch batch_of(const gpu_call *call, uint32_t m, const uint32_t *list, uint32_t first,
                      uint32_t count) {
    const struct project_dims *d = call->dims;
    batch b = {.m = m, .count = count < TOKENS ? count : TOKENS};
    for (uint32_t i = 0; i < b.count; i++) {
        uint32_t t = list ? list[i] : first + i;
        b.x[i] = (const float *)call->buffer[1] + (size_t)(t / d->share) * d->k;
        b.y[i] = (float *)call->buffer[4] + (size_t)t * d->y_stride + d->y_first;
    }
    return b;
}

static void project_row(const gpu_call *call, const batch *b, uint32_t r) {
    const struct project_dims *d = call->dims;
    uint32_t row = b->m * d->rows + r;
    const uint8_t *stored = (const uint8_t *)call->buffer[0] +
                            (size_t)(row * format_row_bytes(call->format, d->k));
    float w[WEIGHTS_PART], lane[TOKENS][DOT_LANES];
    memset(lane, 0, b->count * sizeof *lane);
    for (uint32_t i = 0; i < d->k; i += WEIGHTS_PART) {
        uint32_t n = d->k - i < WEIGHTS_PART ? d->k - i : WEIGHTS_PART;
        weights_decode_part(call->format, stored, d->k, i, n, w);
        for (uint32_t t = 0; t < b->count; t++) dot_accumulate(lane[t], w, b->x[t] + i, n);
    }
    for (uint32_t t = 0; t < b->count; t++) {
        float sum = dot_fold(lane[t]);
        if (d->flags & PROJECT_BIAS) sum += ((const float *)call->buffer[2])[d->bias + row];
        b->y[t][r] = d->flags & PROJECT_ADD ? b->y[t][r] + sum : sum;
    }
}

void project_tokens(const gpu_call *call, uint32_t m, const uint32_t *list, uint32_t first,
                    uint32_t count) {
    const struct project_dims *d = call->dims;
    for (uint32_t done = 0; done < count; done += TOKENS) {
        batch b = batch_of(call, m, list ? list + done : NULL, first + done, count - done);
        for (uint32_t r = 0; r < d->rows; r++) project_row(call, &b, r);
    }
}
