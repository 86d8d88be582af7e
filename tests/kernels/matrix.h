/* matrix.h - random matrices in every stored format, and their weights by a second decoder. */
#ifndef TESTS_KERNELS_MATRIX_H
#define TESTS_KERNELS_MATRIX_H

#include "memory/format.h"
#include <stddef.h>

/* A matrix as memory/format.h stores it, weights of about [-1, 1]; every tenth f16 scale or weight
 * is a subnormal. malloc'ed. */
void *matrix_random(weight_format format, uint32_t rows, uint32_t cols, uint64_t *seed,
                    size_t *bytes);
/* Weights of one row, exact, by a decoder of its own. */
void matrix_row(weight_format format, const void *matrix, uint32_t cols, uint32_t row,
                double *out);

/* malloc'ed; uniform in [-1, 1). */
float *floats_random(size_t count, uint64_t *seed);
/* malloc'ed; all NaN, so that what is not written shows. */
float *floats_poison(size_t count);

#endif
