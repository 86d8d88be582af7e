/* programs.c - compiles the programs that a model or session needs, once per device. */
#include "inference/engine.h"

#include <inttypes.h>
#include <stdlib.h>

/* A batch on its way. Two models may compile the same program at once: the first to finish is
 * kept. */
typedef struct batch {
    doppler *d;
    doppler_done_fn done;
    void *user;
    size_t count;
    program_want *wants;
    gpu_program *handles;
} batch;

static void batch_free(batch *b) {
    if (!b) return;
    free(b->wants);
    free(b->handles);
    free(b);
}

static void batch_done(doppler_status status, void *user) {
    batch *b = user;
    for (size_t i = 0; status == DOPPLER_OK && i < b->count; i++) {   /* else they are gone */
        gpu_program *slot = &b->d->programs.of[b->wants[i].kernel][b->wants[i].format];
        if (!*slot) *slot = b->handles[i];
        else gpu_program_destroy(b->d->g, b->handles[i]);
    }
    if (status) fail(&b->d->error, status, "%s", gpu_message(b->d->g));
    b->done(status, b->user);
    batch_free(b);
}

doppler_status programs_compile(doppler *d, const program_want *wants, size_t count,
                                doppler_done_fn done, void *user) {
    batch *b = calloc(1, sizeof *b);
    gpu_program_desc *descs = calloc(count, sizeof *descs);
    if (b) {
        *b = (batch){d, done, user, 0, calloc(count, sizeof *b->wants),
                     calloc(count, sizeof *b->handles)};
    }
    if (!b || !descs || !b->wants || !b->handles) {
        batch_free(b);
        free(descs);
        return fail(&d->error, DOPPLER_NO_MEMORY, "%zu programs", count);
    }
    for (size_t i = 0; i < count; i++) {
        if (d->programs.of[wants[i].kernel][wants[i].format]) continue;
        descs[b->count] = kernel_program(wants[i].kernel, wants[i].format,
                                           gpu_get_limits(d->g));
        b->wants[b->count++] = wants[i];
    }
    gpu_programs_create(d->g, descs, b->count, b->handles, batch_done, b);
    free(descs);
    return DOPPLER_OK;
}
