/* arena.c - a list of blocks, newest first; allocation moves a mark through the newest.
 *
 * Blocks double, so that a large file costs few of them. An allocation larger than a block gets
 * one of its own, put behind the newest, which stays in use. */
#include "memory/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 16, FIRST_BYTES = 4096, LARGEST_BYTES = 1 << 20 };

struct arena_block {
    struct arena_block *older;
    size_t capacity;
    _Alignas(ALIGNMENT) unsigned char data[];
};

static struct arena_block *block_create(size_t capacity, struct arena_block *older) {
    struct arena_block *block = calloc(1, sizeof *block + capacity);
    if (block) *block = (struct arena_block){.older = older, .capacity = capacity};
    return block;
}

static size_t next_capacity(const arena *a) {
    if (!a->blocks) return FIRST_BYTES;
    size_t capacity = a->blocks->capacity;
    return capacity < LARGEST_BYTES / 2 ? capacity * 2 : LARGEST_BYTES;
}

void *arena_alloc(arena *a, size_t bytes) {
    if (bytes > SIZE_MAX - sizeof(struct arena_block) - ALIGNMENT) return NULL;
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    struct arena_block *newest = a->blocks;
    if (!newest || bytes > newest->capacity - a->used_bytes) {
        size_t capacity = next_capacity(a);
        if (newest && bytes > capacity) {
            struct arena_block *own = block_create(bytes, newest->older);
            if (!own) return NULL;
            newest->older = own;
            return own->data;
        }
        newest = block_create(bytes > capacity ? bytes : capacity, newest);
        if (!newest) return NULL;
        a->blocks = newest;
        a->used_bytes = 0;
    }
    void *result = newest->data + a->used_bytes;
    a->used_bytes += bytes;
    return result;
}

void *arena_array(arena *a, size_t count, size_t bytes_each) {
    if (bytes_each && count > SIZE_MAX / bytes_each) return NULL;
    return arena_alloc(a, count * bytes_each);
}

char *arena_text(arena *a, const char *text, size_t bytes) {
    if (bytes == SIZE_MAX) return NULL;
    char *copy = arena_alloc(a, bytes + 1);
    if (copy && bytes) memcpy(copy, text, bytes);
    return copy;
}

void arena_free(arena *a) {
    for (struct arena_block *block = a->blocks, *older; block; block = older) {
        older = block->older;
        free(block);
    }
    *a = (arena){0};
}
