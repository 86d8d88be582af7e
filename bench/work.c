/* work.c - what a dispatch has to do, by its program and its dims: bytes of weights, keys and
 * values that it must read once, and floating point operations. Vectors and x do not count. */
#include "browser/flat.h"
#include "gpu/kernel.h"

#include <stdio.h>
#include <string.h>

/* What the host reads. */
typedef struct work {
    double bytes, flops;
    char shape[48];              /* for people: "14336x4096" */
} work;

/* A dispatch; position: of the step's first token. */
typedef struct dispatched {
    const void *dims;
    uint32_t format;             /* weight_format, kv_format or x_form, by the kernel */
    uint32_t position;
} dispatched;

static uint32_t min_u32(uint32_t a, uint32_t b) { return a < b ? a : b; }

static void matrix_work(work *w, uint32_t format, double rows, uint32_t k, double tokens) {
    w->bytes = rows * (double)format_row_bytes((weight_format)format, k);
    w->flops = 2 * rows * k * tokens;
}

/* Of experts only those that have slots, which are different ones as far as there are any. */
static void project_work(const dispatched *of, work *w) {
    const struct project_dims *d = of->dims;
    uint32_t used = min_u32(d->tokens, d->matrices);
    matrix_work(w, of->format, d->rows, d->k, d->tokens);
    if (!(d->flags & PROJECT_EXPERTS)) {
        snprintf(w->shape, sizeof w->shape, "%ux%u", d->rows, d->k);
        return;
    }
    w->bytes *= used;
    snprintf(w->shape, sizeof w->shape, "%u/%u %ux%u", used, d->matrices, d->rows, d->k);
}

static void linear_work(const dispatched *of, work *w) {
    const struct linear_dims *d = of->dims;
    uint32_t rows = d->flags & LINEAR_ACT ? 2 * d->rows : d->rows;
    matrix_work(w, of->format, rows, d->k, 1);
    if (!d->used) {
        snprintf(w->shape, sizeof w->shape, "%ux%u", rows, d->k);
        return;
    }
    w->bytes *= d->used;
    w->flops *= d->used;
    snprintf(w->shape, sizeof w->shape, "%u/%u %ux%u", d->used, d->experts, rows, d->k);
}

/* Rows looked up. */
static void gather_work(const dispatched *of, work *w) {
    const struct gather_dims *d = of->dims;
    matrix_work(w, of->format, d->tokens, d->k, 0);
    snprintf(w->shape, sizeof w->shape, "%ux%u", d->tokens, d->k);
}

/* One row, of kernels whose dims begin as gather's do. */
static void gather_one_work(const dispatched *of, work *w) {
    const struct gather_dims *d = of->dims;
    matrix_work(w, of->format, 1, d->k, 0);
    snprintf(w->shape, sizeof w->shape, "1x%u", d->k);
}

/* Query i sees min(window, position + i + 1) keys: two products of head_dim each. */
static void attention_sizes(work *w, uint32_t tokens, uint32_t window, uint32_t position,
                            uint32_t kv_count, uint32_t group, uint32_t head_dim,
                            uint32_t format) {
    double seen = 0;
    for (uint32_t i = 0; i < tokens; i++) seen += min_u32(window, position + i + 1);
    uint32_t keys = min_u32(position + tokens, window + tokens - 1);
    w->bytes = 2.0 * keys * kv_count * (double)kv_row_bytes((kv_format)format, head_dim);
    w->flops = 4 * seen * kv_count * group * head_dim;
    snprintf(w->shape, sizeof w->shape, "%ux%u", tokens, keys);
}

static void attention_work(const dispatched *of, work *w) {
    const struct attention_dims *d = of->dims;
    attention_sizes(w, d->tokens, d->window, of->position, d->kv_count, d->heads / d->kv_heads,
                    d->head_dim, of->format);
}

static void attention_token_work(const dispatched *of, work *w) {
    const struct attention_token_dims *d = of->dims;
    attention_sizes(w, 1, d->window, of->position, d->kv_count, d->group, d->head_dim, KV_F16);
}

static void no_work(const dispatched *of, work *w) { (void)of, (void)w; }

/* By what a kernel's name begins with, the longest first: a variant's is its base's and more. */
static const struct { const char *name; void (*of)(const dispatched *, work *); } works[] = {
    {"attention_merge", no_work}, {"attention_token", attention_token_work},
    {"attention_lanes", attention_token_work}, {"attention_whole", attention_token_work},
    {"attention", attention_work}, {"gather_form", gather_one_work},
    {"gather_packed", gather_one_work}, {"gather", gather_work}, {"matvec", project_work},
    {"matmul", project_work}, {"linear", linear_work}};

static uint32_t format_of(const char *name) {
    for (uint32_t f = 0; f < KV_COUNT; f++)
        if (!strcmp(kv_names[f], name)) return f;
    return 0;
}

/* label: of the program, its kernel's name and its format's. Of a kernel that is not known: 0. */
EXPORT(void, bench_work, const char *label, const void *dims, uint32_t position, work *out) {
    const char *space = strchr(label, ' '), *name = space ? space + 1 : "";
    *out = (work){0};
    for (size_t i = 0; i < sizeof works / sizeof *works; i++) {
        if (strncmp(label, works[i].name, strlen(works[i].name))) continue;
        uint32_t weights = format_by_name(name);
        bool cache = !strncmp(label, "attention", strlen("attention"));
        const dispatched of = {dims, cache ? format_of(name) : weights, position};
        if (cache || weights < FORMAT_COUNT) works[i].of(&of, out);
        return;
    }
}
