/* gpu.h - everything DOPPLER asks of a device. Two backends: gpu_cpu.c runs the C twin of every
 * kernel; gpu_web.c hands each call to browser/gpu.js over WebGPU.
 *
 * Handles are integers, 0 is none. A step of the model is recorded once as a list of dispatches
 * and replayed by one call. Nothing blocks: what must wait takes a callback, called once, from
 * gpu_poll() or the browser's event loop. Calls take effect in the order in which they are made. */
#ifndef GPU_GPU_H
#define GPU_GPU_H

#include "memory/status.h"

typedef struct gpu gpu;
typedef uint32_t gpu_buffer, gpu_program, gpu_list;

enum {
    GPU_MAX_BINDINGS = 8,        /* storage buffers of a program: WebGPU's default limit */
    GPU_MAX_CONSTANTS = 4,
    GPU_MAX_SOURCES = 16,
    GPU_MAX_DIMS_BYTES = 256,
    GPU_MAX_PENDING = 256        /* callbacks due or operations unfinished at one time */
};

enum gpu_feature {
    GPU_SUBGROUPS = 1, GPU_F16 = 2, GPU_PACKED_DOT = 4, GPU_SUBGROUP_MATRIX = 8,
    GPU_TIMESTAMPS = 16,
    GPU_EXACT_HALF = 32          /* not WebGPU's: its unpack2x16float was seen to be exact */
};

/* Products of subgroup matrices: A [M, K] and B [K, N] of one type give C [M, N] of another, as the
 * device lists them and its features permit. Only of devices whose subgroups have 32 threads. */
enum gpu_matrix {            /* GPU_MATRIX_A_C_MxNxK */
    GPU_MATRIX_F16_F32_16x16x16 = 1, GPU_MATRIX_F16_F32_16x8x16 = 2,
    GPU_MATRIX_F16_F32_16x8x8 = 4, GPU_MATRIX_F16_F32_8x16x16 = 8
};

typedef struct gpu_limits {
    uint64_t buffer_bytes;       /* largest buffer */
    uint64_t binding_bytes;      /* largest storage binding */
    uint32_t offset_alignment;   /* of a storage binding's start, bytes */
    uint32_t workgroup_bytes;    /* workgroup memory */
    uint32_t workgroup_threads;
    uint32_t grid;               /* workgroups along one dimension of a dispatch */
    uint32_t features;           /* gpu_feature bits */
    uint32_t matrices;           /* gpu_matrix bits */
} gpu_limits;

/* One device. Owned; NULL when out of memory. gpu_web_create takes the GPUDevice that the host
 * opened before it created the wasm instance; it exists in the wasm build only. */
gpu *gpu_cpu_create(void);
gpu *gpu_web_create(void);
/* Callbacks that are still due are not called any more. NULL is allowed. */
void gpu_destroy(gpu *g);

const gpu_limits *gpu_get_limits(const gpu *g);
/* Lowers what gpu_get_limits says, where it is more: plans are made as for a smaller device. */
void gpu_cap_limits(gpu *g, const gpu_limits *most);
/* Why the last operation failed, one line; "" when none did. */
const char *gpu_message(const gpu *g);
/* Runs due work and callbacks; true while more is due. Callbacks may call any gpu function but
 * gpu_poll and gpu_destroy. */
bool gpu_poll(gpu *g);
/* fn is called once, when the device is lost; everything outstanding then ends with DEVICE_LOST. */
void gpu_on_lost(gpu *g, doppler_done_fn fn, void *user);

/* ---- buffers: storage, copied to and from. Contents start as zeros. */

typedef struct gpu_buffer_desc {
    uint64_t bytes;              /* multiple of 4, not 0 */
    const char *label;           /* for the browser's error messages; copied */
} gpu_buffer_desc;

/* Allocates a whole plan inside one error scope. handles[i] are valid at once; done says whether
 * the memory is there: OK, NO_MEMORY (then all of them have been destroyed), DEVICE_LOST. */
void gpu_buffers_create(gpu *g, const gpu_buffer_desc *descs, size_t count, gpu_buffer *handles,
                        doppler_done_fn done, void *user);
void gpu_buffer_destroy(gpu *g, gpu_buffer b);            /* 0 is allowed */
/* Host memory of a buffer: the CPU backend's own; NULL on a GPU. */
void *gpu_buffer_host(gpu *g, gpu_buffer b);
/* offset and bytes are multiples of 4; data is copied before the call returns. */
void gpu_write(gpu *g, gpu_buffer b, uint64_t offset, const void *data, size_t bytes);
/* out must live until done. Sees everything submitted and written before. */
void gpu_read(gpu *g, gpu_buffer b, uint64_t offset, void *out, size_t bytes,
              doppler_done_fn done, void *user);

/* A range of one buffer that another's becomes equal to. */
typedef struct gpu_copy_range {
    gpu_buffer from, to;         /* different ones */
    uint64_t from_offset, to_offset, bytes;      /* multiples of 4 */
} gpu_copy_range;

/* On the device; nothing passes through the host. */
void gpu_copy(gpu *g, const gpu_copy_range *ranges, size_t count);

/* ---- programs */

/* What a CPU twin is called with: the whole dispatch, all workgroups. */
typedef struct gpu_call {
    void *buffer[GPU_MAX_BINDINGS];
    uint64_t bytes[GPU_MAX_BINDINGS];
    const void *dims;            /* the kernel's dims struct, see gpu/dims.h */
    uint32_t format;             /* of the program */
    uint32_t groups[3];
} gpu_call;
typedef void (*gpu_twin_fn)(const gpu_call *call);

typedef struct gpu_constant { const char *name; double value; } gpu_constant;

/* WGSL bindings of every program, group 0: storage buffers 0..n-1 in the order of `access`, then
 * one uniform, the dims. All strings are static. */
typedef struct gpu_program_desc {
    char label[48];                              /* "matvec q4_k" */
    const char *sources[GPU_MAX_SOURCES];        /* WGSL texts, concatenated; NULL ends the list */
    const char *access;                          /* "rrw": 'r' read, 'w' read_write */
    gpu_constant constants[GPU_MAX_CONSTANTS];   /* overrides; NULL name ends the list */
    gpu_twin_fn twin;
    uint32_t format;                             /* handed to the twin */
} gpu_program_desc;

/* Compiles a batch. handles[i] are valid at once and usable after done: OK or GPU_ERROR (then all
 * of them have been destroyed), with the label and the compiler's first line in gpu_message. */
void gpu_programs_create(gpu *g, const gpu_program_desc *descs, size_t count,
                         gpu_program *handles, doppler_done_fn done, void *user);
void gpu_program_destroy(gpu *g, gpu_program p);          /* 0 is allowed */

/* ---- lists */

typedef struct gpu_binding {
    gpu_buffer buffer;
    uint64_t offset, bytes;      /* offset: multiple of offset_alignment; bytes 0: to the end */
} gpu_binding;

/* Recording: gpu_record_begin, any number of gpu_dispatch, gpu_record_end. Bind groups and dims
 * are made here, not when the list is replayed. One recording at a time. Within a dispatch no
 * buffer may be bound both for reading and for writing. */
void gpu_record_begin(gpu *g);
void gpu_dispatch(gpu *g, gpu_program p, const gpu_binding *bindings, size_t count,
                  const void *dims, size_t dims_bytes, uint32_t x, uint32_t y, uint32_t z);
gpu_list gpu_record_end(gpu *g);                          /* 0: out of memory */
void gpu_list_destroy(gpu *g, gpu_list list);             /* 0 is allowed */
uint32_t gpu_list_dispatches(const gpu *g, gpu_list list);

/* A range read back after a submit. out must live until done. */
typedef struct gpu_readback {
    gpu_buffer buffer;
    uint64_t offset;
    size_t bytes;
    void *out;
} gpu_readback;

/* Replays a list `repeat` times in one submit: one encoder, one pass, one command buffer. With a
 * readback, done(status) is called when its bytes are there; with NULL, when the work is done;
 * done may be NULL. */
void gpu_submit(gpu *g, gpu_list list, uint32_t repeat, const gpu_readback *readback,
                doppler_done_fn done, void *user);
/* The same, once, for `count` of a list's dispatches, from `first` on. */
void gpu_submit_part(gpu *g, gpu_list list, uint32_t first, uint32_t count,
                     const gpu_readback *readback, doppler_done_fn done, void *user);
/* Replays a list once with one pass per dispatch and writes each dispatch's time in nanoseconds.
 * ns: one double per dispatch, alive until done. UNSUPPORTED without GPU_TIMESTAMPS. */
void gpu_time(gpu *g, gpu_list list, double *ns, doppler_done_fn done, void *user);
/* Replays a list `repeat` times in one pass, as gpu_submit does, and writes how long that took: by
 * timestamps at either end, else by the host's clock, from the submit to its end. ns: alive until
 * done. */
void gpu_measure(gpu *g, gpu_list list, uint32_t repeat, double *ns, doppler_done_fn done,
                 void *user);

#endif
