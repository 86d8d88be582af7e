/* forward.c - the graph of a LLaMA-like decoder, one layer after another, as recorded operations.
 * The same for prefill and decode: only the number of tokens differs.
 *
 *   x = embedding[ids]
 *   each layer:  x += attn_out(attention(rope(qkv(norm(x)))))
 *                x += down(act(gate) * up),  gate, up = gate_up(norm(x))
 *   logits = head(norm(x))
 *
 * Touvron et al. 2023 (LLaMA), Ainslie et al. 2023 (GQA), Shazeer 2020 (gated FFN). */
#include "inference/engine.h"

static void project(const doppler_session *s, const projection *p, gpu_buffer y,
                    gpu_buffer x, uint32_t tokens, bool add) {
    for (uint32_t i = 0; i < p->count; i++)
        op_project(session_ops(s), y, p->first[i], p->rows, &p->part[i], x, tokens,
                   s->model->weights.vectors, p->bias[i], add);
}

static void norm(const doppler_session *s, uint32_t gain, uint32_t first, uint32_t tokens) {
    const model_config *m = &s->model->manifest.model;
    op_rmsnorm(session_ops(s), s->buffers.normed, s->buffers.x, first, tokens, m->dim,
               s->model->weights.vectors, gain, m->norm_eps);
}

static void attention(const doppler_session *s, gpu_buffer kv, uint32_t tokens) {
    const model_config *m = &s->model->manifest.model;
    const session_buffers *b = &s->buffers;
    op_context o = session_ops(s);
    op_rope_kv(o, s->kv, b->state, b->rope, b->qkv, kv,
               (struct rope_kv_dims){m->heads, m->kv_heads, m->head_dim, tokens, s->context});
    op_attention(o, s->kv, b->attended, b->partial, b->state, b->qkv, kv,
                 (struct attention_dims){m->heads, m->kv_heads, m->head_dim, tokens, s->context,
                                         tokens == 1 ? s->splits : 1, m->attention_scale});
}

static void layer(const doppler_session *s, uint32_t index, uint32_t tokens) {
    const model_config *m = &s->model->manifest.model;
    const layer_weights *w = &s->model->weights.layers[index];
    const session_buffers *b = &s->buffers;

    norm(s, w->attn_norm, 0, tokens);
    project(s, &w->qkv, b->qkv, b->normed, tokens, false);
    attention(s, s->kv_buffers[index], tokens);
    project(s, &w->attn_out, b->x, b->attended, tokens, true);

    norm(s, w->ffn_norm, 0, tokens);
    project(s, &w->gate_up, b->gate_up, b->normed, tokens, false);
    op_act_mul(session_ops(s), b->activated, b->gate_up,
               (struct act_mul_dims){m->hidden, tokens, m->activation});
    project(s, &w->down, b->x, b->activated, tokens, true);
}

void forward_layers(const doppler_session *s, uint32_t tokens) {
    op_gather(session_ops(s), s->buffers.x, &s->model->weights.embedding, s->buffers.ids, tokens,
              1.0f);
    for (uint32_t i = 0; i < s->model->manifest.model.layers; i++) layer(s, i, tokens);
}

void forward_head(const doppler_session *s, uint32_t first, uint32_t tokens) {
    norm(s, s->model->weights.final_norm, first, tokens);
    project(s, &s->model->weights.head, s->buffers.logits, s->buffers.normed, tokens, false);
}
