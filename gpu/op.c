/* op.c - one function per kernel: shape checks, dims, grid, one recorded dispatch. The grids are
 * those that the kernels' headers state. A matrix larger than the device's binding limit is
 * dispatched in slabs of rows. */
#include "gpu/op.h"

#include <assert.h>
#include <string.h>

static uint32_t ceil_div(uint32_t a, uint32_t b) { return a / b + (a % b != 0); }

/* A whole buffer. */
static gpu_binding whole(gpu_buffer b) { return (gpu_binding){b, 0, 0}; }

static gpu_program program_of(op_context o, kernel_id kernel, uint32_t format) {
    gpu_program p = o.programs->of[kernel][format];
    assert(p);
    return p;
}

/* ---- which kernel */

const op_choice *op_chosen(const op_programs *programs, kernel_id base, op_shape shape) {
    for (uint32_t i = 0; i < programs->choice_count; i++) {
        const op_choice *c = &programs->choices[i];
        if (c->base == base && memcmp(&c->shape, &shape, sizeof shape) == 0) return c;
    }
    return NULL;
}

uint32_t op_token_class(uint32_t tokens) {
    uint32_t class = 1;
    while (class < tokens && class < OP_MOST_TOKENS) class *= 8;
    return class;
}

void op_programs_only(const op_programs *all, kernel_id id, op_programs *out) {
    *out = *all;
    out->choice_count = 0;
    for (uint32_t k = 0; k < KERNEL_COUNT; k++)
        if (k != id && kernel_base(k) == kernel_base(id)) memset(out->of[k], 0, sizeof out->of[k]);
}

/* What was measured to be the fastest for a shape, else what a rule says, else a variant of it. */
static kernel_id choose(op_context o, kernel_id rule, op_shape shape) {
    kernel_id base = kernel_base(rule);
    const op_choice *c = op_chosen(o.programs, base, shape);
    if (c && c->best && o.programs->of[c->best][shape.format]) return c->best;
    if (o.programs->of[rule][shape.format]) return rule;
    for (kernel_id id = base; id < KERNEL_COUNT; id++)
        if (kernel_base(id) == base && o.programs->of[id][shape.format]) return id;
    return base;
}

/* ---- matrices */

/* One that the device binds at once. */
static gpu_binding whole_matrix(const matrix *w) {
    return (gpu_binding){w->buffer, w->offset_bytes,
                         w->rows * format_row_bytes(w->format, w->cols)};
}

/* Rows [first, first + rows) of a matrix, within the binding limit. */
typedef struct slab { uint32_t first, rows; gpu_binding binding; } slab;

uint32_t op_slab_rows(uint32_t rows) {
    uint32_t unit = rows;
    while (unit % OP_SLAB_ROWS) unit += rows;
    return unit;
}

/* The next slab of whole units of rows. */
static bool slab_next(op_context o, const matrix *w, uint32_t unit, slab *s) {
    uint64_t row_bytes = format_row_bytes(w->format, w->cols);
    uint64_t most = gpu_get_limits(o.g)->binding_bytes / row_bytes;
    assert((most >= unit || most >= w->rows) && w->offset_bytes % 256 == 0);
    s->first += s->rows;
    s->rows = w->rows - s->first;
    if (s->rows > most) s->rows = (uint32_t)(most / unit * unit);
    s->binding = (gpu_binding){w->buffer, w->offset_bytes + s->first * row_bytes,
                               s->rows * row_bytes};
    return s->rows > 0;
}

void op_gather(op_context o, gpu_buffer y, const matrix *w, gpu_buffer ids, uint32_t tokens,
               float scale) {
    gpu_program p = program_of(o, KERNEL_GATHER, w->format);
    for (slab s = {0}; slab_next(o, w, OP_SLAB_ROWS, &s);) {
        struct gather_dims dims = {s.rows, w->cols, tokens, s.first, scale};
        gpu_binding bindings[] = {s.binding, whole(ids), whole(y)};
        gpu_dispatch(o.g, p, bindings, 3, &dims, sizeof dims,
                     ceil_div(w->cols / 32, GATHER_THREADS), tokens, 1);
    }
}

kernel_id op_gather_kernel(x_form form) {
    static const kernel_id ids[X_FORMS] = {[X_F32] = KERNEL_GATHER_FORM,
                                           [X_DIGITS] = KERNEL_GATHER_DIGITS,
                                           [X_PACKED] = KERNEL_GATHER_PACKED};
    assert(form != X_PLAIN);
    return ids[form];
}

void op_gather_form(op_context o, x_form form, gpu_buffer y, gpu_buffer out, const matrix *w,
                    gpu_buffer ids, gpu_buffer vectors, uint32_t gain, float scale) {
    gpu_program p = program_of(o, op_gather_kernel(form), w->format);
    for (slab s = {0}; slab_next(o, w, OP_SLAB_ROWS, &s);) {
        struct gather_form_dims dims = {s.rows, w->cols, s.first, gain, scale};
        gpu_binding bindings[] = {s.binding, whole(ids), whole(vectors), whole(y), whole(out)};
        gpu_dispatch(o.g, p, bindings, 5, &dims, sizeof dims, ceil_div(w->cols / 32, FORM_RUNS), 1,
                     1);
    }
}

/* Rows of one workgroup of matvec.wgsl, whose threads form teams of 8, 16, 32 or all: one thread
 * for each run of 32 weights of a row, as far as they go. */
static uint32_t matvec_rows(uint32_t k) {
    uint32_t lanes = 8;
    while (lanes < MATVEC_THREADS && lanes < k / 32) lanes *= 2;
    return MATVEC_THREADS / lanes * MATVEC_ROWS;
}

/* What a workgroup of matmul and its variants makes. */
static const struct tile { uint32_t rows, tokens; } tiles[KERNEL_COUNT] = {
    [KERNEL_MATMUL] = {MATMUL_ROWS, MATMUL_TOKENS},
    [KERNEL_MATMUL_LARGE] = {MATMUL_ROWS, MATMUL_LARGE_TOKENS},
    [KERNEL_MATMUL_FEW] = {MATMUL_FEW_ROWS, MATMUL_FEW_TOKENS},
    [KERNEL_MATMUL_PACKED] = {MATMUL_ROWS, MATMUL_PACKED_TOKENS},
    [KERNEL_MATMUL_PACKED_LARGE] = {MATMUL_ROWS, MATMUL_LARGE_TOKENS},
    [KERNEL_MATMUL_FEW_PACKED] = {MATMUL_FEW_PACKED_ROWS, MATMUL_FEW_TOKENS},
    [KERNEL_MATMUL_MATRIX] = {0, MATMUL_LARGE_TOKENS},         /* of experts; else tile_of() */
};

static struct tile tile_of(op_context o, kernel_id kernel) {
    if (kernel != KERNEL_MATMUL_MATRIX) return tiles[kernel];
    const kernel_matrix *m = kernel_matrix_of(gpu_get_limits(o.g));
    return (struct tile){MATMUL_MATRIX_TILE * m->n, MATMUL_MATRIX_TILE * m->m};
}

/* Kinds of matmul by the size of their tiles, of each form that they read. */
typedef enum tile_size { TILE_FEW, TILE_SMALL, TILE_LARGE, TILE_SIZES } tile_size;
static const kernel_id tile_kernels[2][TILE_SIZES] = {
    {KERNEL_MATMUL_FEW, KERNEL_MATMUL, KERNEL_MATMUL_LARGE},
    {KERNEL_MATMUL_FEW_PACKED, KERNEL_MATMUL_PACKED, KERNEL_MATMUL_PACKED_LARGE}};

/* The rule is by figures of an H200 (docs/SPEED.md): few read weights from memory at best speed,
 * large tiles pay where there are enough of them to fill it. */
kernel_id op_project_rule(x_form form, op_shape shape) {
    enum { FEW = 24, FEW_PACKED = 64, LARGE = 96, LARGE_GROUPS = 128 };
    bool is_packed = form == X_PACKED;
    if (form == X_HALF) return KERNEL_MATMUL_MATRIX;
    if (shape.tokens == 1 && !is_packed) return KERNEL_MATVEC;
    uint32_t groups =
        ceil_div(shape.rows, MATMUL_ROWS) * ceil_div(shape.tokens, MATMUL_LARGE_TOKENS);
    tile_size size = shape.tokens <= (is_packed ? FEW_PACKED : FEW)      ? TILE_FEW
                   : shape.tokens <= LARGE || groups < LARGE_GROUPS      ? TILE_SMALL : TILE_LARGE;
    return tile_kernels[is_packed][size];
}

/* The kernel for tokens that go through one matrix. */
static kernel_id project_kernel(op_context o, x_form form, op_shape shape) {
    kernel_id rule = op_project_rule(form, shape);
    shape.tokens = op_token_class(shape.tokens);
    return choose(o, rule, shape);
}

/* One slab: matvec where a slot is a dispatch's z, else matmul where a tile is its y. */
static void project_slab(op_context o, kernel_id kernel, weight_format format,
                         const gpu_binding *bindings, const struct project_dims *dims) {
    uint32_t across, down, deep = 1;
    if (kernel == KERNEL_MATVEC) {
        uint32_t groups = ceil_div(dims->rows, matvec_rows(dims->k));
        down = ceil_div(groups, gpu_get_limits(o.g)->grid);
        across = ceil_div(groups, down);
        deep = dims->tokens;
    } else {
        struct tile tile = tile_of(o, kernel);
        across = ceil_div(dims->rows, tile.rows);
        down = dims->flags & PROJECT_EXPERTS ? dims->order / 3
                                             : ceil_div(dims->tokens, tile.tokens);
    }
    gpu_dispatch(o.g, program_of(o, kernel, format), bindings, 5, dims, sizeof *dims, across, down,
                 deep);
}

void op_project(op_context o, x_form form, gpu_buffer y, uint32_t y_first, uint32_t y_stride,
                const matrix *w, gpu_buffer x, uint32_t tokens, gpu_buffer vectors, uint32_t bias,
                bool add) {
    assert(form != X_F32);
    kernel_id kernel = project_kernel(o, form, (op_shape){w->format, w->rows, w->cols, tokens});
    op_project_by(o, kernel, y, y_first, y_stride, w, x, tokens, vectors, bias, add);
}

void op_project_by(op_context o, kernel_id kernel, gpu_buffer y, uint32_t y_first,
                   uint32_t y_stride, const matrix *w, gpu_buffer x, uint32_t tokens,
                   gpu_buffer vectors, uint32_t bias, bool add) {
    assert(tokens > 0 && (tokens == 1 || y_stride >= w->rows));
    assert(tokens == 1 || kernel != KERNEL_MATVEC);
    for (slab s = {0}; slab_next(o, w, OP_SLAB_ROWS, &s);) {
        const struct project_dims dims = {
            .rows = s.rows, .k = w->cols, .tokens = tokens,
            .y_first = y_first + s.first, .y_stride = y_stride,
            .bias = bias == OP_NO_BIAS ? 0 : bias + s.first,
            .flags = (bias == OP_NO_BIAS ? 0 : PROJECT_BIAS) | (add ? PROJECT_ADD : 0),
            .matrices = 1, .share = 1};
        gpu_binding bindings[] = {s.binding, whole(x), whole(vectors), whole(vectors), whole(y)};
        project_slab(o, kernel, w->format, bindings, &dims);
    }
}

void op_project_each(op_context o, gpu_buffer y, const matrix *w, gpu_buffer x, uint32_t tokens,
                     gpu_buffer vectors, uint32_t bias) {
    assert(tokens > 0 && op_binds(o.g, w));
    const struct project_dims dims = {
        .rows = w->rows, .k = w->cols, .tokens = tokens, .y_stride = w->rows,
        .bias = bias == OP_NO_BIAS ? 0 : bias, .flags = bias == OP_NO_BIAS ? 0 : PROJECT_BIAS,
        .matrices = 1, .share = 1};
    gpu_binding bindings[] = {whole_matrix(w), whole(x), whole(vectors), whole(vectors), whole(y)};
    project_slab(o, KERNEL_MATVEC, w->format, bindings, &dims);
}

/* ---- decode steps */

/* So many workgroups, as two dimensions of a grid. */
static void spread(op_context o, uint32_t groups, uint32_t *across, uint32_t *down) {
    *down = ceil_div(groups, gpu_get_limits(o.g)->grid);
    *across = ceil_div(groups, *down);
}

void op_form(op_context o, x_form form, gpu_buffer out, gpu_buffer x, gpu_buffer vectors,
             struct form_dims dims) {
    assert(dims.k % 32 == 0 && (dims.tokens == 1 || (dims.tokens > 1 && form != X_F32)));
    gpu_binding bindings[] = {whole(x), whole(vectors), whole(out)};
    uint32_t across, down;
    spread(o, ceil_div(dims.k / 32 * dims.tokens, FORM_RUNS), &across, &down);
    gpu_dispatch(o.g, program_of(o, KERNEL_FORM, form), bindings, 3, &dims, sizeof dims, across,
                 down, 1);
}

void op_norm_form(op_context o, x_form form, gpu_buffer x, gpu_buffer out, gpu_buffer y,
                  gpu_buffer vectors, struct norm_form_dims dims) {
    assert(dims.dim % 32 == 0);
    bool wide = o.programs->of[KERNEL_NORM_FORM_WIDE][form] != 0;
    gpu_program p = program_of(o, wide ? KERNEL_NORM_FORM_WIDE : KERNEL_NORM_FORM, form);
    gpu_binding bindings[] = {whole(y), whole(vectors), whole(x), whole(out)};
    gpu_dispatch(o.g, p, bindings, 4, &dims, sizeof dims, 1, 1, 1);
}

bool op_binds(const gpu *g, const matrix *w) {
    return w->rows * format_row_bytes(w->format, w->cols) <= gpu_get_limits(g)->binding_bytes;
}

/* Which kind of linear, as measured on an H200 (docs/SPEED.md): wide where few workgroups of the
 * other would fill a GPU. */
kernel_id op_linear_rule(x_form form, const struct linear_dims *dims) {
    enum { WIDE_GROUPS = 256 };
    static const kernel_id ids[X_FORMS][2] = {
        [X_F32] = {KERNEL_LINEAR, KERNEL_LINEAR_WIDE},
        [X_DIGITS] = {KERNEL_LINEAR_DIGITS, KERNEL_LINEAR_DIGITS_WIDE},
        [X_PACKED] = {KERNEL_LINEAR_PACKED, KERNEL_LINEAR_PACKED_WIDE}};
    return ids[form][ceil_div(dims->rows, LINEAR_ROWS) <= WIDE_GROUPS];
}

/* The same for experts, of which so many workgroups go through one dispatch. */
static kernel_id experts_kernel(op_context o, x_form form, const matrix *w, uint32_t groups) {
    enum { WIDE_GROUPS = 256 };
    static const kernel_id ids[X_FORMS][2] = {
        [X_F32] = {KERNEL_LINEAR_EXPERTS, KERNEL_LINEAR_EXPERTS_WIDE},
        [X_DIGITS] = {KERNEL_LINEAR_EXPERTS_DIGITS, KERNEL_LINEAR_EXPERTS_DIGITS_WIDE},
        [X_PACKED] = {KERNEL_LINEAR_EXPERTS_PACKED, KERNEL_LINEAR_EXPERTS_PACKED_WIDE}};
    return choose(o, ids[form][groups < WIDE_GROUPS], (op_shape){w->format, w->rows, w->cols, 1});
}

void op_linear(op_context o, x_form form, gpu_buffer y, gpu_buffer out, const matrix *w,
               gpu_buffer x, gpu_buffer vectors, struct linear_dims dims) {
    bool act = dims.flags & LINEAR_ACT;
    assert(dims.k == w->cols && dims.rows * (act ? 2 : 1) == w->rows);
    assert(!act || (op_binds(o.g, w) && dims.up == dims.rows));
    assert(form != X_PLAIN);
    kernel_id id = choose(o, op_linear_rule(form, &dims),
                          (op_shape){w->format, w->rows, w->cols, 1});
    gpu_program p = program_of(o, id, w->format);
    const struct linear_dims all = dims;
    for (slab s = {0}; slab_next(o, w, LINEAR_ROWS, &s);) {
        gpu_binding bindings[] = {s.binding, whole(x), whole(vectors), whole(y), whole(out)};
        dims.rows = act ? all.rows : s.rows;
        dims.y_first = all.y_first + s.first;
        dims.bias = all.bias + s.first;
        dims.gain = all.gain + s.first;
        uint32_t across, down;
        spread(o, ceil_div(dims.rows, LINEAR_ROWS), &across, &down);
        gpu_dispatch(o.g, p, bindings, 5, &dims, sizeof dims, across, down, 1);
    }
}

/* ---- experts */

void op_linear_experts(op_context o, x_form form, gpu_buffer y, gpu_buffer out, const matrix *w,
                       gpu_buffer x, gpu_buffer vectors, gpu_buffer logits,
                       struct linear_dims dims) {
    bool act = dims.flags & LINEAR_ACT;
    assert(dims.k == w->cols && dims.experts * dims.rows * (act ? 2 : 1) == w->rows);
    assert(form != X_PLAIN && op_binds(o.g, w) && (!act || dims.up == dims.rows));
    assert(dims.experts <= ROUTE_MAX_EXPERTS && dims.used <= ROUTE_MAX_USED);
    assert(dims.used > 0 && dims.used <= dims.experts);
    uint32_t groups = ceil_div(dims.rows, LINEAR_ROWS), deep = act ? dims.used : 1, across, down;
    gpu_binding bindings[] = {whole_matrix(w), whole(x), whole(vectors), whole(y), whole(out),
                              whole(logits)};
    spread(o, groups, &across, &down);
    gpu_dispatch(o.g, program_of(o, experts_kernel(o, form, w, groups * deep), w->format), bindings,
                 6, &dims, sizeof dims, across, down, deep);
}

void op_router(op_context o, gpu_buffer y, const matrix *w, gpu_buffer x, gpu_buffer vectors,
               struct router_dims dims) {
    assert(dims.k == w->cols && dims.k % 32 == 0 && dims.gain % 4 == 0 && op_binds(o.g, w));
    gpu_binding bindings[] = {whole_matrix(w), whole(x), whole(vectors), whole(y)};
    gpu_dispatch(o.g, program_of(o, KERNEL_ROUTER, w->format), bindings, 4, &dims, sizeof dims,
                 w->rows, 1, 1);
}

void op_route(op_context o, gpu_buffer ids, gpu_buffer weights, gpu_buffer logits,
              uint32_t tokens, struct route_dims dims) {
    assert(dims.experts <= ROUTE_MAX_EXPERTS && dims.used <= ROUTE_MAX_USED);
    assert(dims.used > 0 && dims.used <= dims.experts);
    gpu_binding bindings[] = {whole(logits), whole(ids), whole(weights)};
    gpu_dispatch(o.g, program_of(o, KERNEL_ROUTE, 0), bindings, 3, &dims, sizeof dims, tokens, 1,
                 1);
}

uint32_t op_routing_words(uint32_t slots, uint32_t experts) {
    return 3 * expert_tile_count(slots, experts, MATMUL_FEW_TOKENS) + slots;
}

/* Slots for each expert up to which matvec is faster than tiles of few: on an H200 these take 1.7
 * times as long for one to four of an expert as matvec for one. */
enum { EXPERTS_MATVEC_SLOTS = 1 };

bool op_sorts_experts(x_form form, uint32_t slots, uint32_t experts) {
    return form != X_PLAIN || slots > EXPERTS_MATVEC_SLOTS * experts;
}

/* The kernel for slots that are sorted by expert, by how many each has on average. */
static kernel_id sorted_rule(x_form form, uint32_t slots, uint32_t experts) {
    enum { FEW = 12, FEW_PACKED = 24, LARGE = 256 };
    bool is_packed = form == X_PACKED;
    if (form == X_HALF) return KERNEL_MATMUL_MATRIX;
    uint32_t each = slots / experts;
    tile_size size = each <= (is_packed ? FEW_PACKED : FEW) ? TILE_FEW
                   : each < LARGE                            ? TILE_SMALL : TILE_LARGE;
    return tile_kernels[is_packed][size];
}

uint32_t op_expert_tile(x_form form, uint32_t slots, uint32_t experts) {
    return tiles[sorted_rule(form, slots, experts)].tokens;
}

/* What the rule says, or the small tile where a program was wrong on this device: all matrices of a
 * layer share its tiles. */
static kernel_id sorted_kernel(op_context o, x_form form, uint32_t slots, uint32_t experts) {
    kernel_id rule = sorted_rule(form, slots, experts), base = kernel_base(rule);
    for (uint32_t f = 0; f < FORMAT_COUNT; f++)
        if (o.programs->of[base][f] && !o.programs->of[rule][f]) return base;
    return rule;
}

void op_expert_tiles(op_context o, x_form form, gpu_buffer routing, gpu_buffer ids,
                     uint32_t slots, uint32_t experts) {
    assert(experts <= ROUTE_MAX_EXPERTS);
    uint32_t size = tiles[sorted_kernel(o, form, slots, experts)].tokens;
    struct expert_tiles_dims dims = {slots, experts, size,
                                     expert_tile_count(slots, experts, size)};
    gpu_binding bindings[] = {whole(ids), whole(routing)};
    gpu_dispatch(o.g, program_of(o, KERNEL_EXPERT_TILES, 0), bindings, 2, &dims, sizeof dims, 1, 1,
                 1);
}

void op_project_experts(op_context o, gpu_buffer y, uint32_t y_first, uint32_t y_stride,
                        const matrix *w, gpu_buffer x, uint32_t tokens, gpu_buffer vectors,
                        uint32_t bias, const op_experts *e) {
    uint32_t rows = w->rows / e->experts, slots = tokens * e->used;
    bool sorted = op_sorts_experts(e->form, slots, e->experts);
    kernel_id kernel = sorted ? sorted_kernel(o, e->form, slots, e->experts) : KERNEL_MATVEC;
    uint32_t size = sorted ? tiles[kernel].tokens : 1;
    assert(tokens > 0 && w->rows % e->experts == 0 && y_stride >= y_first + rows);
    assert(!sorted || size <= tile_of(o, kernel).tokens);
    for (slab s = {0}; slab_next(o, w, op_slab_rows(rows), &s);) {
        const struct project_dims dims = {
            .rows = rows, .k = w->cols, .tokens = slots, .y_first = y_first, .y_stride = y_stride,
            .bias = bias == OP_NO_BIAS ? 0 : bias + s.first,
            .flags = PROJECT_EXPERTS | (bias == OP_NO_BIAS ? 0 : PROJECT_BIAS),
            .matrices = s.rows / rows, .first_matrix = s.first / rows, .share = e->share,
            .order = 3 * expert_tile_count(slots, e->experts, size)};
        gpu_binding bindings[] = {s.binding, whole(x), whole(vectors),
                                  whole(sorted ? e->routing : e->ids), whole(y)};
        project_slab(o, kernel, w->format, bindings, &dims);
    }
}

void op_combine(op_context o, gpu_buffer y, gpu_buffer x, gpu_buffer weights,
                struct combine_dims dims) {
    assert(dims.dim % 4 == 0);
    gpu_binding bindings[] = {whole(x), whole(weights), whole(y)};
    gpu_dispatch(o.g, program_of(o, KERNEL_COMBINE, 0), bindings, 3, &dims, sizeof dims,
                 ceil_div(dims.dim / 4, COMBINE_THREADS), dims.tokens, 1);
}

/* ---- vectors */

void op_rmsnorm(op_context o, gpu_buffer y, gpu_buffer x, gpu_buffer vectors,
                struct rmsnorm_dims dims) {
    assert(dims.dim % 4 == 0);
    gpu_binding bindings[] = {whole(x), whole(vectors), whole(y)};
    gpu_dispatch(o.g, program_of(o, KERNEL_RMSNORM, 0), bindings, 3, &dims, sizeof dims,
                 dims.tokens, 1, 1);
}

void op_act_mul(op_context o, gpu_buffer y, gpu_buffer gate_up, struct act_mul_dims dims) {
    assert(dims.hidden % 4 == 0);
    gpu_binding bindings[] = {whole(gate_up), whole(y)};
    gpu_dispatch(o.g, program_of(o, KERNEL_ACT_MUL, 0), bindings, 2, &dims, sizeof dims,
                 ceil_div(dims.hidden / 4, ACT_MUL_THREADS), dims.tokens, 1);
}

/* ---- attention */

/* KV heads [first, first + *count) of a slab; its buffer. */
static gpu_binding kv_slab(kv_slabs kv, uint32_t kv_heads, uint32_t first, uint32_t *count) {
    *count = kv_heads - first < kv.heads ? kv_heads - first : kv.heads;
    return whole(kv.buffers[first / kv.heads]);
}

void op_rope_kv(op_context o, kv_slabs kv, gpu_buffer state, gpu_buffer rope, gpu_buffer vectors,
                gpu_buffer qkv, struct rope_kv_dims dims) {
    assert(dims.head_dim % 8 == 0 && dims.head_dim <= ATTENTION_MAX_HEAD_DIM);
    assert(dims.head_dim % kv_run(kv.format) == 0 && dims.heads % dims.kv_heads == 0);
    assert(dims.tokens <= dims.slots && dims.slots <= dims.context);
    assert(dims.tokens <= dims.rope_rows);
    gpu_program p = program_of(o, KERNEL_ROPE_KV, kv.format);
    for (uint32_t first = 0; first < dims.kv_heads; first += kv.heads) {
        dims.kv_first = first;
        gpu_binding slab = kv_slab(kv, dims.kv_heads, first, &dims.kv_count);
        gpu_binding bindings[] = {whole(state), whole(rope), whole(vectors), whole(qkv), slab};
        uint32_t rows = dims.kv_count * (dims.heads / dims.kv_heads + 2);
        gpu_dispatch(o.g, p, bindings, 5, &dims, sizeof dims,
                     ceil_div(rows, rope_kv_heads(dims.head_dim)), dims.tokens, 1);
    }
}

static void merge(op_context o, x_form form, gpu_buffer y, gpu_buffer partial, gpu_buffer state,
                  struct attention_merge_dims dims) {
    gpu_binding bindings[] = {whole(state), whole(partial), whole(y)};
    assert(dims.heads * dims.head_dim % 32 == 0);
    gpu_dispatch(o.g, program_of(o, KERNEL_ATTENTION_MERGE, form), bindings, 3, &dims,
                 sizeof dims, dims.heads * dims.head_dim / 32, dims.tokens, 1);
}

kernel_id op_attention_tile(uint32_t head_dim) {
    return head_dim <= 64 ? KERNEL_ATTENTION_TILE_64
         : head_dim <= 128 ? KERNEL_ATTENTION_TILE_128 : KERNEL_ATTENTION_TILE_256;
}

/* One token's heads are too few for a tile. */
static kernel_id attention_kernel(op_context o, kv_format format,
                                  const struct attention_dims *dims) {
    kernel_id tile = op_attention_tile(dims->head_dim);
    bool tiled = dims->tokens > 1 && dims->splits == 1 && o.programs->of[tile][format];
    return tiled ? tile : KERNEL_ATTENTION;
}

void op_attention(op_context o, kv_slabs kv, gpu_buffer y, gpu_buffer partial, gpu_buffer state,
                  gpu_buffer vectors, gpu_buffer qkv, struct attention_dims dims) {
    assert(attention_fits(dims.heads, dims.kv_heads, dims.head_dim));
    assert(dims.head_dim % kv_run(kv.format) == 0);
    assert(dims.splits > 0 && dims.splits <= ATTENTION_MAX_SPLITS);
    assert(dims.slots == dims.context || dims.window + dims.tokens - 1 <= dims.slots);
    kernel_id kernel = attention_kernel(o, kv.format, &dims);
    gpu_program p = program_of(o, kernel, kv.format);
    uint32_t rows = kernel == KERNEL_ATTENTION_TILE_256 ? ATTENTION_TILE_256_ROWS
                                                        : ATTENTION_TILE_ROWS;
    uint32_t tile = kernel == KERNEL_ATTENTION ? 1 : rows / (dims.heads / dims.kv_heads);
    for (uint32_t first = 0; first < dims.kv_heads; first += kv.heads) {
        dims.kv_first = first;
        gpu_binding slab = kv_slab(kv, dims.kv_heads, first, &dims.kv_count);
        gpu_binding bindings[] = {whole(state), whole(vectors), whole(qkv), slab,
                                  whole(dims.splits > 1 ? partial : y)};
        gpu_dispatch(o.g, p, bindings, 5, &dims, sizeof dims, dims.kv_count, dims.splits,
                     ceil_div(dims.tokens, tile));
    }
    if (dims.splits == 1) return;
    merge(o, X_PLAIN, y, partial, state,
          (struct attention_merge_dims){dims.heads, dims.head_dim, dims.tokens, dims.splits,
                                        dims.context, dims.window, 1});
}

/* Whether there is a variant of attention_token by subgroups. */
static bool has_lanes(op_context o, kernel_id kernel, x_form form, uint32_t head_dim) {
    if (form == X_PLAIN || head_dim < 64) return false;
    return o.programs->of[kernel][lanes_format(head_dim, form)] != 0;
}

/* The variant for few keys, many; else what every device has. */
static kernel_id token_kernel(op_context o, x_form form, const struct attention_token_dims *d) {
    uint32_t keys = d->window < d->context ? d->window : d->context;
    if (keys <= ATTENTION_WHOLE_KEYS && has_lanes(o, KERNEL_ATTENTION_WHOLE, form, d->head_dim))
        return KERNEL_ATTENTION_WHOLE;
    return has_lanes(o, KERNEL_ATTENTION_LANES, X_F32, d->head_dim) ? KERNEL_ATTENTION_LANES
                                                                       : KERNEL_ATTENTION_TOKEN;
}

void op_attention_token(op_context o, kv_slabs kv, x_form form, gpu_buffer y, gpu_buffer partial,
                        gpu_buffer state, gpu_buffer rope, gpu_buffer vectors, gpu_buffer qkv,
                        struct attention_token_dims dims) {
    assert(attention_token_fits(kv.format, dims.head_dim) && dims.heads % dims.kv_heads == 0);
    assert(dims.splits > 1 && dims.splits <= ATTENTION_MAX_SPLITS);
    assert(dims.slots == dims.context || dims.window <= dims.slots);
    kernel_id kernel = token_kernel(o, form, &dims);
    bool whole_keys = kernel == KERNEL_ATTENTION_WHOLE;
    uint32_t format = kernel == KERNEL_ATTENTION_TOKEN ? 0
                    : lanes_format(dims.head_dim, whole_keys ? form : X_F32);
    gpu_program p = program_of(o, kernel, format);
    if (whole_keys) dims.splits = 1;
    dims.group = dims.heads / dims.kv_heads;
    while (8u << dims.lane_bits < dims.head_dim) dims.lane_bits++;
    for (uint32_t first = 0; first < dims.kv_heads; first += kv.heads) {
        dims.kv_first = first;
        gpu_binding slab = kv_slab(kv, dims.kv_heads, first, &dims.kv_count);
        gpu_binding bindings[] = {whole(state), whole(rope), whole(vectors), whole(qkv), slab,
                                  whole(whole_keys ? y : partial)};
        gpu_dispatch(o.g, p, bindings, 6, &dims, sizeof dims, dims.kv_count, dims.splits,
                     whole_keys ? dims.group : ceil_div(dims.group, ATTENTION_TOKEN_HEADS));
    }
    if (whole_keys) return;
    uint32_t least = kernel == KERNEL_ATTENTION_LANES ? attention_lanes_keys(dims.head_dim)
                                                      : attention_token_keys(dims.head_dim);
    merge(o, form, y, partial, state,
          (struct attention_merge_dims){dims.heads, dims.head_dim, 1, dims.splits, dims.context,
                                        dims.window, least});
}

/* ---- sampling */

void op_sample(op_context o, kernel_id kernel, gpu_buffer logits, gpu_buffer counts,
               gpu_buffer state, gpu_buffer ids, gpu_buffer ring, gpu_buffer parts,
               struct sample_dims dims) {
    static const uint32_t steps[] = {SAMPLE_PART, SAMPLE_COUNT, SAMPLE_LIST, SAMPLE_FINE,
                                     SAMPLE_MASS};
    assert(kernel == KERNEL_ARGMAX || kernel == KERNEL_SAMPLE);
    assert(!(dims.flags & SAMPLE_ADVANCE) || (dims.rows == 1 && dims.ring_size > 0));
    assert(dims.stride == 0 || dims.stride >= dims.vocab);
    gpu_program p = program_of(o, kernel, 0);
    gpu_binding bindings[] = {whole(logits), whole(counts), whole(state), whole(ids), whole(ring),
                              whole(parts)};
    uint32_t count = sample_part_count(dims.vocab);
    bool spread = sample_is_spread(dims.vocab);
    size_t before = !spread ? 0 : kernel == KERNEL_ARGMAX ? 1 : sizeof steps / sizeof *steps;
    for (size_t i = 0; i < before; i++) {
        struct sample_dims part = dims;
        part.flags = (dims.flags & SAMPLE_PENALIZE) | steps[i];
        gpu_dispatch(o.g, p, bindings, 6, &part, sizeof part, count, dims.rows, 1);
    }
    if (spread) dims.flags |= SAMPLE_JOIN;
    gpu_dispatch(o.g, p, bindings, 6, &dims, sizeof dims, dims.rows, 1, 1);
}

void op_nll(op_context o, gpu_buffer nll, gpu_buffer logits, gpu_buffer targets,
            struct nll_dims dims) {
    assert(dims.vocab > 0 && dims.rows > 0);
    gpu_binding bindings[] = {whole(logits), whole(targets), whole(nll)};
    gpu_dispatch(o.g, program_of(o, KERNEL_NLL, 0), bindings, 3, &dims, sizeof dims, dims.rows, 1,
                 1);
}
