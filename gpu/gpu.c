/* gpu.c - the part of gpu.h that does not depend on the device: handles, checks of what the
 * caller promised, and the queue that gpu_poll works off. */
#include "gpu/gpu_backend.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Buffers or programs between their creation and done: so that on failure all handles of the
 * batch are freed here, once for all backends. */
typedef struct gpu_batch {
    gpu *g;
    struct gpu_batch *next;
    bool is_programs;
    doppler_done_fn done;
    void *user;
    size_t count;
    uint32_t handles[];
} gpu_batch;

/* ---- handles */

/* 0 when out of memory. */
static uint32_t table_add(gpu_table *t) {
    uint32_t i = 0;
    while (i < t->count && t->slots[i].live) i++;
    if (i == t->capacity) {
        uint32_t capacity = t->capacity ? 2 * t->capacity : 64;
        gpu_slot *slots = realloc(t->slots, capacity * sizeof *slots);
        if (!slots) return 0;
        t->slots = slots;
        t->capacity = capacity;
    }
    if (i == t->count) t->count++;
    t->slots[i] = (gpu_slot){.live = true};
    return i + 1;
}

static gpu_slot *table_get(const gpu_table *t, uint32_t handle) {
    assert(handle > 0 && handle <= t->count && t->slots[handle - 1].live);
    return &t->slots[handle - 1];
}

void gpu_free_tables(gpu *g) {
    while (g->batches) {
        gpu_batch *next = g->batches->next;
        free(g->batches);
        g->batches = next;
    }
    free(g->buffers.slots);
    free(g->programs.slots);
    free(g->lists.slots);
}

/* ---- queue */

static gpu_task *task_at(gpu *g, uint32_t i) {
    return &g->tasks[(g->first_task + i) % GPU_MAX_PENDING];
}

void gpu_push(gpu *g, const gpu_task *task) {
    assert(g->task_count < GPU_MAX_PENDING);
    *task_at(g, g->task_count++) = *task;
    if (g->ops->wake) g->ops->wake(g);
}

void gpu_later(gpu *g, doppler_status status, doppler_done_fn done, void *user) {
    gpu_push(g, &(gpu_task){.status = status, .done = done, .user = user});
}

static void task_work(gpu *g, gpu_task *task) {
    if (!task->work) return;
    task->status = task->work(g, task);
    task->work = NULL;
}

void gpu_drain(gpu *g) {
    for (uint32_t i = 0; i < g->task_count; i++) task_work(g, task_at(g, i));
}

bool gpu_poll(gpu *g) {
    if (g->task_count == 0) return false;
    task_work(g, task_at(g, 0));
    gpu_task task = *task_at(g, 0);
    g->first_task = (g->first_task + 1) % GPU_MAX_PENDING;
    g->task_count--;
    if (task.done) task.done(task.status, task.user);
    return g->task_count > 0;
}

/* ---- device */

void gpu_destroy(gpu *g) {
    if (g) g->ops->destroy(g);
}

const gpu_limits *gpu_get_limits(const gpu *g) { return &g->limits; }

void gpu_cap_limits(gpu *g, const gpu_limits *most) {
    gpu_limits *l = &g->limits;
    if (l->buffer_bytes > most->buffer_bytes) l->buffer_bytes = most->buffer_bytes;
    if (l->binding_bytes > most->binding_bytes) l->binding_bytes = most->binding_bytes;
    if (l->workgroup_bytes > most->workgroup_bytes) l->workgroup_bytes = most->workgroup_bytes;
    if (l->workgroup_threads > most->workgroup_threads)
        l->workgroup_threads = most->workgroup_threads;
    if (l->grid > most->grid) l->grid = most->grid;
    if (l->offset_alignment < most->offset_alignment) l->offset_alignment = most->offset_alignment;
    l->features &= most->features;
    l->matrices &= most->matrices;
}

const char *gpu_message(const gpu *g) { return g->error.message; }

void gpu_on_lost(gpu *g, doppler_done_fn fn, void *user) {
    g->on_lost = fn;
    g->on_lost_user = user;
}

void gpu_lose(gpu *g, const char *message) {
    if (g->is_lost) return;
    g->is_lost = true;
    fail(&g->error, DOPPLER_DEVICE_LOST, "GPU device lost: %s", message);
    if (g->on_lost) gpu_later(g, DOPPLER_DEVICE_LOST, g->on_lost, g->on_lost_user);
}

/* ---- batches */

/* NULL when out of memory. Fills handles, zeros on failure. */
static gpu_batch *batch_begin(gpu *g, bool is_programs, size_t count, uint32_t *handles,
                              doppler_done_fn done, void *user) {
    gpu_table *table = is_programs ? &g->programs : &g->buffers;
    gpu_batch *batch = malloc(sizeof *batch + count * sizeof *handles);
    bool ok = batch != NULL;
    for (size_t i = 0; i < count; i++) {
        handles[i] = ok ? table_add(table) : 0;
        if (!handles[i]) ok = false;
        else table_get(table, handles[i])->batch = batch;
    }
    if (!ok) {
        for (size_t i = 0; i < count; i++) {
            if (handles[i]) table_get(table, handles[i])->live = false;
            handles[i] = 0;
        }
        free(batch);
        gpu_later(g, fail(&g->error, DOPPLER_NO_MEMORY, "no memory for %zu GPU handles", count),
                  done, user);
        return NULL;
    }
    *batch = (gpu_batch){g, g->batches, is_programs, done, user, count};
    memcpy(batch->handles, handles, count * sizeof *handles);
    g->batches = batch;
    return batch;
}

static void batch_done(doppler_status status, void *user) {
    gpu_batch *batch = user;
    gpu *g = batch->g;
    gpu_table *table = batch->is_programs ? &g->programs : &g->buffers;
    for (size_t i = 0; i < batch->count; i++) {
        gpu_slot *slot = &table->slots[batch->handles[i] - 1];
        if (!slot->live || slot->batch != batch) continue;       /* destroyed meanwhile */
        slot->batch = NULL;
        if (status == DOPPLER_OK) continue;
        if (batch->is_programs) gpu_program_destroy(g, batch->handles[i]);
        else gpu_buffer_destroy(g, batch->handles[i]);
    }
    gpu_batch **link = &g->batches;
    while (*link != batch) link = &(*link)->next;
    *link = batch->next;
    doppler_done_fn done = batch->done;
    void *done_user = batch->user;
    free(batch);
    if (done) done(status, done_user);
}

/* ---- buffers */

void gpu_buffers_create(gpu *g, const gpu_buffer_desc *descs, size_t count, gpu_buffer *handles,
                        doppler_done_fn done, void *user) {
    gpu_batch *batch = batch_begin(g, false, count, handles, done, user);
    if (!batch) return;
    for (size_t i = 0; i < count; i++) {
        assert(descs[i].bytes > 0 && descs[i].bytes % 4 == 0);
        table_get(&g->buffers, handles[i])->bytes = descs[i].bytes;
        if (descs[i].bytes <= g->limits.buffer_bytes) continue;
        fail(&g->error, DOPPLER_NO_MEMORY, "buffer %s needs %llu bytes, the device's limit is %llu",
             descs[i].label ? descs[i].label : "?", (unsigned long long)descs[i].bytes,
             (unsigned long long)g->limits.buffer_bytes);
        gpu_later(g, DOPPLER_NO_MEMORY, batch_done, batch);
        return;
    }
    if (g->is_lost) gpu_later(g, DOPPLER_DEVICE_LOST, batch_done, batch);
    else g->ops->buffers_create(g, descs, count, handles, batch_done, batch);
}

void gpu_buffer_destroy(gpu *g, gpu_buffer b) {
    if (!b) return;
    g->ops->buffer_destroy(g, b);
    table_get(&g->buffers, b)->live = false;
}

void *gpu_buffer_host(gpu *g, gpu_buffer b) {
    table_get(&g->buffers, b);
    return g->ops->buffer_host ? g->ops->buffer_host(g, b) : NULL;
}

static void check_range(const gpu *g, gpu_buffer b, uint64_t offset, uint64_t bytes) {
    const gpu_slot *slot = table_get(&g->buffers, b);
    assert(offset % 4 == 0 && bytes % 4 == 0);
    assert(bytes <= slot->bytes && offset <= slot->bytes - bytes);
    (void)slot;
}

void gpu_write(gpu *g, gpu_buffer b, uint64_t offset, const void *data, size_t bytes) {
    check_range(g, b, offset, bytes);
    if (bytes > 0 && !g->is_lost) g->ops->write(g, b, offset, data, bytes);
}

void gpu_read(gpu *g, gpu_buffer b, uint64_t offset, void *out, size_t bytes,
              doppler_done_fn done, void *user) {
    check_range(g, b, offset, bytes);
    assert(bytes > 0 && done);
    if (g->is_lost) gpu_later(g, DOPPLER_DEVICE_LOST, done, user);
    else g->ops->read(g, &(gpu_readback){b, offset, bytes, out}, done, user);
}

void gpu_copy(gpu *g, const gpu_copy_range *ranges, size_t count) {
    for (size_t i = 0; i < count; i++) {
        assert(ranges[i].from != ranges[i].to && ranges[i].bytes > 0);
        check_range(g, ranges[i].from, ranges[i].from_offset, ranges[i].bytes);
        check_range(g, ranges[i].to, ranges[i].to_offset, ranges[i].bytes);
    }
    if (count > 0 && !g->is_lost) g->ops->copy(g, ranges, count);
}

/* ---- programs */

void gpu_programs_create(gpu *g, const gpu_program_desc *descs, size_t count,
                         gpu_program *handles, doppler_done_fn done, void *user) {
    gpu_batch *batch = batch_begin(g, true, count, handles, done, user);
    if (!batch) return;
    for (size_t i = 0; i < count; i++) {
        const char *access = descs[i].access;
        assert(strlen(access) <= GPU_MAX_BINDINGS && strspn(access, "rw") == strlen(access));
        strcpy(table_get(&g->programs, handles[i])->access, access);
    }
    if (g->is_lost) gpu_later(g, DOPPLER_DEVICE_LOST, batch_done, batch);
    else g->ops->programs_create(g, descs, count, handles, batch_done, batch);
}

void gpu_program_destroy(gpu *g, gpu_program p) {
    if (!p) return;
    g->ops->program_destroy(g, p);
    table_get(&g->programs, p)->live = false;
}

/* ---- lists */

void gpu_record_begin(gpu *g) {
    assert(!g->recording);
    g->recording = table_add(&g->lists);
    if (g->recording) g->ops->record_begin(g, g->recording);
}

/* WebGPU's rules for one dispatch: usage scopes allow a buffer to be read twice, or written
 * through disjoint ranges, not both read and written. */
static void check_aliasing(const char *access, const gpu_binding *bindings, size_t count) {
    for (size_t i = 0; i < count; i++)
        for (size_t j = i + 1; j < count; j++) {
            const gpu_binding *a = &bindings[i], *b = &bindings[j];
            if (a->buffer != b->buffer || (access[i] == 'r' && access[j] == 'r')) continue;
            assert(access[i] == access[j]);
            assert(a->offset + a->bytes <= b->offset || b->offset + b->bytes <= a->offset);
            (void)a, (void)b;
        }
}

void gpu_dispatch(gpu *g, gpu_program p, const gpu_binding *bindings, size_t count,
                  const void *dims, size_t dims_bytes, uint32_t x, uint32_t y, uint32_t z) {
    if (!g->recording) return;                       /* record_begin found no memory */
    const gpu_slot *program = table_get(&g->programs, p);
    assert(!program->batch && count == strlen(program->access));
    assert(dims_bytes > 0 && dims_bytes % 4 == 0 && dims_bytes <= GPU_MAX_DIMS_BYTES);
    assert(x > 0 && y > 0 && z > 0);
    assert(x <= g->limits.grid && y <= g->limits.grid && z <= g->limits.grid);
    gpu_binding resolved[GPU_MAX_BINDINGS];
    for (size_t i = 0; i < count; i++) {
        resolved[i] = bindings[i];
        const gpu_slot *buffer = table_get(&g->buffers, bindings[i].buffer);
        assert(bindings[i].offset < buffer->bytes);
        if (!resolved[i].bytes) resolved[i].bytes = buffer->bytes - bindings[i].offset;
        check_range(g, resolved[i].buffer, resolved[i].offset, resolved[i].bytes);
        assert(resolved[i].offset % g->limits.offset_alignment == 0);
        assert(resolved[i].bytes <= g->limits.binding_bytes);
    }
    check_aliasing(program->access, resolved, count);
    table_get(&g->lists, g->recording)->dispatches++;
    g->ops->dispatch(g, p, resolved, count, dims, dims_bytes, x, y, z);
}

gpu_list gpu_record_end(gpu *g) {
    gpu_list list = g->recording;
    g->recording = 0;
    if (!list || g->ops->record_end(g, list)) return list;
    gpu_list_destroy(g, list);
    return 0;
}

void gpu_list_destroy(gpu *g, gpu_list list) {
    if (!list) return;
    g->ops->list_destroy(g, list);
    table_get(&g->lists, list)->live = false;
}

uint32_t gpu_list_dispatches(const gpu *g, gpu_list list) {
    return table_get(&g->lists, list)->dispatches;
}

static void submit(gpu *g, gpu_list list, uint32_t first, uint32_t count, uint32_t repeat,
                   const gpu_readback *readback, doppler_done_fn done, void *user) {
    assert(repeat > 0 && list != g->recording);
    if (readback) {
        check_range(g, readback->buffer, readback->offset, readback->bytes);
        assert(readback->bytes > 0 && done);
    }
    if (!g->is_lost) g->ops->submit(g, list, first, count, repeat, readback, done, user);
    else if (done) gpu_later(g, DOPPLER_DEVICE_LOST, done, user);
}

void gpu_submit(gpu *g, gpu_list list, uint32_t repeat, const gpu_readback *readback,
                doppler_done_fn done, void *user) {
    submit(g, list, 0, gpu_list_dispatches(g, list), repeat, readback, done, user);
}

void gpu_submit_part(gpu *g, gpu_list list, uint32_t first, uint32_t count,
                     const gpu_readback *readback, doppler_done_fn done, void *user) {
    uint32_t all = gpu_list_dispatches(g, list);
    assert(first <= all && count <= all - first);
    (void)all;
    submit(g, list, first, count, 1, readback, done, user);
}

void gpu_time(gpu *g, gpu_list list, double *ns, doppler_done_fn done, void *user) {
    table_get(&g->lists, list);
    assert(list != g->recording && ns && done);
    doppler_status status = g->is_lost ? DOPPLER_DEVICE_LOST
        : g->limits.features & GPU_TIMESTAMPS ? DOPPLER_OK
        : fail(&g->error, DOPPLER_UNSUPPORTED, "the device has no timestamps");
    if (status != DOPPLER_OK) gpu_later(g, status, done, user);
    else g->ops->time(g, list, ns, done, user);
}

void gpu_measure(gpu *g, gpu_list list, uint32_t repeat, double *ns, doppler_done_fn done,
                 void *user) {
    table_get(&g->lists, list);
    assert(repeat > 0 && list != g->recording && ns && done);
    if (g->is_lost) gpu_later(g, DOPPLER_DEVICE_LOST, done, user);
    else g->ops->measure(g, list, repeat, ns, done, user);
}
