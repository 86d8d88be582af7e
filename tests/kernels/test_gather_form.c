/* test_gather_form.c - a row comes out exactly, and its form, in every format; slabs without it
 * leave both alone. */
#include "tests/kernels/form_test.h"
#include "tests/kernels/matrix.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROWS = 5, GAIN = 3, KINDS = 3, FORMS = 3 };
static const x_form forms[FORMS] = {X_F32, X_PACKED, X_DIGITS};
static const char *const names[FORMS] = {"f32", "packed", "digits"};
/* id: a row of the slab, which begins at `first`; the last has none of it */
static const struct kind { uint32_t k, first, id; } kinds[KINDS] = {
    {288, 0, 4}, {768, 7, 8}, {64, 7, 6}};

typedef struct setup { weight_format format; x_form form; struct kind kind; } setup;

static void record(op_context o, const gpu_buffer *b, const void *user) {
    const setup *u = user;
    struct gather_form_dims dims = {ROWS, u->kind.k, u->kind.first, GAIN, 2};
    gpu_binding bindings[] = {{b[0], 0, 0}, {b[1], 0, 0}, {b[2], 0, 0}, {b[3], 0, 0}, {b[4], 0, 0}};
    gpu_program p = o.programs->of[op_gather_kernel(u->form)][u->format];
    gpu_dispatch(o.g, p, bindings, 5, &dims, sizeof dims,
                 (u->kind.k / 32 + FORM_RUNS - 1) / FORM_RUNS, 1, 1);
}

static const float untouched = 42;

static bool check(const kernel_case *c, char *why, size_t why_bytes) {
    const setup *u = c->user;
    const float *vectors = c->buffer[2].data, *y = c->buffer[3].data, *out = c->buffer[4].data;
    uint32_t k = u->kind.k, row = u->kind.id - u->kind.first;
    double *want = malloc(2 * k * sizeof *want), *next = want + k;
    if (!want) abort();
    bool ok = true, inside = row < ROWS;
    if (inside) matrix_row(u->format, c->buffer[0].data, k, row, want);
    for (uint32_t i = 0; i < k && ok; i++) {
        want[i] = inside ? 2 * want[i] : untouched;
        next[i] = want[i] * vectors[GAIN + i];
        ok = y[i] == (float)want[i] || (fabs(want[i]) < 2 * (double)FLT_MIN && y[i] == 0);
        if (!ok) snprintf(why, why_bytes, "y[%u] is %.9g, not %.9g", i, y[i], want[i]);
    }
    if (inside && ok) ok = form_check(u->form, out, k, 0, k, next, want, why, why_bytes);
    for (size_t i = 0; !inside && ok && i < c->buffer[4].bytes / 4; i++) ok = out[i] == untouched;
    free(want);
    return ok;
}

static void make(uint32_t index, kernel_case *c) {
    uint64_t seed = index;
    setup *u = c->user = malloc(sizeof *u);
    if (!u) abort();
    *u = (setup){index / (FORMS * KINDS), forms[index % FORMS], kinds[index / FORMS % KINDS]};
    uint32_t k = u->kind.k;
    snprintf(c->name, sizeof c->name, "gather_form %s %s %u, row %u of %u..",
             names[index % FORMS], formats[u->format].name, k, u->kind.id,
             u->kind.first);
    c->record = record;
    c->check = check;
    c->buffer_count = 5;
    c->buffer[0].data = matrix_random(u->format, ROWS, k, &seed, &c->buffer[0].bytes);
    uint32_t *ids = c->buffer[1].data = malloc(sizeof *ids);
    if (!ids) abort();
    *ids = u->kind.id;
    c->buffer[1].bytes = sizeof *ids;
    c->buffer[2].data = floats_random(GAIN + k, &seed);
    c->buffer[2].bytes = (GAIN + k) * sizeof(float);
    c->buffer[3].bytes = k * sizeof(float);
    c->buffer[4].bytes = (size_t)x_form_bytes(u->form, k);
    for (int b = 3; b < 5; b++) {
        float *data = c->buffer[b].data = malloc(c->buffer[b].bytes);
        if (!data) abort();
        for (size_t i = 0; i < c->buffer[b].bytes / 4; i++) data[i] = untouched;
        c->buffer[b].read_back = true;
    }
}

const kernel_suite suite_gather_form = {"gather_", FORMAT_COUNT * FORMS * KINDS, make};
