/* logits.h - what argmax.c and sample.c share: twin of gpu/wgsl/logits.wgsl. A logit is handled as
 * a key. */
#ifndef GPU_CPU_LOGITS_H
#define GPU_CPU_LOGITS_H

#include "gpu/cpu/key.h"
#include "gpu/dims.h"
#include "gpu/gpu.h"

#include <assert.h>

enum { LOGITS_THREADS = 256 };       /* of the WGSL's workgroup */

/* One row of logits after penalties. */
typedef struct logits_row {
    const struct sample_dims *dims;
    const uint32_t *bits, *counts;   /* [vocab]; counts is NULL where nothing is penalized */
    float repetition_penalty, presence_penalty;
} logits_row;

static inline logits_row logits_row_of(const gpu_call *call, uint32_t row) {
    const struct sample_dims *d = call->dims;
    const step_state *state = call->buffer[2];
    return (logits_row){
        .dims = d, .bits = (const uint32_t *)call->buffer[0] + (size_t)row * d->stride,
        .counts = d->flags & SAMPLE_PENALIZE ? call->buffer[1] : NULL,
        .repetition_penalty = state->repetition_penalty,
        .presence_penalty = state->presence_penalty};
}

/* Keskar et al. 2019, section 4.1: a token that occurred has its logit divided by the penalty, or
 * multiplied if it is not positive. */
static inline uint32_t logits_key(const logits_row *r, uint32_t i) {
    uint32_t bits = r->bits[i];
    if (!r->counts || r->counts[i] == 0 || (bits & 0x7FFFFFFF) >= 0x7F800000) return key_of(bits);
    float x = float_of_bits(bits);
    x = (x > 0 ? x / r->repetition_penalty : x * r->repetition_penalty) - r->presence_penalty;
    return key_of(bits_of_float(x));
}

/* The last act: the id goes where dims.flags say. */
static inline void logits_finish(const gpu_call *call, uint32_t row, uint32_t id) {
    const struct sample_dims *d = call->dims;
    uint32_t *counts = call->buffer[1], *ids = call->buffer[3], *ring = call->buffer[4];
    step_state *state = call->buffer[2];
    ids[row] = id;
    if (!(d->flags & SAMPLE_ADVANCE)) return;
    assert(d->rows == 1 && d->ring_size > 0);
    ring[state->step % d->ring_size] = id;
    counts[id]++;
    state->step++;
    state->position += d->tokens;
}

#endif
