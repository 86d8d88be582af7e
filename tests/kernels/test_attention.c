/* test_attention.c - attention and the merge of its splits against a softmax in doubles. */
#include "gpu/dims.h"
#include "tests/kernels/kernel_test.h"
#include "tests/kernels/kv_test.h"

#include <stdio.h>
#include <stdlib.h>

/* spread: how far scores reach: 2 mixes many keys, 3000 leaves one and overflows a naive exp.
 * window 0: all keys; slots 0: as many as the context. sink: what sinks are near, 0: none. One of
 * 25 takes all but 1e-9 of a softmax, one below -80 nothing. */
static const struct shape {
    uint32_t kv_heads, group, head_dim, tokens, position, splits;
    float spread;
    uint32_t window, slots;
    float sink;
} shapes[] = {
    {1, 1, 32, 1, 0, 1, 2, 0, 0, 0},         {2, 2, 32, 5, 7, 1, 2, 0, 0, 0},
    {1, 4, 32, 33, 61, 1, 2, 0, 0, 0},       {1, 8, 32, 1, 200, 3, 2, 0, 0, 0},
    {1, 1, 64, 1, 0, 8, 2, 0, 0, 0},         {2, 2, 64, 1, 129, 8, 2, 0, 0, 0},
    {3, 3, 64, 5, 30, 3, 2, 0, 0, 0},        {1, 8, 64, 33, 0, 1, 2, 0, 0, 0},
    {2, 1, 64, 33, 100, 1, 3000, 0, 0, 0},   {2, 4, 128, 1, 63, 1, 2, 0, 0, 0},
    {2, 4, 128, 1, 64, 1, 2, 0, 0, 0},       {2, 4, 128, 1, 700, 3, 2, 0, 0, 0},
    {1, 8, 128, 5, 4, 8, 2, 0, 0, 0},        {1, 1, 128, 33, 5, 1, 2, 0, 0, 0},
    {1, 16, 128, 2, 90, 2, 2, 0, 0, 0},      {2, 2, 256, 5, 65, 1, 2, 0, 0, 0},
    {1, 8, 256, 1, 300, 8, 2, 0, 0, 0},      {1, 1, 256, 33, 0, 3, 2, 0, 0, 0},
    {1, 4, 256, 1, 2, 8, 3000, 0, 0, 0},     {2, 5, 80, 3, 40, 1, 2, 0, 0, 0},
    {1, 24, 80, 2, 50, 2, 2, 0, 0, 0},       {1, 32, 32, 2, 100, 1, 2, 0, 0, 0},
    {1, 32, 64, 1, 33, 3, 2, 0, 0, 0},       {2, 7, 96, 2, 20, 1, 2, 0, 0, 0},
    {1, 3, 8, 3, 70, 1, 2, 0, 0, 0},         {1, 2, 248, 2, 10, 1, 2, 0, 0, 0},
    {2, 4, 64, 5, 1000, 3, 20, 0, 0, 0},     {1, 2, 32, 1, 100, 1, 2, 8, 8, 0},
    {2, 2, 64, 33, 0, 1, 2, 8, 40, 0},       {1, 4, 64, 33, 200, 1, 2, 48, 80, 0},
    {2, 1, 128, 1, 1000, 8, 2, 512, 600, 0}, {1, 1, 32, 5, 3, 1, 2, 1, 5, 0},
    {1, 8, 256, 1, 77, 3, 2, 64, 64, 0},     {2, 2, 64, 1, 5, 2, 2, 32, 64, 0},
    {1, 2, 80, 70, 63, 1, 2, 33, 102, 0},    {1, 2, 64, 5, 90, 1, 2, 16, 0, 0},
    {2, 3, 64, 5, 0, 1, 2, 0, 0, 1},         {2, 8, 64, 1, 200, 1, 2, 128, 192, 3},
    {2, 8, 64, 1, 200, 3, 2, 0, 0, 3},       {2, 8, 64, 1, 1, 8, 2, 0, 0, 0.5f},
    {1, 4, 64, 33, 61, 1, 2, 16, 48, 25},    {3, 2, 80, 1, 300, 4, 2, 0, 0, 25},
    {1, 4, 32, 9, 40, 1, 2, 0, 0, -90},      {2, 2, 128, 1, 90, 2, 2, 0, 0, -1e30f},
    {2, 2, 64, 3, 5, 1, 2, 0, 0, -INFINITY}, {1, 2, 64, 1, 90, 4, 2, 0, 0, -INFINITY},
    {1, 2, 64, 3, 100, 1, 3000, 0, 0, 1000},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

typedef struct attention_case {
    struct attention_dims dims;
    kv_format format;
    uint32_t position;
} attention_case;

static void record(op_context o, const gpu_buffer *b, const void *user) {
    const attention_case *a = user;
    op_attention(o, a->format, b[4], b[5], b[0], b[1], b[2], b[3], a->dims);
}

/* y[:] = sum_j p[j] V[j, :] of one token and head, p = softmax_j(scale q . K[j]) with the sink as
 * one more logit.  p: [keys] */
static void reference(const kernel_case *c, uint32_t t, uint32_t head, double *p, double *y) {
    const attention_case *a = c->user;
    const struct attention_dims *d = &a->dims;
    uint32_t keys = a->position + t + 1, kv_head = head / (d->heads / d->kv_heads);
    uint32_t oldest = keys > d->window ? keys - d->window : 0;
    size_t row = (size_t)t * (d->heads + 2 * d->kv_heads) + head;
    const float *q = (const float *)c->buffer[2].data + row * d->head_dim;
    const void *kv = c->buffer[3].data;
    const float *sinks = c->buffer[1].data;
    double sink = d->sinks == OP_NO_BIAS ? -INFINITY : sinks[d->sinks + head], top = sink, sum;
    for (uint32_t j = oldest; j < keys; j++) {
        size_t k = ((size_t)kv_head * d->slots + j % d->slots) * d->head_dim;
        p[j] = 0;
        for (uint32_t i = 0; i < d->head_dim; i++)
            p[j] += q[i] * kv_test_get(a->format, kv, k + i) * d->scale;
        top = fmax(top, p[j]);
    }
    sum = exp(sink - top);
    for (uint32_t j = oldest; j < keys; j++) sum += p[j] = exp(p[j] - top);
    for (uint32_t i = 0; i < d->head_dim; i++) y[i] = 0;
    for (uint32_t j = oldest; j < keys; j++) {
        size_t v = ((size_t)(d->kv_heads + kv_head) * d->slots + j % d->slots) * d->head_dim;
        for (uint32_t i = 0; i < d->head_dim; i++)
            y[i] += p[j] / sum * kv_test_get(a->format, kv, v + i);
    }
}

static bool check(const kernel_case *c, char *why, size_t why_bytes) {
    const attention_case *a = c->user;
    const struct attention_dims *d = &a->dims;
    size_t count = (size_t)d->tokens * d->heads * d->head_dim;
    double *want = malloc(count * sizeof *want), *p = malloc(d->context * sizeof *p);
    for (uint32_t t = 0; t < d->tokens; t++)
        for (uint32_t h = 0; h < d->heads; h++)
            reference(c, t, h, p, want + ((size_t)t * d->heads + h) * d->head_dim);
    double error = kernel_error(c->buffer[4].data, want, count);
    /* With scores of thousands, f32 itself is good for 3e-4 of them in the exponent. */
    double bound = d->scale > 1 ? 1e-3 : KERNEL_TOLERANCE;
    snprintf(why, why_bytes, "error %.3g, not within %.3g", error, bound);
    free(want);
    free(p);
    return error <= bound;
}

static void make(uint32_t index, kernel_case *c) {
    const struct shape *s = &shapes[index / KV_COUNT];
    kv_format format = (kv_format)(index % KV_COUNT);
    uint64_t seed = 1000 + index;
    uint32_t heads = s->kv_heads * s->group, rows = heads + 2 * s->kv_heads;
    uint32_t length = s->position + s->tokens, context = length + 5;
    uint32_t slots = s->slots ? s->slots : context, window = s->window ? s->window : context;
    attention_case *a = malloc(sizeof *a);
    /* q . k of uniform values has a deviation of sqrt(head_dim) / 3. */
    *a = (attention_case){.dims = {heads, s->kv_heads, s->head_dim, s->tokens, context, slots,
                                   window, s->splits, s->sink != 0 ? 3 : OP_NO_BIAS,
                                   s->spread / sqrtf((float)s->head_dim)},
                          .format = format, .position = s->position};
    size_t elements = 2 * (size_t)s->kv_heads * slots * s->head_dim;
    const size_t bytes[] = {
        sizeof(step_state), (3 + heads) * 4, (size_t)s->tokens * rows * s->head_dim * 4,
        elements * kv_test_bytes(format), (size_t)s->tokens * heads * s->head_dim * 4,
        (size_t)s->tokens * s->splits * heads * (s->head_dim + 2) * 4};
    c->buffer_count = 6;
    for (int i = 0; i < 6; i++) {
        c->buffer[i].bytes = bytes[i];
        c->buffer[i].data = calloc(1, bytes[i]);
        c->buffer[i].read_back = i == 4;
    }
    ((step_state *)c->buffer[0].data)->position = s->position;
    float *vectors = c->buffer[1].data, *qkv = c->buffer[2].data;
    for (size_t i = 0; i < bytes[1] / 4; i++) vectors[i] = s->sink + kernel_random(&seed);
    for (size_t i = 0; i < bytes[2] / 4; i++) qkv[i] = kernel_random(&seed);
    /* Where no token looks the cache is NaN: nothing there may be read into a sum. */
    uint32_t oldest = s->position + 1 > window ? s->position + 1 - window : 0;
    bool *seen = calloc(slots, sizeof *seen);
    for (uint32_t j = oldest; j < length; j++) seen[j % slots] = true;
    for (size_t i = 0; i < elements; i++) {
        void *kv = c->buffer[3].data;
        if (seen[i / s->head_dim % slots]) kv_test_set(format, kv, i, kernel_random(&seed));
        else if (format == KV_F16) ((uint16_t *)kv)[i] = 0x7E00;
        else ((float *)kv)[i] = NAN;
    }
    free(seen);
    memset(c->buffer[4].data, 0xFF, bytes[4]);
    memset(c->buffer[5].data, 0xFF, bytes[5]);
    c->record = record;
    c->check = check;
    c->user = a;
    snprintf(c->name, sizeof c->name, "attention %s %ux%u heads of %u, %u tokens at %u, %u splits, "
             "%u of %u%s, sinks %g", kv_names[format], s->kv_heads, s->group, s->head_dim,
             s->tokens, s->position, s->splits, window, slots, s->spread > 100 ? ", spread" : "",
             s->sink);
}

const kernel_suite suite_attention = {"attention", SHAPES * KV_COUNT, make};
