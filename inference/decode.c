/* decode.c - the graph of forward.c for one token, with what stands around a projection folded
 * into it: six dispatches a layer, where forward.c has ten.
 *
 *   1 qkv = W norm(x)                          one for each format that Q, K and V have
 *   2 attention over splits of the keys        q, k rotated, k and v into the cache on the way
 *   3 the splits merged
 *   4 x += W attended                          and the norm's input of 5
 *   5 act(W norm(x)) * (W norm(x))
 *   6 x += W that                              and the norm's input of the next layer
 *
 * Where the model has norms behind its parts, 4 and 6 leave W y, which norm_form takes to x; where
 * the cache is not f16, rope_kv comes before 2; where few keys are seen 3 is in 2. Where the model has
 * experts, the router comes before 5, and 5 and 6 are those of the token's experts: 5 leaves p act(W
 * norm(x)) * (W norm(x)) of each, p its share, which 6 takes all together; where a binding does not
 * hold a projection of theirs, moe.c stands for 5 and 6, exact and with a norm of its own.
 * Between projections x travels in a form (gpu/dims.h): with FAST int8; else f32, or where all
 * weights have at most 8 bits integers of 24, which are as exact and faster. */
#include "inference/engine.h"

kernel_id decode_kernel(x_form form) {
    static const kernel_id ids[X_FORMS] = {
        [X_F32] = KERNEL_LINEAR, [X_DIGITS] = KERNEL_LINEAR_DIGITS,
        [X_PACKED] = KERNEL_LINEAR_PACKED};
    return ids[form];
}

kernel_id experts_kernel(x_form form) {
    static const kernel_id ids[X_FORMS] = {
        [X_F32] = KERNEL_LINEAR_EXPERTS, [X_DIGITS] = KERNEL_LINEAR_EXPERTS_DIGITS,
        [X_PACKED] = KERNEL_LINEAR_EXPERTS_PACKED};
    return ids[form];
}

x_form decode_form(const doppler_model *m, doppler_precision precision) {
    x_form form = precision == DOPPLER_FAST ? X_PACKED
                : m->d->is_cpu ? X_F32 : X_DIGITS;               /* digits are slower there */
    for (uint32_t f = 0; f < FORMAT_COUNT; f++)
        if ((m->linear_formats & 1u << f && !program_exists_any(m->d, decode_kernel(form), f)) ||
            (m->expert_formats & 1u << f && !program_exists_any(m->d, experts_kernel(form), f)))
            return X_F32;
    return form;
}

static bool binds(const doppler_model *m, const projection *p) {
    return p->count == 1 && op_binds(m->d->g, &p->part[0]);
}

bool decode_folds_experts(const doppler_model *m, uint32_t layer) {
    const layer_weights *w = &m->weights.layers[layer];
    return w->ffn_post_norm == OP_NO_BIAS && binds(m, &w->gate_up) && binds(m, &w->down);
}

/* y[y_first ..] = W x, or what flags say, for all parts of a projection. */
static void project(const doppler_session *s, const projection *p, gpu_buffer y, gpu_buffer out,
                    gpu_buffer x, uint32_t gain, uint32_t flags) {
    const model_config *m = &s->model->manifest.model;
    for (uint32_t i = 0; i < p->count; i++) {
        const matrix *w = &p->part[i];
        uint32_t rows = flags & LINEAR_ACT ? w->rows / 2 : w->rows;
        uint32_t bias = p->bias[i] == OP_NO_BIAS ? 0 : LINEAR_BIAS;
        op_linear(session_ops(s), s->form, y, out, w, x, s->model->weights.vectors,
                  (struct linear_dims){
                      .rows = rows, .k = w->cols, .y_first = p->first[i],
                      .out_k = flags & LINEAR_ACT ? rows : p->rows, .up = rows,
                      .bias = bias ? p->bias[i] : 0, .gain = gain, .activation = m->activation,
                      .flags = flags | bias, .eps = m->norm_eps, .limit = m->activation_limit});
    }
}

/* out = form of x times a norm's gain, or of x as it is. */
static void to_form(const doppler_session *s, gpu_buffer out, gpu_buffer x, uint32_t k,
                    uint32_t gain) {
    bool gained = gain != OP_NO_BIAS;
    op_form(session_ops(s), s->form, out, x, s->model->weights.vectors,
            (struct form_dims){k, 1, 0, gained ? gain : 0, gained ? FORM_GAIN : 0});
}

static void norm(const doppler_session *s, gpu_buffer y, gpu_buffer x, uint32_t gain,
                 uint32_t flags) {
    const model_config *m = &s->model->manifest.model;
    op_rmsnorm(session_ops(s), y, x, s->model->weights.vectors,
               (struct rmsnorm_dims){m->dim, 1, 0, gain, flags, m->norm_eps});
}

/* x += W y, or x += norm(W y); x_form: what the next norm's projection reads. */
static void join(const doppler_session *s, const projection *p, gpu_buffer y, uint32_t post_norm,
                 uint32_t next_norm) {
    const model_config *m = &s->model->manifest.model;
    const session_buffers *b = &s->buffers;
    if (post_norm == OP_NO_BIAS) {
        project(s, p, b->x, b->x_form, y, next_norm, LINEAR_ADD | LINEAR_FORM | LINEAR_GAIN);
        return;
    }
    project(s, p, b->normed, b->x_form, y, 0, 0);
    op_norm_form(session_ops(s), s->form, b->x, b->x_form, b->normed, s->model->weights.vectors,
                 (struct norm_form_dims){m->dim, post_norm, next_norm, m->norm_eps});
}

/* hidden_form = act(gate) * up */
static void gate(const doppler_session *s, const projection *p) {
    const model_config *m = &s->model->manifest.model;
    const session_buffers *b = &s->buffers;
    if (binds(s->model, p)) {
        project(s, p, b->activated, b->hidden_form, b->x_form, 0,
                LINEAR_NORM | LINEAR_ACT | LINEAR_FORM);
        return;
    }
    project(s, p, b->gate_up, b->hidden_form, b->x_form, 0, LINEAR_NORM);
    op_act_mul(session_ops(s), b->activated, b->gate_up,
               (struct act_mul_dims){m->hidden, 1, m->activation, 0});
    to_form(s, b->hidden_form, b->activated, m->hidden, OP_NO_BIAS);
}

/* y = W x for the experts that b->router chooses: linear_experts of gpu/dims.h. */
static void project_experts(const doppler_session *s, const projection *p, gpu_buffer y,
                            gpu_buffer out, gpu_buffer x, uint32_t gain, uint32_t flags) {
    const model_config *m = &s->model->manifest.model;
    const matrix *w = &p->part[0];
    uint32_t rows = flags & LINEAR_ACT ? p->rows / 2 : p->rows;
    uint32_t bias = p->bias[0] == OP_NO_BIAS ? 0 : LINEAR_BIAS;
    op_linear_experts(session_ops(s), s->form, y, out, w, x, s->model->weights.vectors,
                      s->buffers.router,
                      (struct linear_dims){
                          .rows = rows, .k = w->cols, .out_k = rows, .up = rows,
                          .bias = bias ? p->bias[0] : 0, .gain = gain,
                          .activation = m->activation, .flags = flags | bias, .eps = m->norm_eps,
                          .limit = m->activation_limit, .experts = m->experts,
                          .used = m->experts_used});
}

/* x += the sum of the token's experts */
static void experts(const doppler_session *s, uint32_t layer, uint32_t next_norm) {
    const model_config *m = &s->model->manifest.model;
    const layer_weights *w = &s->model->weights.layers[layer];
    const projection *router = &w->router;
    const session_buffers *b = &s->buffers;
    bool bias = router->bias[0] != OP_NO_BIAS;
    op_router(session_ops(s), b->router, &router->part[0], b->x, s->model->weights.vectors,
              (struct router_dims){m->dim, w->ffn_norm, bias ? router->bias[0] : 0,
                                   bias ? ROUTER_BIAS : 0, m->norm_eps});
    project_experts(s, &w->gate_up, b->activated, b->hidden_form, b->x_form, 0,
                    LINEAR_NORM | LINEAR_ACT | LINEAR_FORM);
    project_experts(s, &w->down, b->x, b->x_form, b->hidden_form, next_norm,
                    LINEAR_ADD | LINEAR_FORM | LINEAR_GAIN);
}

/* x += the sum of the token's experts, or its norm, by moe.c */
static void experts_apart(const doppler_session *s, uint32_t layer, uint32_t next_norm) {
    const model_config *m = &s->model->manifest.model;
    const layer_weights *w = &s->model->weights.layers[layer];
    const session_buffers *b = &s->buffers;
    bool plain = w->ffn_post_norm == OP_NO_BIAS;
    norm(s, b->normed, b->x, w->ffn_norm, 0);
    moe_forward(s, X_PLAIN, layer, 1, plain ? b->x : b->normed, plain);
    if (!plain) norm(s, b->x, b->normed, w->ffn_post_norm, RMSNORM_ADD);
    to_form(s, b->x_form, b->x, m->dim, next_norm);
}

/* Rotates q and k, writes k and v to the cache. */
static void turn(const doppler_session *s, uint32_t layer, kv_slabs kv) {
    const model_config *m = &s->model->manifest.model;
    const layer_weights *w = &s->model->weights.layers[layer];
    const session_buffers *b = &s->buffers;
    layer_kind kind = (layer_kind)m->layer_kinds[layer];
    op_rope_kv(session_ops(s), kv, b->state, b->rope[kind], s->model->weights.vectors, b->qkv,
               (struct rope_kv_dims){
                   .heads = m->heads, .kv_heads = m->kv_heads, .head_dim = m->head_dim,
                   .tokens = 1, .context = s->context, .slots = s->slots[kind],
                   .rope_rows = s->rope.rows, .q_gain = w->q_norm, .k_gain = w->k_norm,
                   .flags = m->qk_norm ? ROPE_KV_NORM : 0, .eps = m->norm_eps});
}

/* attended_form = attention of one token, whose k and v go to the cache. */
static void attention(const doppler_session *s, uint32_t layer) {
    const model_config *m = &s->model->manifest.model;
    const layer_weights *w = &s->model->weights.layers[layer];
    const session_buffers *b = &s->buffers;
    layer_kind kind = (layer_kind)m->layer_kinds[layer];
    gpu_buffer vectors = s->model->weights.vectors;
    kv_slabs kv = {s->kv, s->slab_heads[kind], s->kv_buffers + s->kv_first[layer]};
    uint32_t window = kind == LAYER_SLIDING ? m->window : s->context;
    if (attention_token_fits(s->kv, m->head_dim)) {
        op_attention_token(session_ops(s), kv, s->form, b->attended_form, b->partial, b->state,
                           b->rope[kind], vectors, b->qkv,
                           (struct attention_token_dims){
                               .heads = m->heads, .kv_heads = m->kv_heads,
                               .head_dim = m->head_dim, .context = s->context,
                               .slots = s->slots[kind], .rope_rows = s->rope.rows,
                               .window = window, .splits = s->splits[kind], .sinks = w->sinks,
                               .flags = m->qk_norm ? ATTENTION_NORM : 0,
                               .scale = m->attention_scale, .q_gain = w->q_norm,
                               .k_gain = w->k_norm, .eps = m->norm_eps});
        return;
    }
    turn(s, layer, kv);
    op_attention(session_ops(s), kv, b->attended, b->partial, b->state, vectors, b->qkv,
                 (struct attention_dims){
                     .heads = m->heads, .kv_heads = m->kv_heads, .head_dim = m->head_dim,
                     .tokens = 1, .context = s->context, .slots = s->slots[kind],
                     .window = window, .splits = s->splits[kind], .sinks = w->sinks,
                     .scale = m->attention_scale});
    to_form(s, b->attended_form, b->attended, m->heads * m->head_dim, OP_NO_BIAS);
}

static void layer(const doppler_session *s, uint32_t index) {
    const model_config *m = &s->model->manifest.model;
    const weights *all = &s->model->weights;
    const layer_weights *w = &all->layers[index];
    const session_buffers *b = &s->buffers;
    bool last = index + 1 == m->layers;
    project(s, &w->qkv, b->qkv, b->attended_form, b->x_form, 0, LINEAR_NORM);
    attention(s, index);
    join(s, &w->attn_out, b->attended_form, w->attn_post_norm, w->ffn_norm);
    uint32_t next_norm = last ? all->final_norm : all->layers[index + 1].attn_norm;
    if (m->experts) {
        (decode_folds_experts(s->model, index) ? experts : experts_apart)(s, index, next_norm);
        return;
    }
    gate(s, &w->gate_up);
    join(s, &w->down, b->hidden_form, w->ffn_post_norm, next_norm);
}

void decode_layers(const doppler_session *s) {
    const model_config *m = &s->model->manifest.model;
    const weights *w = &s->model->weights;
    op_gather_form(session_ops(s), s->form, s->buffers.x, s->buffers.x_form, &w->embedding,
                   s->buffers.ids, w->vectors, w->layers[0].attn_norm, m->embedding_scale);
    for (uint32_t i = 0; i < m->layers; i++) layer(s, i);
}

void decode_head(const doppler_session *s) {
    const session_buffers *b = &s->buffers;
    project(s, &s->model->weights.head, b->logits, b->attended_form, b->x_form, 0, LINEAR_NORM);
}
