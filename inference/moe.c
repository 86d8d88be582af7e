/* moe.c - the feed-forward part of a layer with experts: a token goes through `used` of them.
 *
 *   l = router(h),  E = the used largest of l,  p = softmax of l over E
 *   y (+)= sum over e in E, by falling l, of p[e] down_e(act(gate_e) * up_e)
 *
 * A slot is one expert of one token, slot t * used + r token t's r-th. A projection is one dispatch
 * for all slots, many of which are sorted by expert first. The routing stays on the device: nothing
 * is read back, and no dispatch depends on it but by ending early. Shazeer et al. 2017; Jiang et
 * al. 2024 (Mixtral); OpenAI 2025 (gpt-oss). */
#include "inference/engine.h"

_Static_assert(MODEL_MAX_EXPERTS <= ROUTE_MAX_EXPERTS && MODEL_MAX_EXPERTS_USED <= ROUTE_MAX_USED,
               "what a model may have, route.wgsl can choose from");

static void mark(const doppler_session *s, const char *name, uint32_t layer, gpu_buffer buffer,
                 uint32_t rows, uint32_t cols, bool is_u32) {
    trace_mark(s->trace, (trace_tensor){name, layer, 0, rows, cols, is_u32, buffer, 0});
}

/* Subgroup matrices pay where experts fill the largest tiles, which their kernel must take. */
static bool fills_matrices(const doppler_session *s, uint32_t each) {
    const kernel_matrix *matrix = kernel_matrix_of(gpu_get_limits(s->model->d->g));
    return matrix && each >= MATMUL_LARGE_TOKENS &&
           matrix->m * MATMUL_MATRIX_TILE >= MATMUL_LARGE_TOKENS;
}

x_form moe_form(const doppler_session *s, uint32_t layer, uint32_t tokens) {
    const model_config *m = &s->model->manifest.model;
    const layer_weights *w = &s->model->weights.layers[layer];
    uint32_t each = tokens * m->experts_used / m->experts;
    uint32_t together = fills_matrices(s, each) ? each : 1;
    x_form up = session_prompt_form(s, &w->gate_up, together);
    x_form down = session_prompt_form(s, &w->down, together);
    return up == down ? up : up == X_PLAIN || down == X_PLAIN ? X_PLAIN : X_PACKED;
}

/* y[slot, :] = W[expert of the slot] x[slot / share, :] */
static void project(const doppler_session *s, x_form form, const projection *p, gpu_buffer y,
                    gpu_buffer x, uint32_t tokens, uint32_t share) {
    const model_config *m = &s->model->manifest.model;
    const op_experts e = {m->experts, m->experts_used, share, form, s->buffers.experts,
                          s->buffers.routing};
    gpu_buffer vectors = s->model->weights.vectors, formed = s->buffers.prompt_form;
    if (form != X_PLAIN)
        op_form(session_ops(s), form, formed, x, vectors,
                (struct form_dims){.k = p->part[0].cols,
                                   .tokens = tokens * m->experts_used / share});
    for (uint32_t i = 0; i < p->count; i++)
        op_project_experts(session_ops(s), y, p->first[i], p->rows, &p->part[i],
                           form == X_PLAIN ? x : formed, tokens, vectors, p->bias[i], &e);
}

/* The experts of every token, and their weights. */
static void route(const doppler_session *s, x_form form, uint32_t layer, uint32_t tokens) {
    const model_config *m = &s->model->manifest.model;
    const projection *router = &s->model->weights.layers[layer].router;
    const session_buffers *b = &s->buffers;
    uint32_t used = m->experts_used;
    op_project_each(session_ops(s), b->router, &router->part[0], b->normed, tokens,
                    s->model->weights.vectors, router->bias[0]);
    mark(s, "router", layer, b->router, tokens, m->experts, false);
    op_route(session_ops(s), b->experts, b->expert_weights, b->router, tokens,
             (struct route_dims){m->experts, used});
    mark(s, "experts", layer, b->experts, tokens, used, true);
    mark(s, "expert_weights", layer, b->expert_weights, tokens, used, false);
    if (op_sorts_experts(form, tokens * used, m->experts))
        op_expert_tiles(session_ops(s), form, b->routing, b->experts, tokens * used, m->experts);
}

void moe_forward(const doppler_session *s, x_form form, uint32_t layer, uint32_t tokens,
                 gpu_buffer y, bool add) {
    const model_config *m = &s->model->manifest.model;
    const layer_weights *w = &s->model->weights.layers[layer];
    const session_buffers *b = &s->buffers;
    uint32_t slots = tokens * m->experts_used;

    route(s, form, layer, tokens);
    project(s, form, &w->gate_up, b->gate_up, b->normed, tokens, m->experts_used);
    mark(s, "gate_up", layer, b->gate_up, slots, 2 * m->hidden, false);
    op_act_mul(session_ops(s), b->activated, b->gate_up,
               (struct act_mul_dims){m->hidden, slots, m->activation, m->activation_limit});
    mark(s, "activated", layer, b->activated, slots, m->hidden, false);
    project(s, form, &w->down, b->expert_out, b->activated, tokens, 1);
    mark(s, "expert_out", layer, b->expert_out, slots, m->dim, false);
    op_combine(session_ops(s), y, b->expert_out, b->expert_weights,
               (struct combine_dims){m->dim, m->experts_used, tokens, add ? COMBINE_ADD : 0});
}
