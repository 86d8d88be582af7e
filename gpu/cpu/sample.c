/* sample.c - twin of gpu/wgsl/sample.wgsl: thresholds by radix select on keys, probabilities as
 * integers in units of the most likely token's / 2^31, a draw in the WGSL's order of tokens. */
#include "gpu/cpu/logits.h"
#include "gpu/cpu/threefry.h"
#include "gpu/cpu/twins.h"

#include <math.h>

static const float UNIT = 2147483648.0f;     /* mass of the most likely token */

/* Which tokens of a row may be drawn. */
typedef struct keep {
    logits_row row;
    float top, temperature;
    uint32_t key, mass;                      /* least key, least mass */
} keep;

/* round(UNIT exp((x - top) / temperature)) */
static uint32_t mass_of(const keep *k, uint32_t key) {
    float d = key_value(key) - k->top;
    if (d >= 0) return (uint32_t)UNIT;
    if (d < -64.0f * k->temperature) return 0;
    return (uint32_t)(expf(d / k->temperature) * UNIT + 0.5f);
}

static uint32_t kept_mass(const keep *k, uint32_t i) {
    uint32_t key = logits_key(&k->row, i);
    if (key < k->key) return 0;
    uint32_t mass = mass_of(k, key);
    return mass >= k->mass ? mass : 0;
}

/* floor(a b / 2^32) */
static uint64_t scale64(uint64_t a, uint32_t b) {
    return (a >> 32) * b + (((a & UINT32_MAX) * b) >> 32);
}

/* The largest key such that keys >= it number at least `amount`, or by mass: have at least
 * amount / 2^32 of the mass of all keys >= k->key. */
static uint32_t threshold(const keep *k, bool by_mass, uint32_t amount) {
    uint64_t goal = amount;
    uint32_t prefix = 0, mask = 0;
    for (uint32_t digit = 0; digit < 4; digit++) {
        uint32_t shift = 24 - 8 * digit, slot = 255;
        uint64_t slots[256] = {0}, total = 0;
        for (uint32_t i = 0; i < k->row.dims->vocab; i++) {
            uint32_t key = logits_key(&k->row, i);
            if (key < k->key || (key & mask) != prefix) continue;
            uint64_t here = by_mass ? mass_of(k, key) : 1;
            slots[key >> shift & 255] += here;
            total += here;
        }
        if (by_mass && digit == 0) goal = scale64(total - 1, amount) + 1;
        if (goal > total) goal = total;      /* fewer than asked for: all */
        while (slots[slot] < goal) goal -= slots[slot--];
        prefix |= slot << shift;
        mask |= UINT32_C(255) << shift;
    }
    return prefix;
}

/* The token at `goal` (1 .. total) of the running sum in the order of threads. */
static uint32_t token_at(const keep *k, uint64_t goal) {
    for (uint32_t t = 0; t < LOGITS_THREADS; t++)
        for (uint32_t i = t; i < k->row.dims->vocab; i += LOGITS_THREADS) {
            uint32_t mass = kept_mass(k, i);
            if (mass > 0 && mass >= goal) return i;
            goal -= mass;
        }
    return 0;                                /* nothing to draw: all are -inf or NaN */
}

static uint32_t draw(const gpu_call *call, uint32_t row) {
    const struct sample_dims *d = call->dims;
    const step_state *state = call->buffer[2];
    keep k = {.row = logits_row_of(call, row), .key = KEY_MINUS_INFINITY + 1};
    uint32_t top = 0;
    for (uint32_t i = 0; i < d->vocab; i++) {
        uint32_t key = logits_key(&k.row, i);
        if (key > top) top = key;
    }
    k.top = key_value(top);
    k.temperature = state->temperature > 1e-6f ? state->temperature : 1e-6f;
    if (state->top_k > 0 && state->top_k < d->vocab) {
        uint32_t key = threshold(&k, false, state->top_k);
        if (key > k.key) k.key = key;
    }
    if (state->top_p < 1) {
        uint32_t key = threshold(&k, true, (uint32_t)(state->top_p * 4294967296.0f));
        if (key > k.key) k.key = key;
    }
    k.mass = (uint32_t)((state->min_p < 1 ? state->min_p : 1) * UNIT);
    if (k.mass == 0) k.mass = 1;

    uint64_t total = 0;
    for (uint32_t i = 0; i < d->vocab; i++) total += kept_mass(&k, i);
    uint32_t random[2];
    const uint32_t counter[2] = {state->position + d->tokens + row, 0};
    const uint32_t key[2] = {state->seed_lo, state->seed_hi};
    threefry(counter, key, random);
    return token_at(&k, scale64(total, random[0]) + 1);
}

void twin_sample(const gpu_call *call) {
    const struct sample_dims *d = call->dims;
    if (d->flags & (SAMPLE_PART | SAMPLE_COUNT | SAMPLE_LIST | SAMPLE_FINE | SAMPLE_MASS))
        return;                              /* JOIN does it all */
    for (uint32_t row = 0; row < d->rows; row++) logits_finish(call, row, draw(call, row));
}
