/* test_linear.c - the projections of a decode step: every format with x in each form that it has,
 * teams with and without work, every flag. */
#include "tests/kernels/form_test.h"
#include "tests/kernels/matrix.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { BIAS_AT = 3, Y_PAD = 2 };

typedef struct setup {
    uint32_t rows, k, y_first, flags;
    uint32_t out_k;              /* 0: ends with the rows */
    uint32_t activation;
    weight_format format;
    x_form form;
} setup;

static const setup setups[] = {
    {.rows = 1, .k = 32},
    {.rows = 37, .k = 512, .y_first = 5, .flags = LINEAR_NORM},
    {.rows = 130, .k = 2048, .flags = LINEAR_NORM | LINEAR_BIAS},
    {.rows = 96, .k = 1152, .flags = LINEAR_ADD | LINEAR_FORM | LINEAR_GAIN},
    {.rows = 64, .k = 288, .y_first = 256, .flags = LINEAR_ADD | LINEAR_FORM | LINEAR_BIAS,
     .out_k = 352},
    {.rows = 32, .k = 96, .flags = LINEAR_FORM | LINEAR_NORM | LINEAR_GAIN},
    {.rows = 64, .k = 768, .flags = LINEAR_ACT | LINEAR_FORM | LINEAR_NORM},
    {.rows = 32, .k = 1056, .flags = LINEAR_ACT | LINEAR_FORM | LINEAR_BIAS, .activation = 1},
    {.rows = 35, .k = 2304, .flags = LINEAR_ADD},
    {.rows = 32, .k = 14624, .flags = LINEAR_ADD | LINEAR_FORM | LINEAR_GAIN},
};
enum { SETUPS = sizeof setups / sizeof *setups };

static const weight_format packed_formats[] = {FORMAT_Q4_0, FORMAT_Q5_0, FORMAT_Q8_0, FORMAT_Q4_K,
                                               FORMAT_Q5_K, FORMAT_Q6_K, FORMAT_MXFP4};
enum { PACKED = sizeof packed_formats / sizeof *packed_formats };
static const char *const form_names[X_FORMS] = {
    [X_F32] = "", [X_PACKED] = "_packed", [X_DIGITS] = "_digits"};

typedef struct linear_case {
    setup s;
    double square, *x;           /* x: behind the struct */
} linear_case;

static uint32_t matrix_rows(const setup *s) { return s->rows * (s->flags & LINEAR_ACT ? 2 : 1); }
static uint32_t out_k(const setup *s) { return s->out_k ? s->out_k : s->y_first + s->rows; }
static float before(uint32_t i) { return (float)(i % 17) * 0.25f - 2; }
static const float EPS = 1e-3f;

static void record(op_context o, const gpu_buffer *b, const void *user) {
    const setup *s = &((const linear_case *)user)->s;
    matrix w = {s->format, matrix_rows(s), s->k, b[0], 0};
    op_linear(o, s->form, b[3], b[4], &w, b[1], b[2],
              (struct linear_dims){s->rows, s->k, s->y_first, out_k(s), s->rows, BIAS_AT,
                                   BIAS_AT + 1, s->activation, s->flags, EPS});
}

static double act(uint32_t activation, double g) {
    if (activation == 0) return g / (1 + exp(-g));
    return g / 2 * (1 + tanh(sqrt(2 / acos(-1)) * (g + 0.044715 * g * g * g)));
}

/* v[r] of linear.wgsl. */
static double value(const kernel_case *c, uint32_t r, double *w) {
    const linear_case *l = c->user;
    const setup *s = &l->s;
    const float *vectors = c->buffer[2].data;
    double d[2] = {0, 0};
    for (uint32_t part = 0; part < matrix_rows(s) / s->rows; part++) {
        matrix_row(s->format, c->buffer[0].data, s->k, part * s->rows + r, w);
        for (uint32_t i = 0; i < s->k; i++) d[part] += w[i] * l->x[i];
        if (s->flags & LINEAR_NORM) d[part] /= sqrt(l->square / s->k + (double)EPS);
        if (s->flags & LINEAR_BIAS) d[part] += vectors[BIAS_AT + part * s->rows + r];
    }
    if (s->flags & LINEAR_ACT) return act(s->activation, d[0]) * d[1];
    return d[0] + (s->flags & LINEAR_ADD ? (double)before(s->y_first + r) : 0);
}

/* Elements of y that are not the kernel's keep what they held. */
static bool check_y(const kernel_case *c, const double *v, char *why, size_t why_bytes) {
    const setup *s = &((const linear_case *)c->user)->s;
    const float *y = c->buffer[3].data;
    bool writes = !(s->flags & LINEAR_ACT);
    for (uint32_t i = 0; i < s->y_first + s->rows + Y_PAD; i++) {
        bool own = writes && i >= s->y_first && i < s->y_first + s->rows;
        if (own || y[i] == before(i)) continue;
        snprintf(why, why_bytes, "y[%u] is %g, was %g", i, (double)y[i], (double)before(i));
        return false;
    }
    double error = writes ? kernel_error(y + s->y_first, v, s->rows) : 0;
    snprintf(why, why_bytes, "error %.3g of the largest value", error);
    return error <= KERNEL_TOLERANCE;
}

static bool check(const kernel_case *c, char *why, size_t why_bytes) {
    const setup *s = &((const linear_case *)c->user)->s;
    double *w = malloc(s->k * sizeof *w);
    double *v = malloc(s->rows * sizeof *v), *gained = malloc(s->rows * sizeof *gained);
    if (!w || !v || !gained) abort();
    const float *gain = (const float *)c->buffer[2].data + BIAS_AT + 1;
    for (uint32_t r = 0; r < s->rows; r++) {
        v[r] = value(c, r, w);
        gained[r] = s->flags & LINEAR_GAIN ? v[r] * gain[r] : v[r];
    }
    bool ok = check_y(c, v, why, why_bytes);
    if (ok && s->flags & LINEAR_FORM)
        ok = form_check(s->form, c->buffer[4].data, out_k(s), s->y_first, s->rows, gained, v, why,
                        why_bytes);
    free(w);
    free(v);
    free(gained);
    return ok;
}

/* Cases: every format in f32, then those that have it packed, then those again with digits. */
static void make(uint32_t index, kernel_case *c) {
    uint64_t seed = 77 + index;
    uint32_t kind = index / SETUPS;
    setup s = setups[index % SETUPS];
    s.form = kind < FORMAT_COUNT ? X_F32 : kind < FORMAT_COUNT + PACKED ? X_PACKED : X_DIGITS;
    s.format = s.form == X_F32 ? kind : packed_formats[(kind - FORMAT_COUNT) % PACKED];
    linear_case *l = c->user = malloc(sizeof *l + s.k * sizeof *l->x);
    if (!l) abort();
    l->s = s;
    l->x = (double *)(l + 1);
    snprintf(c->name, sizeof c->name, "linear%s %s %ux%u flags %u",
             form_names[s.form], formats[s.format].name, s.rows, s.k, s.flags);
    c->record = record;
    c->check = check;
    c->needs = s.form == X_F32 ? KERNEL_LINEAR : KERNEL_LINEAR_PACKED;
    c->format = s.format;
    c->buffer_count = 5;
    c->buffer[0].data = matrix_random(s.format, matrix_rows(&s), s.k, &seed, &c->buffer[0].bytes);
    c->buffer[1].data = form_random(s.form, s.k, l->x, &l->square, &seed);
    c->buffer[1].bytes = (size_t)x_form_bytes(s.form, s.k);
    uint32_t vectors = BIAS_AT + 1 + matrix_rows(&s);
    c->buffer[2].data = floats_random(vectors, &seed);
    c->buffer[2].bytes = vectors * sizeof(float);
    uint32_t count = s.y_first + s.rows + Y_PAD;
    float *y = c->buffer[3].data = floats_poison(count);
    for (uint32_t i = 0; i < count; i++) y[i] = before(i);
    c->buffer[3].bytes = count * sizeof(float);
    c->buffer[4].bytes = (size_t)x_form_bytes(s.form, (out_k(&s) + 31) / 32 * 32);
    c->buffer[4].data = floats_poison(c->buffer[4].bytes / 4);
    c->buffer[3].read_back = c->buffer[4].read_back = true;
}

const kernel_suite suite_linear = {"linear", SETUPS * (FORMAT_COUNT + 2 * PACKED), make};
