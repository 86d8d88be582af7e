/* test_form.c - rows brought into the forms that projections read: one run, many, gains anywhere,
 * zeros. */
#include "tests/kernels/form_test.h"
#include "tests/kernels/matrix.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct setup {
    uint32_t k, tokens, first, gain;
    float size;                  /* of x */
    uint32_t flags;
    x_form form;
} setup;

static const setup setups[] = {
    {32, 1, 0, 0, 1, 0, 0},          {512, 1, 0, 7, 1, FORM_GAIN, 0},
    {288, 3, 2, 1, 100, FORM_GAIN, 0}, {4096, 1, 3, 5, 1e-3f, FORM_GAIN, 0},
    {96, 5, 1, 0, 1, 0, 0},          {64, 2, 0, 0, 0, FORM_GAIN, 0},
    {64, 2, 1, 0, 1e7f, 0, 0},
};
enum { SETUPS = sizeof setups / sizeof *setups, FORMS = 4 };
static const x_form forms[FORMS] = {X_F32, X_PACKED, X_DIGITS, X_HALF};
static const char *const names[FORMS] = {"f32", "packed", "digits", "half"};

static void record(op_context o, const gpu_buffer *b, const void *user) {
    const setup *u = user;
    op_form(o, u->form, b[2], b[0], b[1],
            (struct form_dims){u->k, u->tokens, u->first, u->gain, u->flags});
}

static bool check(const kernel_case *c, char *why, size_t why_bytes) {
    const setup *u = c->user;
    const float *x = (float *)c->buffer[0].data + (size_t)u->first * u->k;
    const float *gain = (float *)c->buffer[1].data + u->gain;
    uint32_t count = u->tokens * u->k;
    size_t step = (size_t)x_form_bytes(u->form, u->k);
    double *want = malloc(count * sizeof *want), *plain = malloc(count * sizeof *plain);
    if (!want || !plain) abort();
    for (uint32_t i = 0; i < count; i++) {
        plain[i] = x[i];
        want[i] = u->flags & FORM_GAIN ? (double)x[i] * gain[i % u->k] : x[i];
    }
    bool ok = true;
    for (uint32_t t = 0; t < u->tokens && ok; t++)
        ok = form_check(u->form, (const char *)c->buffer[2].data + t * step, u->k, 0, u->k,
                        want + t * u->k, plain + t * u->k, why, why_bytes);
    free(want);
    free(plain);
    return ok;
}

static void make(uint32_t index, kernel_case *c) {
    uint64_t seed = index;
    setup *u = c->user = malloc(sizeof *u);
    if (!u) abort();
    *u = setups[index / FORMS];
    u->form = forms[index % FORMS];
    if (u->form != X_PACKED && u->form != X_HALF) u->tokens = 1;
    snprintf(c->name, sizeof c->name, "form %s %ux%u first %u gain %u size %g",
             names[index % FORMS], u->tokens, u->k, u->first, u->gain,
             (double)u->size);
    c->record = record;
    c->check = check;
    c->buffer_count = 3;
    size_t before = (size_t)(u->first + u->tokens) * u->k;
    float *x = floats_random(before, &seed);
    for (size_t i = 0; i < before; i++) x[i] *= u->size;
    c->buffer[0].data = x;
    c->buffer[0].bytes = before * sizeof(float);
    c->buffer[1].data = floats_random(u->gain + u->k, &seed);
    c->buffer[1].bytes = (u->gain + u->k) * sizeof(float);
    c->buffer[2].bytes = u->tokens * (size_t)x_form_bytes(u->form, u->k);
    c->buffer[2].data = floats_poison(c->buffer[2].bytes / 4);
    c->buffer[2].read_back = true;
}

const kernel_suite suite_form = {"form", SETUPS * FORMS, make};
