/* test_combine.c - weighted sums of a token's rows, alone and added to what is there. */
#include "gpu/dims.h"
#include "tests/kernels/kernel_test.h"
#include "tests/kernels/matrix.h"

#include <stdio.h>
#include <stdlib.h>

static const struct combine_dims setups[] = {
    {4, 1, 1, 0},      {32, 2, 1, COMBINE_ADD}, {288, 4, 33, COMBINE_ADD}, {260, 3, 5, 0},
    {64, 16, 3, COMBINE_ADD}, {2880, 4, 2, COMBINE_ADD}, {4096, 2, 1, 0},
};

/* What y holds before, where it is added to. */
static float initial(size_t i) { return (float)(i % 17) * 0.25f - 2; }

static void record(op_context o, const gpu_buffer *b, const void *user) {
    op_combine(o, b[2], b[0], b[1], *(const struct combine_dims *)user);
}

static bool check(const kernel_case *c, char *why, size_t why_bytes) {
    const struct combine_dims *d = c->user;
    const float *x = c->buffer[0].data, *weights = c->buffer[1].data;
    size_t count = (size_t)d->tokens * d->dim;
    double *want = malloc(count * sizeof *want);
    if (!want) abort();
    for (size_t i = 0; i < count; i++) {
        want[i] = d->flags & COMBINE_ADD ? initial(i) : 0;
        for (uint32_t r = 0; r < d->used; r++) {
            size_t slot = i / d->dim * d->used + r;
            want[i] += (double)weights[slot] * x[slot * d->dim + i % d->dim];
        }
    }
    double error = kernel_error(c->buffer[2].data, want, count);
    free(want);
    snprintf(why, why_bytes, "error %.3g of the largest value", error);
    return error <= KERNEL_TOLERANCE;
}

static void make(uint32_t index, kernel_case *c) {
    uint64_t seed = index;
    struct combine_dims *d = c->user = malloc(sizeof *d);
    if (!d) abort();
    *d = setups[index];
    snprintf(c->name, sizeof c->name, "combine %ux%u of %u%s", d->tokens, d->dim, d->used,
             d->flags & COMBINE_ADD ? " add" : "");
    c->record = record;
    c->check = check;
    c->buffer_count = 3;
    size_t slots = (size_t)d->tokens * d->used, count = (size_t)d->tokens * d->dim;
    c->buffer[0].data = floats_random(slots * d->dim, &seed);
    c->buffer[0].bytes = slots * d->dim * sizeof(float);
    c->buffer[1].data = floats_random(slots, &seed);
    c->buffer[1].bytes = slots * sizeof(float);
    float *y = c->buffer[2].data = floats_poison(count);
    for (size_t i = 0; i < count && d->flags & COMBINE_ADD; i++) y[i] = initial(i);
    c->buffer[2].bytes = count * sizeof(float);
    c->buffer[2].read_back = true;
}

const kernel_suite suite_combine = {"combine", sizeof setups / sizeof *setups, make};
