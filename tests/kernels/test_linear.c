/* test_linear.c - the projections of a decode step: every format with x in each form that it has,
 * teams with and without work, every flag; of one matrix and of a token's experts. */
#include "tests/kernels/form_test.h"
#include "tests/kernels/matrix.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BIAS_AT = 3, Y_PAD = 2, MOST_EXPERTS = 6, MOST_USED = 3 };

typedef struct setup {
    uint32_t rows, k, y_first, flags;
    uint32_t out_k;              /* 0: ends with the rows */
    uint32_t activation;
    uint32_t experts, used;      /* 0: one matrix */
    weight_format format;
    x_form form;
    kernel_id prefers;           /* a variant, where it exists; KERNEL_GATHER: by the rules */
} setup;

static const setup setups[] = {
    {.rows = 1, .k = 32},
    {.rows = 37, .k = 512, .y_first = 5, .flags = LINEAR_NORM},
    {.rows = 130, .k = 2048, .flags = LINEAR_NORM | LINEAR_BIAS},
    {.rows = 96, .k = 1152, .flags = LINEAR_ADD | LINEAR_FORM | LINEAR_GAIN},
    {.rows = 64, .k = 288, .y_first = 256, .flags = LINEAR_ADD | LINEAR_FORM | LINEAR_BIAS,
     .out_k = 352},
    {.rows = 32, .k = 96, .flags = LINEAR_FORM | LINEAR_NORM | LINEAR_GAIN},
    {.rows = 64, .k = 4352, .flags = LINEAR_ACT | LINEAR_FORM | LINEAR_NORM},
    {.rows = 32, .k = 1056, .flags = LINEAR_ACT | LINEAR_FORM | LINEAR_BIAS, .activation = 1},
    {.rows = 35, .k = 2304, .flags = LINEAR_ADD},
    {.rows = 32, .k = 14624, .flags = LINEAR_ADD | LINEAR_FORM | LINEAR_GAIN},
    {.rows = 64, .k = 288, .flags = LINEAR_NORM | LINEAR_ACT | LINEAR_FORM | LINEAR_BIAS,
     .activation = 2, .experts = 6, .used = 3},
    {.rows = 64, .k = 544, .flags = LINEAR_ADD | LINEAR_FORM | LINEAR_GAIN | LINEAR_BIAS,
     .experts = 6, .used = 3},
};
enum { SETUPS = sizeof setups / sizeof *setups };

static const weight_format packed_formats[] = {FORMAT_Q4_0, FORMAT_Q5_0, FORMAT_Q8_0, FORMAT_Q4_K,
                                               FORMAT_Q5_K, FORMAT_Q6_K, FORMAT_MXFP4};
enum { PACKED = sizeof packed_formats / sizeof *packed_formats };
static const char *const form_names[X_FORMS] = {
    [X_F32] = "", [X_PACKED] = "_packed", [X_DIGITS] = "_digits"};

typedef struct linear_case {
    setup s;
    uint32_t ids[MOST_USED];     /* of experts, by logit */
    double shares[MOST_USED];
    double square, *x;           /* x: behind the struct */
} linear_case;

static uint32_t matrix_rows(const setup *s) { return s->rows * (s->flags & LINEAR_ACT ? 2 : 1); }
static uint32_t matrices(const setup *s) { return s->experts ? s->experts : 1; }
static uint32_t padded(uint32_t k) { return (k + 255) / 256 * 256; }
/* Outputs, and inputs: one of each for an expert where they are apart. */
static uint32_t outs(const setup *s) { return s->experts && s->flags & LINEAR_ACT ? s->used : 1; }
static uint32_t ins(const setup *s) { return s->experts && outs(s) == 1 ? s->used : 1; }
static uint32_t out_k(const setup *s) {
    if (outs(s) > 1) return s->used * padded(s->rows);
    return s->out_k ? s->out_k : s->y_first + s->rows;
}
static float before(uint32_t i) { return (float)(i % 17) * 0.25f - 2; }
static const float EPS = 1e-3f, LIMIT = 2.5f;

static void record(op_context o, const gpu_buffer *b, const void *user) {
    const setup *s = &((const linear_case *)user)->s;
    matrix w = {s->format, matrices(s) * matrix_rows(s), s->k, b[0], 0};
    const struct linear_dims dims = {
        .rows = s->rows, .k = s->k, .y_first = s->y_first,
        .out_k = s->experts ? s->rows : out_k(s), .up = s->rows, .bias = BIAS_AT,
        .gain = BIAS_AT + 1, .activation = s->activation, .flags = s->flags, .eps = EPS,
        .limit = LIMIT, .experts = s->experts, .used = s->used};
    op_programs some = *o.programs;
    if (s->prefers && some.of[s->prefers][s->format])
        op_programs_only(o.programs, s->prefers, &some);
    o.programs = &some;
    if (s->experts) op_linear_experts(o, s->form, b[3], b[4], &w, b[1], b[2], b[5], dims);
    else op_linear(o, s->form, b[3], b[4], &w, b[1], b[2], dims);
}

static double act(uint32_t activation, double g, double u) {
    if (activation == 0) return g / (1 + exp(-g)) * u;
    if (activation == 1)
        return g / 2 * (1 + tanh(sqrt(2 / acos(-1)) * (g + 0.044715 * g * g * g))) * u;
    g = fmin(g, (double)LIMIT);
    return g / (1 + exp(-1.702 * g)) * (fmax(fmin(u, (double)LIMIT), (double)-LIMIT) + 1);
}

/* W[m, r, :] x[in, :], with the norm. */
static double product(const kernel_case *c, uint32_t m, uint32_t in, uint32_t r, double *w) {
    const linear_case *l = c->user;
    const setup *s = &l->s;
    double sum = 0;
    matrix_row(s->format, c->buffer[0].data, s->k, m * matrix_rows(s) + r, w);
    for (uint32_t i = 0; i < s->k; i++) sum += w[i] * l->x[in * s->k + i];
    return s->flags & LINEAR_NORM ? sum / sqrt(l->square / s->k + (double)EPS) : sum;
}

/* v[r] of output `out` of linear.wgsl. */
static double value(const kernel_case *c, uint32_t out, uint32_t r, double *w) {
    const linear_case *l = c->user;
    const setup *s = &l->s;
    const float *bias = (const float *)c->buffer[2].data + BIAS_AT;
    bool biased = s->flags & LINEAR_BIAS;
    if (s->flags & LINEAR_ACT) {
        double d[2];
        uint32_t m = s->experts ? l->ids[out] : 0;
        for (uint32_t i = 0; i < 2; i++) {
            d[i] = product(c, m, 0, i * s->rows + r, w);
            if (biased) d[i] += bias[m * matrix_rows(s) + i * s->rows + r];
        }
        return act(s->activation, d[0], d[1]) * (s->experts ? l->shares[out] : 1);
    }
    double sum = s->flags & LINEAR_ADD ? (double)before(s->y_first + r) : 0;
    for (uint32_t in = 0; in < ins(s); in++) {
        uint32_t m = s->experts ? l->ids[in] : 0;
        sum += product(c, m, in, r, w);
        if (biased) sum += bias[m * s->rows + r] * (s->experts ? l->shares[in] : 1);
    }
    return sum;
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
    bool ok = true;
    for (uint32_t out = 0; ok && out < outs(s); out++) {
        for (uint32_t r = 0; r < s->rows; r++) {
            v[r] = value(c, out, r, w);
            gained[r] = s->flags & LINEAR_GAIN ? v[r] * gain[r] : v[r];
        }
        ok = check_y(c, v, why, why_bytes);
        if (ok && s->flags & LINEAR_FORM)
            ok = form_check(s->form, c->buffer[4].data, out_k(s),
                            s->y_first + out * padded(s->rows), s->rows, gained, v, why,
                            why_bytes);
    }
    free(w);
    free(v);
    free(gained);
    return ok;
}

/* x [ins, k] in a form, each padded with zeros. */
static void make_x(linear_case *l, uint64_t *seed, kernel_case *c) {
    static const size_t run_bytes[] = {[X_F32] = 128, [X_PACKED] = 40, [X_DIGITS] = 112};
    const setup *s = &l->s;
    size_t one = padded(s->k) / 32 * run_bytes[s->form];
    c->buffer[1].bytes = (size_t)x_form_bytes(s->form, ins(s) * padded(s->k));
    if (ins(s) == 1) {
        c->buffer[1].data = form_random(s->form, s->k, 0, l->x, &l->square, seed);
        return;
    }
    char *all = c->buffer[1].data = calloc(1, c->buffer[1].bytes);
    for (uint32_t in = 0; all && in < ins(s); in++) {
        void *x = form_random(s->form, s->k, 0, l->x + in * s->k, &l->square, seed);
        memcpy(all + in * one, x, one);
        free(x);
    }
    if (!all) abort();
}

/* Logits, no two alike, and whom they choose. */
static void make_logits(linear_case *l, uint64_t *seed, kernel_case *c) {
    const setup *s = &l->s;
    double sum = 0;
    float *logits = c->buffer[5].data = floats_random(s->experts, seed);
    c->buffer[5].bytes = s->experts * sizeof *logits;
    bool taken[MOST_EXPERTS] = {false};
    for (uint32_t r = 0; r < s->used; r++) {
        uint32_t best = MOST_EXPERTS;
        for (uint32_t e = 0; e < s->experts; e++)
            if (!taken[e] && (best == MOST_EXPERTS || logits[e] > logits[best])) best = e;
        taken[best] = true;
        l->ids[r] = best;
        sum += l->shares[r] = exp((double)logits[best]);
    }
    for (uint32_t r = 0; r < s->used; r++) l->shares[r] /= sum;
}

/* Cases: every format in f32, then those that have it packed, then those again with digits. */
static void make(uint32_t index, kernel_case *c) {
    uint64_t seed = 77 + index;
    uint32_t kind = index / SETUPS;
    setup s = setups[index % SETUPS];
    s.form = kind < FORMAT_COUNT ? X_F32 : kind < FORMAT_COUNT + PACKED ? X_PACKED : X_DIGITS;
    if (s.form == X_PACKED && !s.experts && index % 2) s.prefers = KERNEL_LINEAR_PACKED_LONG;
    s.format = s.form == X_F32 ? kind : packed_formats[(kind - FORMAT_COUNT) % PACKED];
    linear_case *l = c->user = malloc(sizeof *l + ins(&s) * s.k * sizeof *l->x);
    if (!l) abort();
    l->s = s;
    l->x = (double *)(l + 1);
    snprintf(c->name, sizeof c->name, "linear%s%s %s %ux%u flags %u", s.experts ? "_experts" : "",
             form_names[s.form], formats[s.format].name, s.rows, s.k, s.flags);
    c->record = record;
    c->check = check;
    static const kernel_id needs[X_FORMS][2] = {
        [X_F32] = {KERNEL_LINEAR, KERNEL_LINEAR_EXPERTS},
        [X_DIGITS] = {KERNEL_LINEAR_DIGITS, KERNEL_LINEAR_EXPERTS_DIGITS},
        [X_PACKED] = {KERNEL_LINEAR_PACKED, KERNEL_LINEAR_EXPERTS_PACKED}};
    c->needs = needs[s.form][s.experts > 0];
    c->format = s.format;
    c->buffer_count = s.experts ? 6 : 5;
    c->buffer[0].data = matrix_random(s.format, matrices(&s) * matrix_rows(&s), s.k, &seed,
                                      &c->buffer[0].bytes);
    make_x(l, &seed, c);
    if (s.experts) make_logits(l, &seed, c);
    uint32_t vectors = BIAS_AT + 1 + matrices(&s) * matrix_rows(&s);
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
