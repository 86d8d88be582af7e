/* gpu_cpu.c - the CPU backend: buffers are host memory, programs are the C twins, a list is an
 * array of calls. Submitted work waits in the queue of gpu.c and runs from gpu_poll, or earlier
 * where a later call (a write, a destroy) must find it done: calls take effect in their order. */
#include "gpu/gpu_backend.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct cpu_program { gpu_twin_fn twin; uint32_t format; } cpu_program;

typedef struct cpu_dispatch {
    gpu_program program;
    uint32_t bindings;
    gpu_binding binding[GPU_MAX_BINDINGS];
    uint32_t dims[GPU_MAX_DIMS_BYTES / 4];
    uint32_t groups[3];
} cpu_dispatch;

typedef struct cpu_list {
    cpu_dispatch *dispatches;            /* owned */
    uint32_t count, capacity;
    bool is_incomplete;                  /* memory ran out while recording */
} cpu_list;

/* Arrays are indexed by handle and as long as the highest one given out. */
typedef struct gpu_cpu {
    gpu base;
    void **buffers;                      /* owned, each too */
    cpu_program *programs;
    cpu_list *lists;
    uint32_t buffer_count, program_count, list_count;
} gpu_cpu;

/* A C object is smaller than half the address space; a quarter of wasm's leaves room for others. */
#define LARGEST_BUFFER (sizeof(size_t) == 4 ? UINT64_C(1) << 30 : UINT64_C(1) << 42)

static const gpu_limits cpu_limits = {
    .buffer_bytes = LARGEST_BUFFER, .binding_bytes = LARGEST_BUFFER, .offset_alignment = 256,
    .workgroup_bytes = 65536, .workgroup_threads = 256, .grid = 65535,
    .features = GPU_TIMESTAMPS | GPU_PACKED_DOT, .matrices = GPU_MATRIX_F16_F32_16x16x16,
};

static gpu_cpu *cpu_of(gpu *g) { return (gpu_cpu *)g; }

/* Makes array[handle] exist, zeroed. Returns the array, NULL (and the old one kept) when out of
 * memory. */
static void *array_reach(void *array, uint32_t *count, uint32_t handle, size_t bytes_each) {
    if (handle < *count) return array;
    uint32_t wanted = handle + 64;
    char *grown = realloc(array, wanted * bytes_each);
    if (!grown) return NULL;
    memset(grown + *count * bytes_each, 0, (wanted - *count) * bytes_each);
    *count = wanted;
    return grown;
}

/* ---- buffers */

static void cpu_buffers_create(gpu *g, const gpu_buffer_desc *descs, size_t count,
                               const gpu_buffer *handles, doppler_done_fn done, void *user) {
    gpu_cpu *c = cpu_of(g);
    doppler_status status = DOPPLER_OK;
    for (size_t i = 0; i < count && status == DOPPLER_OK; i++) {
        void **buffers = array_reach(c->buffers, &c->buffer_count, handles[i], sizeof *buffers);
        if (buffers) {
            c->buffers = buffers;
            buffers[handles[i]] = calloc(1, (size_t)descs[i].bytes);
            assert((uintptr_t)buffers[handles[i]] % 16 == 0);
        }
        if (!buffers || !buffers[handles[i]])
            status = fail(&g->error, DOPPLER_NO_MEMORY, "no memory for buffer %s of %llu bytes",
                          descs[i].label ? descs[i].label : "?",
                          (unsigned long long)descs[i].bytes);
    }
    gpu_later(g, status, done, user);
}

static void cpu_buffer_destroy(gpu *g, gpu_buffer b) {
    gpu_cpu *c = cpu_of(g);
    gpu_drain(g);
    if (b >= c->buffer_count) return;
    free(c->buffers[b]);
    c->buffers[b] = NULL;
}

static void *cpu_buffer_host(gpu *g, gpu_buffer b) {
    gpu_cpu *c = cpu_of(g);
    gpu_drain(g);
    return b < c->buffer_count ? c->buffers[b] : NULL;
}

static void cpu_write(gpu *g, gpu_buffer b, uint64_t offset, const void *data, size_t bytes) {
    char *to = cpu_buffer_host(g, b);
    if (to) memcpy(to + offset, data, bytes);        /* NULL: its creation failed */
}

static void cpu_copy(gpu *g, const gpu_copy_range *ranges, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const char *from = cpu_buffer_host(g, ranges[i].from);
        char *to = cpu_buffer_host(g, ranges[i].to);
        if (!from || !to) continue;                  /* its creation failed */
        memcpy(to + ranges[i].to_offset, from + ranges[i].from_offset, (size_t)ranges[i].bytes);
    }
}

static void read_back(gpu_cpu *c, const gpu_readback *r) {
    if (r->bytes > 0) memcpy(r->out, (char *)c->buffers[r->buffer] + r->offset, r->bytes);
}

static doppler_status work_read(gpu *g, const gpu_task *task) {
    read_back(cpu_of(g), &task->readback);
    return DOPPLER_OK;
}

static void cpu_read(gpu *g, const gpu_readback *readback, doppler_done_fn done, void *user) {
    gpu_push(g, &(gpu_task){.work = work_read, .readback = *readback, .done = done, .user = user});
}

/* ---- programs */

static void cpu_programs_create(gpu *g, const gpu_program_desc *descs, size_t count,
                                const gpu_program *handles, doppler_done_fn done, void *user) {
    gpu_cpu *c = cpu_of(g);
    doppler_status status = DOPPLER_OK;
    for (size_t i = 0; i < count && status == DOPPLER_OK; i++) {
        cpu_program *programs = array_reach(c->programs, &c->program_count, handles[i],
                                            sizeof *programs);
        assert(descs[i].twin);
        if (programs) {
            c->programs = programs;
            programs[handles[i]] = (cpu_program){descs[i].twin, descs[i].format};
        } else {
            status = fail(&g->error, DOPPLER_NO_MEMORY, "no memory for %zu programs", count);
        }
    }
    gpu_later(g, status, done, user);
}

static void cpu_program_destroy(gpu *g, gpu_program p) {
    gpu_drain(g);
    if (p < cpu_of(g)->program_count) cpu_of(g)->programs[p] = (cpu_program){0};
}

/* ---- lists */

static void cpu_record_begin(gpu *g, gpu_list list) {
    gpu_cpu *c = cpu_of(g);
    cpu_list *lists = array_reach(c->lists, &c->list_count, list, sizeof *lists);
    if (lists) {
        c->lists = lists;
        lists[list] = (cpu_list){0};
    }
}

static void cpu_dispatch_record(gpu *g, gpu_program p, const gpu_binding *bindings, size_t count,
                                const void *dims, size_t dims_bytes, uint32_t x, uint32_t y,
                                uint32_t z) {
    gpu_cpu *c = cpu_of(g);
    if (g->recording >= c->list_count || c->lists[g->recording].is_incomplete) return;
    cpu_list *list = &c->lists[g->recording];
    if (list->count == list->capacity) {
        uint32_t capacity = list->capacity ? 2 * list->capacity : 16;
        cpu_dispatch *grown = realloc(list->dispatches, capacity * sizeof *grown);
        if (!grown) {
            list->is_incomplete = true;
            return;
        }
        list->dispatches = grown;
        list->capacity = capacity;
    }
    cpu_dispatch *d = &list->dispatches[list->count++];
    *d = (cpu_dispatch){.program = p, .bindings = (uint32_t)count, .groups = {x, y, z}};
    memcpy(d->binding, bindings, count * sizeof *bindings);
    memcpy(d->dims, dims, dims_bytes);
}

static bool cpu_record_end(gpu *g, gpu_list list) {
    gpu_cpu *c = cpu_of(g);
    bool ok = list < c->list_count && !c->lists[list].is_incomplete;
    if (!ok) fail(&g->error, DOPPLER_NO_MEMORY, "no memory to record dispatches");
    return ok;
}

static void cpu_list_destroy(gpu *g, gpu_list list) {
    gpu_cpu *c = cpu_of(g);
    gpu_drain(g);
    if (list >= c->list_count) return;
    free(c->lists[list].dispatches);
    c->lists[list] = (cpu_list){0};
}

static void run_dispatch(gpu_cpu *c, const cpu_dispatch *d) {
    gpu_call call = {.dims = d->dims, .format = c->programs[d->program].format,
                     .groups = {d->groups[0], d->groups[1], d->groups[2]}};
    for (uint32_t i = 0; i < d->bindings; i++) {
        char *host = c->buffers[d->binding[i].buffer];
        assert(host);                                /* destroyed after it was recorded */
        call.buffer[i] = host + d->binding[i].offset;
        call.bytes[i] = d->binding[i].bytes;
    }
    c->programs[d->program].twin(&call);
}

static doppler_status work_submit(gpu *g, const gpu_task *task) {
    gpu_cpu *c = cpu_of(g);
    const cpu_list *list = &c->lists[task->list];
    for (uint32_t r = 0; r < task->repeat; r++)
        for (uint32_t i = 0; i < task->count; i++)
            run_dispatch(c, &list->dispatches[task->first + i]);
    read_back(c, &task->readback);
    return DOPPLER_OK;
}

static void cpu_submit(gpu *g, gpu_list list, uint32_t first, uint32_t count, uint32_t repeat,
                       const gpu_readback *readback, doppler_done_fn done, void *user) {
    gpu_task task = {.work = work_submit, .list = list, .first = first, .count = count,
                     .repeat = repeat, .done = done, .user = user};
    if (readback) task.readback = *readback;
    gpu_push(g, &task);
}

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static doppler_status work_time(gpu *g, const gpu_task *task) {
    gpu_cpu *c = cpu_of(g);
    const cpu_list *list = &c->lists[task->list];
    for (uint32_t i = 0; i < list->count; i++) {
        double start = now_ns();
        run_dispatch(c, &list->dispatches[i]);
        task->ns[i] = now_ns() - start;
    }
    return DOPPLER_OK;
}

static void cpu_time(gpu *g, gpu_list list, double *ns, doppler_done_fn done, void *user) {
    gpu_push(g, &(gpu_task){.work = work_time, .list = list, .ns = ns, .done = done,
                            .user = user});
}

static doppler_status work_measure(gpu *g, const gpu_task *task) {
    double start = now_ns();
    doppler_status status = work_submit(g, task);
    *task->ns = now_ns() - start;
    return status;
}

static void cpu_measure(gpu *g, gpu_list list, uint32_t repeat, double *ns, doppler_done_fn done,
                        void *user) {
    gpu_push(g, &(gpu_task){.work = work_measure, .list = list,
                            .count = cpu_of(g)->lists[list].count, .repeat = repeat, .ns = ns,
                            .done = done, .user = user});
}

/* ---- device */

static void cpu_destroy(gpu *g) {
    gpu_cpu *c = cpu_of(g);
    for (uint32_t i = 0; i < c->buffer_count; i++) free(c->buffers[i]);
    for (uint32_t i = 0; i < c->list_count; i++) free(c->lists[i].dispatches);
    free(c->buffers);
    free(c->programs);
    free(c->lists);
    gpu_free_tables(g);
    free(c);
}

static const gpu_ops cpu_ops = {
    .destroy = cpu_destroy,
    .buffers_create = cpu_buffers_create,
    .buffer_destroy = cpu_buffer_destroy,
    .buffer_host = cpu_buffer_host,
    .write = cpu_write,
    .copy = cpu_copy,
    .read = cpu_read,
    .programs_create = cpu_programs_create,
    .program_destroy = cpu_program_destroy,
    .record_begin = cpu_record_begin,
    .dispatch = cpu_dispatch_record,
    .record_end = cpu_record_end,
    .list_destroy = cpu_list_destroy,
    .submit = cpu_submit,
    .time = cpu_time,
    .measure = cpu_measure,
};

gpu *gpu_cpu_create(void) {
    gpu_cpu *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->base.ops = &cpu_ops;
    c->base.limits = cpu_limits;
    return &c->base;
}
