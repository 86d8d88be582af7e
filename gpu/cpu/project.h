/* project.h - what the twins of matvec and matmul share: y = W x for tokens, or slots, that go
 * through the same matrix. */
#ifndef GPU_CPU_PROJECT_H
#define GPU_CPU_PROJECT_H

#include "gpu/dims.h"
#include "gpu/gpu.h"

/* y[t, r] = (ADD: itself +) sum_i W[m, r, i] x[t / share, i] (+ BIAS) for tokens t and all rows r.
 * form: of each row of x, plain, packed, or half: then
 * weights are rounded to f16, too. list [count]: the tokens; NULL: first .. first + count -
 * 1. Sums do not depend on count. */
void project_tokens(const gpu_call *call, x_form form, uint32_t m, const uint32_t *list,
                    uint32_t first, uint32_t count);

#endif
