/* gpu_backend.h - what stands between gpu.h and a device. gpu.c gives out the handles, checks
 * every call once for both backends, and queues what must be called later; a backend fills a
 * table of functions and trusts what it is given. */
#ifndef GPU_GPU_BACKEND_H
#define GPU_GPU_BACKEND_H

#include "gpu/gpu.h"

/* Same arguments and meaning as the gpu.h function of that name, except where noted. Handles are
 * small (1, 2, 3 ...; freed ones are given out again), so a backend may index arrays by them. */
typedef struct gpu_ops {
    void (*destroy)(gpu *g);             /* frees g too; no callback is called any more */
    void (*wake)(gpu *g);                /* NULL, or: make gpu_poll be called soon */
    /* Callbacks must come from gpu_poll or the event loop. After a failure gpu.c destroys the
     * batch's handles one by one, whether or not the backend made something for them. */
    void (*buffers_create)(gpu *g, const gpu_buffer_desc *descs, size_t count,
                           const gpu_buffer *handles, doppler_done_fn done, void *user);
    void (*buffer_destroy)(gpu *g, gpu_buffer b);
    void *(*buffer_host)(gpu *g, gpu_buffer b);          /* NULL: host memory is not visible */
    void (*write)(gpu *g, gpu_buffer b, uint64_t offset, const void *data, size_t bytes);
    void (*copy)(gpu *g, const gpu_copy_range *ranges, size_t count);
    void (*read)(gpu *g, const gpu_readback *readback, doppler_done_fn done, void *user);
    void (*programs_create)(gpu *g, const gpu_program_desc *descs, size_t count,
                            const gpu_program *handles, doppler_done_fn done, void *user);
    void (*program_destroy)(gpu *g, gpu_program p);
    void (*record_begin)(gpu *g, gpu_list list);
    /* bindings[i].bytes is never 0 here */
    void (*dispatch)(gpu *g, gpu_program p, const gpu_binding *bindings, size_t count,
                     const void *dims, size_t dims_bytes, uint32_t x, uint32_t y, uint32_t z);
    bool (*record_end)(gpu *g, gpu_list list);           /* false: out of memory */
    void (*list_destroy)(gpu *g, gpu_list list);
    void (*submit)(gpu *g, gpu_list list, uint32_t first, uint32_t count, uint32_t repeat,
                   const gpu_readback *readback, doppler_done_fn done, void *user);
    void (*time)(gpu *g, gpu_list list, double *ns, doppler_done_fn done, void *user);
    void (*measure)(gpu *g, gpu_list list, uint32_t repeat, double *ns, doppler_done_fn done,
                    void *user);
} gpu_ops;

/* Something due. work, if any, runs first and gives the status that done is called with. */
typedef struct gpu_task {
    doppler_status (*work)(gpu *g, const struct gpu_task *task);
    doppler_status status;
    doppler_done_fn done;                /* may be NULL */
    void *user;
    gpu_list list;                       /* what work needs */
    uint32_t first, count, repeat;       /* of its dispatches */
    gpu_readback readback;               /* bytes 0: none */
    double *ns;
} gpu_task;

/* What a handle stands for; 0-based table, handle = index + 1. */
typedef struct gpu_slot {
    bool live;
    const struct gpu_batch *batch;       /* still being created in it */
    uint64_t bytes;                      /* of a buffer */
    char access[GPU_MAX_BINDINGS + 1];   /* of a program */
    uint32_t dispatches;                 /* of a list */
} gpu_slot;

typedef struct gpu_table {
    gpu_slot *slots;                     /* owned */
    uint32_t count, capacity;
} gpu_table;

/* The first member of a backend's own struct. A backend allocates it zeroed and fills ops and
 * limits. */
struct gpu {
    const gpu_ops *ops;
    gpu_limits limits;
    error error;                         /* the message of gpu_message; set it with fail() */
    bool is_lost;
    doppler_done_fn on_lost;
    void *on_lost_user;
    gpu_table buffers, programs, lists;
    struct gpu_batch *batches;           /* being created; owned */
    gpu_list recording;
    gpu_task tasks[GPU_MAX_PENDING];     /* ring */
    uint32_t first_task, task_count;
};

/* Queues a task for gpu_poll. */
void gpu_push(gpu *g, const gpu_task *task);
/* Queues done(status). */
void gpu_later(gpu *g, doppler_status status, doppler_done_fn done, void *user);
/* Runs the work of all queued tasks now, in order; their callbacks stay queued. */
void gpu_drain(gpu *g);
/* The device is gone: from here on gpu.c answers every operation with DEVICE_LOST. The backend
 * ends what it has outstanding. message is copied. */
void gpu_lose(gpu *g, const char *message);
/* Frees what gpu.c owns in g; called by a backend's destroy. */
void gpu_free_tables(gpu *g);

#endif
