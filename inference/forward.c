/* forward.c - the graph of a decoder, one layer after another, as recorded operations. The same
 * for prefill and decode: only the number of tokens differs.
 *
 *   x = embedding[ids] * embedding_scale
 *   each layer:  x += P(attn_out(attention(rope(N(qkv(norm(x)))))))
 *                x += P(down(act(gate) * up)),  gate, up = gate_up(norm(x)); or through experts,
 *                moe.c
 *   logits = head(norm(x))
 *
 * N: norms of q and k, P: norms behind attention and feed-forward; both only in some models. With
 * FAST every projection reads its x as int8 or f16 (gpu/dims.h).
 * Touvron et al. 2023 (LLaMA), Ainslie et al. 2023 (GQA), Shazeer 2020 (gated FFN), Gemma Team
 * 2025 (Gemma 3: N, P, sliding layers). */
#include "inference/engine.h"

/* Rows [first, first + rows) of a tensor are complete: what follows may overwrite them. */
static void mark(const doppler_session *s, const char *name, uint32_t layer, uint32_t first,
                 gpu_buffer buffer, uint32_t rows, uint32_t cols) {
    trace_mark(s->trace, (trace_tensor){name, layer, first, rows, cols, false, buffer, 0});
}

/* y (+)= W x */
static void project(const doppler_session *s, const projection *p, gpu_buffer y, gpu_buffer x,
                    uint32_t tokens, bool add) {
    gpu_buffer vectors = s->model->weights.vectors, formed = s->buffers.prompt_form;
    x_form form = session_prompt_form(s, p, tokens);
    if (form != X_PLAIN)
        op_form(session_ops(s), form, formed, x, vectors,
                (struct form_dims){.k = p->part[0].cols, .tokens = tokens});
    for (uint32_t i = 0; i < p->count; i++)
        op_project(session_ops(s), form, y, p->first[i], p->rows, &p->part[i],
                   form == X_PLAIN ? x : formed, tokens, vectors, p->bias[i], add);
}

/* y = norm(x), or with RMSNORM_ADD y += norm(x); rows of x from `first`. */
static void norm(const doppler_session *s, gpu_buffer y, gpu_buffer x, uint32_t gain,
                 uint32_t first, uint32_t tokens, uint32_t flags) {
    const model_config *m = &s->model->manifest.model;
    op_rmsnorm(session_ops(s), y, x, s->model->weights.vectors,
               (struct rmsnorm_dims){m->dim, tokens, first, gain, flags, m->norm_eps});
}

/* x += W y, or where the model has norms behind its parts x += norm(W y). */
static void join(const doppler_session *s, const projection *p, gpu_buffer y, uint32_t post_norm,
                 uint32_t tokens) {
    const session_buffers *b = &s->buffers;
    bool plain = post_norm == OP_NO_BIAS;
    project(s, p, plain ? b->x : b->normed, y, tokens, plain);
    if (!plain) norm(s, b->x, b->normed, post_norm, 0, tokens, RMSNORM_ADD);
}

static void attention(const doppler_session *s, uint32_t layer, uint32_t tokens) {
    const model_config *m = &s->model->manifest.model;
    const layer_weights *w = &s->model->weights.layers[layer];
    const session_buffers *b = &s->buffers;
    layer_kind kind = (layer_kind)m->layer_kinds[layer];
    kv_slabs kv = {s->kv, s->slab_heads[kind], s->kv_buffers + s->kv_first[layer]};
    op_context o = session_ops(s);
    op_rope_kv(o, kv, b->state, b->rope[kind], s->model->weights.vectors, b->qkv,
               (struct rope_kv_dims){
                   .heads = m->heads, .kv_heads = m->kv_heads, .head_dim = m->head_dim,
                   .tokens = tokens, .context = s->context, .slots = s->slots[kind],
                   .rope_rows = s->rope.rows, .q_gain = w->q_norm, .k_gain = w->k_norm,
                   .flags = m->qk_norm ? ROPE_KV_NORM : 0, .eps = m->norm_eps});
    op_attention(o, kv, b->attended, b->partial, b->state, s->model->weights.vectors, b->qkv,
                 (struct attention_dims){
                     .heads = m->heads, .kv_heads = m->kv_heads, .head_dim = m->head_dim,
                     .tokens = tokens, .context = s->context, .slots = s->slots[kind],
                     .window = kind == LAYER_SLIDING ? m->window : s->context,
                     .splits = tokens == 1 ? s->splits[kind] : 1, .sinks = w->sinks,
                     .scale = m->attention_scale});
}

/* x += P(down(act(gate) * up)), from the norm of x */
static void feed_forward(const doppler_session *s, uint32_t layer, uint32_t tokens) {
    const model_config *m = &s->model->manifest.model;
    const layer_weights *w = &s->model->weights.layers[layer];
    const session_buffers *b = &s->buffers;
    if (m->experts) {
        bool plain = w->ffn_post_norm == OP_NO_BIAS;
        moe_forward(s, moe_form(s, layer, tokens), layer, tokens, plain ? b->x : b->normed, plain);
        if (!plain) norm(s, b->x, b->normed, w->ffn_post_norm, 0, tokens, RMSNORM_ADD);
        return;
    }
    project(s, &w->gate_up, b->gate_up, b->normed, tokens, false);
    mark(s, "gate_up", layer, 0, b->gate_up, tokens, 2 * m->hidden);
    op_act_mul(session_ops(s), b->activated, b->gate_up,
               (struct act_mul_dims){m->hidden, tokens, m->activation, m->activation_limit});
    mark(s, "activated", layer, 0, b->activated, tokens, m->hidden);
    join(s, &w->down, b->activated, w->ffn_post_norm, tokens);
}

static void layer(const doppler_session *s, uint32_t index, uint32_t tokens) {
    const model_config *m = &s->model->manifest.model;
    const layer_weights *w = &s->model->weights.layers[index];
    const session_buffers *b = &s->buffers;
    uint32_t q_dim = m->heads * m->head_dim, qkv_dim = w->qkv.rows;

    norm(s, b->normed, b->x, w->attn_norm, 0, tokens, 0);
    mark(s, "attn_norm", index, 0, b->normed, tokens, m->dim);
    project(s, &w->qkv, b->qkv, b->normed, tokens, false);
    mark(s, "qkv", index, 0, b->qkv, tokens, qkv_dim);
    attention(s, index, tokens);
    mark(s, "rotated", index, 0, b->qkv, tokens, qkv_dim);
    mark(s, "attended", index, 0, b->attended, tokens, q_dim);
    join(s, &w->attn_out, b->attended, w->attn_post_norm, tokens);
    mark(s, "attn_residual", index, 0, b->x, tokens, m->dim);

    norm(s, b->normed, b->x, w->ffn_norm, 0, tokens, 0);
    mark(s, "ffn_norm", index, 0, b->normed, tokens, m->dim);
    feed_forward(s, index, tokens);
    mark(s, "residual", index, 0, b->x, tokens, m->dim);
}

void forward_layers(const doppler_session *s, uint32_t tokens) {
    const model_config *m = &s->model->manifest.model;
    op_gather(session_ops(s), s->buffers.x, &s->model->weights.embedding, s->buffers.ids, tokens,
              m->embedding_scale);
    mark(s, "embedding", TRACE_NO_LAYER, 0, s->buffers.x, tokens, m->dim);
    for (uint32_t i = 0; i < m->layers; i++) layer(s, i, tokens);
}

void forward_head(const doppler_session *s, uint32_t first, uint32_t tokens) {
    const model_config *m = &s->model->manifest.model;
    const session_buffers *b = &s->buffers;
    norm(s, b->normed, b->x, s->model->weights.final_norm, first, tokens, 0);
    mark(s, "final_norm", TRACE_NO_LAYER, first, b->normed, tokens, m->dim);
    project(s, &s->model->weights.head, b->logits, b->normed, tokens, false);
    mark(s, "logits", TRACE_NO_LAYER, first, b->logits, tokens, m->vocab);
}
