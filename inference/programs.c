/* programs.c - compiles the programs that a model or session needs, once per device. */
#include "inference/engine.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

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
        if (d->programs.of[wants[i].kernel][wants[i].format] ||
            !program_exists(d, wants[i].kernel, wants[i].format))
            continue;
        const gpu_limits device = program_device(d, wants[i].kernel, wants[i].format);
        descs[b->count] = kernel_program(wants[i].kernel, wants[i].format, &device);
        b->wants[b->count++] = wants[i];
    }
    gpu_programs_create(d->g, descs, b->count, b->handles, batch_done, b);
    free(descs);
    return DOPPLER_OK;
}

/* ---- which a device gets right */

/* Features that a program does without where another text of it does not need them. */
enum { OPTIONAL_FEATURES = GPU_SUBGROUPS | GPU_EXACT_HALF };

gpu_limits program_device(const doppler *d, kernel_id id, uint32_t format) {
    gpu_limits device = *gpu_get_limits(d->g);
    if (d->trust[id][format] & TRUST_WITHOUT_FEATURES)
        device.features &= ~(uint32_t)OPTIONAL_FEATURES;
    return device;
}

bool program_exists(const doppler *d, kernel_id id, uint32_t format) {
    const gpu_limits device = program_device(d, id, format);
    return !(d->trust[id][format] & TRUST_WRONG) && kernel_exists(id, format, &device);
}

bool program_exists_any(const doppler *d, kernel_id base, uint32_t format) {
    for (kernel_id id = base; id < KERNEL_COUNT; id++)
        if (kernel_base(id) == base && program_exists(d, id, format)) return true;
    return false;
}

void program_drop(doppler *d, kernel_id id, uint32_t format) {
    uint8_t *trust = &d->trust[id][format];
    const gpu_limits device = program_device(d, id, format);
    gpu_program_desc was = kernel_program(id, format, &device), is = was;
    gpu_program_destroy(d->g, d->programs.of[id][format]);
    d->programs.of[id][format] = 0;
    *trust |= TRUST_WITHOUT_FEATURES;
    if (program_exists(d, id, format)) {
        const gpu_limits less = program_device(d, id, format);
        is = kernel_program(id, format, &less);
    }
    if (memcmp(is.sources, was.sources, sizeof is.sources) == 0) *trust = TRUST_WRONG;
}
