/* project.h - what the tests of matvec and matmul share: y = W x with all its extras. */
#ifndef TESTS_KERNELS_PROJECT_H
#define TESTS_KERNELS_PROJECT_H

#include "tests/kernels/kernel_test.h"

typedef struct projection {
    weight_format format;
    uint32_t rows, k, tokens;
    bool bias, add;
    uint32_t y_first, y_pad;     /* floats before and behind a token's rows that stay as they are */
    uint32_t across;             /* not 0: dispatched by hand, so many workgroups along x */
} projection;

/* Buffers weights, x, vectors, y; check against sums in double precision. kernel: its name. */
void projection_make(const char *kernel, const projection *p, uint64_t seed, kernel_case *c);

#endif
