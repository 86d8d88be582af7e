/* project.c - see project.h. */
#include "tests/kernels/project.h"
#include "gpu/gpu_backend.h"
#include "tests/kernels/form_test.h"
#include "tests/kernels/matrix.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BIAS_AT = 3 };
enum { WEIGHTS, X, VECTORS, Y, IDS, ROUTING, BUFFERS };

static uint32_t stride_of(const projection *p) { return p->y_first + p->rows + p->y_pad; }

/* Rows of y: tokens, or slots. */
static uint32_t slots_of(const projection *p) { return p->tokens * (p->experts ? p->used : 1); }

static uint32_t x_rows(const projection *p) { return p->own_x ? slots_of(p) : p->tokens; }

/* Matrices in the weights buffer. */
static uint32_t matrices_of(const projection *p) {
    return p->bound ? p->bound : p->experts ? p->experts : 1;
}

/* Slots of a tile. */
static uint32_t tile_of(const projection *p) {
    return op_expert_tile(p->form, slots_of(p), p->experts);
}

static uint32_t tiles_of(const projection *p) {
    if (!p->experts) return 0;
    return expert_tile_count(slots_of(p), p->experts, tile_of(p));
}

/* What y holds before, where that matters. */
static float initial(size_t i) { return (float)(i % 17) * 0.25f - 2; }

/* The matrix that makes row s of y, among those in the buffer; others are >= matrices_of(). */
static uint32_t matrix_of(const kernel_case *c, uint32_t s) {
    const projection *p = c->user;
    if (!p->experts) return 0;
    if (p->routing == NO_SLOTS) return UINT32_MAX;
    return ((const uint32_t *)c->buffer[IDS].data)[s] - (p->bound ? p->first : 0);
}

/* Whether an element of y is a result. */
static bool is_result(const kernel_case *c, size_t i) {
    const projection *p = c->user;
    size_t column = i % stride_of(p);
    return column >= p->y_first && column < p->y_first + p->rows &&
           matrix_of(c, (uint32_t)(i / stride_of(p))) < matrices_of(p);
}

/* ---- recording */

static void record_by_hand(op_context o, const gpu_buffer *b, const projection *p) {
    bool is_matvec =
        p->experts ? !op_sorts_experts(X_PLAIN, slots_of(p), p->experts) : p->tokens == 1;
    struct project_dims dims = {
        .rows = p->rows, .k = p->k, .tokens = slots_of(p), .y_first = p->y_first,
        .y_stride = stride_of(p), .bias = BIAS_AT, .matrices = matrices_of(p),
        .first_matrix = p->first, .share = p->experts && !p->own_x ? p->used : 1,
        .order = 3 * tiles_of(p),
        .flags = (p->experts ? PROJECT_EXPERTS : 0) | (p->bias ? PROJECT_BIAS : 0)};
    gpu_binding bindings[] = {{b[WEIGHTS], 0, 0}, {b[X], 0, 0}, {b[VECTORS], 0, 0},
                              {b[is_matvec ? IDS : ROUTING], 0, 0}, {b[Y], 0, 0}};
    uint32_t across = p->across ? p->across : (p->rows + MATMUL_ROWS - 1) / MATMUL_ROWS;
    uint32_t per_row = across * MATVEC_ROWS;             /* enough when a team is a workgroup */
    uint32_t down = is_matvec ? (p->rows + per_row - 1) / per_row : tiles_of(p);
    gpu_dispatch(o.g, o.programs->of[is_matvec ? KERNEL_MATVEC : KERNEL_MATMUL][p->format],
                 bindings, 5, &dims, sizeof dims, across, down, is_matvec ? slots_of(p) : 1);
}

static void record(op_context o, const gpu_buffer *b, const void *user) {
    const projection *p = user;
    uint32_t bias = p->bias ? BIAS_AT : OP_NO_BIAS;
    matrix w = {p->format, matrices_of(p) * p->rows, p->k, b[WEIGHTS], 0};
    if (p->across || p->bound) {
        record_by_hand(o, b, p);
    } else if (p->experts) {
        uint64_t expert_bytes = p->rows * format_row_bytes(p->format, p->k);
        uint64_t limit = o.g->limits.binding_bytes;
        if (p->slab) o.g->limits.binding_bytes = p->slab * expert_bytes + 16;
        const op_experts e = {p->experts, p->used, p->own_x ? 1 : p->used, p->form, b[IDS],
                              b[ROUTING]};
        op_project_experts(o, b[Y], p->y_first, stride_of(p), &w, b[X], p->tokens, b[VECTORS],
                           bias, &e);
        o.g->limits.binding_bytes = limit;
    } else if (p->kernel) {
        op_project_by(o, p->kernel, b[Y], p->y_first, stride_of(p), &w, b[X], p->tokens,
                      b[VECTORS], bias, p->add);
    } else if (p->each) {
        op_project_each(o, b[Y], &w, b[X], p->tokens, b[VECTORS], bias);
    } else {
        op_project(o, p->form, b[Y], p->y_first, stride_of(p), &w, b[X], p->tokens, b[VECTORS],
                   bias, p->add);
    }
}

/* ---- checking */

/* want [slots, stride], by matrix_row and sums in double precision. Where x is f16, so are
 * weights. */
static void reference(const kernel_case *c, const projection *p, double *want) {
    const float *vectors = c->buffer[VECTORS].data;
    double *w = malloc(p->k * sizeof *w), *x = malloc((size_t)x_rows(p) * p->k * sizeof *x);
    if (!w || !x) abort();
    size_t x_bytes = (size_t)x_form_bytes(p->form, p->k);
    for (uint32_t t = 0; t < x_rows(p); t++)
        form_read(p->form, (const char *)c->buffer[X].data + t * x_bytes, p->k, x + t * p->k);
    for (uint32_t row = 0; row < matrices_of(p) * p->rows; row++) {
        uint32_t m = row / p->rows, r = row % p->rows;
        matrix_row(p->format, c->buffer[WEIGHTS].data, p->k, row, w);
        for (uint32_t i = 0; i < p->k && p->form == X_HALF; i++) w[i] = form_near_half(w[i]);
        for (uint32_t s = 0; s < slots_of(p); s++) {
            if (matrix_of(c, s) != m) continue;
            const double *from = x + (size_t)s * x_rows(p) / slots_of(p) * p->k;
            size_t at = (size_t)s * stride_of(p) + p->y_first + r;
            double sum = p->bias ? vectors[BIAS_AT + row] : 0;
            for (uint32_t i = 0; i < p->k; i++) sum += w[i] * from[i];
            want[at] = sum + (p->add ? initial(at) : 0);
        }
    }
    free(w);
    free(x);
}

static bool check(const kernel_case *c, char *why, size_t why_bytes) {
    const projection *p = c->user;
    const float *y = c->buffer[Y].data;
    size_t count = (size_t)slots_of(p) * stride_of(p);
    double *want = malloc(count * sizeof *want);
    if (!want) abort();
    for (size_t i = 0; i < count; i++) want[i] = initial(i);
    reference(c, p, want);
    bool ok = true;
    for (size_t i = 0; i < count && ok; i++) {
        ok = is_result(c, i) || y[i] == initial(i);
        if (!ok) snprintf(why, why_bytes, "y[%zu] outside was overwritten with %g", i, y[i]);
    }
    if (ok) {
        double error = kernel_error(y, want, count);
        ok = error <= KERNEL_TOLERANCE;
        if (!ok) snprintf(why, why_bytes, "error %.3g of the largest value", error);
    }
    free(want);
    return ok;
}

/* ---- making */

/* ids [tokens, used]: different experts for each slot of a token. */
static void make_ids(const projection *p, uint64_t *seed, uint32_t *ids) {
    for (uint32_t s = 0; s < slots_of(p); s++) {
        uint32_t from = p->routing == NOT_FIRST, among = p->experts - from, rank = s % p->used;
        uint32_t *token = ids + s - rank;
        bool taken = true;
        while (taken) {
            token[rank] = from + kernel_random_bits(seed) % among;
            if (p->routing == SAME) token[rank] = (p->experts - 1 + rank) % p->experts;
            taken = false;
            for (uint32_t r = 0; r < rank; r++) taken |= token[r] == token[rank];
        }
    }
}

/* As expert_tiles.wgsl says, but an expert's slots descend: their order is free. */
static void make_routing(const projection *p, const uint32_t *ids, uint32_t *routing) {
    uint32_t *tile = routing, *list = routing + 3 * tiles_of(p), placed = 0;
    memset(routing, 0, 3 * tiles_of(p) * sizeof *routing);
    for (uint32_t e = 0; e < p->experts && p->routing != NO_SLOTS; e++) {
        uint32_t end = placed;
        for (uint32_t s = slots_of(p); s-- > 0;)
            if (ids[s] == e) list[end++] = s;
        for (; placed < end; placed += tile[2], tile += 3) {
            tile[0] = e;
            tile[1] = placed;
            tile[2] = end - placed < tile_of(p) ? end - placed : tile_of(p);
        }
    }
}

static void make_experts(const projection *p, uint64_t *seed, kernel_case *c) {
    c->buffer[IDS].bytes = slots_of(p) * sizeof(uint32_t);
    c->buffer[ROUTING].bytes = (3 * tiles_of(p) + slots_of(p)) * sizeof(uint32_t);
    for (uint32_t i = IDS; i <= ROUTING; i++) {
        c->buffer[i].data = malloc(c->buffer[i].bytes);
        if (!c->buffer[i].data) abort();
        memset(c->buffer[i].data, 0xFF, c->buffer[i].bytes);
    }
    if (!p->experts) return;
    make_ids(p, seed, c->buffer[IDS].data);
    make_routing(p, c->buffer[IDS].data, c->buffer[ROUTING].data);
}

/* Behind k rows hold what nothing may depend on. */
static void make_x(const projection *p, uint64_t *seed, kernel_case *c) {
    size_t row_bytes = (size_t)x_form_bytes(p->form, p->k);
    c->buffer[X].bytes = x_rows(p) * row_bytes;
    if (p->form == X_PLAIN) {
        c->buffer[X].data = floats_random((size_t)x_rows(p) * p->k, seed);
        return;
    }
    char *x = c->buffer[X].data = malloc(c->buffer[X].bytes);
    double *values = malloc(p->k * sizeof *values), square;
    if (!x || !values) abort();
    for (uint32_t t = 0; t < x_rows(p); t++) {
        void *row = form_random(p->form, p->k, 0xFF, values, &square, seed);
        memcpy(x + t * row_bytes, row, row_bytes);
        free(row);
    }
    free(values);
}

static void name_case(const char *kernel, const projection *p, kernel_case *c) {
    static const char *const routings[] = {"", " same", " not first", " no slots"};
    int n = snprintf(c->name, sizeof c->name, "%s %s %ux%u tokens %u%s%s%s%s", kernel,
                     formats[p->format].name, p->rows, p->k, p->tokens, p->bias ? " bias" : "",
                     p->add ? " add" : "", p->y_first ? " offset" : "", p->across ? " grid" : "");
    if (p->experts)
        snprintf(c->name + n, sizeof c->name - (size_t)n, " experts %u/%u%s%s%s", p->used,
                 p->experts, routings[p->routing], p->slab ? " slabs" : "",
                 p->bound ? " bound in part" : "");
}

void projection_make(const char *kernel, const projection *p, uint64_t seed, kernel_case *c) {
    name_case(kernel, p, c);
    c->record = record;
    c->check = check;
    if (p->form == X_HALF) c->needs = KERNEL_MATMUL_MATRIX;
    c->format = c->needs ? p->format : 0;
    projection *copy = c->user = malloc(sizeof *copy);
    if (!copy) abort();
    *copy = *p;
    c->buffer_count = BUFFERS;
    uint32_t rows = matrices_of(p) * p->rows;
    c->buffer[WEIGHTS].data =
        matrix_random(p->format, rows, p->k, &seed, &c->buffer[WEIGHTS].bytes);
    make_x(p, &seed, c);
    c->buffer[VECTORS].bytes = (BIAS_AT + rows) * sizeof(float);
    c->buffer[VECTORS].data = floats_random(BIAS_AT + rows, &seed);
    make_experts(p, &seed, c);
    size_t count = (size_t)slots_of(p) * stride_of(p);
    c->buffer[Y].bytes = count * sizeof(float);
    float *y = c->buffer[Y].data = floats_poison(count);
    for (size_t i = 0; i < count; i++)
        if (p->add || !is_result(c, i)) y[i] = initial(i);
    c->buffer[Y].read_back = true;
}
