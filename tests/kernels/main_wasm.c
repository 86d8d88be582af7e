/* main_wasm.c - kernel tests as wasm, over WebGPU or the CPU backend: what run.mjs calls. */
#include "tests/kernels/kernel_test.h"

#include <string.h>

#define EXPORT(name) __attribute__((export_name(#name)))
#define IMPORT(name) __attribute__((import_module("test"), import_name(#name)))

IMPORT(line) void host_line(const char *line, size_t bytes);
IMPORT(done) void host_done(doppler_status status);

EXPORT(kernels_create) gpu *kernels_create(bool on_cpu);
EXPORT(kernels_start) void kernels_start(gpu *g, const char *filter, bool varied);
EXPORT(kernels_poll) bool kernels_poll(gpu *g);
EXPORT(kernels_compile) void kernels_compile(gpu *g);
EXPORT(kernels_destroy) void kernels_destroy(gpu *g);

static void pass_line(const char *line, void *user) {
    (void)user;
    host_line(line, strlen(line));
}

static void pass_done(doppler_status status, void *user) {
    (void)user;
    host_done(status);
}

gpu *kernels_create(bool on_cpu) { return on_cpu ? gpu_cpu_create() : gpu_web_create(); }

/* filter must live until done. */
void kernels_start(gpu *g, const char *filter, bool varied) {
    kernel_test_start(g, filter, varied, pass_line, pass_done, NULL);
}

static void compiled(doppler_status status, void *user) {
    if (status) pass_line(gpu_message(user), NULL);
    host_done(status);
}

/* All programs that the device can have, and runs none of them. */
void kernels_compile(gpu *g) {
    static gpu_program_desc descs[KERNEL_COUNT * FORMAT_COUNT];
    static gpu_program handles[KERNEL_COUNT * FORMAT_COUNT];
    size_t count = 0;
    for (uint32_t id = 0; id < KERNEL_COUNT; id++)
        for (uint32_t f = 0; f < kernel_formats(id); f++)
            if (kernel_exists(id, f, gpu_get_limits(g)))
                descs[count++] = kernel_program(id, f, gpu_get_limits(g));
    gpu_programs_create(g, descs, count, handles, compiled, g);
}

/* Only the CPU backend needs it: WebGPU answers from the event loop. */
bool kernels_poll(gpu *g) { return gpu_poll(g); }

void kernels_destroy(gpu *g) { gpu_destroy(g); }
