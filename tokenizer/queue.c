/* queue.c - see queue.h. */
#include "tokenizer/queue.h"

#include <stdlib.h>

struct queue_entry { uint64_t number; uint32_t next; };

void queue_free(queue *q) {
    free(q->entries);
    free(q->heap);
    *q = (queue){0};
}

bool queue_reset(queue *q, size_t room) {
    q->heap_count = q->entry_count = q->free_plus_1 = q->run_count = 0;
    if (room <= q->capacity) return true;
    queue_free(q);
    q->capacity = room;
    q->entries = malloc(room * sizeof *q->entries);
    q->heap = malloc(room * sizeof *q->heap);
    if (q->entries && q->heap) return true;
    queue_free(q);
    return false;
}

static void heap_push(queue *q, uint64_t number) {
    size_t at = q->heap_count++;
    for (; at > 0 && q->heap[(at - 1) / 2] > number; at = (at - 1) / 2)
        q->heap[at] = q->heap[(at - 1) / 2];
    q->heap[at] = number;
}

static uint64_t heap_pop(queue *q) {
    uint64_t top = q->heap[0], last = q->heap[--q->heap_count];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < q->heap_count; at = child) {
        if (child + 1 < q->heap_count) child += q->heap[child + 1] < q->heap[child];
        if (last <= q->heap[child]) break;
        q->heap[at] = q->heap[child];
    }
    q->heap[at] = last;
    return top;
}

static uint32_t new_entry(queue *q, uint64_t number) {
    uint32_t at = q->entry_count;
    if (q->free_plus_1) {
        at = q->free_plus_1 - 1;
        q->free_plus_1 = q->entries[at].next;
    } else {
        q->entry_count++;
    }
    q->entries[at].number = number;
    return at;
}

/* To the run with the largest last number that is not larger, so that few runs last long. */
void queue_push(queue *q, uint64_t number) {
    queue_run *best = NULL;
    for (uint32_t i = 0; i < q->run_count; i++) {
        queue_run *r = &q->runs[i];
        if (r->last <= number && (!best || r->last > best->last)) best = r;
    }
    if (!best && q->run_count == QUEUE_RUNS) {
        heap_push(q, number);
        return;
    }
    uint32_t at = new_entry(q, number);
    if (best) q->entries[best->tail].next = at;
    else best = &q->runs[q->run_count++], best->head = at, best->first = number;
    best->tail = at;
    best->last = number;
}

static uint64_t run_pop(queue *q, uint32_t run) {
    queue_run *r = &q->runs[run];
    uint64_t number = r->first;
    uint32_t at = r->head;
    if (at == r->tail) *r = q->runs[--q->run_count];
    else r->head = q->entries[at].next, r->first = q->entries[r->head].number;
    q->entries[at].next = q->free_plus_1;
    q->free_plus_1 = at + 1;
    return number;
}

bool queue_pop(queue *q, uint64_t *number) {
    uint32_t best = QUEUE_RUNS;
    uint64_t smallest = q->heap_count ? q->heap[0] : UINT64_MAX;
    for (uint32_t i = 0; i < q->run_count; i++)
        if (q->runs[i].first <= smallest) smallest = q->runs[best = i].first;
    if (best < QUEUE_RUNS) *number = run_pop(q, best);
    else if (q->heap_count) *number = heap_pop(q);
    else return false;
    return true;
}
