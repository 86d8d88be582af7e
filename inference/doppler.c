/* doppler.c - the device object: created first, destroyed last, home of the last message. */
#include "inference/engine.h"

#include <stdlib.h>
#include <string.h>

static void device_lost(doppler_status status, void *user) {
    doppler *d = user;
    d->lost = true;
    fail(&d->error, status, "%s", gpu_message(d->g));
}

/* The WebGPU backend exists where a JavaScript host does. */
#ifdef __wasm__
static gpu *create_device(doppler_device device) {
    return device == DOPPLER_DEVICE_GPU ? gpu_web_create() : gpu_cpu_create();
}
#else
static gpu *create_device(doppler_device device) {
    return device == DOPPLER_DEVICE_CPU ? gpu_cpu_create() : NULL;
}
#endif

/* WebGPU, "Limits": the defaults of a device. */
static const gpu_limits limits[] = {
    [DOPPLER_LIMITS_DEFAULT] = {256 << 20, 128 << 20, 256, 16384, 256, 65535, UINT32_MAX,
                                UINT32_MAX},
    [DOPPLER_LIMITS_1MIB] = {256 << 20, 1 << 20, 256, 16384, 256, 65535, UINT32_MAX,
                                UINT32_MAX},
};

static char *copy_name(const char *name) {
    size_t bytes = strlen(name) + 1;
    char *copy = malloc(bytes);
    if (copy) memcpy(copy, name, bytes);
    return copy;
}

doppler *doppler_create(const doppler_options *options) {
    doppler *d = calloc(1, sizeof *d);
    if (!d) return NULL;
    doppler_device device = options ? options->device : DOPPLER_DEVICE_CPU;
    d->is_cpu = device == DOPPLER_DEVICE_CPU;
    d->now_ms = prepare_clock;
    d->g = create_device(device);
    d->device_name = copy_name(options && options->device_name ? options->device_name : "");
    if (!d->g || !d->device_name) {
        gpu_destroy(d->g);
        free(d->device_name);
        free(d);
        return NULL;
    }
    if (options) d->tuning = options->tuning;
    d->tune_most_ms = TUNE_MOST_MS;
    if (options && options->limits) gpu_cap_limits(d->g, &limits[options->limits]);
    gpu_on_lost(d->g, device_lost, d);
    return d;
}

void doppler_destroy(doppler *d) {
    if (!d) return;
    while (gpu_poll(d->g)) {}                 /* callbacks still due may own memory */
    for (int k = 0; k < KERNEL_COUNT; k++)
        for (int f = 0; f < FORMAT_COUNT; f++) gpu_program_destroy(d->g, d->programs.of[k][f]);
    gpu_destroy(d->g);
    free(d->device_name);
    free(d);
}

const char *doppler_message(const doppler *d) { return d->error.message; }

doppler_status doppler_last_status(const doppler *d) { return d->error.status; }

bool doppler_poll(doppler *d) { return gpu_poll(d->g); }
