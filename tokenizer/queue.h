/* queue.h - a queue of 64-bit numbers that gives the smallest first.
 *
 * Numbers come mostly in ascending order, or as a few such sequences mixed: a long run of one
 * letter gives pairs of few ranks, each from left to right. So they are kept as at most QUEUE_RUNS
 * sorted lists, to which a number is appended, and only what fits none goes to a heap: linear time
 * for what would be slowest, n log n for the rest. */
#ifndef TOKENIZER_QUEUE_H
#define TOKENIZER_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QUEUE_RUNS = 8 };

typedef struct queue_run { uint64_t first, last; uint32_t head, tail; } queue_run;

/* Zero-initialise. */
typedef struct queue {
    struct queue_entry *entries; /* owned: of all runs, linked; [capacity] */
    uint64_t *heap;              /* owned: [capacity] */
    size_t capacity, heap_count;
    uint32_t entry_count, free_plus_1, run_count;
    queue_run runs[QUEUE_RUNS];  /* none is empty */
} queue;

void queue_free(queue *q);
/* Empties it; room for as many numbers at a time. False when out of memory. */
bool queue_reset(queue *q, size_t room);
void queue_push(queue *q, uint64_t number);
/* Takes the smallest; false when there is none. */
bool queue_pop(queue *q, uint64_t *number);

#endif
