/* project.c - see project.h. Parts of ROWS weight rows are decoded once for TOKENS tokens, and parts
 * of x once for ROWS rows; their sums wait as lanes. The matrices of experts lie one behind the
 * other: row r of matrix m is row m * rows + r. */
#include "gpu/cpu/project.h"
#include "gpu/cpu/dot.h"
#include "gpu/cpu/half.h"
#include "gpu/cpu/weights.h"
#include "gpu/cpu/x_form.h"

#include <string.h>

/* x of a part of that many tokens fits the L1 or L2 cache: 256 * 4 * 32 bytes; with the lanes of
 * ROWS rows, which are 16 KiB. */
enum { TOKENS = 32, ROWS = 8 };

/* Rows of x and y of up to TOKENS tokens. */
typedef struct batch {
    uint32_t m, count;
    x_form form;
    const void *x[TOKENS];
    float *y[TOKENS];
} batch;

static batch batch_of(const gpu_call *call, x_form form, uint32_t m, const uint32_t *list,
                      uint32_t first, uint32_t count) {
    const struct project_dims *d = call->dims;
    size_t x_bytes = (size_t)x_form_bytes(form, d->k);
    batch b = {.m = m, .count = count < TOKENS ? count : TOKENS, .form = form};
    for (uint32_t i = 0; i < b.count; i++) {
        uint32_t t = list ? list[i] : first + i;
        b.x[i] = (const char *)call->buffer[1] + t / d->share * x_bytes;
        b.y[i] = (float *)call->buffer[4] + (size_t)t * d->y_stride + d->y_first;
    }
    return b;
}

/* lane[r][t] += W[first + r, i ..] x[t, i ..], r < rows, over `count` columns. */
static void accumulate(const gpu_call *call, const batch *b, uint32_t first, uint32_t rows,
                       uint32_t i, uint32_t count, float lane[ROWS][TOKENS][DOT_LANES]) {
    const struct project_dims *d = call->dims;
    uint64_t row_bytes = format_row_bytes(call->format, d->k);
    float w[ROWS][WEIGHTS_PART], unpacked[WEIGHTS_PART];
    for (uint32_t r = 0; r < rows; r++) {
        const uint8_t *stored = (const uint8_t *)call->buffer[0] +
                                (size_t)((b->m * d->rows + first + r) * row_bytes);
        weights_decode_part(call->format, stored, d->k, i, count, w[r]);
        for (uint32_t j = 0; b->form == X_HALF && j < count; j++)
            w[r][j] = half_to_float(float_to_half(w[r][j]));
    }
    for (uint32_t t = 0; t < b->count; t++) {
        const float *x = b->form == X_PLAIN ? (const float *)b->x[t] + i : unpacked;
        if (b->form != X_PLAIN) x_load(b->form, b->x[t], i, count, unpacked);
        for (uint32_t r = 0; r < rows; r++) dot_accumulate(lane[r][t], w[r], x, count);
    }
}

static void project_rows(const gpu_call *call, const batch *b, uint32_t first, uint32_t rows) {
    const struct project_dims *d = call->dims;
    const float *vectors = call->buffer[2];
    float lane[ROWS][TOKENS][DOT_LANES];
    for (uint32_t r = 0; r < rows; r++) memset(lane[r], 0, b->count * sizeof *lane[r]);
    for (uint32_t i = 0; i < d->k; i += WEIGHTS_PART)
        accumulate(call, b, first, rows, i, d->k - i < WEIGHTS_PART ? d->k - i : WEIGHTS_PART,
                   lane);
    for (uint32_t t = 0; t < b->count; t++)
        for (uint32_t r = 0; r < rows; r++) {
            float sum = dot_fold(lane[r][t]), *y = b->y[t] + first + r;
            if (d->flags & PROJECT_BIAS) sum += vectors[d->bias + b->m * d->rows + first + r];
            *y = d->flags & PROJECT_ADD ? *y + sum : sum;
        }
}

void project_tokens(const gpu_call *call, x_form form, uint32_t m, const uint32_t *list,
                    uint32_t first, uint32_t count) {
    const struct project_dims *d = call->dims;
    for (uint32_t done = 0; done < count; done += TOKENS) {
        batch b = batch_of(call, form, m, list ? list + done : NULL, first + done, count - done);
        for (uint32_t r = 0; r < d->rows; r += ROWS)
            project_rows(call, &b, r, d->rows - r < ROWS ? d->rows - r : ROWS);
    }
}
