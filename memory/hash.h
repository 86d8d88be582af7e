/* hash.h - a hash of bytes for tables in memory. Compiled tokenizers hold tables ordered by it
 * (docs/RDRR_FORMAT.md), so it never changes. */
#ifndef MEMORY_HASH_H
#define MEMORY_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Mixes 64 bits so that every input bit reaches the low ones (Stafford 2011, mix 13). */
static inline uint64_t hash_u64(uint64_t h) {
    h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9u;
    h = (h ^ h >> 27) * 0x94D049BB133111EBu;
    return h ^ h >> 31;
}

static inline uint64_t hash_bytes(const char *data, size_t bytes) {
    uint64_t h = 0x9E3779B97F4A7C15u ^ bytes, word;
    for (; bytes >= 8; data += 8, bytes -= 8) {
        memcpy(&word, data, 8);
        h = hash_u64(h ^ word);
    }
    word = 0;
    for (size_t i = 0; i < bytes; i++) word |= (uint64_t)(unsigned char)data[i] << 8 * i;
    return hash_u64(h ^ word);
}

/* Steps from a key's own slot after which a search gives up. Hashes of honest keys never lead so
 * far at that load; tables made to collide would take hours. */
enum { HASH_MAX_STEPS = 1024 };

/* Slots of an open-addressing table that stays at most 2/3 full: a power of two. */
static inline size_t hash_slots(size_t entries) {
    size_t slots = 8;
    while (slots - slots / 3 < entries + 1) slots *= 2;
    return slots;
}

#endif
