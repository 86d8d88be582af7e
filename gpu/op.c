/* op.c - one function per kernel: shape checks, dims, grid, one recorded dispatch. The grids are
 * those that the kernels' headers state. A matrix larger than the device's binding limit is
 * dispatched in slabs of rows. */
#include "gpu/op.h"

#include <assert.h>

static uint32_t ceil_div(uint32_t a, uint32_t b) { return a / b + (a % b != 0); }

/* A whole buffer. */
static gpu_binding whole(gpu_buffer b) { return (gpu_binding){b, 0, 0}; }

static gpu_program program_of(op_context o, kernel_id kernel, uint32_t format) {
    gpu_program p = o.programs->of[kernel][format];
    assert(p);
    return p;
}

/* ---- matrices */

/* Rows [first, first + rows) of a matrix, within the binding limit. */
typedef struct slab { uint32_t first, rows; gpu_binding binding; } slab;

static bool slab_next(op_context o, const matrix *w, slab *s) {
    uint64_t row_bytes = format_row_bytes(w->format, w->cols);
    uint64_t most = gpu_get_limits(o.g)->binding_bytes / row_bytes;
    assert(most >= OP_SLAB_ROWS && w->offset_bytes % 256 == 0);
    s->first += s->rows;
    s->rows = w->rows - s->first;
    if (s->rows > most) s->rows = (uint32_t)(most / OP_SLAB_ROWS * OP_SLAB_ROWS);
    s->binding = (gpu_binding){w->buffer, w->offset_bytes + s->first * row_bytes,
                               s->rows * row_bytes};
    return s->rows > 0;
}

void op_gather(op_context o, gpu_buffer y, const matrix *w, gpu_buffer ids, uint32_t tokens,
               float scale) {
    gpu_program p = program_of(o, KERNEL_GATHER, w->format);
    for (slab s = {0}; slab_next(o, w, &s);) {
        struct gather_dims dims = {s.rows, w->cols, tokens, s.first, scale};
        gpu_binding bindings[] = {s.binding, whole(ids), whole(y)};
        gpu_dispatch(o.g, p, bindings, 3, &dims, sizeof dims,
                     ceil_div(w->cols / 32, GATHER_THREADS), tokens, 1);
    }
}

/* Rows of one workgroup of matvec.wgsl, whose threads form teams of 8, 16, 32 or all: one thread
 * for each run of 32 weights of a row, as far as they go. */
static uint32_t matvec_rows(uint32_t k) {
    uint32_t lanes = 8;
    while (lanes < MATVEC_THREADS && lanes < k / 32) lanes *= 2;
    return MATVEC_THREADS / lanes * MATVEC_ROWS;
}

void op_project(op_context o, gpu_buffer y, uint32_t y_first, uint32_t y_stride, const matrix *w,
                gpu_buffer x, uint32_t tokens, gpu_buffer vectors, uint32_t bias, bool add) {
    bool is_matvec = tokens == 1;
    gpu_program p = program_of(o, is_matvec ? KERNEL_MATVEC : KERNEL_MATMUL, w->format);
    assert(tokens > 0 && (is_matvec || y_stride >= w->rows));
    uint32_t grid = gpu_get_limits(o.g)->grid;
    for (slab s = {0}; slab_next(o, w, &s);) {
        struct project_dims dims = {
            .rows = s.rows, .k = w->cols, .tokens = tokens,
            .y_first = y_first + s.first, .y_stride = y_stride,
            .bias = bias == OP_NO_BIAS ? 0 : bias + s.first,
            .flags = (bias == OP_NO_BIAS ? 0 : PROJECT_BIAS) | (add ? PROJECT_ADD : 0)};
        gpu_binding bindings[] = {s.binding, whole(x), whole(vectors), whole(y)};
        uint32_t groups = ceil_div(s.rows, is_matvec ? matvec_rows(w->cols) : MATMUL_ROWS);
        uint32_t down = is_matvec ? ceil_div(groups, grid) : ceil_div(tokens, MATMUL_TOKENS);
        uint32_t across = is_matvec ? ceil_div(groups, down) : groups;
        gpu_dispatch(o.g, p, bindings, 4, &dims, sizeof dims, across, down, 1);
    }
}

/* ---- decode steps */

/* So many workgroups, as two dimensions of a grid. */
static void spread(op_context o, uint32_t groups, uint32_t *across, uint32_t *down) {
    *down = ceil_div(groups, gpu_get_limits(o.g)->grid);
    *across = ceil_div(groups, *down);
}

void op_form(op_context o, x_form form, gpu_buffer out, gpu_buffer x, gpu_buffer vectors,
             struct form_dims dims) {
    assert(dims.k % 32 == 0 && (dims.tokens == 1 || (dims.tokens > 1 && form == X_PACKED)));
    gpu_binding bindings[] = {whole(x), whole(vectors), whole(out)};
    uint32_t across, down;
    spread(o, ceil_div(dims.k / 32 * dims.tokens, FORM_RUNS), &across, &down);
    gpu_dispatch(o.g, program_of(o, KERNEL_FORM, form), bindings, 3, &dims, sizeof dims, across,
                 down, 1);
}

bool op_binds(const gpu *g, const matrix *w) {
    return w->rows * format_row_bytes(w->format, w->cols) <= gpu_get_limits(g)->binding_bytes;
}

void op_linear(op_context o, x_form form, gpu_buffer y, gpu_buffer out, const matrix *w,
               gpu_buffer x, gpu_buffer vectors, struct linear_dims dims) {
    bool act = dims.flags & LINEAR_ACT;
    assert(dims.k == w->cols && dims.rows * (act ? 2 : 1) == w->rows);
    assert(!act || (op_binds(o.g, w) && dims.up == dims.rows));
    assert(form != X_PLAIN);
    static const kernel_id ids[X_FORMS][2] = {
        [X_F32] = {KERNEL_LINEAR, KERNEL_LINEAR_WIDE},
        [X_PACKED] = {KERNEL_LINEAR_PACKED, KERNEL_LINEAR_PACKED_WIDE}};
    bool wide = ceil_div(dims.rows, LINEAR_ROWS) < LINEAR_WIDE_GROUPS &&
                kernel_exists(ids[form][1], w->format, gpu_get_limits(o.g));
    gpu_program p = program_of(o, ids[form][wide], w->format);
    const struct linear_dims all = dims;
    for (slab s = {0}; slab_next(o, w, &s);) {
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

static void merge(op_context o, x_form form, gpu_buffer y, gpu_buffer partial,
                  struct attention_merge_dims dims) {
    gpu_binding bindings[] = {whole(partial), whole(y)};
    assert(dims.heads * dims.head_dim % 32 == 0);
    gpu_dispatch(o.g, program_of(o, KERNEL_ATTENTION_MERGE, form), bindings, 2, &dims,
                 sizeof dims, dims.heads * dims.head_dim / 32, dims.tokens, 1);
}

void op_attention(op_context o, kv_slabs kv, gpu_buffer y, gpu_buffer partial, gpu_buffer state,
                  gpu_buffer vectors, gpu_buffer qkv, struct attention_dims dims) {
    assert(attention_fits(dims.heads, dims.kv_heads, dims.head_dim));
    assert(dims.head_dim % kv_run(kv.format) == 0);
    assert(dims.splits > 0 && dims.splits <= ATTENTION_MAX_SPLITS);
    assert(dims.slots == dims.context || dims.window + dims.tokens - 1 <= dims.slots);
    gpu_program p = program_of(o, KERNEL_ATTENTION, kv.format);
    for (uint32_t first = 0; first < dims.kv_heads; first += kv.heads) {
        dims.kv_first = first;
        gpu_binding slab = kv_slab(kv, dims.kv_heads, first, &dims.kv_count);
        gpu_binding bindings[] = {whole(state), whole(vectors), whole(qkv), slab,
                                  whole(dims.splits > 1 ? partial : y)};
        gpu_dispatch(o.g, p, bindings, 5, &dims, sizeof dims, dims.kv_count, dims.splits,
                     dims.tokens);
    }
    if (dims.splits == 1) return;
    merge(o, X_PLAIN, y, partial,
          (struct attention_merge_dims){dims.heads, dims.head_dim, dims.tokens, dims.splits});
}

void op_attention_token(op_context o, kv_slabs kv, x_form form, gpu_buffer y, gpu_buffer partial,
                        gpu_buffer state, gpu_buffer rope, gpu_buffer vectors, gpu_buffer qkv,
                        struct attention_token_dims dims) {
    assert(attention_token_fits(kv.format, dims.head_dim) && dims.heads % dims.kv_heads == 0);
    assert(dims.splits > 1 && dims.splits <= ATTENTION_MAX_SPLITS);
    assert(dims.slots == dims.context || dims.window <= dims.slots);
    gpu_program p = program_of(o, KERNEL_ATTENTION_TOKEN, 0);
    dims.group = dims.heads / dims.kv_heads;
    while (8u << dims.lane_bits < dims.head_dim) dims.lane_bits++;
    for (uint32_t first = 0; first < dims.kv_heads; first += kv.heads) {
        dims.kv_first = first;
        gpu_binding slab = kv_slab(kv, dims.kv_heads, first, &dims.kv_count);
        gpu_binding bindings[] = {whole(state), whole(rope), whole(vectors), whole(qkv), slab,
                                  whole(partial)};
        gpu_dispatch(o.g, p, bindings, 6, &dims, sizeof dims, dims.kv_count, dims.splits,
                     ceil_div(dims.group, ATTENTION_TOKEN_HEADS));
    }
    merge(o, form, y, partial,
          (struct attention_merge_dims){dims.heads, dims.head_dim, 1, dims.splits});
}

/* ---- sampling */

void op_sample(op_context o, kernel_id kernel, gpu_buffer logits, gpu_buffer counts,
               gpu_buffer state, gpu_buffer ids, gpu_buffer ring, struct sample_dims dims) {
    assert(kernel == KERNEL_ARGMAX || kernel == KERNEL_SAMPLE);
    assert(!(dims.flags & SAMPLE_ADVANCE) || (dims.rows == 1 && dims.ring_size > 0));
    assert(dims.stride == 0 || dims.stride >= dims.vocab);
    gpu_binding bindings[] = {whole(logits), whole(counts), whole(state), whole(ids), whole(ring)};
    gpu_dispatch(o.g, program_of(o, kernel, 0), bindings, 5, &dims, sizeof dims, dims.rows, 1, 1);
}

void op_argmax(op_context o, gpu_buffer parts, gpu_buffer logits, gpu_buffer counts,
               gpu_buffer state, gpu_buffer ids, gpu_buffer ring, struct sample_dims dims) {
    assert(dims.rows == 1);
    uint32_t count = ceil_div(dims.vocab, SAMPLE_PART_TOKENS);
    struct sample_dims part = dims;
    part.flags = (dims.flags & SAMPLE_PENALIZE) | SAMPLE_PART;
    gpu_binding bindings[] = {whole(logits), whole(counts), whole(state), whole(parts),
                              whole(ring)};
    gpu_dispatch(o.g, program_of(o, KERNEL_ARGMAX, 0), bindings, 5, &part, sizeof part, count, 1,
                 1);
    dims.vocab = count;
    dims.stride = 0;
    dims.flags |= SAMPLE_JOIN;
    op_sample(o, KERNEL_ARGMAX, parts, counts, state, ids, ring, dims);
}

void op_nll(op_context o, gpu_buffer nll, gpu_buffer logits, gpu_buffer targets,
            struct nll_dims dims) {
    assert(dims.vocab > 0 && dims.rows > 0);
    gpu_binding bindings[] = {whole(logits), whole(targets), whole(nll)};
    gpu_dispatch(o.g, program_of(o, KERNEL_NLL, 0), bindings, 3, &dims, sizeof dims, dims.rows, 1,
                 1);
}
