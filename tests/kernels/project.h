/* project.h - what the tests of matvec and matmul share: y = W x with all its extras, dense and
 * through experts. */
#ifndef TESTS_KERNELS_PROJECT_H
#define TESTS_KERNELS_PROJECT_H

#include "tests/kernels/kernel_test.h"

/* Which experts tokens go through: random ones, the same for all, all but expert 0; or no tile has
 * a slot (matmul). */
typedef enum projection_routing { SPREAD, SAME, NOT_FIRST, NO_SLOTS } projection_routing;

typedef struct projection {
    weight_format format;
    x_form form;                 /* of x: plain, packed or half */
    kernel_id kernel;            /* not 0: dispatched by that one; not experts */
    uint32_t rows, k, tokens;
    bool bias, add;
    uint32_t y_first, y_pad;     /* floats before and behind a row of y that stay as they are */
    bool each;                   /* tokens one at a time, by matvec */
    uint32_t across;             /* not 0: dispatched by hand, so many workgroups along x */
    uint32_t experts, used;      /* experts 0: dense. rows: of one expert */
    bool own_x;                  /* a row of x for each slot, not for each token */
    projection_routing routing;
    uint32_t slab;               /* not 0: the device binds no more than so many experts */
    uint32_t first, bound;       /* bound not 0: by hand, with so many experts from first on bound;
                                  * slots of others stay as they are */
} projection;

/* Buffers weights, x, vectors, y, ids, routing; check against sums in double precision. kernel: its
 * name. */
void projection_make(const char *kernel, const projection *p, uint64_t seed, kernel_case *c);

#endif
