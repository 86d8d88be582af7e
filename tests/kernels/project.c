/* project.c - see project.h. */
#include "tests/kernels/project.h"
#include "tests/kernels/matrix.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BIAS_AT = 3 };

static uint32_t stride_of(const projection *p) { return p->y_first + p->rows + p->y_pad; }

/* What y holds before, where that matters. */
static float initial(size_t i) { return (float)(i % 17) * 0.25f - 2; }

static void record(op_context o, const gpu_buffer *b, const void *user) {
    const projection *p = user;
    if (!p->across) {
        matrix w = {p->format, p->rows, p->k, b[0], 0};
        op_project(o, b[3], p->y_first, stride_of(p), &w, b[1], p->tokens, b[2],
                   p->bias ? BIAS_AT : OP_NO_BIAS, p->add);
        return;
    }
    struct project_dims dims = {p->rows, p->k, 1, p->y_first, stride_of(p), 0, 0};
    gpu_binding bindings[] = {{b[0], 0, 0}, {b[1], 0, 0}, {b[2], 0, 0}, {b[3], 0, 0}};
    uint32_t per_row = p->across * MATVEC_ROWS;          /* enough when a team is a workgroup */
    gpu_dispatch(o.g, o.programs->of[KERNEL_MATVEC][p->format], bindings, 4, &dims, sizeof dims,
                 p->across, (p->rows + per_row - 1) / per_row, 1);
}

/* want [tokens, stride], by matrix_row and sums in double precision. */
static void reference(const kernel_case *c, const projection *p, double *want) {
    const float *x = c->buffer[1].data, *vectors = c->buffer[2].data;
    double *w = malloc(p->k * sizeof *w);
    if (!w) abort();
    for (uint32_t r = 0; r < p->rows; r++) {
        matrix_row(p->format, c->buffer[0].data, p->k, r, w);
        for (uint32_t t = 0; t < p->tokens; t++) {
            size_t at = (size_t)t * stride_of(p) + p->y_first + r;
            double sum = p->bias ? vectors[BIAS_AT + r] : 0;
            for (uint32_t i = 0; i < p->k; i++) sum += w[i] * x[(size_t)t * p->k + i];
            want[at] = sum + (p->add ? initial(at) : 0);
        }
    }
    free(w);
}

static bool check(const kernel_case *c, char *why, size_t why_bytes) {
    const projection *p = c->user;
    const float *y = c->buffer[3].data;
    size_t count = (size_t)p->tokens * stride_of(p);
    double *want = malloc(count * sizeof *want);
    if (!want) abort();
    for (size_t i = 0; i < count; i++) want[i] = initial(i);
    reference(c, p, want);
    bool ok = true;
    for (size_t i = 0; i < count && ok; i++) {
        size_t column = i % stride_of(p);
        if (column >= p->y_first && column < p->y_first + p->rows) continue;
        ok = y[i] == initial(i);
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

void projection_make(const char *kernel, const projection *p, uint64_t seed, kernel_case *c) {
    snprintf(c->name, sizeof c->name, "%s %s %ux%u tokens %u%s%s%s%s", kernel,
             formats[p->format].name, p->rows, p->k, p->tokens, p->bias ? " bias" : "",
             p->add ? " add" : "", p->y_first ? " offset" : "", p->across ? " grid" : "");
    c->record = record;
    c->check = check;
    projection *copy = c->user = malloc(sizeof *copy);
    if (!copy) abort();
    *copy = *p;
    c->buffer_count = 4;
    c->buffer[0].data = matrix_random(p->format, p->rows, p->k, &seed, &c->buffer[0].bytes);
    c->buffer[1].bytes = (size_t)p->tokens * p->k * sizeof(float);
    c->buffer[1].data = floats_random((size_t)p->tokens * p->k, &seed);
    c->buffer[2].bytes = (BIAS_AT + p->rows) * sizeof(float);
    c->buffer[2].data = floats_random(BIAS_AT + p->rows, &seed);
    size_t count = (size_t)p->tokens * stride_of(p);
    c->buffer[3].bytes = count * sizeof(float);
    float *y = c->buffer[3].data = floats_poison(count);
    for (size_t i = 0; i < count; i++) {
        size_t column = i % stride_of(p);
        bool is_result = column >= p->y_first && column < p->y_first + p->rows;
        if (p->add || !is_result) y[i] = initial(i);
    }
    c->buffer[3].read_back = true;
}
