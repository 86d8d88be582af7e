/* form_test.h - the forms of x as their definition reads, element by element, in doubles. */
#ifndef TESTS_KERNELS_FORM_TEST_H
#define TESTS_KERNELS_FORM_TEST_H

#include "tests/kernels/kernel_test.h"

/* A random x [k] in a form, malloc'ed; x is what it holds. The squares, which belong to x before
 * its gain, are random, too: *square is their sum; half has none. behind: the bytes of no run. */
void *form_random(x_form form, uint32_t k, int behind, double *x, double *square, uint64_t *seed);
/* The nearest finite f16 number. */
double form_near_half(double v);
/* What such an x, or a plain one, holds. */
void form_read(x_form form, const void *from, uint32_t k, double *x);
/* Whether elements first .. of an x [k] in a form are want [count], and its squares, if any, those
 * of `plain`, which is want before any gain. first and count: whole runs. */
bool form_check(x_form form, const void *got, uint32_t k, uint32_t first, uint32_t count,
                const double *want, const double *plain, char *why, size_t why_bytes);

#endif
