/* test_act_mul.c - act(gate) * up, also where exp or tanh would overflow. */
#include "tests/kernels/kernel_test.h"
#include "tests/kernels/matrix.h"
#include "memory/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct setup {
    uint32_t hidden, tokens;
    float size;                  /* of gates, and where they are clamped of ups */
    model_activation activation;
} setup;

static const float LIMIT = 7;

static const setup setups[] = {
    {32, 1, 1, ACTIVATION_SILU},       {256, 3, 8, ACTIVATION_SILU},
    {288, 33, 1, ACTIVATION_SILU},     {1376, 5, 200, ACTIVATION_SILU},
    {64, 2, 1e30f, ACTIVATION_SILU},   {32, 1, 1, ACTIVATION_GELU_TANH},
    {288, 33, 8, ACTIVATION_GELU_TANH}, {1376, 5, 200, ACTIVATION_GELU_TANH},
    {64, 2, 1e30f, ACTIVATION_GELU_TANH}, {32, 1, 1, ACTIVATION_SWIGLU_CLAMPED},
    {288, 33, 9, ACTIVATION_SWIGLU_CLAMPED}, {1376, 5, 200, ACTIVATION_SWIGLU_CLAMPED},
    {64, 2, 1e30f, ACTIVATION_SWIGLU_CLAMPED},
};

static void record(op_context o, const gpu_buffer *b, const void *user) {
    const setup *u = user;
    op_act_mul(o, b[1], b[0], (struct act_mul_dims){u->hidden, u->tokens, u->activation, LIMIT});
}

static double activated(model_activation activation, double g, double u) {
    if (activation == ACTIVATION_SILU) return g / (1 + exp(-g)) * u;
    if (activation == ACTIVATION_GELU_TANH)
        return 0.5 * g * u *
               (1 + tanh(sqrt(2 / 3.14159265358979323846) * (g + 0.044715 * g * g * g)));
    if (g > LIMIT) g = LIMIT;
    if (fabs(u) > LIMIT) u = u > 0 ? LIMIT : -LIMIT;
    return (u + 1) * g / (1 + exp(-1.702 * g));
}

static bool check(const kernel_case *c, char *why, size_t why_bytes) {
    const setup *u = c->user;
    const float *gu = c->buffer[0].data;
    size_t count = (size_t)u->tokens * u->hidden;
    double *want = malloc(count * sizeof *want);
    if (!want) abort();
    for (size_t i = 0; i < count; i++) {
        const float *gate = gu + i / u->hidden * 2 * u->hidden + i % u->hidden;
        want[i] = activated(u->activation, *gate, gate[u->hidden]);
    }
    double error = kernel_error(c->buffer[1].data, want, count);
    free(want);
    snprintf(why, why_bytes, "error %.3g of the largest value", error);
    return error <= KERNEL_TOLERANCE;
}

static void make(uint32_t index, kernel_case *c) {
    uint64_t seed = index;
    setup *u = c->user = malloc(sizeof *u);
    if (!u) abort();
    *u = setups[index];
    snprintf(c->name, sizeof c->name, "act_mul %s %ux%u size %g",
             activation_names[u->activation], u->tokens, u->hidden, u->size);
    c->record = record;
    c->check = check;
    c->buffer_count = 2;
    size_t count = (size_t)u->tokens * u->hidden;
    float *gu = c->buffer[0].data = floats_random(2 * count, &seed);
    for (size_t i = 0; i < 2 * count; i++)
        if (i / u->hidden % 2 == 0 || u->activation == ACTIVATION_SWIGLU_CLAMPED) gu[i] *= u->size;
    c->buffer[0].bytes = 2 * count * sizeof(float);
    c->buffer[1].data = floats_poison(count);
    c->buffer[1].bytes = count * sizeof(float);
    c->buffer[1].read_back = true;
}

const kernel_suite suite_act_mul = {"act_mul", sizeof setups / sizeof *setups, make};
