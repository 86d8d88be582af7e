/* gpu_web.c - the WebGPU backend, wasm only. The table of functions is imported from the host as
 * it is: browser/gpu.js reads the structs of gpu.h in place, at the offsets asserted below, and
 * reports back through the exported functions at the end. */
#include "gpu/gpu_backend.h"

#include <stddef.h>
#include <stdlib.h>

/* What browser/gpu.js knows about wasm32's layout of gpu.h. */
#define LAYOUT(type, field, at) _Static_assert(offsetof(type, field) == (at), "browser/gpu.js")
LAYOUT(gpu_buffer_desc, bytes, 0);
LAYOUT(gpu_buffer_desc, label, 8);
_Static_assert(sizeof(gpu_buffer_desc) == 16, "browser/gpu.js");
LAYOUT(gpu_program_desc, sources, 48);
LAYOUT(gpu_program_desc, access, 112);
LAYOUT(gpu_program_desc, constants, 120);
_Static_assert(GPU_MAX_SOURCES == 16 && sizeof(gpu_program_desc) == 192, "browser/gpu.js");
_Static_assert(sizeof(gpu_constant) == 16, "browser/gpu.js");
LAYOUT(gpu_constant, value, 8);
LAYOUT(gpu_binding, offset, 8);
LAYOUT(gpu_binding, bytes, 16);
_Static_assert(sizeof(gpu_binding) == 24, "browser/gpu.js");
LAYOUT(gpu_copy_range, to, 4);
LAYOUT(gpu_copy_range, from_offset, 8);
LAYOUT(gpu_copy_range, to_offset, 16);
LAYOUT(gpu_copy_range, bytes, 24);
_Static_assert(sizeof(gpu_copy_range) == 32, "browser/gpu.js");
LAYOUT(gpu_readback, offset, 8);
LAYOUT(gpu_readback, bytes, 16);
LAYOUT(gpu_readback, out, 20);
LAYOUT(gpu_limits, binding_bytes, 8);
LAYOUT(gpu_limits, offset_alignment, 16);
LAYOUT(gpu_limits, features, 32);
LAYOUT(gpu_limits, matrices, 36);
_Static_assert(DOPPLER_NO_MEMORY == 1 && DOPPLER_DEVICE_LOST == 3 && DOPPLER_GPU_ERROR == 4,
               "browser/gpu.js");

#define IMPORT(name) __attribute__((import_module("gpu"), import_name(#name)))
#define EXPORT(name) __attribute__((export_name(#name)))

IMPORT(open) void web_open(gpu *g, gpu_limits *limits, char *message, size_t message_bytes);
IMPORT(close) void web_close(gpu *g);
IMPORT(wake) void web_wake(gpu *g);
IMPORT(buffers_create)
void web_buffers_create(gpu *g, const gpu_buffer_desc *descs, size_t count,
                        const gpu_buffer *handles, doppler_done_fn done, void *user);
IMPORT(buffer_destroy) void web_buffer_destroy(gpu *g, gpu_buffer b);
IMPORT(write)
void web_write_at(gpu *g, gpu_buffer b, double offset, const void *data, size_t bytes);
IMPORT(copy) void web_copy(gpu *g, const gpu_copy_range *ranges, size_t count);
IMPORT(read)
void web_read(gpu *g, const gpu_readback *readback, doppler_done_fn done, void *user);
IMPORT(programs_create)
void web_programs_create(gpu *g, const gpu_program_desc *descs, size_t count,
                         const gpu_program *handles, doppler_done_fn done, void *user);
IMPORT(program_destroy) void web_program_destroy(gpu *g, gpu_program p);
IMPORT(record_begin) void web_record_begin(gpu *g, gpu_list list);
IMPORT(dispatch)
void web_dispatch(gpu *g, gpu_program p, const gpu_binding *bindings, size_t count,
                  const void *dims, size_t dims_bytes, uint32_t x, uint32_t y, uint32_t z);
IMPORT(record_end) bool web_record_end(gpu *g, gpu_list list);
IMPORT(list_destroy) void web_list_destroy(gpu *g, gpu_list list);
IMPORT(submit)
void web_submit(gpu *g, gpu_list list, uint32_t first, uint32_t count, uint32_t repeat,
                const gpu_readback *readback, doppler_done_fn done, void *user);
IMPORT(time) void web_time(gpu *g, gpu_list list, double *ns, doppler_done_fn done, void *user);
IMPORT(measure)
void web_measure(gpu *g, gpu_list list, uint32_t repeat, double *ns, doppler_done_fn done,
                 void *user);

EXPORT(gpu_web_done)
void gpu_web_done(gpu *g, doppler_status status, doppler_done_fn done, void *user);
EXPORT(gpu_web_lost) void gpu_web_lost(gpu *g, bool on_purpose);
EXPORT(gpu_web_poll) void gpu_web_poll(gpu *g);

typedef struct gpu_web {
    gpu base;
    char message[256];           /* the host writes here why something failed */
} gpu_web;

static void web_destroy(gpu *g) {
    web_close(g);
    gpu_free_tables(g);
    free(g);
}

/* Offsets beyond 4 GiB travel as doubles, exact to 2^53: an i64 would be a BigInt in JS. */
static void web_write(gpu *g, gpu_buffer b, uint64_t offset, const void *data, size_t bytes) {
    web_write_at(g, b, (double)offset, data, bytes);
}

static const gpu_ops web_ops = {
    .destroy = web_destroy,
    .wake = web_wake,
    .buffers_create = web_buffers_create,
    .buffer_destroy = web_buffer_destroy,
    .write = web_write,
    .copy = web_copy,
    .read = web_read,
    .programs_create = web_programs_create,
    .program_destroy = web_program_destroy,
    .record_begin = web_record_begin,
    .dispatch = web_dispatch,
    .record_end = web_record_end,
    .list_destroy = web_list_destroy,
    .submit = web_submit,
    .time = web_time,
    .measure = web_measure,
};

gpu *gpu_web_create(void) {
    gpu_web *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    w->base.ops = &web_ops;
    web_open(&w->base, &w->base.limits, w->message, sizeof w->message);
    return &w->base;
}

/* An operation has ended; where it failed, the message is in place. What a lost device says of
 * each operation is less than why it was lost. */
void gpu_web_done(gpu *g, doppler_status status, doppler_done_fn done, void *user) {
    if (status != DOPPLER_OK && !g->is_lost) fail(&g->error, status, "%s", ((gpu_web *)g)->message);
    gpu_later(g, status, done, user);
}

/* The device is gone; the message is in place. A device that the host destroyed on purpose is
 * not reported as lost, but nothing works any more. */
void gpu_web_lost(gpu *g, bool on_purpose) {
    if (on_purpose) g->on_lost = NULL;
    gpu_lose(g, ((gpu_web *)g)->message);
}

/* The host's answer to wake, from its event loop. */
void gpu_web_poll(gpu *g) {
    while (gpu_poll(g)) {}
}
