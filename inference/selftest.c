/* selftest.c - before a session uses a program that depends on what a device may do in its own way
 * (subgroups, packed dots, wide workgroups), the program must give what its twin gives, on numbers
 * made up here. Each program is tested once; a wrong one is never used. */
#include "gpu/cpu/x_form.h"
#include "inference/engine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    K = 768,                     /* three blocks of 256 */
    ROWS = 64,                   /* of a matrix */
    CASES = 2,                   /* of a program */
    MOST = 4 * FORMAT_COUNT * CASES
};
static const float TOLERANCE = 0.02f;        /* of the largest: int8 may round to its neighbour */

typedef struct test { kernel_id id; uint32_t format; struct linear_dims dims; } test;

/* One memory for all numbers, on the device and as the twins leave it. */
typedef struct selftest {
    doppler_session *s;          /* borrowed */
    test tests[MOST];
    uint32_t count;
    uint8_t *weights[FORMAT_COUNT];
    float x[K * 2], vectors[3 * ROWS];
    float *y, *got_y;            /* [count * ROWS] */
    uint8_t *out, *got_out;      /* a form of as many */
    size_t out_bytes;
    gpu_buffer buffers[FORMAT_COUNT + 4];    /* weights of formats; x, vectors, y, out */
    gpu_list list;
    uint32_t reads_left;
    doppler_status status;       /* of the reads */
    doppler_done_fn done;
    void *user;
} selftest;

enum { X = FORMAT_COUNT, VECTORS, Y, OUT, BUFFERS };

static void selftest_free(selftest *t) {
    for (uint32_t f = 0; f < FORMAT_COUNT; f++) free(t->weights[f]);
    free(t->y);
    free(t->got_y);
    free(t->out);
    free(t->got_out);
    free(t);
}

/* Small numbers of both signs, the same each time. */
static float number(uint32_t i) { return (float)((i * 2654435761u) >> 16 & 1023) / 512 - 1; }

static uint32_t hash(uint32_t i) { return (i * 2654435761u) >> 9; }

static void put_half(uint8_t *at, uint32_t bits) {
    at[0] = (uint8_t)bits;
    at[1] = (uint8_t)(bits >> 8);
}

/* A row of K weights of about [-1, 1], some of 0: any bits for quants, small scales for blocks. */
static void make_row(weight_format format, uint32_t seed, uint8_t *row) {
    const format_info *info = &formats[format];
    uint32_t scales = format_scales_offset(format, K), blocks = format_blocks(format, K);
    for (uint32_t i = 0; i < format_row_bytes(format, K); i++) row[i] = (uint8_t)hash(seed + i);
    for (uint32_t b = 0; b < blocks; b++) {
        uint8_t *unit = row + b * info->unit_bytes, *scale = row + scales + b * info->scale_bytes;
        uint32_t bits = hash(seed + b);
        float value = number(seed + b);
        if (format == FORMAT_F32) memcpy(unit, &value, 4);
        if (format == FORMAT_F16) put_half(unit, 0x3000 | (bits & 0x87FF));
        if (format == FORMAT_BF16) put_half(unit, 0x3E00 | (bits & 0x80FF));
        if (info->scale_bytes == 1) *scale = (uint8_t)(122 + bits % 4);
        if (info->scale_bytes == 2) put_half(scale, (format == FORMAT_Q6_K ? 0x0C00 : 0x2000) |
                                                        (bits & 0x3FF));
        if (format != FORMAT_Q4_K && format != FORMAT_Q5_K) continue;
        put_half(unit, 0x1000 | (bits & 0x3FF));
        put_half(unit + 2, 0x1800 | (bits & 0x3FF));
    }
}

/* A matrix [ROWS, K] */
static bool make_weights(selftest *t, uint32_t format) {
    if (t->weights[format]) return true;
    size_t row_bytes = (size_t)format_row_bytes((weight_format)format, K);
    t->weights[format] = malloc(ROWS * row_bytes);
    for (uint32_t r = 0; t->weights[format] && r < ROWS; r++)
        make_row((weight_format)format, r * 7919 + format, t->weights[format] + r * row_bytes);
    return t->weights[format] != NULL;
}

static void add_tests(selftest *t, kernel_id id, uint32_t format) {
    const uint32_t flags[CASES] = {LINEAR_NORM | LINEAR_BIAS | LINEAR_ACT | LINEAR_FORM,
                                   LINEAR_NORM | LINEAR_ADD | LINEAR_GAIN | LINEAR_FORM};
    for (uint32_t i = 0; i < CASES; i++) {
        uint32_t rows = flags[i] & LINEAR_ACT ? ROWS / 2 : ROWS;
        t->tests[t->count] = (test){id, format, {.rows = rows, .k = K, .y_first = t->count * ROWS,
                                                 .up = rows, .bias = ROWS, .flags = flags[i],
                                                 .eps = 1e-5f}};
        t->count++;
    }
}

/* ---- what is wanted */

static bool make_numbers(selftest *t) {
    uint32_t count = t->count * ROWS;
    t->out_bytes = (size_t)x_form_bytes(t->s->form, count);
    t->y = calloc(count, sizeof *t->y);
    t->got_y = calloc(count, sizeof *t->y);
    t->out = calloc(1, t->out_bytes);
    t->got_out = calloc(1, t->out_bytes);
    if (!t->y || !t->got_y || !t->out || !t->got_out) return false;
    for (uint32_t i = 0; i < 3 * ROWS; i++) t->vectors[i] = number(i + 7);
    for (uint32_t run = 0; run < K / X_RUN; run++) {
        float v[X_RUN];
        for (uint32_t i = 0; i < X_RUN; i++) v[i] = number(run * X_RUN + i + 99);
        x_store(t->s->form, t->x, K, run, v, 10);
    }
    for (uint32_t i = 0; i < t->count; i++) {
        test *c = &t->tests[i];
        c->dims.out_k = count;
        if (!make_weights(t, c->format)) return false;
    }
    return true;
}

static void run_twins(selftest *t) {
    for (uint32_t i = 0; i < t->count; i++) {
        const test *c = &t->tests[i];
        gpu_program_desc desc = kernel_program(c->id, c->format,
                                               gpu_get_limits(t->s->model->d->g));
        const gpu_call call = {
            .buffer = {t->weights[c->format], t->x, t->vectors, t->y, t->out},
            .dims = &c->dims, .format = c->format, .groups = {c->dims.rows / LINEAR_ROWS, 1, 1}};
        desc.twin(&call);
    }
}

/* Whether what the device left for a test is what its twin did. */
static bool is_right(const selftest *t, const test *c) {
    float want[ROWS], got[ROWS], largest = 0, worst = 0;
    const struct linear_dims *d = &c->dims;
    x_load(t->s->form, t->out, d->y_first, d->rows, want);
    x_load(t->s->form, t->got_out, d->y_first, d->rows, got);
    for (uint32_t i = 0; i < d->rows; i++) {
        float off = fabsf(got[i] - want[i]), y = t->y[d->y_first + i];
        if (!(off <= worst)) worst = off;                /* NaN stays */
        largest = fmaxf(largest, fabsf(want[i]));
        float y_off = fabsf(t->got_y[d->y_first + i] - y);
        if (!(y_off <= TOLERANCE / 10 * (fabsf(y) + 1))) return false;
    }
    return worst <= TOLERANCE * largest && largest > 0;
}

/* ---- the device */

static void end(selftest *t, doppler_status status) {
    gpu *g = t->s->model->d->g;
    gpu_list_destroy(g, t->list);
    for (int i = 0; i < BUFFERS; i++) gpu_buffer_destroy(g, t->buffers[i]);
    t->done(status, t->user);
    selftest_free(t);
}

static void read_done(doppler_status status, void *user) {
    selftest *t = user;
    doppler *d = t->s->model->d;
    bool right = true;
    if (status) t->status = status;
    if (--t->reads_left > 0) return;
    for (uint32_t i = 0; !t->status && i < t->count; i += CASES) {
        const test *c = &t->tests[i];
        bool both = is_right(t, c) && is_right(t, c + 1);
        d->trusted[c->id][c->format] = both;
        right = right && both;
    }
    end(t, t->status ? t->status : right ? DOPPLER_OK : DOPPLER_UNSUPPORTED);
}

static void record(selftest *t) {
    gpu *g = t->s->model->d->g;
    gpu_record_begin(g);
    for (uint32_t i = 0; i < t->count; i++) {
        const test *c = &t->tests[i];
        const gpu_binding bindings[] = {{t->buffers[c->format], 0, 0}, {t->buffers[X], 0, 0},
                                        {t->buffers[VECTORS], 0, 0}, {t->buffers[Y], 0, 0},
                                        {t->buffers[OUT], 0, 0}};
        gpu_dispatch(g, t->s->model->d->programs.of[c->id][c->format], bindings, 5, &c->dims,
                     sizeof c->dims, c->dims.rows / LINEAR_ROWS, 1, 1);
    }
    t->list = gpu_record_end(g);
}

static void buffers_done(doppler_status status, void *user) {
    selftest *t = user;
    gpu *g = t->s->model->d->g;
    if (status) {
        memset(t->buffers, 0, sizeof t->buffers);        /* the backend has destroyed them */
        end(t, status);
        return;
    }
    for (uint32_t f = 0; f < FORMAT_COUNT; f++)
        if (t->weights[f])
            gpu_write(g, t->buffers[f], 0, t->weights[f],
                      ROWS * (size_t)format_row_bytes((weight_format)f, K));
    gpu_write(g, t->buffers[X], 0, t->x, sizeof t->x);
    gpu_write(g, t->buffers[VECTORS], 0, t->vectors, sizeof t->vectors);
    record(t);
    if (!t->list) {
        end(t, DOPPLER_NO_MEMORY);
        return;
    }
    gpu_submit(g, t->list, 1, NULL, NULL, NULL);
    t->reads_left = 2;
    gpu_read(g, t->buffers[Y], 0, t->got_y, t->count * ROWS * sizeof *t->y, read_done, t);
    gpu_read(g, t->buffers[OUT], 0, t->got_out, t->out_bytes, read_done, t);
}

doppler_status selftest_start(doppler_session *s, bool *started, doppler_done_fn done,
                              void *user) {
    doppler *d = s->model->d;
    *started = false;
    selftest *t = calloc(1, sizeof *t);
    if (!t) return fail(&d->error, DOPPLER_NO_MEMORY, "tests of kernels");
    t->s = s;
    t->done = done;
    t->user = user;
    for (kernel_id id = KERNEL_LINEAR; id <= KERNEL_LINEAR_PACKED_WIDE; id++)
        for (uint32_t f = 0; f < FORMAT_COUNT; f++)
            if (session_wants(s, id, f) && !d->trusted[id][f]) add_tests(t, id, f);
    if (t->count > 0 && !make_numbers(t)) {
        selftest_free(t);
        return fail(&d->error, DOPPLER_NO_MEMORY, "tests of kernels");
    }
    if (t->count == 0) {
        selftest_free(t);
        return DOPPLER_OK;
    }
    run_twins(t);
    gpu_buffer_desc descs[BUFFERS];
    for (uint32_t f = 0; f < FORMAT_COUNT; f++) {
        uint64_t bytes = ROWS * format_row_bytes((weight_format)f, K);
        descs[f] = (gpu_buffer_desc){t->weights[f] ? bytes : 16, "test weights"};
    }
    descs[X] = (gpu_buffer_desc){sizeof t->x, "test x"};
    descs[VECTORS] = (gpu_buffer_desc){sizeof t->vectors, "test vectors"};
    descs[Y] = (gpu_buffer_desc){t->count * ROWS * sizeof *t->y, "test y"};
    descs[OUT] = (gpu_buffer_desc){t->out_bytes, "test out"};
    *started = true;
    gpu_buffers_create(d->g, descs, BUFFERS, t->buffers, buffers_done, t);
    return DOPPLER_OK;
}
