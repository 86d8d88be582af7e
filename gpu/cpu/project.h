/* project.h - what the twins of matvec and matmul share: y = W x, a part of a row at a time. */
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

/* *y = (ADD: *y +) sum (+ BIAS) */
static inline void project_store(const gpu_call *call, uint32_t r, float sum, float *y) {
    const struct project_dims *d = call->dims;
    if (d->flags & PROJECT_BIAS) sum += ((const float *)call->buffer[2])[d->bias + r];
    *y = d->flags & PROJECT_ADD ? *y + sum : sum;
}

#endif
