/* checkpoints.c - copies of the rings at the ends of turns. A ring forgets what lies further back
 * than its window and slack, so a prompt that departs there (another try at an answer, an edited
 * message) would have to be read from its beginning. A checkpoint keeps the last window of every
 * ring and a little more; full layers need none: their caches are cut off anywhere.
 *
 * In the ring position p is in slot p % slots, in a checkpoint in row p - first: a copy is one or
 * two ranges of each plane (elements, scales) of each K and V. */
#include "inference/engine.h"

enum {
    CHECKPOINT_SLACK = 16,       /* tokens by which a prompt may depart earlier than the turn's end */
    COPIES = 64                  /* ranges handed to the device at once */
};

static uint32_t min_u32(uint32_t a, uint32_t b) { return a < b ? a : b; }
static uint32_t max_u32(uint32_t a, uint32_t b) { return a > b ? a : b; }

uint32_t checkpoint_rows(const model_config *m, uint32_t slots, uint32_t context) {
    if (!model_has_kind(m, LAYER_SLIDING) || slots >= context) return 0;
    return min_u32(m->window + CHECKPOINT_SLACK, slots);
}

typedef struct copies {
    gpu *g;
    size_t count;
    gpu_copy_range range[COPIES];
} copies;

static void flush(copies *c) {
    gpu_copy(c->g, c->range, c->count);
    c->count = 0;
}

/* Rows of `bytes` of a plane: `count` from row `slot` of the ring, and row `row` of the copy. */
static void copy_rows(copies *c, gpu_copy_range at, uint64_t bytes, uint32_t slot, uint32_t row,
                      uint32_t count, bool restore) {
    at.from_offset += slot * bytes;
    at.to_offset += row * bytes;
    at.bytes = count * bytes;
    if (restore) at = (gpu_copy_range){at.to, at.from, at.to_offset, at.from_offset, at.bytes};
    if (c->count == COPIES) flush(c);
    c->range[c->count++] = at;
}

/* Positions [k.first, k.end) of one slab of `heads` KV heads. */
static void copy_slab(const doppler_session *s, copies *c, gpu_buffer ring, gpu_buffer copy,
                      checkpoint k, uint32_t heads, bool restore) {
    uint32_t head_dim = s->model->manifest.model.head_dim, slots = s->slots[LAYER_SLIDING];
    uint64_t scales = kv_scale_bytes(s->kv, head_dim);
    const uint64_t bytes[2] = {kv_row_bytes(s->kv, head_dim) - scales, scales};
    for (uint32_t row = 0; row < 2 * heads; row++) {             /* K and V of each head */
        gpu_copy_range at = {.from = ring, .to = copy};
        for (int plane = 0; plane < 2 && bytes[plane]; plane++) {
            uint64_t b = bytes[plane];
            gpu_copy_range here = {ring, copy, at.from_offset + (uint64_t)row * slots * b,
                                   at.to_offset + (uint64_t)row * s->checkpoint_rows * b, 0};
            uint32_t first = k.first % slots, count = k.end - k.first;
            uint32_t before = min_u32(count, slots - first);     /* the ring's end */
            copy_rows(c, here, b, first, 0, before, restore);
            if (before < count) copy_rows(c, here, b, 0, before, count - before, restore);
            at.from_offset += 2 * (uint64_t)heads * slots * b;
            at.to_offset += 2 * (uint64_t)heads * s->checkpoint_rows * b;
        }
    }
}

/* All sliding layers, from the rings to checkpoint `index` or back. */
static void copy_rings(const doppler_session *s, uint32_t index, bool restore) {
    const model_config *m = &s->model->manifest.model;
    copies c = {.g = s->model->d->g};
    uint32_t slabs = s->slabs[LAYER_SLIDING], each = s->slab_heads[LAYER_SLIDING];
    const gpu_buffer *copy = s->checkpoint_buffers +
                             (size_t)index * slabs * model_kind_layers(m, LAYER_SLIDING);
    for (uint32_t i = 0; i < m->layers; i++) {
        if (m->layer_kinds[i] != LAYER_SLIDING) continue;
        for (uint32_t slab = 0; slab < slabs; slab++)
            copy_slab(s, &c, s->kv_buffers[s->kv_first[i] + slab], *copy++, s->checkpoints[index],
                      min_u32(each, m->kv_heads - slab * each), restore);
    }
    flush(&c);
}

/* Whether a token at `position` sees nothing before what is held. */
static bool serves(const doppler_session *s, checkpoint k, uint32_t position) {
    return k.end > k.first && k.end >= position &&
           k.first <= kv_oldest_seen(&s->model->manifest.model, position);
}

void checkpoint_take(doppler_session *s, uint32_t end) {
    const model_config *m = &s->model->manifest.model;
    if (!s->checkpoint_count || end == 0) return;
    uint32_t kept = end - min_u32(end, s->checkpoint_rows), oldest = 0;
    checkpoint k = {max_u32(s->ring_first, kept), end};
    if (k.first > kv_oldest_seen(m, end)) return;
    for (uint32_t i = 0; i < s->checkpoint_count; i++) {
        if (serves(s, s->checkpoints[i], end)) return;
        if (s->checkpoints[i].end < s->checkpoints[oldest].end) oldest = i;
    }
    for (uint32_t i = 0; i < s->checkpoint_count; i++)
        if (s->checkpoints[i].end && serves(s, k, s->checkpoints[i].end)) oldest = i;
    s->checkpoints[oldest] = k;
    copy_rings(s, oldest, false);
}

void checkpoints_keep(doppler_session *s, uint32_t same) {
    for (uint32_t i = 0; i < s->checkpoint_count; i++) {
        checkpoint *k = &s->checkpoints[i];
        k->end = min_u32(k->end, same);
        if (k->end <= k->first) *k = (checkpoint){0};
    }
}

uint32_t checkpoint_restore(doppler_session *s, uint32_t wanted) {
    uint32_t best = 0, index = 0;
    for (uint32_t i = 0; i < s->checkpoint_count; i++) {
        uint32_t end = min_u32(s->checkpoints[i].end, wanted);
        if (end <= best || !serves(s, s->checkpoints[i], end)) continue;
        best = end;
        index = i;
    }
    if (best == 0) return 0;
    copy_rings(s, index, true);
    s->ring_first = s->checkpoints[index].first;
    s->ring_end = s->checkpoints[index].end;
    return best;
}
