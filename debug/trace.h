/* trace.h - the intermediate tensors of a recorded step. The graph marks a tensor where it is
 * complete: what was recorded since the last mark becomes a list of its own, so that the tensor can
 * be read before the next list overwrites it. */
#ifndef DEBUG_TRACE_H
#define DEBUG_TRACE_H

#include "gpu/gpu.h"

/* Of a tensor that belongs to no layer. */
#define TRACE_NO_LAYER UINT32_MAX

typedef struct trace_tensor {
    const char *name;            /* static */
    uint32_t layer;
    uint32_t first, rows, cols;  /* rows first .. first + rows - 1 of all tokens' */
    bool is_u32;                 /* else f32 */
    gpu_buffer buffer;           /* holds them from its start */
    gpu_list list;               /* what is to run before it is read; owned */
} trace_tensor;

typedef struct trace {
    gpu *g;                      /* borrowed */
    trace_tensor *tensors;       /* owned */
    uint32_t count, capacity;
    uint64_t largest_bytes;      /* of one tensor */
    bool failed;                 /* no memory; marks do nothing any more */
} trace;

/* Recording begins. trace_free in any case. */
void trace_begin(trace *t, gpu *g);
/* Its list is filled in. NULL: nobody traces. */
void trace_mark(trace *t, trace_tensor tensor);
/* Recording ends at the last mark; false: out of memory. */
bool trace_end(trace *t);
void trace_free(trace *t);

#endif
