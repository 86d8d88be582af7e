/* expert_tiles.c - twin of gpu/wgsl/expert_tiles.wgsl: a counting sort. */
#include "gpu/cpu/twins.h"
#include "gpu/dims.h"

#include <assert.h>

/* ids [slots]; routing [tiles, 3] expert, first, count, then [slots] the slots by expert. */
void twin_expert_tiles(const gpu_call *call) {
    const struct expert_tiles_dims *d = call->dims;
    const uint32_t *ids = call->buffer[0];
    uint32_t *tile = call->buffer[1], *slots = tile + (size_t)3 * d->tiles;
    uint32_t *end = slots, counts[ROUTE_MAX_EXPERTS] = {0}, next[ROUTE_MAX_EXPERTS], first = 0;
    assert(d->experts <= ROUTE_MAX_EXPERTS);
    for (uint32_t s = 0; s < d->slots; s++) counts[ids[s]]++;
    for (uint32_t e = 0; e < d->experts; first += counts[e++]) {
        next[e] = first;
        for (uint32_t i = 0; i < counts[e]; i += d->tile, tile += 3) {
            assert(tile < end);
            tile[0] = e;
            tile[1] = first + i;
            tile[2] = counts[e] - i < d->tile ? counts[e] - i : d->tile;
        }
    }
    while (tile < end) *tile++ = 0;
    for (uint32_t s = 0; s < d->slots; s++) slots[next[ids[s]]++] = s;
}
