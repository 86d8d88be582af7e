/* test_rmsnorm.c - widths below, at and above the workgroup's reach; gains anywhere. */
#include "tests/kernels/kernel_test.h"
#include "tests/kernels/matrix.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct setup {
    uint32_t dim, tokens, first, gain;
    float eps, size;             /* of x: eps matters where x is small */
    uint32_t flags;
} setup;

static const setup setups[] = {
    {32, 1, 0, 0, 1e-5f, 1, 0},     {64, 3, 2, 7, 1e-6f, 1, 0},   {288, 5, 0, 1, 1e-5f, 100, 0},
    {512, 33, 1, 512, 1e-5f, 1, 0}, {1028, 2, 0, 3, 1e-5f, 1, 0}, {4096, 1, 3, 0, 1e-6f, 1e-3f, 0},
    {64, 2, 0, 0, 1e-5f, 0, 0},     {96, 3, 1, 5, 1e-6f, 1, RMSNORM_ADD},
    {1152, 2, 0, 0, 1e-6f, 30, RMSNORM_ADD},
};

static void record(op_context o, const gpu_buffer *b, const void *user) {
    const setup *u = user;
    op_rmsnorm(o, b[2], b[0], b[1],
               (struct rmsnorm_dims){u->dim, u->tokens, u->first, u->gain, u->flags, u->eps});
}

/* What y[i] holds before RMSNORM_ADD. */
static float before_add(size_t i) { return (float)(i % 7) - 3; }

static bool check(const kernel_case *c, char *why, size_t why_bytes) {
    const setup *u = c->user;
    const float *x = (float *)c->buffer[0].data + (size_t)u->first * u->dim;
    const float *gain = (float *)c->buffer[1].data + u->gain;
    size_t count = (size_t)u->tokens * u->dim;
    double *want = malloc(count * sizeof *want);
    if (!want) abort();
    for (size_t t = 0; t < u->tokens; t++) {
        double sum = 0;
        for (size_t i = 0; i < u->dim; i++) sum += (double)x[t * u->dim + i] * x[t * u->dim + i];
        double scale = 1 / sqrt(sum / u->dim + u->eps);
        for (size_t i = 0; i < u->dim; i++)
            want[t * u->dim + i] = x[t * u->dim + i] * scale * gain[i] +
                                   (u->flags & RMSNORM_ADD ? before_add(t * u->dim + i) : 0);
    }
    double error = kernel_error(c->buffer[2].data, want, count);
    free(want);
    snprintf(why, why_bytes, "error %.3g of the largest value", error);
    return error <= KERNEL_TOLERANCE;
}

static void make(uint32_t index, kernel_case *c) {
    uint64_t seed = index;
    setup *u = c->user = malloc(sizeof *u);
    if (!u) abort();
    *u = setups[index];
    snprintf(c->name, sizeof c->name, "rmsnorm%s %ux%u first %u gain %u size %g",
             u->flags & RMSNORM_ADD ? " add" : "", u->tokens, u->dim, u->first, u->gain, u->size);
    c->record = record;
    c->check = check;
    c->buffer_count = 3;
    size_t before = (size_t)(u->first + u->tokens) * u->dim, count = (size_t)u->tokens * u->dim;
    float *x = floats_random(before, &seed);
    for (size_t i = 0; i < before; i++) x[i] *= u->size;
    c->buffer[0].data = x;
    c->buffer[0].bytes = before * sizeof(float);
    c->buffer[1].data = floats_random(u->gain + u->dim, &seed);
    c->buffer[1].bytes = (u->gain + u->dim) * sizeof(float);
    float *y = c->buffer[2].data = floats_poison(count);
    for (size_t i = 0; i < count && u->flags & RMSNORM_ADD; i++) y[i] = before_add(i);
    c->buffer[2].bytes = count * sizeof(float);
    c->buffer[2].read_back = true;
}

const kernel_suite suite_rmsnorm = {"rmsnorm", sizeof setups / sizeof *setups, make};
