/* vocabulary.h - pieces (byte strings) by id, and ids by piece. */
#ifndef TOKENIZER_VOCABULARY_H
#define TOKENIZER_VOCABULARY_H

#include "memory/arena.h"

#include <stdbool.h>
#include <stdint.h>

#define NO_TOKEN UINT32_MAX

/* As in compiled tokenizers, and so is everything below but the counts. */
typedef struct vocabulary_entry {
    uint32_t offset, bytes;              /* offset NO_TOKEN: the id has no piece */
} vocabulary_entry;

typedef struct vocabulary {
    vocabulary_entry *pieces;            /* [ids] */
    char *bytes;                         /* of all pieces, each with a NUL */
    uint32_t *slots;                     /* open addressing: id + 1, or 0: free */
    uint32_t ids, used_bytes, slot_mask;
    uint32_t longest_bytes;              /* of a piece */
    bool collides;                       /* a piece could not be entered: to be refused */
} vocabulary;

/* Room for ids below `ids` and pieces of `bytes` together, in a; false when out of memory. */
bool vocabulary_init(vocabulary *v, arena *a, uint32_t ids, size_t bytes);
/* Gives an id its piece, once. Only pieces with `findable` are found by their bytes; of two with
 * the same bytes the first is. */
void vocabulary_add(vocabulary *v, uint32_t id, const char *piece, size_t bytes, bool findable);
bool vocabulary_has(const vocabulary *v, uint32_t id);
/* "" when the id has no piece. */
const char *vocabulary_piece(const vocabulary *v, uint32_t id, size_t *bytes);
/* NO_TOKEN when no findable piece has these bytes. */
uint32_t vocabulary_find(const vocabulary *v, const char *piece, size_t bytes);

#endif
