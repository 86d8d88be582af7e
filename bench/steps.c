/* steps.c - steps of a session, recorded to be timed: as a generation would run them, or with one
 * kernel in place of those that could do the same work. The keys and values that a step sees are
 * random. */
#include "bench/bench.h"
#include "bench/fill.h"
#include "browser/flat.h"

#include <stdlib.h>
#include <string.h>

static void compiled(doppler_status status, void *user) {
    bench *b = user;
    if (status) fail(&b->d->error, status, "%s", gpu_message(b->d->g));
    bench_done(b->ticket, status);
}

/* NULL when out of memory. To be used when the ticket has ended. */
EXPORT(bench *, bench_create, doppler *d, uint32_t ticket) {
    bench *b = calloc(1, sizeof *b);
    const gpu_program_desc desc = fill_program();
    if (!b) return NULL;
    *b = (bench){d, 0, ticket};
    gpu_programs_create(d->g, &desc, 1, &b->fill, compiled, b);
    return b;
}

EXPORT(void, bench_destroy, bench *b) {
    if (b) gpu_program_destroy(b->d->g, b->fill);
    free(b);
}

/* ---- kernels */

/* NULL behind the last. */
EXPORT(const char *, bench_kernel_name, uint32_t id) {
    return id < KERNEL_COUNT ? kernels[id].name : NULL;
}

void bench_only(op_programs *programs, kernel_id id) {
    for (kernel_id other = 0; other < KERNEL_COUNT; other++)
        for (uint32_t f = 0; f < FORMAT_COUNT; f++)
            if (other != id && kernel_base(other) == kernel_base(id) && programs->of[id][f])
                programs->of[other][f] = 0;
}

/* Whether a format is meant by a text that may name some: all are by one that names none. */
static bool is_meant(const char *text, uint32_t format) {
    bool any = false;
    for (uint32_t f = 0; f < FORMAT_COUNT; f++) any |= strstr(text, formats[f].name) != NULL;
    return !any || strstr(text, formats[format].name);
}

/* Compiles every kernel that could stand for one that is compiled, of the formats meant. */
EXPORT(uint32_t, bench_compile, bench *b, const char *filter, uint32_t ticket) {
    program_want wants[KERNEL_COUNT * FORMAT_COUNT];
    const gpu_limits *limits = gpu_get_limits(b->d->g);
    size_t count = 0;
    b->ticket = ticket;
    for (kernel_id id = 0; id < KERNEL_COUNT; id++)
        for (uint32_t f = 0; f < FORMAT_COUNT; f++) {
            bool of_base = b->d->programs.of[kernel_base(id)][f] != 0;
            bool meant = kernel_formats(id) != FORMAT_COUNT || is_meant(filter, f);
            if (of_base && meant && kernel_exists(id, f, limits))
                wants[count++] = (program_want){id, f};
        }
    return programs_compile(b->d, wants, count, compiled, b);
}

/* ---- steps */

static void fill_cache(const bench *b, const doppler_session *s) {
    const model_config *c = &s->model->manifest.model;
    for (uint32_t i = 0; i < c->layers; i++) {
        uint32_t kind = c->layer_kinds[i], each = s->slab_heads[kind];
        for (uint32_t j = 0; j < s->slabs[kind]; j++) {
            uint32_t left = c->kv_heads - j * each, heads = left < each ? left : each;
            uint64_t rows = (uint64_t)2 * heads * s->slots[kind];
            uint64_t scales = rows * kv_scale_bytes(s->kv, c->head_dim);
            uint64_t all = rows * kv_row_bytes(s->kv, c->head_dim);
            fill_kv(b->d->g, b->fill, s->kv, s->kv_buffers[s->kv_first[i] + j], all - scales,
                    scales, i * 64 + j);
        }
    }
}

/* The session behaves as if it had read these tokens: a prompt that begins so starts behind them.
 * Random keys and values stand for theirs. */
EXPORT(uint32_t, bench_hold, const bench *b, doppler_session *s, const uint32_t *ids,
       uint32_t count) {
    doppler_status status = session_check(s, ids, count);
    if (status) return status;
    gpu_record_begin(b->d->g);
    fill_cache(b, s);
    gpu_list list = gpu_record_end(b->d->g);
    if (!list) return fail(&b->d->error, DOPPLER_NO_MEMORY, "keys and values");
    gpu_submit(b->d->g, list, 1, NULL, NULL, NULL);
    gpu_list_destroy(b->d->g, list);
    kv_reuse(s, 0, 0);
    memcpy(s->timeline, ids, count * sizeof *ids);
    s->cached_tokens = s->timeline_tokens = count;
    kv_written(s, count);
    return DOPPLER_OK;
}

/* The list of a step of `tokens` at a position, its inputs in place; only: a kernel_id, or
 * KERNEL_COUNT for what the engine takes. 0: see engine_message. */
EXPORT(gpu_list, bench_step, doppler_session *s, uint32_t position, uint32_t tokens,
       uint32_t only) {
    doppler *d = s->model->d;
    const uint32_t first = 0;
    if (session_check(s, &first, 1)) return 0;
    if (tokens == 0 || tokens > s->chunk || position > s->context - tokens) {
        fail(&d->error, DOPPLER_BAD_ARGUMENT, "a step of %u tokens at %u, the session takes %u at "
             "a time, %u in all", tokens, position, s->chunk, s->context);
        return 0;
    }
    op_programs all = d->programs;
    recorded step = {0};
    if (only < KERNEL_COUNT) bench_only(&d->programs, (kernel_id)only);
    gpu_list list = session_step(s, &step, tokens, tokens == 1, KERNEL_ARGMAX, false);
    d->programs = all;
    const step_state state = {.position = position};
    s->cached_tokens = s->timeline_tokens = 0;
    kv_reuse(s, 0, 0);
    memset(s->timeline, 0, tokens * sizeof *s->timeline);
    session_write_step(s, &state, s->timeline, tokens);
    return list;
}

EXPORT(void, bench_list_destroy, const bench *b, gpu_list list) {
    gpu_list_destroy(b->d->g, list);
}
