/* test_rope_kv.c - norms of q and k, rotation, the cache's two formats, rings, and what must not be
 * touched. */
#include "gpu/dims.h"
#include "tests/kernels/kernel_test.h"
#include "tests/kernels/kv_test.h"

#include <stdio.h>
#include <stdlib.h>

static const struct shape {
    uint32_t heads, kv_heads, head_dim, tokens, position, context;
    uint32_t slots;                          /* of the cache; 0: the context */
    bool norm;
} shapes[] = {
    {1, 1, 32, 1, 0, 8, 0, false},           {4, 4, 64, 5, 3, 16, 0, false},
    {8, 1, 128, 33, 7, 64, 0, false},        {4, 2, 256, 5, 1000, 1008, 0, false},
    {6, 2, 80, 3, 17, 20, 0, false},         {3, 1, 8, 2, 1, 4, 0, false},
    {2, 1, 32, 1, 131071, 131072, 0, false},
    /* two tokens past the context: nothing may be written for them */
    {2, 2, 64, 4, 6, 8, 0, false},
    {2, 1, 32, 5, 3, 64, 6, false},          {3, 3, 80, 7, 48, 64, 7, false},
    {4, 2, 64, 1, 1000, 1024, 33, false},    {4, 2, 32, 3, 9, 16, 0, true},
    {4, 1, 256, 5, 0, 8, 0, true},           {3, 2, 80, 2, 30, 64, 5, true},
    {5, 1, 8, 3, 6, 8, 0, true},             {1, 1, 248, 2, 7, 9, 2, true},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

typedef struct rope_case {
    struct rope_kv_dims dims;
    kv_format format;
    uint32_t position;
    float qkv[];                             /* as it was given */
} rope_case;

/* V is not rotated, so that what is stored of these is known bit by bit: ties, carries,
 * subnormals and their edges, zeros, saturation. */
static const float edges[] = {
    0.0f, -0.0f, 1.0f, -1.0f, 2049.0f, 2051.0f, 1.00048828125f, -1.00146484375f, 4095.0f, 65504.0f,
    65519.0f, 65520.0f, -70000.0f, 3e38f, -3e38f, 0x1p-14f, 0x1.ffcp-15f, 0x1.ffep-15f, 0x1p-24f,
    0x1p-25f, 0x1.000002p-25f, -0x1.8p-24f, 0x1.4p-23f, 0x1.cp-23f, 0x1p-26f, 1e-30f, -0x1.23456p-17f,
    0x1.ffffp-20f, 0.333333343f, 1e-5f, 6.1e-5f, -1e4f,
};

static void record(op_context o, const gpu_buffer *b, const void *user) {
    const rope_case *r = user;
    op_rope_kv(o, r->format, b[0], b[1], b[2], b[3], b[4], r->dims);
}

/* 1 / sqrt(mean(row^2) + eps), or 1 without norms. */
static double norm_scale(const rope_case *r, const float *row) {
    if (!(r->dims.flags & ROPE_KV_NORM)) return 1;
    double sum = 0;
    for (uint32_t i = 0; i < r->dims.head_dim; i++) sum += (double)row[i] * row[i];
    return 1 / sqrt(sum / r->dims.head_dim + r->dims.eps);
}

/* The value that element e of a row of qkv must have after its norm (scale and gain) and the
 * rotation at `position`. */
static double rotated(const rope_case *r, const float *rope, const float *row, double scale,
                      const float *gain, uint32_t e, uint32_t position) {
    uint32_t half = r->dims.head_dim / 2, i = e % half;
    const float *pair = rope + ((size_t)position * half + i) * 2;
    bool norm = r->dims.flags & ROPE_KV_NORM;
    double a = row[i] * scale * (norm ? gain[i] : 1), c = pair[0], s = pair[1];
    double b = row[half + i] * scale * (norm ? gain[half + i] : 1);
    return e < half ? a * c - b * s : b * c + a * s;
}

static bool near(double got, double want) { return fabs(got - want) <= 1e-6 * (1 + fabs(want)); }

/* Whether a stored element is what `want` (known to about 1e-6) may round to. */
static bool stored(kv_format format, double got, double want) {
    if (format == KV_F32) return near(got, want);
    double low = want - 1e-6 * (1 + fabs(want)), high = want + 1e-6 * (1 + fabs(want));
    return got >= kv_test_half(kv_test_to_half(low)) && got <= kv_test_half(kv_test_to_half(high));
}

/* One row (head) of one token. */
static bool check_row(const kernel_case *c, uint32_t t, uint32_t row, char *why, size_t why_bytes) {
    const rope_case *r = c->user;
    const struct rope_kv_dims *d = &r->dims;
    uint32_t position = r->position + t, rows = d->heads + 2 * d->kv_heads;
    size_t first = ((size_t)t * rows + row) * d->head_dim;
    const float *given = r->qkv + first, *left = (const float *)c->buffer[3].data + first;
    const float *gain = (const float *)c->buffer[2].data + (row < d->heads ? d->q_gain : d->k_gain);
    double scale = norm_scale(r, given);
    bool inside = position < d->context;
    for (uint32_t e = 0; e < d->head_dim; e++) {
        double want = inside && row < d->heads + d->kv_heads
                    ? rotated(r, c->buffer[1].data, given, scale, gain, e, position)
                    : given[e];
        double q = row < d->heads ? want : given[e];
        if (!near(left[e], q)) {
            snprintf(why, why_bytes, "token %u row %u element %u: qkv %.9g, not %.9g", t, row, e,
                     left[e], q);
            return false;
        }
        if (row < d->heads || !inside) continue;
        size_t slot = (size_t)(row - d->heads) * d->slots + position % d->slots;
        double got = kv_test_get(r->format, c->buffer[4].data, slot * d->head_dim + e);
        bool exact = row >= d->heads + d->kv_heads;
        if (exact && r->format == KV_F16) want = kv_test_half(kv_test_to_half(want));
        if (exact ? got != want : !stored(r->format, got, want)) {
            snprintf(why, why_bytes, "token %u row %u element %u: cache %.9g, not %.9g", t, row, e,
                     got, want);
            return false;
        }
    }
    return true;
}

/* Everything but the slots of the step's positions holds what make put there: bytes of 0x55. */
static bool check_untouched(const kernel_case *c, char *why, size_t why_bytes) {
    const rope_case *r = c->user;
    const struct rope_kv_dims *d = &r->dims;
    size_t row_bytes = d->head_dim * kv_test_bytes(r->format);
    for (size_t i = 0; i < c->buffer[4].bytes; i++) {
        uint32_t slot = (uint32_t)(i / row_bytes % d->slots);
        bool written = false;
        for (uint32_t p = r->position; p < r->position + d->tokens && p < d->context; p++)
            written |= p % d->slots == slot;
        if (written || ((const uint8_t *)c->buffer[4].data)[i] == 0x55) continue;
        snprintf(why, why_bytes, "slot %u of the cache was touched", slot);
        return false;
    }
    return true;
}

static bool check(const kernel_case *c, char *why, size_t why_bytes) {
    const rope_case *r = c->user;
    for (uint32_t t = 0; t < r->dims.tokens; t++)
        for (uint32_t row = 0; row < r->dims.heads + 2 * r->dims.kv_heads; row++)
            if (!check_row(c, t, row, why, why_bytes)) return false;
    return check_untouched(c, why, why_bytes);
}

static void make(uint32_t index, kernel_case *c) {
    const struct shape *s = &shapes[index / KV_COUNT];
    kv_format format = (kv_format)(index % KV_COUNT);
    uint64_t seed = index;
    uint32_t rows = s->heads + 2 * s->kv_heads;
    size_t values = (size_t)s->tokens * rows * s->head_dim;
    rope_case *r = malloc(sizeof *r + values * sizeof *r->qkv);
    uint32_t slots = s->slots ? s->slots : s->context;
    *r = (rope_case){.dims = {s->heads, s->kv_heads, s->head_dim, s->tokens, s->context, slots,
                              3, 3 + s->head_dim, s->norm ? ROPE_KV_NORM : 0, 1e-2f},
                     .format = format, .position = s->position};
    for (size_t i = 0; i < values; i++) {
        bool is_v = i / s->head_dim % rows >= s->heads + s->kv_heads;
        r->qkv[i] = 8 * kernel_random(&seed);
        if (is_v && i % 3 != 2) r->qkv[i] = edges[i % (sizeof edges / sizeof *edges)];
    }
    const size_t bytes[] = {sizeof(step_state), (size_t)s->context * s->head_dim * 4,
                            (3 + 2 * (size_t)s->head_dim) * 4, values * 4,
                            2 * (size_t)s->kv_heads * slots * s->head_dim * kv_test_bytes(format)};
    c->buffer_count = 5;
    for (int i = 0; i < 5; i++) {
        c->buffer[i].bytes = bytes[i];
        c->buffer[i].data = calloc(1, bytes[i]);
        c->buffer[i].read_back = i != 0;
    }
    ((step_state *)c->buffer[0].data)->position = s->position;
    float *rope = c->buffer[1].data, *gains = c->buffer[2].data;
    uint32_t half = s->head_dim / 2;
    for (uint32_t p = s->position; p < s->context; p++)
        for (uint32_t i = 0; i < half; i++) {
            double angle = p * pow(10000, -2.0 * i / s->head_dim);
            rope[((size_t)p * half + i) * 2] = (float)cos(angle);
            rope[((size_t)p * half + i) * 2 + 1] = (float)sin(angle);
        }
    for (size_t i = 0; i < bytes[2] / 4; i++) gains[i] = 1 + kernel_random(&seed);
    memcpy(c->buffer[3].data, r->qkv, bytes[3]);
    memset(c->buffer[4].data, 0x55, bytes[4]);
    c->record = record;
    c->check = check;
    c->user = r;
    snprintf(c->name, sizeof c->name, "rope_kv %s heads %u/%u x %u, %u tokens at %u of %u in %u%s",
             kv_names[format], s->heads, s->kv_heads, s->head_dim, s->tokens, s->position,
             s->context, slots, s->norm ? ", norms" : "");
}

const kernel_suite suite_rope_kv = {"rope_kv", SHAPES * KV_COUNT, make};
