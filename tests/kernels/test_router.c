/* test_router.c - the logits of a router with its norm, in the formats that routers have. */
#include "tests/kernels/kernel_test.h"
#include "tests/kernels/matrix.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { GAIN_AT = 8 };
enum { WEIGHTS, X, VECTORS, Y, BUFFERS };

static const struct setup { weight_format format; uint32_t experts, k; bool bias; } setups[] = {
    {FORMAT_BF16, 32, 2880, true}, {FORMAT_F32, 8, 4096, false}, {FORMAT_F16, 5, 96, true},
    {FORMAT_BF16, 1, 32, false},   {FORMAT_F32, 6, 160, true},   {FORMAT_Q8_0, 3, 288, true},
};
static const float EPS = 1e-3f;

static uint32_t bias_at(const struct setup *s) { return GAIN_AT + s->k + 3; }

static void record(op_context o, const gpu_buffer *b, const void *user) {
    const struct setup *s = user;
    matrix w = {s->format, s->experts, s->k, b[WEIGHTS], 0};
    op_router(o, b[Y], &w, b[X], b[VECTORS],
              (struct router_dims){s->k, GAIN_AT, bias_at(s), s->bias ? ROUTER_BIAS : 0, EPS});
}

static bool check(const kernel_case *c, char *why, size_t why_bytes) {
    const struct setup *s = c->user;
    const float *x = c->buffer[X].data, *vectors = c->buffer[VECTORS].data;
    double *w = malloc(s->k * sizeof *w), *want = malloc(s->experts * sizeof *want), square = 0;
    if (!w || !want) abort();
    for (uint32_t i = 0; i < s->k; i++) square += (double)x[i] * x[i];
    for (uint32_t e = 0; e < s->experts; e++) {
        double sum = 0;
        matrix_row(s->format, c->buffer[WEIGHTS].data, s->k, e, w);
        for (uint32_t i = 0; i < s->k; i++) sum += w[i] * x[i] * vectors[GAIN_AT + i];
        want[e] = sum / sqrt(square / s->k + (double)EPS) + (s->bias ? vectors[bias_at(s) + e] : 0);
    }
    double error = kernel_error(c->buffer[Y].data, want, s->experts);
    snprintf(why, why_bytes, "error %.3g of the largest value", error);
    free(w);
    free(want);
    return error <= KERNEL_TOLERANCE;
}

static void make(uint32_t index, kernel_case *c) {
    uint64_t seed = 31 + index;
    struct setup *s = c->user = malloc(sizeof *s);
    if (!s) abort();
    *s = setups[index];
    snprintf(c->name, sizeof c->name, "router %s %ux%u%s", formats[s->format].name, s->experts,
             s->k, s->bias ? " bias" : "");
    c->record = record;
    c->check = check;
    c->buffer_count = BUFFERS;
    c->buffer[WEIGHTS].data =
        matrix_random(s->format, s->experts, s->k, &seed, &c->buffer[WEIGHTS].bytes);
    c->buffer[X].data = floats_random(s->k, &seed);
    c->buffer[X].bytes = s->k * sizeof(float);
    uint32_t vectors = (bias_at(s) + s->experts + 3) / 4 * 4;
    c->buffer[VECTORS].data = floats_random(vectors, &seed);
    c->buffer[VECTORS].bytes = vectors * sizeof(float);
    c->buffer[Y].data = floats_poison(s->experts);
    c->buffer[Y].bytes = s->experts * sizeof(float);
    c->buffer[Y].read_back = true;
}

const kernel_suite suite_router = {"router", sizeof setups / sizeof *setups, make};
