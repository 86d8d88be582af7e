/* test_expert_tiles.c - every slot stands once, in a tile of its expert; tiles are full but for an
 * expert's last, as few as can be, and the others are empty. */
#include "gpu/dims.h"
#include "tests/kernels/kernel_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum spread { EVEN, ONE, HALF, FIRST_EMPTY, LAST_EMPTY, ONE_EACH } spread;
static const char *const spread_names[] = {"even", "one", "half", "first empty", "last empty",
                                           "one each"};

static const struct setup { uint32_t slots, experts; spread spread; } setups[] = {
    {1, 1, EVEN},       {4, 32, EVEN},          {33, 1, ONE},           {2048, 32, EVEN},
    {2048, 32, ONE},    {1024, 8, HALF},        {1000, 8, FIRST_EMPTY}, {1000, 8, LAST_EMPTY},
    {256, 256, ONE_EACH}, {8192, 256, EVEN},    {64, 2, HALF},          {31, 6, EVEN},
    {10, 256, ONE},     {700, 3, FIRST_EMPTY},
};

static uint32_t expert(const struct setup *u, uint32_t slot, uint64_t *seed) {
    uint32_t n = u->experts, any = kernel_random_bits(seed);
    switch (u->spread) {
    case EVEN: return any % n;
    case ONE: return n - 1;
    case HALF: return any % 2 ? n / 2 : any / 2 % n;
    case FIRST_EMPTY: return 1 + any % (n - 1);
    case LAST_EMPTY: return any % (n - 1);
    default: return n - 1 - slot % n;
    }
}

static void record(op_context o, const gpu_buffer *b, const void *user) {
    const struct setup *u = user;
    op_expert_tiles(o, X_PLAIN, b[1], b[0], u->slots, u->experts);
}

/* Walks the tiles; seen [slots], zeros. */
static bool walk(const kernel_case *c, uint8_t *seen, char *why, size_t why_bytes) {
    const struct setup *u = c->user;
    const uint32_t *ids = c->buffer[0].data, *routing = c->buffer[1].data;
    uint32_t tile = op_expert_tile(X_PLAIN, u->slots, u->experts);
    uint32_t tiles = expert_tile_count(u->slots, u->experts, tile), placed = 0;
    uint32_t left[ROUTE_MAX_EXPERTS] = {0};
    for (uint32_t s = 0; s < u->slots; s++) left[ids[s]]++;
    for (uint32_t i = 0; i < tiles; i++) {
        uint32_t e = routing[3 * i], first = routing[3 * i + 1], count = routing[3 * i + 2];
        if (count == 0 && placed == u->slots) continue;
        uint32_t want = e >= u->experts ? 0 : left[e] < tile ? left[e] : tile;
        snprintf(why, why_bytes, "tile %u is %u slots of expert %u from %u, wanted %u from %u", i,
                 count, e, first, want, placed);
        if (count != want || count == 0 || first != placed) return false;
        for (uint32_t j = 0; j < count; j++) {
            uint32_t s = routing[3 * tiles + placed++];
            snprintf(why, why_bytes, "tile %u of expert %u has slot %u", i, e, s);
            if (s >= u->slots || ids[s] != e || seen[s]++) return false;
        }
        left[e] -= count;
    }
    snprintf(why, why_bytes, "%u of %u slots in %u tiles", placed, u->slots, tiles);
    return placed == u->slots;
}

static bool check(const kernel_case *c, char *why, size_t why_bytes) {
    uint8_t *seen = calloc(((const struct setup *)c->user)->slots, 1);
    if (!seen) abort();
    bool ok = walk(c, seen, why, why_bytes);
    free(seen);
    return ok;
}

static void make(uint32_t index, kernel_case *c) {
    uint64_t seed = index;
    struct setup *u = c->user = malloc(sizeof *u);
    if (!u) abort();
    *u = setups[index];
    snprintf(c->name, sizeof c->name, "expert_tiles %u slots, %u experts, %s", u->slots,
             u->experts, spread_names[u->spread]);
    c->record = record;
    c->check = check;
    c->buffer_count = 2;
    const size_t words[] = {u->slots, op_routing_words(u->slots, u->experts)};
    for (uint32_t i = 0; i < 2; i++) {
        c->buffer[i].bytes = words[i] * sizeof(uint32_t);
        c->buffer[i].data = malloc(c->buffer[i].bytes);
        if (!c->buffer[i].data) abort();
        memset(c->buffer[i].data, 0xFF, c->buffer[i].bytes);
    }
    for (uint32_t s = 0; s < u->slots; s++)
        ((uint32_t *)c->buffer[0].data)[s] = expert(u, s, &seed);
    c->buffer[1].read_back = true;
}

const kernel_suite suite_expert_tiles = {"expert_tiles", sizeof setups / sizeof *setups, make};
