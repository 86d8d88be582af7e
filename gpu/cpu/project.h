/* project.h - what the twins of matvec and matmul share: y = W x, a part of a row at a time. The
 * matrices of experts lie one behind the other: row r of matrix m is row m * rows + r. */
#ifndef GPU_CPU_PROJECT_H
#define GPU_CPU_PROJECT_H

#include "gpu/cpu/dot.h"
#include "gpu/cpu/weights.h"
#include "gpu/dims.h"
#include "gpu/gpu.h"

/* Row r of the weights bound. */
static inline const uint8_t *project_row(const gpu_call *call, uint32_t r) {
    const struct project_dims *d = call->dims;
    return (const uint8_t *)call->buffer[0] + (size_t)(r * format_row_bytes(call->format, d->k));
}

/* Length of the part of a row that starts at column i. */
static inline uint32_t project_part(const struct project_dims *d, uint32_t i) {
    return d->k - i < WEIGHTS_PART ? d->k - i : WEIGHTS_PART;
}

/* Row of x of a token or slot. */
static inline const float *project_x(const gpu_call *call, uint32_t token) {
    const struct project_dims *d = call->dims;
    return (const float *)call->buffer[1] + (size_t)(token / d->share) * d->k;
}

/* y of a token or slot = (ADD: itself +) sum (+ BIAS); r: row of matrix m */
static inline void project_store(const gpu_call *call, uint32_t m, uint32_t r, uint32_t token,
                                 float sum) {
    const struct project_dims *d = call->dims;
    float *y = (float *)call->buffer[4] + (size_t)token * d->y_stride + d->y_first + r;
    if (d->flags & PROJECT_BIAS) sum += ((const float *)call->buffer[2])[d->bias + m * d->rows + r];
    *y = d->flags & PROJECT_ADD ? *y + sum : sum;
}

#endif
