/* vocabulary.c - one buffer of pieces; a table of (part of the hash, id), so that a miss rarely
 * touches a piece. */
#include "tokenizer/vocabulary.h"
#include "memory/hash.h"

#include <assert.h>
#include <string.h>

struct vocabulary_piece {
    uint32_t offset, bytes;
    bool exists;
};

struct vocabulary_slot {
    uint32_t hash, id_plus_1;    /* 0: free */
};

bool vocabulary_init(vocabulary *v, arena *a, uint32_t ids, size_t bytes) {
    *v = (vocabulary){.ids = ids};
    size_t slots = hash_slots(ids);
    if (bytes > UINT32_MAX - ids || slots > UINT32_MAX) return false;
    v->slot_mask = (uint32_t)(slots - 1);
    v->pieces = arena_array(a, ids, sizeof *v->pieces);
    v->bytes = arena_alloc(a, bytes + ids);
    v->slots = arena_array(a, slots, sizeof *v->slots);
    return v->pieces && v->bytes && v->slots;
}

/* The slot that holds the piece, or the free one where it would go. */
static struct vocabulary_slot *find_slot(const vocabulary *v, const char *piece, size_t bytes,
                                         uint32_t *hash) {
    uint64_t h = hash_bytes(piece, bytes);
    *hash = (uint32_t)(h >> 32);
    for (uint32_t slot = (uint32_t)h & v->slot_mask;; slot = (slot + 1) & v->slot_mask) {
        struct vocabulary_slot *s = &v->slots[slot];
        if (!s->id_plus_1) return s;
        if (s->hash != *hash) continue;
        const struct vocabulary_piece *p = &v->pieces[s->id_plus_1 - 1];
        if (p->bytes == bytes && memcmp(v->bytes + p->offset, piece, bytes) == 0) return s;
    }
}

void vocabulary_add(vocabulary *v, uint32_t id, const char *piece, size_t bytes, bool findable) {
    assert(id < v->ids && !v->pieces[id].exists);
    v->pieces[id] = (struct vocabulary_piece){v->used_bytes, (uint32_t)bytes, true};
    memcpy(v->bytes + v->used_bytes, piece, bytes);
    v->used_bytes += (uint32_t)bytes + 1;
    if (bytes > v->longest_bytes) v->longest_bytes = (uint32_t)bytes;
    if (!findable) return;
    uint32_t hash;
    struct vocabulary_slot *s = find_slot(v, piece, bytes, &hash);
    if (!s->id_plus_1) *s = (struct vocabulary_slot){hash, id + 1};
}

bool vocabulary_has(const vocabulary *v, uint32_t id) {
    return id < v->ids && v->pieces[id].exists;
}

const char *vocabulary_piece(const vocabulary *v, uint32_t id, size_t *bytes) {
    bool exists = vocabulary_has(v, id);
    *bytes = exists ? v->pieces[id].bytes : 0;
    return exists ? v->bytes + v->pieces[id].offset : "";
}

uint32_t vocabulary_find(const vocabulary *v, const char *piece, size_t bytes) {
    uint32_t hash;
    uint32_t id_plus_1 = find_slot(v, piece, bytes, &hash)->id_plus_1;
    return id_plus_1 ? id_plus_1 - 1 : NO_TOKEN;
}
