/* trace.c - see trace.h. */
#include "debug/trace.h"

#include <stdlib.h>

void trace_begin(trace *t, gpu *g) {
    *t = (trace){.g = g};
    gpu_record_begin(g);
}

static bool reserve(trace *t) {
    if (t->count < t->capacity) return true;
    uint32_t capacity = t->capacity ? 2 * t->capacity : 64;
    trace_tensor *grown = realloc(t->tensors, capacity * sizeof *grown);
    if (!grown) return false;
    t->tensors = grown;
    t->capacity = capacity;
    return true;
}

void trace_mark(trace *t, trace_tensor tensor) {
    if (!t || t->failed) return;
    tensor.list = gpu_record_end(t->g);
    t->failed = !tensor.list || !reserve(t);
    if (t->failed) gpu_list_destroy(t->g, tensor.list);
    else t->tensors[t->count++] = tensor;
    uint64_t bytes = (uint64_t)tensor.rows * tensor.cols * sizeof(float);
    if (bytes > t->largest_bytes) t->largest_bytes = bytes;
    gpu_record_begin(t->g);
}

bool trace_end(trace *t) {
    gpu_list_destroy(t->g, gpu_record_end(t->g));
    return !t->failed;
}

void trace_free(trace *t) {
    for (uint32_t i = 0; i < t->count; i++) gpu_list_destroy(t->g, t->tensors[i].list);
    free(t->tensors);
    *t = (trace){0};
}
