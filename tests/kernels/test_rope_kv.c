/* test_rope_kv.c - norms of q and k, rotation, the cache's formats, rings, slabs of KV heads, and
 * what must not be touched. */
#include "gpu/dims.h"
#include "tests/kernels/kernel_test.h"
#include "tests/kernels/kv_test.h"

#include <stdio.h>
#include <stdlib.h>

static const struct shape {
    uint32_t heads, kv_heads, head_dim, tokens, position, context;
    uint32_t slots;                          /* of the cache; 0: the context */
    bool norm;
    uint32_t slab, rope_rows;                /* KV heads of a buffer; 0: all, the context */
} shapes[] = {
    {1, 1, 32, 1, 0, 8, 0, false, 0, 0},            {4, 4, 64, 5, 3, 16, 0, false, 0, 0},
    {8, 1, 128, 33, 7, 64, 0, false, 0, 0},         {4, 2, 256, 5, 1000, 1008, 0, false, 0, 0},
    {6, 2, 80, 3, 17, 20, 0, false, 0, 0},          {3, 1, 8, 2, 1, 4, 0, false, 0, 0},
    {2, 1, 32, 1, 131071, 131072, 0, false, 0, 0},
    /* two tokens past the context: nothing may be written for them */
    {2, 2, 64, 4, 6, 8, 0, false, 0, 0},
    {2, 1, 32, 5, 3, 64, 6, false, 0, 0},           {3, 3, 80, 7, 48, 64, 7, false, 0, 0},
    {4, 2, 64, 1, 1000, 1024, 33, false, 0, 0},     {4, 2, 32, 3, 9, 16, 0, true, 0, 0},
    {4, 1, 256, 5, 0, 8, 0, true, 0, 0},            {4, 2, 80, 2, 30, 64, 5, true, 0, 0},
    {5, 1, 8, 3, 6, 8, 0, true, 0, 0},              {1, 1, 248, 2, 7, 9, 2, true, 0, 0},
    {6, 3, 64, 5, 3, 16, 0, false, 1, 0},           {6, 3, 32, 5, 98, 512, 40, true, 2, 70},
    {8, 8, 96, 3, 19, 64, 9, false, 3, 20},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

typedef struct rope_case {
    struct rope_kv_dims dims;
    kv_format format;
    uint32_t position, slab;                 /* slab: KV heads of a buffer */
    float qkv[];                             /* as it was given */
} rope_case;

enum { STATE, ROPE, VECTORS, QKV, KV, MAX_SLABS = GPU_MAX_BINDINGS - KV };

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
    op_rope_kv(o, (kv_slabs){r->format, r->slab, b + KV}, b[STATE], b[ROPE], b[VECTORS], b[QKV],
               r->dims);
}

/* The buffer of the cache that has a KV head. */
static kv_test slab_of(const kernel_case *c, uint32_t kv_head) {
    const rope_case *r = c->user;
    uint32_t first = kv_head / r->slab * r->slab, left = r->dims.kv_heads - first;
    size_t rows = 2 * (size_t)(left < r->slab ? left : r->slab) * r->dims.slots;
    return (kv_test){r->format, r->dims.head_dim, rows, c->buffer[KV + kv_head / r->slab].data};
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
    const float *pair = rope + ((size_t)(position % r->dims.rope_rows) * half + i) * 2;
    bool norm = r->dims.flags & ROPE_KV_NORM;
    double a = row[i] * scale * (norm ? gain[i] : 1), c = pair[0], s = pair[1];
    double b = row[half + i] * scale * (norm ? gain[half + i] : 1);
    return e < half ? a * c - b * s : b * c + a * s;
}

static bool near(double got, double want) { return fabs(got - want) <= 1e-6 * (1 + fabs(want)); }

/* Whether a stored element is what `want` (known to about 1e-6) may round to; q8_0: the largest of
 * its run is. A scale that is a subnormal half is known to half a unit of 2^-24. */
static bool stored(kv_format format, double got, double want, double largest) {
    if (format == KV_F32) return near(got, want);
    if (format == KV_Q8_0) {
        double most = fmin(largest, 127 * 65504.0), scale = most / 127;
        double clamped = fmax(fmin(want, most), -most);
        double off = scale / 2 + 127 * fmax(scale * 0x1p-11, 0x1p-25);
        return fabs(got - clamped) <= off * 1.001 + 1e-6 * fabs(clamped);
    }
    double low = want - 1e-6 * (1 + fabs(want)), high = want + 1e-6 * (1 + fabs(want));
    return got >= kv_test_half(kv_test_to_half(low)) && got <= kv_test_half(kv_test_to_half(high));
}

/* A head of k or v of one token: what the cache has of `want` [head_dim]. */
static bool check_cache(const kernel_case *c, uint32_t head, uint32_t slot, const double *want,
                        char *why, size_t why_bytes) {
    const rope_case *r = c->user;
    const struct rope_kv_dims *d = &r->dims;
    uint32_t kv_head = head % d->kv_heads;
    bool is_value = head >= d->kv_heads;
    const kv_test kv = slab_of(c, kv_head);
    size_t row = (2 * (size_t)(kv_head % r->slab) + is_value) * d->slots + slot;
    double largest = 0;
    for (uint32_t e = 0; e < d->head_dim; e++) {
        if (e % KV_TEST_RUN == 0) largest = 0;
        for (uint32_t i = e; e % KV_TEST_RUN == 0 && i < e + KV_TEST_RUN && i < d->head_dim; i++)
            largest = fmax(largest, fabs(want[i]));
        double got = kv_test_get(&kv, row, e), wanted = want[e];
        if (r->format == KV_F16 && is_value) wanted = kv_test_half(kv_test_to_half(wanted));
        bool ok = is_value && r->format != KV_Q8_0 ? got == wanted
                                                   : stored(r->format, got, wanted, largest);
        if (ok) continue;
        snprintf(why, why_bytes, "head %u element %u: cache %.9g, not %.9g", head, e, got, wanted);
        return false;
    }
    return true;
}

/* One row (head) of one token. */
static bool check_row(const kernel_case *c, uint32_t t, uint32_t row, char *why, size_t why_bytes) {
    const rope_case *r = c->user;
    const struct rope_kv_dims *d = &r->dims;
    uint32_t position = r->position + t, rows = d->heads + 2 * d->kv_heads;
    size_t first = ((size_t)t * rows + row) * d->head_dim;
    const float *given = r->qkv + first, *left = (const float *)c->buffer[QKV].data + first;
    const float *gains = c->buffer[VECTORS].data;
    const float *gain = gains + (row < d->heads ? d->q_gain : d->k_gain);
    double scale = norm_scale(r, given), want[ATTENTION_MAX_HEAD_DIM];
    bool inside = position < d->context;
    for (uint32_t e = 0; e < d->head_dim; e++) {
        want[e] = inside && row < d->heads + d->kv_heads
                ? rotated(r, c->buffer[ROPE].data, given, scale, gain, e, position)
                : given[e];
        double q = row < d->heads ? want[e] : given[e];
        if (near(left[e], q)) continue;
        snprintf(why, why_bytes, "token %u row %u element %u: qkv %.9g, not %.9g", t, row, e,
                 left[e], q);
        return false;
    }
    return row < d->heads || !inside ||
           check_cache(c, row - d->heads, position % d->slots, want, why, why_bytes);
}

/* Everything but the slots of the step's positions holds what make put there: bytes of 0x55. */
static bool check_untouched(const kernel_case *c, char *why, size_t why_bytes) {
    const rope_case *r = c->user;
    const struct rope_kv_dims *d = &r->dims;
    for (uint32_t h = 0; h < d->kv_heads; h += r->slab) {
        const kv_test kv = slab_of(c, h);
        size_t row_bytes = kv.head_dim * kv_test_element(kv.format), plane = kv.rows * row_bytes;
        for (size_t i = 0; i < kv_test_bytes(&kv); i++) {
            size_t row = i < plane ? i / row_bytes : (i - plane) / (2 * kv_test_scales(&kv));
            uint32_t slot = (uint32_t)(row % d->slots);
            bool written = false;
            for (uint32_t p = r->position; p < r->position + d->tokens && p < d->context; p++)
                written |= p % d->slots == slot;
            if (written || ((const uint8_t *)kv.data)[i] == 0x55) continue;
            snprintf(why, why_bytes, "slot %u of the cache was touched", slot);
            return false;
        }
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

static void add_buffer(kernel_case *c, size_t bytes) {
    c->buffer[c->buffer_count].bytes = bytes;
    c->buffer[c->buffer_count].read_back = c->buffer_count != STATE;
    c->buffer[c->buffer_count++].data = calloc(1, bytes);
}

/* The case's numbers and what goes in, without buffers. */
static rope_case *make_numbers(const struct shape *s, kv_format format, uint64_t seed) {
    uint32_t rows = s->heads + 2 * s->kv_heads, head_dim = kv_test_head_dim(format, s->head_dim);
    size_t values = (size_t)s->tokens * rows * head_dim;
    rope_case *r = malloc(sizeof *r + values * sizeof *r->qkv);
    *r = (rope_case){
        .dims = {.heads = s->heads, .kv_heads = s->kv_heads, .head_dim = head_dim,
                 .tokens = s->tokens, .context = s->context,
                 .slots = s->slots ? s->slots : s->context,
                 .rope_rows = s->rope_rows ? s->rope_rows : s->context, .q_gain = 3,
                 .k_gain = 3 + head_dim, .flags = s->norm ? ROPE_KV_NORM : 0, .eps = 1e-2f},
        .format = format, .position = s->position, .slab = s->slab ? s->slab : s->kv_heads};
    for (size_t i = 0; i < values; i++) {
        bool is_v = i / head_dim % rows >= s->heads + s->kv_heads;
        r->qkv[i] = 8 * kernel_random(&seed);
        if (is_v && i % 3 != 2) r->qkv[i] = edges[i % (sizeof edges / sizeof *edges)];
    }
    return r;
}

static void make(uint32_t index, kernel_case *c) {
    const struct shape *s = &shapes[index / KV_COUNT];
    uint64_t seed = index;
    rope_case *r = make_numbers(s, (kv_format)(index % KV_COUNT), seed);
    const struct rope_kv_dims *d = &r->dims;
    uint32_t half = d->head_dim / 2;
    c->user = r;
    c->record = record;
    c->check = check;
    add_buffer(c, sizeof(step_state));
    add_buffer(c, (size_t)d->rope_rows * d->head_dim * 4);
    add_buffer(c, (3 + 2 * (size_t)d->head_dim) * 4);
    add_buffer(c, (size_t)d->tokens * (d->heads + 2 * d->kv_heads) * d->head_dim * 4);
    for (uint32_t h = 0; h < d->kv_heads; h += r->slab) {
        const kv_test kv = slab_of(c, h);
        add_buffer(c, kv_test_bytes(&kv));
        memset(c->buffer[c->buffer_count - 1].data, 0x55, kv_test_bytes(&kv));
    }
    ((step_state *)c->buffer[STATE].data)->position = s->position;
    float *rope = c->buffer[ROPE].data, *gains = c->buffer[VECTORS].data;
    for (uint32_t p = s->position; p < s->context && p < s->position + s->tokens; p++)
        for (uint32_t i = 0; i < half; i++) {
            double angle = p * pow(10000, -2.0 * i / d->head_dim);
            float *pair = rope + ((size_t)(p % d->rope_rows) * half + i) * 2;
            pair[0] = (float)cos(angle);
            pair[1] = (float)sin(angle);
        }
    for (size_t i = 0; i < c->buffer[VECTORS].bytes / 4; i++) gains[i] = 1 + kernel_random(&seed);
    memcpy(c->buffer[QKV].data, r->qkv, c->buffer[QKV].bytes);
    snprintf(c->name, sizeof c->name, "rope_kv %s heads %u/%u x %u, %u tokens at %u of %u in %u%s, "
             "by %u", kv_names[r->format], s->heads, s->kv_heads, d->head_dim, s->tokens,
             s->position, s->context, d->slots, s->norm ? ", norms" : "", r->slab);
}

const kernel_suite suite_rope_kv = {"rope_kv", SHAPES * KV_COUNT, make};
