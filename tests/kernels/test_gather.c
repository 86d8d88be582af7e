/* test_gather.c - rows come out exactly, in every format. */
#include "tests/kernels/kernel_test.h"
#include "tests/kernels/matrix.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct shape {
    uint32_t rows, k, tokens;
    float scale;
    bool is_slab;                /* the buffer holds rows FIRST .. FIRST + rows - 1 of a table */
} shape;

/* One run, odd rows, several blocks, odd block counts, and blocks that are full in part. */
static const shape shapes[] = {
    {1, 32, 1, 1, false}, {37, 512, 5, 1, false}, {8, 2048, 3, 22.627417f, false},
    {5, 768, 2, 1, false}, {16, 256, 4, 0.5f, true}, {9, 64, 3, 1, false}, {4, 96, 2, 1, false},
    {7, 288, 3, 1, false}, {3, 1152, 4, 2, true},
};
enum { SHAPES = sizeof shapes / sizeof *shapes, FIRST = 7 };
/* Then: every f16 and every E8M0 there is. */
enum { EVERY_HALF = SHAPES * FORMAT_COUNT, EVERY_SCALE, CASES };

static const float untouched = 42;

typedef struct setup { weight_format format; shape s; } setup;

static void record(op_context o, const gpu_buffer *b, const void *user) {
    const setup *u = user;
    if (!u->s.is_slab) {
        matrix w = {u->format, u->s.rows, u->s.k, b[0], 0};
        op_gather(o, b[2], &w, b[1], u->s.tokens, u->s.scale);
        return;
    }
    struct gather_dims dims = {u->s.rows, u->s.k, u->s.tokens, FIRST, u->s.scale};
    gpu_binding bindings[] = {{b[0], 0, 0}, {b[1], 0, 0}, {b[2], 0, 0}};
    gpu_dispatch(o.g, o.programs->of[KERNEL_GATHER][u->format], bindings, 3, &dims, sizeof dims,
                 (u->s.k / 32 + GATHER_THREADS - 1) / GATHER_THREADS, u->s.tokens, 1);
}

/* A float that the device may flush to zero. */
static bool is_same(float got, float want) {
    return got == want || (fabsf(want) < FLT_MIN && got == 0);
}

static bool check(const kernel_case *c, char *why, size_t why_bytes) {
    const setup *u = c->user;
    const uint32_t *ids = c->buffer[1].data;
    const float *y = c->buffer[2].data;
    double *row = malloc(u->s.k * sizeof *row);
    if (!row) abort();
    bool ok = true;
    for (uint32_t t = 0; t < u->s.tokens && ok; t++) {
        uint32_t r = ids[t] - (u->s.is_slab ? FIRST : 0);
        if (r < u->s.rows) matrix_row(u->format, c->buffer[0].data, u->s.k, r, row);
        for (uint32_t i = 0; i < u->s.k && ok; i++) {
            float want = r < u->s.rows ? (float)((double)(float)row[i] * u->s.scale) : untouched;
            float got = y[(size_t)t * u->s.k + i];
            ok = is_same(got, want);
            if (!ok) snprintf(why, why_bytes, "y[%u, %u] is %.9g, not %.9g", t, i, got, want);
        }
    }
    free(row);
    return ok;
}

/* mxfp4 of 8 rows of 32 blocks: row r, block b has e = 32 r + b and every code twice. */
static void fill_every_scale(uint8_t *rows) {
    size_t row_bytes = (size_t)format_row_bytes(FORMAT_MXFP4, 1024);
    for (uint32_t e = 0; e < 256; e++) {
        uint8_t *row = rows + e / 32 * row_bytes;
        for (uint32_t i = 0; i < 16; i++) row[e % 32 * 16 + i] = (uint8_t)(i | (15 - i) << 4);
        row[format_scales_offset(FORMAT_MXFP4, 1024) + e % 32] = (uint8_t)e;
    }
}

/* All 63,488 finite f16 as a matrix [248, 256], every row asked for. */
static void fill_every_half(uint16_t *weights) {
    for (uint32_t bits = 0, i = 0; bits < 0x10000; bits++)
        if ((bits & 0x7C00) != 0x7C00) weights[i++] = (uint16_t)bits;
}

static void make(uint32_t index, kernel_case *c) {
    uint64_t seed = index;
    setup *u = malloc(sizeof *u);
    if (!u) abort();
    if (index == EVERY_HALF) *u = (setup){FORMAT_F16, {248, 256, 248, 1, false}};
    else if (index == EVERY_SCALE) *u = (setup){FORMAT_MXFP4, {8, 1024, 8, 1, false}};
    else *u = (setup){index / SHAPES, shapes[index % SHAPES]};
    bool is_every = index >= EVERY_HALF;
    snprintf(c->name, sizeof c->name, "gather %s %ux%u tokens %u%s%s", formats[u->format].name,
             u->s.rows, u->s.k, u->s.tokens, u->s.is_slab ? " slab" : "",
             is_every ? " every value" : "");
    c->user = u;
    c->record = record;
    c->check = check;
    c->buffer_count = 3;
    c->buffer[0].data = matrix_random(u->format, u->s.rows, u->s.k, &seed, &c->buffer[0].bytes);
    if (index == EVERY_HALF) fill_every_half(c->buffer[0].data);
    if (index == EVERY_SCALE) fill_every_scale(c->buffer[0].data);
    c->buffer[1].bytes = u->s.tokens * sizeof(uint32_t);
    uint32_t *ids = c->buffer[1].data = malloc(c->buffer[1].bytes);
    if (!ids) abort();
    for (uint32_t t = 0; t < u->s.tokens; t++)
        ids[t] = is_every ? t
               : (t % 2 ? kernel_random_bits(&seed) : u->s.rows - 1 - t / 2) % u->s.rows;
    size_t count = (size_t)u->s.tokens * u->s.k;
    c->buffer[2].bytes = count * sizeof(float);
    float *y = c->buffer[2].data = floats_poison(count);
    c->buffer[2].read_back = true;
    if (!u->s.is_slab) return;
    const uint32_t around[] = {FIRST - 1, FIRST, FIRST + u->s.rows - 1, FIRST + u->s.rows};
    memcpy(ids, around, sizeof around);
    for (size_t i = 0; i < count; i++) y[i] = untouched;
}

const kernel_suite suite_gather = {"gather", CASES, make};
