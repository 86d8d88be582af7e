/* main_native.c - kernel tests on the CPU backend.
 *
 *   build/san/kernels [filter]     e.g. build/san/kernels "matvec q4_k" */
#include "tests/kernels/kernel_test.h"

#include <stdio.h>

static void print_line(const char *line, void *user) {
    (void)user;
    puts(line);
}

static void finished(doppler_status status, void *user) { *(doppler_status *)user = status; }

int main(int argc, char **argv) {
    doppler_status status = DOPPLER_BUSY;
    gpu *g = gpu_cpu_create();
    if (!g) return 1;
    kernel_test_start(g, argc > 1 ? argv[1] : NULL, false, print_line, finished, &status);
    while (gpu_poll(g)) continue;
    gpu_destroy(g);
    return status == DOPPLER_OK ? 0 : 1;
}
