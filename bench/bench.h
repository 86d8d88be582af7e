/* bench.h - what tools/bench.mjs links to the engine: models that no file holds, steps and matrices
 * recorded to be timed, and the work that a dispatch is. All of it in build/bench.wasm, which is
 * build/doppler.wasm with these files. Times are taken by the host, over the recorded lists. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "inference/engine.h"

/* One for a device. */
typedef struct bench {
    doppler *d;                  /* borrowed */
    gpu_program fill;            /* owned */
    uint32_t ticket;
} bench;

/* The engine's import: a ticket's work has ended. */
__attribute__((import_module("host"), import_name("done")))
void bench_done(uint32_t ticket, uint32_t status);

/* The table of programs with one kernel of those that could do its work, itself, for a format. */
void bench_only(op_programs *programs, kernel_id id);

#endif
