/* test_nll.c - likelihoods of few and of many tokens, of logits near and far apart. */
#include "tests/kernels/kernel_test.h"
#include "tests/kernels/matrix.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct setup {
    uint32_t vocab, rows, first;
    float spread, shift;         /* logits are shift +- spread */
} setup;

static const setup setups[] = {
    {1, 1, 0, 1, 0},       {2, 3, 0, 1, 0},        {255, 2, 1, 4, 0},     {640, 5, 3, 8, -50},
    {4096, 2, 0, 30, 0},   {4097, 1, 7, 300, 0},   {2048, 3, 0, 0, 5},    {262144, 2, 0, 8, 100},
    {1000, 2, 0, 1e30f, 0},
};

static void record(op_context o, const gpu_buffer *b, const void *user) {
    const setup *u = user;
    op_nll(o, b[2], b[0], b[1], (struct nll_dims){u->vocab, u->rows, u->first});
}

static bool check(const kernel_case *c, char *why, size_t why_bytes) {
    const setup *u = c->user;
    const uint32_t *targets = c->buffer[1].data;
    const float *got = c->buffer[2].data;
    for (uint32_t r = 0; r < u->rows; r++) {
        const float *x = (const float *)c->buffer[0].data + (size_t)r * u->vocab;
        double top = x[0], sum = 0;
        for (uint32_t i = 1; i < u->vocab; i++) top = fmax(top, x[i]);
        for (uint32_t i = 0; i < u->vocab; i++) sum += exp(x[i] - top);
        double want = log(sum) + top - x[targets[u->first + r]];
        double error = fabs(got[u->first + r] - want) / fmax(1, fabs(want));
        if (error <= KERNEL_TOLERANCE) continue;
        snprintf(why, why_bytes, "row %u: %.9g, not %.9g", r, got[u->first + r], want);
        return false;
    }
    return true;
}

static void make(uint32_t index, kernel_case *c) {
    uint64_t seed = 4000 + index;
    setup *u = c->user = malloc(sizeof *u);
    if (!u) abort();
    *u = setups[index];
    snprintf(c->name, sizeof c->name, "nll vocab %u, %u rows from %u, spread %g", u->vocab, u->rows,
             u->first, (double)u->spread);
    c->record = record;
    c->check = check;
    c->buffer_count = 3;
    size_t count = (size_t)u->rows * u->vocab, ids = u->first + u->rows;
    float *x = c->buffer[0].data = floats_random(count, &seed);
    for (size_t i = 0; i < count; i++) x[i] = x[i] * u->spread + u->shift;
    c->buffer[0].bytes = count * sizeof(float);
    uint32_t *targets = c->buffer[1].data = malloc(ids * sizeof *targets);
    if (!targets) abort();
    for (size_t i = 0; i < ids; i++) targets[i] = kernel_random_bits(&seed) % u->vocab;
    targets[ids - 1] = u->vocab - 1;
    c->buffer[1].bytes = ids * sizeof *targets;
    c->buffer[2].data = floats_poison(ids);
    c->buffer[2].bytes = ids * sizeof(float);
    c->buffer[2].read_back = true;
}

const kernel_suite suite_nll = {"nll", sizeof setups / sizeof *setups, make};
