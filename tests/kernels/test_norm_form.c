/* test_norm_form.c - widths below, at and above the workgroup's reach; gains anywhere. */
#include "tests/kernels/form_test.h"
#include "tests/kernels/matrix.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct setup {
    uint32_t dim, gain, next_gain;
    float eps, size;             /* of y: eps matters where y is small */
    x_form form;
} setup;

static const setup setups[] = {
    {32, 0, 32, 1e-5f, 1, 0},        {288, 7, 295, 1e-6f, 100, 0},
    {1152, 1200, 3, 1e-6f, 30, 0},   {2080, 1, 2081, 1e-6f, 1e-3f, 0},
    {64, 0, 64, 1e-5f, 0, 0},
};
enum { SETUPS = sizeof setups / sizeof *setups, FORMS = 3 };
static const x_form forms[FORMS] = {X_F32, X_PACKED, X_DIGITS};
static const char *const names[FORMS] = {"f32", "packed", "digits"};

static void record(op_context o, const gpu_buffer *b, const void *user) {
    const setup *u = user;
    op_norm_form(o, u->form, b[2], b[3], b[0], b[1],
                 (struct norm_form_dims){u->dim, u->gain, u->next_gain, u->eps});
}

/* What x[i] holds before. */
static float before(uint32_t i) { return (float)(i % 7) - 3; }

static bool check(const kernel_case *c, char *why, size_t why_bytes) {
    const setup *u = c->user;
    const float *y = c->buffer[0].data, *vectors = c->buffer[1].data;
    double *x = malloc(u->dim * sizeof *x), *next = malloc(u->dim * sizeof *next), sum = 0;
    if (!x || !next) abort();
    for (uint32_t i = 0; i < u->dim; i++) sum += (double)y[i] * y[i];
    double scale = 1 / sqrt(sum / u->dim + u->eps);
    for (uint32_t i = 0; i < u->dim; i++) {
        x[i] = before(i) + y[i] * scale * vectors[u->gain + i];
        next[i] = x[i] * vectors[u->next_gain + i];
    }
    double error = kernel_error(c->buffer[2].data, x, u->dim);
    bool ok = error <= KERNEL_TOLERANCE;
    snprintf(why, why_bytes, "x: error %.3g of the largest value", error);
    if (ok) ok = form_check(u->form, c->buffer[3].data, u->dim, 0, u->dim, next, x, why, why_bytes);
    free(x);
    free(next);
    return ok;
}

static void make(uint32_t index, kernel_case *c) {
    uint64_t seed = index;
    setup *u = c->user = malloc(sizeof *u);
    if (!u) abort();
    *u = setups[index / FORMS];
    u->form = forms[index % FORMS];
    snprintf(c->name, sizeof c->name, "norm_form %s %u gains %u, %u size %g",
             names[index % FORMS], u->dim, u->gain, u->next_gain, (double)u->size);
    c->record = record;
    c->check = check;
    c->buffer_count = 4;
    uint32_t vectors = (u->gain > u->next_gain ? u->gain : u->next_gain) + u->dim;
    float *y = floats_random(u->dim, &seed), *x = floats_random(u->dim, &seed);
    for (uint32_t i = 0; i < u->dim; i++) {
        y[i] *= u->size;
        x[i] = before(i);
    }
    c->buffer[0].data = y;
    c->buffer[0].bytes = c->buffer[2].bytes = u->dim * sizeof(float);
    c->buffer[1].data = floats_random(vectors, &seed);
    c->buffer[1].bytes = vectors * sizeof(float);
    c->buffer[2].data = x;
    c->buffer[3].bytes = (size_t)x_form_bytes(u->form, u->dim);
    c->buffer[3].data = floats_poison(c->buffer[3].bytes / 4);
    c->buffer[2].read_back = c->buffer[3].read_back = true;
}

const kernel_suite suite_norm_form = {"norm_form", SETUPS * FORMS, make};
