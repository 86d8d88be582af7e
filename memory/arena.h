/* arena.h - memory that is released together: parsed files, plans, tables. */
#ifndef MEMORY_ARENA_H
#define MEMORY_ARENA_H

#include <stddef.h>

/* Zero-initialise; blocks are owned. */
typedef struct arena {
    struct arena_block *blocks;
    size_t used_bytes;           /* of the newest block */
} arena;

/* Zeroed memory, 16-byte aligned, alive until arena_free; NULL when out of memory. */
void *arena_alloc(arena *a, size_t bytes);
/* count * bytes_each, checked for overflow. */
void *arena_array(arena *a, size_t count, size_t bytes_each);
/* A NUL-terminated copy. */
char *arena_text(arena *a, const char *text, size_t bytes);
void arena_free(arena *a);

#endif
