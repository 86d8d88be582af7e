/* argmax.c - twin of gpu/wgsl/argmax.wgsl: the lowest index of the largest logit. */
#include "gpu/cpu/logits.h"
#include "gpu/cpu/twins.h"

typedef struct best { uint32_t key, id; } best;

static best best_of(const logits_row *r, uint32_t first, uint32_t end) {
    best b = {0, UINT32_MAX};
    for (uint32_t i = first; i < end; i++) {
        uint32_t key = logits_key(r, i);
        if (key > b.key) b = (best){key, i};
    }
    return b;
}

/* (key, id) of each SAMPLE_PART_TOKENS tokens of each row. */
static void parts(const gpu_call *call) {
    const struct sample_dims *d = call->dims;
    uint32_t *out = call->buffer[5];
    for (uint32_t row = 0; row < call->groups[1]; row++) {
        logits_row r = logits_row_of(call, row);
        for (uint32_t part = 0; part < call->groups[0]; part++, out += 2) {
            uint32_t first = part * SAMPLE_PART_TOKENS, left = d->vocab - first;
            best b = best_of(&r, first, left < SAMPLE_PART_TOKENS ? d->vocab
                                                                  : first + SAMPLE_PART_TOKENS);
            out[0] = b.key;
            out[1] = b.id;
        }
    }
}

void twin_argmax(const gpu_call *call) {
    const struct sample_dims *d = call->dims;
    if (d->flags & SAMPLE_PART) {
        parts(call);
        return;
    }
    uint32_t count = sample_part_count(d->vocab);
    for (uint32_t row = 0; row < d->rows; row++) {
        best b = {0, UINT32_MAX};
        const uint32_t *pairs = (const uint32_t *)call->buffer[5] + 2 * row * count;
        logits_row r = logits_row_of(call, row);
        for (uint32_t i = 0; d->flags & SAMPLE_JOIN && i < count; i++)
            if (pairs[2 * i] > b.key) b = (best){pairs[2 * i], pairs[2 * i + 1]};
        if (!(d->flags & SAMPLE_JOIN)) b = best_of(&r, 0, d->vocab);
        logits_finish(call, row, b.id);
    }
}
