/* rope_table.c - rows of cosines and sines on the device, for the positions at hand. A table of the
 * whole context would take as much memory as a layer's keys, exceed a binding before they do, and
 * be computed before the first token; this one is a ring: position p is in row p % rows. A row is
 * overwritten only by a write behind the submits that read it. */
#include "inference/engine.h"

#include <stdlib.h>

static uint32_t min_u32(uint32_t a, uint32_t b) { return a < b ? a : b; }
static uint32_t max_u32(uint32_t a, uint32_t b) { return a > b ? a : b; }

uint32_t rope_table_rows(uint32_t context, uint32_t chunk) {
    return context - chunk < ROPE_AHEAD ? context : chunk + ROPE_AHEAD;
}

bool rope_table_init(doppler_session *s) {
    const model_config *m = &s->model->manifest.model;
    rope_table *t = &s->rope;
    t->scratch = malloc((size_t)ROPE_AHEAD * m->head_dim * sizeof *t->scratch);
    bool room = t->scratch != NULL;
    for (uint32_t kind = 0; kind < LAYER_KINDS; kind++) {
        if (!model_has_kind(m, (layer_kind)kind)) continue;
        float *frequencies = malloc(m->head_dim / 2 * sizeof *frequencies);
        t->frequencies[kind] = frequencies;
        if (frequencies) rope_frequencies(&m->rope[kind], m->head_dim, frequencies);
        else room = false;
    }
    return room;
}

void rope_table_free(doppler_session *s) {
    for (uint32_t kind = 0; kind < LAYER_KINDS; kind++) free(s->rope.frequencies[kind]);
    free(s->rope.scratch);
}

/* Positions [first, first + count), whose rows do not wrap; count <= ROPE_AHEAD. */
static void write_rows(doppler_session *s, uint32_t first, uint32_t count) {
    const model_config *m = &s->model->manifest.model;
    const rope_table *t = &s->rope;
    size_t row_bytes = m->head_dim * sizeof *t->scratch;
    for (uint32_t kind = 0; kind < LAYER_KINDS; kind++) {
        if (!t->frequencies[kind]) continue;
        rope_rows(t->frequencies[kind], rope_table_scale(&m->rope[kind]), m->head_dim, first, count,
                  t->scratch);
        gpu_write(s->model->d->g, s->buffers.rope[kind], first % t->rows * (uint64_t)row_bytes,
                  t->scratch, count * row_bytes);
    }
}

void rope_table_reach(doppler_session *s, uint32_t first, uint32_t tokens) {
    rope_table *t = &s->rope;
    uint32_t end = first + tokens;
    if (first < t->first || first > t->end) t->first = t->end = first;
    if (end <= t->end) return;
    end = min_u32(max_u32(end, t->end + ROPE_AHEAD), s->context);
    while (t->end < end) {
        uint32_t count = min_u32(min_u32(end - t->end, ROPE_AHEAD), t->rows - t->end % t->rows);
        write_rows(s, t->end, count);
        t->end += count;
    }
    if (t->end - t->first > t->rows) t->first = t->end - t->rows;
}
