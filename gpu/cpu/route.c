/* route.c - twin of gpu/wgsl/route.wgsl; also see route.h. */
#include "gpu/cpu/route.h"
#include "gpu/cpu/key.h"
#include "gpu/cpu/twins.h"

#include <assert.h>
#include <math.h>

/* A rank is the number of those before one. */
void route_token(const struct route_dims *d, const uint32_t *bits, uint32_t *ids,
                 float *weights) {
    uint32_t keys[ROUTE_MAX_EXPERTS];
    float chosen[ROUTE_MAX_USED], sum = 0;
    for (uint32_t e = 0; e < d->experts; e++) keys[e] = key_of(bits[e]);
    for (uint32_t e = 0; e < d->experts; e++) {
        uint32_t rank = 0;
        for (uint32_t i = 0; i < d->experts; i++)
            rank += keys[i] > keys[e] || (keys[i] == keys[e] && i < e);
        if (rank >= d->used) continue;
        ids[rank] = e;
        chosen[rank] = key_value(keys[e]);
    }
    for (uint32_t r = 0; r < d->used; r++) sum += expf(chosen[r] - chosen[0]);
    for (uint32_t r = 0; r < d->used; r++) weights[r] = expf(chosen[r] - chosen[0]) / sum;
}

/* logits [tokens, experts], ids and weights [tokens, used]. */
void twin_route(const gpu_call *call) {
    const struct route_dims *d = call->dims;
    assert(d->experts <= ROUTE_MAX_EXPERTS && d->used <= ROUTE_MAX_USED);
    for (uint32_t t = 0; t < call->groups[0]; t++)
        route_token(d, (const uint32_t *)call->buffer[0] + (size_t)t * d->experts,
                    (uint32_t *)call->buffer[1] + (size_t)t * d->used,
                    (float *)call->buffer[2] + (size_t)t * d->used);
}
