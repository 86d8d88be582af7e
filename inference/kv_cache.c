/* kv_cache.c - how much each layer's cache keeps, and what of it is still there.
 *
 * Position p of a layer lies in slot p % slots. Where slots < context that is a ring: writing
 * position p overwrites p - slots. A step of T tokens at position p writes all of them before its
 * first query reads p - window + 1 .. p, so that window + T - 1 slots are enough; what lookahead
 * writes behind a stop token is in the same slack. */
#include "inference/engine.h"

static uint32_t min_u32(uint32_t a, uint32_t b) { return a < b ? a : b; }
static uint32_t max_u32(uint32_t a, uint32_t b) { return a > b ? a : b; }

uint32_t kv_slots(const model_config *m, layer_kind kind, uint32_t context, uint32_t chunk) {
    if (kind == LAYER_FULL) return context;
    uint32_t slack = max_u32(chunk, RING_TOKENS);
    return min_u32(context, min_u32(m->window, context) + slack);
}

uint64_t kv_slab_bytes(const model_config *m, kv_format format, uint32_t slots, uint32_t heads) {
    return 2 * (uint64_t)slots * heads * kv_row_bytes(format, m->head_dim);
}

uint32_t kv_slab_heads(const model_config *m, kv_format format, uint32_t slots, uint64_t most) {
    uint64_t fitting = most / kv_slab_bytes(m, format, slots, 1);
    if (fitting == 0 || fitting >= m->kv_heads) return fitting ? m->kv_heads : 0;
    uint32_t slabs = (m->kv_heads + (uint32_t)fitting - 1) / (uint32_t)fitting;
    return (m->kv_heads + slabs - 1) / slabs;            /* of about the same size */
}

uint32_t kv_most_context(const model_config *m, kv_format format, uint32_t context,
                         uint32_t chunk, uint64_t most) {
    uint64_t slots = most / kv_slab_bytes(m, format, 1, 1);
    for (uint32_t kind = 0; kind < LAYER_KINDS; kind++)
        if (model_has_kind(m, (layer_kind)kind) &&
            kv_slots(m, (layer_kind)kind, context, chunk) > slots)
            context = (uint32_t)slots;
    return context;
}

void kv_written(doppler_session *s, uint32_t end) {
    uint32_t slots = s->slots[LAYER_SLIDING];
    s->ring_end = max_u32(s->ring_end, end);
    if (s->ring_end > slots) s->ring_first = max_u32(s->ring_first, s->ring_end - slots);
}

uint32_t kv_oldest_seen(const model_config *m, uint32_t position) {
    return position + 1 > m->window ? position + 1 - m->window : 0;
}

uint32_t kv_reuse(doppler_session *s, uint32_t same, uint32_t wanted) {
    const model_config *m = &s->model->manifest.model;
    checkpoints_keep(s, same);
    bool lost = model_has_kind(m, LAYER_SLIDING) && kv_oldest_seen(m, wanted) < s->ring_first;
    if (lost) wanted = checkpoint_restore(s, wanted);
    if (wanted == 0) s->ring_first = s->ring_end = 0;
    return wanted;
}
