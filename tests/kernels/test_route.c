/* test_route.c - the chosen experts exactly, their weights within the tolerance: ties, NaN and
 * infinities included. The order is found by repeated search for the largest. */
#include "gpu/dims.h"
#include "tests/kernels/kernel_test.h"
#include "tests/kernels/matrix.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum logit_kind {
    RANDOM,          /* in [-1, 1) */
    WIDE,            /* in [-300, 300): exp would overflow */
    TIES,            /* three values, zeros of both signs among them */
    FLAT,            /* all equal */
    HOLES,           /* every other one NaN, a quarter -infinity */
    NOTHING,         /* NaN and -infinity */
    INFINITIES       /* -infinity, 0 and +infinity in turn */
} logit_kind;
static const char *const kind_names[] = {"random", "wide", "ties", "flat", "holes", "nothing",
                                         "infinities"};

static const struct setup { uint32_t experts, used, tokens; logit_kind kind; } setups[] = {
    {8, 2, 1, RANDOM},      {8, 2, 70, RANDOM},    {32, 4, 33, WIDE},      {4, 4, 5, RANDOM},
    {1, 1, 3, RANDOM},      {6, 3, 9, TIES},       {32, 1, 7, TIES},       {64, 16, 5, FLAT},
    {65, 8, 4, RANDOM},     {256, 16, 6, WIDE},    {256, 1, 2, FLAT},      {129, 16, 3, TIES},
    {32, 4, 5, HOLES},      {16, 16, 3, HOLES},    {9, 5, 2, NOTHING},     {16, 16, 2, INFINITIES},
    {16, 3, 2, INFINITIES},
};

static float logit(logit_kind kind, uint32_t i, uint64_t *seed) {
    float x = kernel_random(seed);
    switch (kind) {
    case RANDOM: return x;
    case WIDE: return 300 * x;
    case TIES: return x > 0.3f ? 1.5f : x > -0.3f ? (i % 2 ? 0.0f : -0.0f) : -2.25f;
    case FLAT: return -3;
    case HOLES: return i % 2 ? NAN : i % 4 ? -INFINITY : x;
    case NOTHING: return i % 2 ? NAN : -INFINITY;
    default: return i % 3 == 0 ? -INFINITY : i % 3 == 1 ? 0 : INFINITY;
    }
}

static void record(op_context o, const gpu_buffer *b, const void *user) {
    const struct setup *u = user;
    op_route(o, b[1], b[2], b[0], u->tokens, (struct route_dims){u->experts, u->used});
}

/* How a logit counts. */
static double counted(float x) {
    if (isnan(x)) return -1e38;
    return x > 1e38 ? 1e38 : x < -1e38 ? -1e38 : (double)x;
}

/* Experts and weights of one token: the largest that is left, the lowest of several. */
static void reference(const struct setup *u, const float *logits, uint32_t *ids, double *weights) {
    bool taken[ROUTE_MAX_EXPERTS] = {false};
    double sum = 0;
    for (uint32_t r = 0; r < u->used; r++) {
        uint32_t best = ROUTE_MAX_EXPERTS;
        for (uint32_t e = 0; e < u->experts; e++)
            if (!taken[e] && (best == ROUTE_MAX_EXPERTS ||
                              counted(logits[e]) > counted(logits[best])))
                best = e;
        taken[best] = true;
        ids[r] = best;
        weights[r] = exp(counted(logits[best]) - counted(logits[ids[0]]));
        sum += weights[r];
    }
    for (uint32_t r = 0; r < u->used; r++) weights[r] /= sum;
}

static bool check(const kernel_case *c, char *why, size_t why_bytes) {
    const struct setup *u = c->user;
    for (uint32_t t = 0; t < u->tokens; t++) {
        const float *logits = (const float *)c->buffer[0].data + (size_t)t * u->experts;
        const uint32_t *got = (const uint32_t *)c->buffer[1].data + (size_t)t * u->used;
        uint32_t ids[ROUTE_MAX_USED];
        double weights[ROUTE_MAX_USED];
        reference(u, logits, ids, weights);
        for (uint32_t r = 0; r < u->used; r++)
            if (got[r] != ids[r]) {
                snprintf(why, why_bytes, "token %u rank %u: expert %u, wanted %u", t, r, got[r],
                         ids[r]);
                return false;
            }
        double error = kernel_error((const float *)c->buffer[2].data + (size_t)t * u->used, weights,
                                    u->used);
        snprintf(why, why_bytes, "weights of token %u: error %.3g of the largest", t, error);
        if (error > KERNEL_TOLERANCE) return false;
    }
    return true;
}

static void make(uint32_t index, kernel_case *c) {
    uint64_t seed = index;
    struct setup *u = c->user = malloc(sizeof *u);
    if (!u) abort();
    *u = setups[index];
    snprintf(c->name, sizeof c->name, "route %u of %u tokens %u %s", u->used, u->experts,
             u->tokens, kind_names[u->kind]);
    c->record = record;
    c->check = check;
    c->buffer_count = 3;
    size_t count = (size_t)u->tokens * u->experts, slots = (size_t)u->tokens * u->used;
    float *logits = c->buffer[0].data = floats_poison(count);
    for (uint32_t i = 0; i < count; i++) logits[i] = logit(u->kind, i % u->experts, &seed);
    c->buffer[0].bytes = count * sizeof(float);
    for (uint32_t i = 1; i < 3; i++) {
        c->buffer[i].data = floats_poison(slots);
        c->buffer[i].bytes = slots * sizeof(float);
        c->buffer[i].read_back = true;
    }
}

const kernel_suite suite_route = {"route", sizeof setups / sizeof *setups, make};
