/* weights.c - plans GPU memory for a manifest's tensors. */
#include "loader/weights.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct planner {
    error *e;
    arena *memory;
    const manifest *m;
    const gpu_limits *limits;
    weights *w;
    const rdrr_tensor **tensors; /* by model_tensor_index */
    uint32_t buffer_room, placement_room;
    uint64_t vector_elements;
} planner;

/* Tensors that form one row space, in output order. */
typedef struct group { const char *label; tensor_role matrix[3], bias[3]; uint32_t count; } group;

static const group qkv_group = {
    "qkv", {ROLE_ATTN_Q, ROLE_ATTN_K, ROLE_ATTN_V},
    {ROLE_ATTN_Q_BIAS, ROLE_ATTN_K_BIAS, ROLE_ATTN_V_BIAS}, 3};
static const group out_group = {"attn_out", {ROLE_ATTN_O}, {ROLE_ATTN_O_BIAS}, 1};
static const group gate_up_group = {
    "gate_up", {ROLE_FFN_GATE, ROLE_FFN_UP}, {ROLE_FFN_GATE_BIAS, ROLE_FFN_UP_BIAS}, 2};
static const group router_group = {"router", {ROLE_ROUTER}, {ROLE_ROUTER_BIAS}, 1};
static const group down_group = {"down", {ROLE_FFN_DOWN}, {ROLE_FFN_DOWN_BIAS}, 1};
static const group head_group = {"head", {ROLE_HEAD}, {ROLE_COUNT}, 1};
static const group embedding_group = {"embedding", {ROLE_EMBEDDING}, {ROLE_COUNT}, 1};

/* NULL when the model has none. */
static const rdrr_tensor *find(const planner *p, tensor_role role, uint32_t layer,
                               uint32_t expert) {
    uint32_t rows, cols;
    if (role == ROLE_COUNT || !model_role_shape(&p->m->model, role, &rows, &cols)) return NULL;
    return p->tensors[model_tensor_index(&p->m->model, role, layer, expert)];
}

/* Bytes from - from + bytes of the tensor go to byte `to` of the buffer. */
static void place(planner *p, const rdrr_tensor *t, uint64_t from, uint64_t bytes,
                  uint32_t buffer, uint64_t to) {
    for (uint32_t i = 0; bytes; i++) {
        const rdrr_span *span = &t->spans[i];
        if (from >= span->bytes) {
            from -= span->bytes;
            continue;
        }
        uint64_t left = span->bytes - from, count = bytes < left ? bytes : left;
        assert(p->w->placement_count < p->placement_room);
        p->w->placements[p->w->placement_count++] =
            (placement){span->shard, span->offset + from, count, buffer, to};
        to += count;
        bytes -= count;
        from = 0;
    }
}

/* Lays a vector behind the others; returns its element, cut to 32 bits where all of them together
 * turn out to be too many. Buffer 0 is `vectors`. */
static uint32_t place_vector(planner *p, tensor_role role, uint32_t layer) {
    const rdrr_tensor *t = find(p, role, layer, 0);
    if (!t) return OP_NO_BIAS;
    uint64_t element = (p->vector_elements + 3) / 4 * 4;     /* some are read in 16 bytes */
    place(p, t, 0, t->bytes, 0, element * 4);
    p->vector_elements = element + t->bytes / 4;
    return (uint32_t)element;
}

static bool binds(const planner *p, uint64_t bytes) {
    return bytes <= p->limits->binding_bytes && bytes <= p->limits->buffer_bytes;
}

static doppler_status new_buffer(planner *p, uint64_t bytes, const char *label, uint32_t layer) {
    if (bytes > p->limits->buffer_bytes)
        return fail(p->e, DOPPLER_UNSUPPORTED,
                    "layer %" PRIu32 " %s: %" PRIu64 " bytes, this device holds at most %" PRIu64,
                    layer, label, bytes, p->limits->buffer_bytes);
    assert(p->w->buffer_count < p->buffer_room);
    char name[64];
    int length = snprintf(name, sizeof name, "%s %" PRIu32, label, layer);
    char *copy = arena_text(p->memory, name, (size_t)length);
    if (!copy) return fail(p->e, DOPPLER_NO_MEMORY, "plan of %s", label);
    p->w->descs[p->w->buffer_count++] = (gpu_buffer_desc){bytes, copy};
    p->w->gpu_bytes += bytes;
    return DOPPLER_OK;
}

/* What a device cannot bind: a slab of rows, or of one expert. */
static doppler_status check_slab(planner *p, const char *label, uint32_t layer, uint32_t rows,
                                 uint64_t row_bytes) {
    if (rows * row_bytes <= p->limits->binding_bytes) return DOPPLER_OK;
    return fail(p->e, DOPPLER_UNSUPPORTED, "layer %" PRIu32 " %s: %" PRIu32 " rows of %" PRIu64
                " bytes, this device binds at most %" PRIu64, layer, label, rows, row_bytes,
                p->limits->binding_bytes);
}

/* Tensors i to i + members - 1 of the group, of one format, as one part with its own buffer. Where
 * there are experts, matrix and bias hold an expert's rows of all of them, then the next's. */
static doppler_status plan_part(planner *p, const group *g, uint32_t i, uint32_t members,
                                uint32_t layer, projection *out) {
    const rdrr_tensor *first = find(p, g->matrix[i], layer, 0);
    uint32_t experts = model_role_experts(&p->m->model, g->matrix[i]), part_rows = 0, row = 0;
    bool has_bias = find(p, g->bias[i], layer, 0) != NULL;
    uint64_t row_bytes = format_row_bytes(first->format, first->cols);
    for (uint32_t j = i; j < i + members; j++) part_rows += find(p, g->matrix[j], layer, 0)->rows;
    for (uint32_t j = i; j < i + members; j++) {
        uint32_t rows = find(p, g->matrix[j], layer, 0)->rows;
        const rdrr_tensor *bias = find(p, g->bias[j], layer, 0);
        for (uint32_t expert = 0; expert < experts; expert++) {
            const rdrr_tensor *t = find(p, g->matrix[j], layer, expert);
            uint64_t to = (uint64_t)expert * part_rows + row;
            place(p, t, 0, t->bytes, p->w->buffer_count, to * row_bytes);
            if (has_bias)
                place(p, bias, (uint64_t)expert * rows * 4, (uint64_t)rows * 4, 0,
                      (p->vector_elements + to) * 4);
        }
        row += rows;
    }
    uint32_t n = out->count++;
    out->part[n] = (matrix){first->format, experts * part_rows, first->cols, p->w->buffer_count,
                            0};
    out->first[n] = out->rows;
    out->bias[n] = has_bias ? (uint32_t)p->vector_elements : OP_NO_BIAS;
    out->rows += part_rows;
    if (has_bias) p->vector_elements += (uint64_t)experts * part_rows;
    bool is_expert = model_role_in_expert(&p->m->model, g->matrix[i]);
    doppler_status status =
        check_slab(p, g->label, layer, is_expert ? op_slab_rows(part_rows) : OP_SLAB_ROWS,
                   row_bytes);
    return status ? status : new_buffer(p, experts * part_rows * row_bytes, g->label, layer);
}

/* Consecutive tensors of one format become a part. */
static doppler_status plan_projection(planner *p, const group *g, uint32_t layer,
                                      projection *out) {
    *out = (projection){0};
    for (uint32_t i = 0, j; i < g->count; i = j) {
        const rdrr_tensor *first = find(p, g->matrix[i], layer, 0);
        bool has_bias = find(p, g->bias[i], layer, 0) != NULL;
        assert(first);                        /* manifest_parse has checked every role */
        for (j = i + 1; j < g->count; j++)
            if (find(p, g->matrix[j], layer, 0)->format != first->format ||
                (find(p, g->bias[j], layer, 0) != NULL) != has_bias)
                break;
        doppler_status status = plan_part(p, g, i, j - i, layer, out);
        if (status) return status;
    }
    return DOPPLER_OK;
}

static int by_place(const void *a, const void *b) {
    const placement *x = a, *y = b;
    if (x->shard != y->shard) return x->shard < y->shard ? -1 : 1;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static doppler_status plan_layer(planner *p, uint32_t layer) {
    layer_weights *l = &p->w->layers[layer];
    const struct { const group *g; projection *to; } groups[] = {
        {&qkv_group, &l->qkv}, {&out_group, &l->attn_out},
        {&gate_up_group, &l->gate_up}, {&down_group, &l->down}};
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        doppler_status status = plan_projection(p, groups[i].g, layer, groups[i].to);
        if (status) return status;
    }
    if (p->m->model.experts) {
        doppler_status status = plan_projection(p, &router_group, layer, &l->router);
        if (status) return status;
    }
    l->attn_norm = place_vector(p, ROLE_ATTN_NORM, layer);
    l->ffn_norm = place_vector(p, ROLE_FFN_NORM, layer);
    l->q_norm = place_vector(p, ROLE_ATTN_Q_NORM, layer);
    l->k_norm = place_vector(p, ROLE_ATTN_K_NORM, layer);
    l->attn_post_norm = place_vector(p, ROLE_ATTN_POST_NORM, layer);
    l->ffn_post_norm = place_vector(p, ROLE_FFN_POST_NORM, layer);
    l->sinks = place_vector(p, ROLE_ATTN_SINKS, layer);
    return DOPPLER_OK;
}

doppler_status weights_plan(error *e, arena *a, const manifest *m, const gpu_limits *limits,
                            weights *w) {
    *w = (weights){0};
    uint32_t spans = 0;                       /* a bias is cut into those of its experts, too */
    for (uint32_t i = 0; i < m->tensor_count; i++)
        spans += m->tensors[i].span_count +
                 (roles[m->tensors[i].role].matrix ? 0 : m->tensors[i].rows - 1);
    planner p = {e, a, m, limits, w, .buffer_room = m->tensor_count + 1, .placement_room = spans};
    p.tensors = arena_array(a, model_tensor_count(&m->model), sizeof *p.tensors);
    w->layers = arena_array(a, m->model.layers, sizeof *w->layers);
    w->descs = arena_array(a, p.buffer_room, sizeof *w->descs);
    w->buffers = arena_array(a, p.buffer_room, sizeof *w->buffers);
    w->placements = arena_array(a, spans, sizeof *w->placements);
    if (!p.tensors || !w->layers || !w->descs || !w->buffers || !w->placements)
        return fail(e, DOPPLER_NO_MEMORY, "plan of %" PRIu32 " tensors", m->tensor_count);
    for (uint32_t i = 0; i < m->tensor_count; i++) {
        const rdrr_tensor *t = &m->tensors[i];
        p.tensors[model_tensor_index(&m->model, t->role, t->layer, t->expert)] = t;
    }

    w->buffer_count = 1;                      /* vectors: its size is known at the end */
    projection embedding;
    doppler_status status = plan_projection(&p, &embedding_group, 0, &embedding);
    if (status) return status;
    w->embedding = embedding.part[0];
    if (m->model.tied_head) w->head = embedding;
    else if ((status = plan_projection(&p, &head_group, 0, &w->head))) return status;
    for (uint32_t layer = 0; layer < m->model.layers; layer++)
        if ((status = plan_layer(&p, layer))) return status;
    w->final_norm = place_vector(&p, ROLE_FINAL_NORM, 0);
    w->descs[0] = (gpu_buffer_desc){p.vector_elements * 4, "vectors"};
    if (p.vector_elements >= OP_NO_BIAS || !binds(&p, w->descs[0].bytes))
        return fail(e, DOPPLER_UNSUPPORTED, "vectors: %" PRIu64 " bytes, this device binds at most "
                    "%" PRIu64, w->descs[0].bytes, limits->binding_bytes);
    w->gpu_bytes += w->descs[0].bytes;
    qsort(w->placements, w->placement_count, sizeof *w->placements, by_place);
    return DOPPLER_OK;
}

static void bind_projection(const weights *w, projection *p) {
    for (uint32_t i = 0; i < p->count; i++) p->part[i].buffer = w->buffers[p->part[i].buffer];
}

void weights_bind(weights *w, const model_config *m) {
    w->vectors = w->buffers[0];
    w->embedding.buffer = w->buffers[w->embedding.buffer];
    bind_projection(w, &w->head);
    for (uint32_t i = 0; i < m->layers; i++) {
        layer_weights *l = &w->layers[i];
        projection *all[] = {&l->qkv, &l->attn_out, &l->router, &l->gate_up, &l->down};
        for (size_t j = 0; j < sizeof all / sizeof all[0]; j++) bind_projection(w, all[j]);
    }
}
