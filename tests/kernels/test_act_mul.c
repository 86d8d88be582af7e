/* test_act_mul.c - silu(gate) * up, also where exp would overflow. */
#include "tests/kernels/kernel_test.h"
#include "tests/kernels/matrix.h"
#include "memory/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct setup { uint32_t hidden, tokens; float size; } setup;

static const setup setups[] = {
    {32, 1, 1}, {256, 3, 8}, {288, 33, 1}, {1376, 5, 200}, {64, 2, 1e30f},
};

static void record(op_context o, const gpu_buffer *b, const void *user) {
    const setup *u = user;
    op_act_mul(o, b[1], b[0], (struct act_mul_dims){u->hidden, u->tokens, ACTIVATION_SILU});
}

static bool check(const kernel_case *c, char *why, size_t why_bytes) {
    const setup *u = c->user;
    const float *gu = c->buffer[0].data;
    size_t count = (size_t)u->tokens * u->hidden;
    double *want = malloc(count * sizeof *want);
    if (!want) abort();
    for (size_t i = 0; i < count; i++) {
        const float *gate = gu + i / u->hidden * 2 * u->hidden + i % u->hidden;
        want[i] = *gate / (1 + exp(-(double)*gate)) * gate[u->hidden];
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
    snprintf(c->name, sizeof c->name, "act_mul silu %ux%u size %g", u->tokens, u->hidden, u->size);
    c->record = record;
    c->check = check;
    c->buffer_count = 2;
    size_t count = (size_t)u->tokens * u->hidden;
    float *gu = c->buffer[0].data = floats_random(2 * count, &seed);
    for (size_t i = 0; i < 2 * count; i++)
        if (i / u->hidden % 2 == 0) gu[i] *= u->size;    /* gates */
    c->buffer[0].bytes = 2 * count * sizeof(float);
    c->buffer[1].data = floats_poison(count);
    c->buffer[1].bytes = count * sizeof(float);
    c->buffer[1].read_back = true;
}

const kernel_suite suite_act_mul = {"act_mul", sizeof setups / sizeof *setups, make};
