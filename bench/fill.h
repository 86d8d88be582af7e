/* fill.h - random weights that a kernel makes where they lie (bench/wgsl/fill.wgsl). */
#ifndef BENCH_FILL_H
#define BENCH_FILL_H

#include "gpu/op.h"

/* A word is (hash & keep) | set. */
typedef struct fill_part { uint32_t keep, set; } fill_part;

/* The kernel's uniform. */
struct fill_dims {
    uint32_t first, words, seed, row_words, unit_words, scales_from;
    fill_part unit, head, scale;
};

gpu_program_desc fill_program(void);
/* Weights of all of w, or of rows of as many, about as large as keep x's size in W x. */
void fill_matrix(gpu *g, gpu_program p, const matrix *w, uint32_t seed);
/* A buffer of a cache: elements of about 1, so many bytes, then scales. */
void fill_kv(gpu *g, gpu_program p, kv_format format, gpu_buffer b, uint64_t element_bytes,
             uint64_t scale_bytes, uint32_t seed);
/* Floats of about this size. */
void fill_floats(gpu *g, gpu_program p, gpu_buffer b, uint64_t count, float size, uint32_t seed);

#endif
