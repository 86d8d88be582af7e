/* logits_test.h - cases of argmax and sample: their six buffers, kinds of logits, and what
 * ADVANCE must leave behind. */
#ifndef TESTS_LOGITS_TEST_H
#define TESTS_LOGITS_TEST_H

#include "gpu/dims.h"
#include "tests/kernels/kernel_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum logits_kind {
    RANDOM,          /* bell-shaped, deviation 2 */
    TIES,            /* three values, so that every rank is shared */
    FLAT,            /* all equal */
    PEAK,            /* one token 200 above the others */
    ONE,             /* all but one are -infinity */
    HOLES,           /* random, but most are NaN or -infinity */
    NOTHING          /* all are NaN or -infinity */
} logits_kind;

enum { LOGITS, COUNTS, STATE, IDS, RING, PARTS, RING_SIZE = 7, FIRST_POSITION = 1000, FIRST_STEP = 9 };

typedef struct logits_case {
    struct sample_dims dims;
    step_state state;
    bool distribution;                       /* sample: compare frequencies, too */
    uint32_t counts[];                       /* [vocab] as they were given */
} logits_case;

static inline float logits_test_value(logits_kind kind, uint32_t i, uint32_t vocab,
                                      uint64_t *seed) {
    float bell = 2 * (kernel_random(seed) + kernel_random(seed) + kernel_random(seed));
    float hole = i % 2 ? NAN : -INFINITY;
    switch (kind) {
    case RANDOM: return bell;
    case TIES: return bell > 1 ? 1.5f : bell > 0 ? 0.25f : i % 2 ? 0.0f : -0.0f;
    case FLAT: return -3;
    case PEAK: return i == vocab * 2 / 3 ? 200 : bell;
    case ONE: return i == vocab / 2 ? -7 : -INFINITY;
    case HOLES: return i % 13 == 5 ? bell : hole;
    default: return hole;
    }
}

/* Fills the six buffers; c->user becomes the case, with state and counts as they were given.
 * A row of logits that is not shared is three elements longer than the vocabulary, NaN there. */
static inline logits_case *logits_test_make(kernel_case *c, struct sample_dims dims,
                                            step_state state, logits_kind kind, uint64_t seed) {
    logits_case *l = malloc(sizeof *l + dims.vocab * sizeof *l->counts);
    uint32_t given_rows = dims.stride ? dims.rows : 1, pitch = dims.stride ? dims.stride : dims.vocab;
    state.position = FIRST_POSITION;
    state.step = FIRST_STEP;
    dims.ring_size = RING_SIZE;
    *l = (logits_case){.dims = dims, .state = state};
    for (uint32_t i = 0; i < dims.vocab; i++)
        l->counts[i] = kernel_random(&seed) < -0.25f ? 1 + i % 3 : 0;
    const size_t bytes[] = {(size_t)given_rows * pitch * 4, dims.vocab * sizeof *l->counts,
                            sizeof state, dims.rows * sizeof(uint32_t), RING_SIZE * 4,
                            (size_t)sample_part_words(dims.vocab) * dims.rows * 4};
    c->buffer_count = PARTS + 1;
    for (uint32_t i = 0; i <= PARTS; i++) {
        c->buffer[i].bytes = bytes[i];
        c->buffer[i].data = malloc(bytes[i]);
        c->buffer[i].read_back = i != LOGITS && i != PARTS;
        memset(c->buffer[i].data, 0xFF, bytes[i]);
    }
    for (uint32_t row = 0; row < given_rows; row++)
        for (uint32_t i = 0; i < dims.vocab; i++)
            ((float *)c->buffer[LOGITS].data)[(size_t)row * pitch + i] =
                logits_test_value(kind, i, dims.vocab, &seed);
    memcpy(c->buffer[COUNTS].data, l->counts, bytes[COUNTS]);
    memcpy(c->buffer[STATE].data, &state, sizeof state);
    c->user = l;
    return l;
}

static inline const float *logits_test_row(const kernel_case *c, uint32_t row) {
    const logits_case *l = c->user;
    return (const float *)c->buffer[LOGITS].data + (size_t)row * l->dims.stride;
}

/* Logit i of a row after penalties, NaN as -infinity: the definition at sample_dims, in float so
 * that equal stays equal. */
static inline float logits_test_penalized(const logits_case *l, const float *row, uint32_t i) {
    float x = row[i];
    if (isnan(x)) return -INFINITY;
    if (!(l->dims.flags & SAMPLE_PENALIZE) || l->counts[i] == 0) return x;
    x = x > 0 ? x / l->state.repetition_penalty : x * l->state.repetition_penalty;
    return x - l->state.presence_penalty;
}

/* State, ring and counts after a step that ended with ids[0]: moved on with ADVANCE, else as they
 * were. */
static inline bool logits_test_advanced(const kernel_case *c, char *why, size_t why_bytes) {
    const logits_case *l = c->user;
    uint32_t id = *(const uint32_t *)c->buffer[IDS].data;
    bool advance = l->dims.flags & SAMPLE_ADVANCE;
    step_state want = l->state;
    want.step += advance;
    want.position += advance ? l->dims.tokens : 0;
    if (memcmp(&want, c->buffer[STATE].data, sizeof want)) {
        const step_state *got = c->buffer[STATE].data;
        snprintf(why, why_bytes, "state: step %u position %u, not %u and %u", got->step,
                 got->position, want.step, want.position);
        return false;
    }
    for (uint32_t i = 0; i < RING_SIZE; i++) {
        uint32_t got = ((const uint32_t *)c->buffer[RING].data)[i];
        if (got == (advance && i == FIRST_STEP % RING_SIZE ? id : UINT32_MAX)) continue;
        snprintf(why, why_bytes, "ring[%u] is %u; the id is %u", i, got, id);
        return false;
    }
    for (uint32_t i = 0; i < l->dims.vocab; i++) {
        uint32_t got = ((const uint32_t *)c->buffer[COUNTS].data)[i];
        if (got == l->counts[i] + (advance && i == id)) continue;
        snprintf(why, why_bytes, "counts[%u] became %u, was %u", i, got, l->counts[i]);
        return false;
    }
    return true;
}

#endif
