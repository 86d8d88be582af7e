/* vocabulary.c - one buffer of pieces, and a hash table of ids. */
#include "tokenizer/vocabulary.h"
#include "memory/hash.h"

#include <assert.h>
#include <string.h>

bool vocabulary_init(vocabulary *v, arena *a, uint32_t ids, size_t bytes) {
    *v = (vocabulary){.ids = ids};
    size_t slots = hash_slots(ids);
    if (bytes > UINT32_MAX - ids || slots > UINT32_MAX) return false;
    v->slot_mask = (uint32_t)(slots - 1);
    v->pieces = arena_array(a, ids, sizeof *v->pieces);
    v->bytes = arena_alloc(a, bytes + ids);
    v->slots = arena_array(a, slots, sizeof *v->slots);
    if (!v->pieces || !v->bytes || !v->slots) return false;
    for (uint32_t id = 0; id < ids; id++) v->pieces[id].offset = NO_TOKEN;
    return true;
}

/* The slot that holds the piece, or the free one where it would go; NULL when it is too far. */
static uint32_t *find_slot(const vocabulary *v, const char *piece, size_t bytes) {
    uint32_t slot = (uint32_t)hash_bytes(piece, bytes) & v->slot_mask;
    for (uint32_t step = 0; step < HASH_MAX_STEPS; step++, slot = (slot + 1) & v->slot_mask) {
        uint32_t id_plus_1 = v->slots[slot];
        if (!id_plus_1) return &v->slots[slot];
        const vocabulary_entry *p = &v->pieces[id_plus_1 - 1];
        if (p->bytes == bytes && memcmp(v->bytes + p->offset, piece, bytes) == 0)
            return &v->slots[slot];
    }
    return NULL;
}

void vocabulary_add(vocabulary *v, uint32_t id, const char *piece, size_t bytes, bool findable) {
    assert(id < v->ids && !vocabulary_has(v, id));
    v->pieces[id] = (vocabulary_entry){v->used_bytes, (uint32_t)bytes};
    memcpy(v->bytes + v->used_bytes, piece, bytes);
    v->used_bytes += (uint32_t)bytes + 1;
    if (bytes > v->longest_bytes) v->longest_bytes = (uint32_t)bytes;
    if (!findable || v->collides) return;
    uint32_t *slot = find_slot(v, piece, bytes);
    if (!slot) v->collides = true;
    else if (!*slot) *slot = id + 1;
}

bool vocabulary_has(const vocabulary *v, uint32_t id) {
    return id < v->ids && v->pieces[id].offset != NO_TOKEN;
}

const char *vocabulary_piece(const vocabulary *v, uint32_t id, size_t *bytes) {
    bool exists = vocabulary_has(v, id);
    *bytes = exists ? v->pieces[id].bytes : 0;
    return exists ? v->bytes + v->pieces[id].offset : "";
}

uint32_t vocabulary_find(const vocabulary *v, const char *piece, size_t bytes) {
    const uint32_t *slot = find_slot(v, piece, bytes);
    return slot && *slot ? *slot - 1 : NO_TOKEN;
}
