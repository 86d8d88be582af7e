/* test_attention.c - attention and the merge of its splits against a softmax in doubles. */
#include "gpu/dims.h"
#include "tests/kernels/kernel_test.h"
#include "tests/kernels/kv_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* spread: how far scores reach: 2 mixes many keys, 3000 leaves one and overflows a naive exp.
 * window 0: all keys; slots 0: as many as the context. sink: what sinks are near, 0: none. One of
 * 25 takes all but 1e-9 of a softmax, one below -80 nothing. slab: KV heads of a buffer, 0: all. */
static const struct shape {
    uint32_t kv_heads, group, head_dim, tokens, position, splits;
    float spread;
    uint32_t window, slots;
    float sink;
    uint32_t slab;
} shapes[] = {
    {1, 1, 32, 1, 0, 1, 2, 0, 0, 0, 0},           {2, 2, 32, 5, 7, 1, 2, 0, 0, 0, 0},
    {1, 4, 32, 33, 61, 1, 2, 0, 0, 0, 0},         {1, 8, 32, 1, 200, 3, 2, 0, 0, 0, 0},
    {1, 1, 64, 1, 0, 8, 2, 0, 0, 0, 0},           {2, 2, 64, 1, 129, 8, 2, 0, 0, 0, 0},
    {3, 3, 64, 5, 30, 3, 2, 0, 0, 0, 0},          {1, 8, 64, 33, 0, 1, 2, 0, 0, 0, 0},
    {2, 1, 64, 33, 100, 1, 3000, 0, 0, 0, 0},     {2, 4, 128, 1, 63, 1, 2, 0, 0, 0, 0},
    {2, 4, 128, 1, 64, 1, 2, 0, 0, 0, 0},         {2, 4, 128, 1, 700, 3, 2, 0, 0, 0, 0},
    {1, 8, 128, 5, 4, 8, 2, 0, 0, 0, 0},          {1, 1, 128, 33, 5, 1, 2, 0, 0, 0, 0},
    {1, 16, 128, 2, 90, 2, 2, 0, 0, 0, 0},        {2, 2, 256, 5, 65, 1, 2, 0, 0, 0, 0},
    {1, 8, 256, 1, 300, 8, 2, 0, 0, 0, 0},        {1, 1, 256, 33, 0, 3, 2, 0, 0, 0, 0},
    {1, 4, 256, 1, 2, 8, 3000, 0, 0, 0, 0},       {2, 5, 80, 3, 40, 1, 2, 0, 0, 0, 0},
    {1, 24, 80, 2, 50, 2, 2, 0, 0, 0, 0},         {1, 32, 32, 2, 100, 1, 2, 0, 0, 0, 0},
    {1, 32, 64, 1, 33, 3, 2, 0, 0, 0, 0},         {2, 7, 96, 2, 20, 1, 2, 0, 0, 0, 0},
    {1, 3, 8, 3, 70, 1, 2, 0, 0, 0, 0},           {1, 2, 248, 2, 10, 1, 2, 0, 0, 0, 0},
    {2, 4, 64, 5, 1000, 3, 20, 0, 0, 0, 0},       {1, 2, 32, 1, 100, 1, 2, 8, 8, 0, 0},
    {2, 2, 64, 33, 0, 1, 2, 8, 40, 0, 0},         {1, 4, 64, 33, 200, 1, 2, 48, 80, 0, 0},
    {2, 1, 128, 1, 1000, 8, 2, 512, 600, 0, 0},   {1, 1, 32, 5, 3, 1, 2, 1, 5, 0, 0},
    {1, 8, 256, 1, 77, 3, 2, 64, 64, 0, 0},       {2, 2, 64, 1, 5, 2, 2, 32, 64, 0, 0},
    {1, 2, 80, 70, 63, 1, 2, 33, 102, 0, 0},      {1, 2, 64, 5, 90, 1, 2, 16, 0, 0, 0},
    {2, 3, 64, 5, 0, 1, 2, 0, 0, 1, 0},           {2, 8, 64, 1, 200, 1, 2, 128, 192, 3, 0},
    {2, 8, 64, 1, 200, 3, 2, 0, 0, 3, 0},         {2, 8, 64, 1, 1, 8, 2, 0, 0, 0.5f, 0},
    {1, 4, 64, 33, 61, 1, 2, 16, 48, 25, 0},      {3, 2, 80, 1, 300, 4, 2, 0, 0, 25, 0},
    {1, 4, 32, 9, 40, 1, 2, 0, 0, -90, 0},        {2, 2, 128, 1, 90, 2, 2, 0, 0, -1e30f, 0},
    {2, 2, 64, 3, 5, 1, 2, 0, 0, -INFINITY, 0},   {1, 2, 64, 1, 90, 4, 2, 0, 0, -INFINITY, 0},
    {1, 2, 64, 3, 100, 1, 3000, 0, 0, 1000, 0},   {2, 3, 64, 5, 30, 1, 2, 0, 0, 0, 1},
    {3, 2, 64, 1, 300, 4, 2, 0, 0, 1, 2},         {3, 4, 32, 9, 200, 1, 2, 48, 64, 2, 1},
    {3, 1, 96, 1, 90, 2, 2, 64, 70, 0, 2},
};
static const float EPS = 1e-6f;          /* of norms */
enum { SHAPES = sizeof shapes / sizeof *shapes };

typedef struct attention_case {
    struct attention_dims dims;
    kv_format format;
    uint32_t position, slab;                 /* slab: KV heads of a buffer */
    bool token, norm;                        /* attention_token; that normalizes, too */
    bool lanes;                              /* by subgroups, where there are any; y as X_F32 */
    uint32_t gain;                           /* of q, then of k: elements of vectors */
    bool untiled;                            /* attention, where attention_tile would be taken */
} attention_case;

enum { STATE, VECTORS, QKV, OUT, PARTIAL, KV, MAX_SLABS = GPU_MAX_BINDINGS - KV };

static x_form form_of(const attention_case *a) { return a->lanes ? X_F32 : X_PLAIN; }

static void record(op_context o, const gpu_buffer *b, const void *user) {
    const attention_case *a = user;
    const struct attention_dims *d = &a->dims;
    const struct attention_token_dims token = {
        .heads = d->heads, .kv_heads = d->kv_heads, .head_dim = d->head_dim,
        .context = d->context, .slots = d->slots, .rope_rows = 1, .window = d->window,
        .splits = d->splits, .sinks = d->sinks,
        .flags = a->norm ? ATTENTION_NORM : 0,
        .scale = d->scale, .q_gain = a->gain, .k_gain = a->gain + d->head_dim, .eps = EPS};
    op_programs some = *o.programs;
    if (!a->lanes) {
        memset(some.of[KERNEL_ATTENTION_LANES], 0, sizeof some.of[0]);
        memset(some.of[KERNEL_ATTENTION_WHOLE], 0, sizeof some.of[0]);
    }
    if (a->untiled) some.of[op_attention_tile(d->head_dim)][a->format] = 0;
    o.programs = &some;
    if (a->token)
        op_attention_token(o, (kv_slabs){a->format, a->slab, b + KV}, form_of(a), b[OUT],
                           b[PARTIAL], b[STATE], b[VECTORS], b[VECTORS], b[QKV], token);
    else
        op_attention(o, (kv_slabs){a->format, a->slab, b + KV}, b[OUT], b[PARTIAL], b[STATE],
                     b[VECTORS], b[QKV], a->dims);
}

/* Element i of a row of qkv, normalized where attention_token does that. */
static double normed(const kernel_case *c, size_t row, uint32_t i) {
    const attention_case *a = c->user;
    uint32_t n = a->dims.head_dim;
    const float *x = (const float *)c->buffer[QKV].data + row * n;
    if (!a->norm) return x[i];
    const float *gain = (const float *)c->buffer[VECTORS].data + a->gain;
    if (row >= a->dims.heads) gain += n;
    double sum = 0;
    for (uint32_t j = 0; j < n; j++) sum += (double)x[j] * x[j];
    return x[i] / sqrt(sum / n + EPS) * gain[i];
}

/* That as attention sees it: rotated by the angles that stand first in vectors, where
 * attention_token does that. */
static double rotated(const kernel_case *c, size_t row, uint32_t i) {
    const attention_case *a = c->user;
    uint32_t n = a->dims.head_dim, half = n / 2;
    const float *rope = c->buffer[VECTORS].data;
    if (!a->token) return normed(c, row, i);
    double cosine = rope[2 * (i % half)], sine = rope[2 * (i % half) + 1];
    double other = normed(c, row, i < half ? i + half : i - half);
    return normed(c, row, i) * cosine + (i < half ? -other : other) * sine;
}

/* The buffer of the cache that has a KV head. */
static kv_test slab_of(const kernel_case *c, uint32_t kv_head) {
    const attention_case *a = c->user;
    uint32_t first = kv_head / a->slab * a->slab, left = a->dims.kv_heads - first;
    size_t rows = 2 * (size_t)(left < a->slab ? left : a->slab) * a->dims.slots;
    return (kv_test){a->format, a->dims.head_dim, rows, c->buffer[KV + kv_head / a->slab].data};
}

/* y[:] = sum_j p[j] V[j, :] of one token and head, p = softmax_j(scale q . K[j]) with the sink as
 * one more logit.  p: [keys] */
static void reference(const kernel_case *c, uint32_t t, uint32_t head, double *p, double *y) {
    const attention_case *a = c->user;
    const struct attention_dims *d = &a->dims;
    uint32_t keys = a->position + t + 1, kv_head = head / (d->heads / d->kv_heads);
    uint32_t oldest = keys > d->window ? keys - d->window : 0;
    size_t row = (size_t)t * (d->heads + 2 * d->kv_heads) + head;
    double q[ATTENTION_MAX_HEAD_DIM];
    for (uint32_t i = 0; i < d->head_dim; i++) q[i] = rotated(c, row, i);
    const kv_test kv = slab_of(c, kv_head);
    size_t k = 2 * (size_t)(kv_head % a->slab) * d->slots, v = k + d->slots;
    const float *sinks = c->buffer[VECTORS].data;
    double sink = d->sinks == OP_NO_BIAS ? -INFINITY : sinks[d->sinks + head], top = sink, sum;
    for (uint32_t j = oldest; j < keys; j++) {
        p[j] = 0;
        for (uint32_t i = 0; i < d->head_dim; i++)
            p[j] += q[i] * kv_test_get(&kv, k + j % d->slots, i) * d->scale;
        top = fmax(top, p[j]);
    }
    sum = exp(sink - top);
    for (uint32_t j = oldest; j < keys; j++) sum += p[j] = exp(p[j] - top);
    for (uint32_t i = 0; i < d->head_dim; i++) y[i] = 0;
    for (uint32_t j = oldest; j < keys; j++)
        for (uint32_t i = 0; i < d->head_dim; i++)
            y[i] += p[j] / sum * kv_test_get(&kv, v + j % d->slots, i);
}

/* The new key and value are in the cache, as f16. */
static bool check_cache(const kernel_case *c, char *why, size_t why_bytes) {
    const attention_case *a = c->user;
    const struct attention_dims *d = &a->dims;
    for (uint32_t h = 0; h < d->kv_heads; h++) {
        const kv_test kv = slab_of(c, h);
        size_t k = 2 * (size_t)(h % a->slab) * d->slots + a->position % d->slots;
        for (uint32_t i = 0; i < d->head_dim; i++) {
            double key = rotated(c, d->heads + h, i) - kv_test_get(&kv, k, i);
            size_t value_at = (size_t)(d->heads + d->kv_heads + h) * d->head_dim + i;
            double value = (double)((const float *)c->buffer[QKV].data)[value_at] -
                           kv_test_get(&kv, k + d->slots, i);
            if (fabs(key) <= 1e-3 && fabs(value) <= 5e-4) continue;
            snprintf(why, why_bytes, "kv head %u, element %u: K %g off, V %g", h, i, key, value);
            return false;
        }
    }
    return true;
}

/* X_F32, as gpu/dims.h has it, to floats in their order. */
static void from_form(float *y, size_t count) {
    float *plain = malloc(count * sizeof *plain);
    for (size_t i = 0; i < count; i++) {
        size_t run = i / 32, at = run / 8 * 256 + i % 32 / 4 * 32 + run % 8 * 4 + i % 4;
        plain[i] = y[at];
    }
    memcpy(y, plain, count * sizeof *plain);
    free(plain);
}

static bool check(const kernel_case *c, char *why, size_t why_bytes) {
    const attention_case *a = c->user;
    const struct attention_dims *d = &a->dims;
    if (a->token && !check_cache(c, why, why_bytes)) return false;
    size_t count = (size_t)d->tokens * d->heads * d->head_dim;
    double *want = malloc(count * sizeof *want), *p = malloc(d->context * sizeof *p);
    for (uint32_t t = 0; t < d->tokens; t++)
        for (uint32_t h = 0; h < d->heads; h++)
            reference(c, t, h, p, want + ((size_t)t * d->heads + h) * d->head_dim);
    if (a->lanes) from_form(c->buffer[OUT].data, count);
    double error = kernel_error(c->buffer[OUT].data, want, count);
    /* With scores of thousands, f32 itself is good for 3e-4 of them in the exponent. */
    double bound = d->scale > 1 ? 1e-3 : KERNEL_TOLERANCE;
    snprintf(why, why_bytes, "error %.3g, not within %.3g", error, bound);
    free(want);
    free(p);
    return error <= bound;
}

/* Where a token of the step looks: values. Elsewhere the cache is NaN: nothing there may be read
 * into a sum. */
static void fill_cache(const kernel_case *c, uint64_t *seed) {
    const attention_case *a = c->user;
    const struct attention_dims *d = &a->dims;
    uint32_t length = a->position + d->tokens;
    uint32_t oldest = a->position + 1 > d->window ? a->position + 1 - d->window : 0;
    bool *seen = calloc(d->slots, sizeof *seen);
    for (uint32_t j = oldest; j < length; j++) seen[j % d->slots] = true;
    if (a->token) seen[a->position % d->slots] = false;
    for (uint32_t h = 0; h < d->kv_heads; h += a->slab) {
        const kv_test kv = slab_of(c, h);
        for (size_t row = 0; row < kv.rows; row++)
            for (uint32_t i = 0; i < d->head_dim; i++) {
                if (seen[row % d->slots]) kv_test_set(&kv, row, i, kernel_random(seed));
                else kv_test_set_nan(&kv, row, i);
            }
    }
    free(seen);
}

static void add_buffer(kernel_case *c, size_t bytes) {
    c->buffer[c->buffer_count].bytes = bytes;
    c->buffer[c->buffer_count++].data = calloc(1, bytes);
}

/* Shapes of attention_token, without and with norms. */
static const struct shape tokens[] = {
    {1, 1, 32, 1, 0, 2, 2, 0, 0, 0, 0},           {2, 4, 128, 1, 63, 2, 2, 0, 0, 0, 0},
    {2, 4, 128, 1, 700, 3, 2, 0, 0, 0, 0},        {1, 8, 64, 1, 500, 8, 2, 0, 0, 1, 0},
    {2, 6, 32, 1, 200, 4, 2, 0, 0, 0, 0},         {1, 2, 256, 1, 300, 8, 2, 0, 0, 0, 0},
    {2, 2, 64, 1, 1000, 4, 2, 128, 200, 2, 0},    {3, 3, 64, 1, 90, 2, 2, 64, 70, 0, 2},
    {1, 4, 16, 1, 40, 2, 2, 8, 8, 0, 0},          {2, 1, 128, 1, 1500, 4, 3000, 0, 0, 0, 0},
};
/* Of these, those that its variants run, too, every other with norms. */
static const uint32_t by_lanes[] = {1, 2, 3, 5, 6, 7};
enum {
    TOKENS = 2 * (sizeof tokens / sizeof *tokens), LANES = sizeof by_lanes / sizeof *by_lanes
};

/* Every shape in each format, by tiles where it has several tokens; by attention in f16. */
enum { FORMATS = KV_COUNT + 1 };

static void make(uint32_t index, kernel_case *c) {
    bool token = index >= SHAPES * FORMATS;
    uint32_t nth = index - SHAPES * FORMATS;
    bool lanes = token && nth >= TOKENS;
    const struct shape *s = lanes ? &tokens[by_lanes[nth - TOKENS]]
                          : token ? &tokens[nth / 2] : &shapes[index / FORMATS];
    bool untiled = !token && index % FORMATS == KV_COUNT;
    kv_format format = token || untiled ? KV_F16 : (kv_format)(index % FORMATS);
    uint32_t head_dim = kv_test_head_dim(format, s->head_dim);
    uint64_t seed = 1000 + index;
    uint32_t heads = s->kv_heads * s->group, rows = heads + 2 * s->kv_heads;
    uint32_t context = s->position + s->tokens + 5;
    attention_case *a = malloc(sizeof *a);
    /* q . k of uniform values has a deviation of sqrt(head_dim) / 3. */
    *a = (attention_case){
        .dims = {.heads = heads, .kv_heads = s->kv_heads, .head_dim = head_dim,
                 .tokens = s->tokens, .context = context, .slots = s->slots ? s->slots : context,
                 .window = s->window ? s->window : context, .splits = s->splits,
                 .sinks = s->sink != 0 ? 3 : OP_NO_BIAS,
                 .scale = s->spread / sqrtf((float)head_dim)},
        .format = format, .position = s->position, .slab = s->slab ? s->slab : s->kv_heads,
        .token = token, .norm = token && nth % 2, .lanes = lanes, .untiled = untiled};
    uint32_t first_sink = token ? head_dim + 3 : 3;
    a->gain = first_sink + heads;
    if (s->sink != 0) a->dims.sinks = first_sink;
    c->user = a;
    c->record = record;
    c->check = check;
    add_buffer(c, sizeof(step_state));
    add_buffer(c, (a->gain + (token ? 2 * head_dim : 0)) * 4);
    add_buffer(c, (size_t)s->tokens * rows * head_dim * 4);
    add_buffer(c, (size_t)s->tokens * x_form_bytes(form_of(a), heads * head_dim));
    add_buffer(c, (size_t)s->tokens * s->splits * heads * (head_dim + 4) * 4);
    for (uint32_t h = 0; h < s->kv_heads; h += a->slab) {
        const kv_test kv = slab_of(c, h);
        c->buffer[c->buffer_count].read_back = a->token;
        add_buffer(c, kv_test_bytes(&kv));
    }
    c->buffer[OUT].read_back = true;
    ((step_state *)c->buffer[STATE].data)->position = s->position;
    float *vectors = c->buffer[VECTORS].data, *qkv = c->buffer[QKV].data;
    for (size_t i = 0; i < c->buffer[VECTORS].bytes / 4; i++)
        vectors[i] = (i < a->gain ? s->sink : 0) + kernel_random(&seed);
    for (uint32_t i = 0; token && i < head_dim / 2; i++) {
        vectors[2 * i] = cosf((float)i + 1);
        vectors[2 * i + 1] = sinf((float)i + 1);
    }
    for (size_t i = 0; i < c->buffer[QKV].bytes / 4; i++) qkv[i] = kernel_random(&seed);
    fill_cache(c, &seed);
    memset(c->buffer[OUT].data, 0xFF, c->buffer[OUT].bytes);
    memset(c->buffer[PARTIAL].data, 0xFF, c->buffer[PARTIAL].bytes);
    snprintf(c->name, sizeof c->name,
             "attention%s%s %s %ux%u heads of %u, %u tokens at %u, %u splits, "
             "%u of %u%s, sinks %g, by %u",
             lanes ? "_token by lanes" : token ? "_token" : untiled ? " untiled" : "",
             a->norm ? " normed" : "",
             kv_names[format], s->kv_heads, s->group, head_dim,
             s->tokens, s->position, s->splits, a->dims.window, a->dims.slots,
             s->spread > 100 ? ", spread" : "", s->sink, a->slab);
}

const kernel_suite suite_attention = {"attention", SHAPES * FORMATS + TOKENS + LANES, make};
