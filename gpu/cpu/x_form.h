/* x_form.h - twin of gpu/wgsl/forms/: how one kernel hands x to the next, see gpu/dims.h. */
#ifndef GPU_CPU_X_FORM_H
#define GPU_CPU_X_FORM_H

#include "gpu/dims.h"

enum { X_RUN = 32, X_GROUP = 8, X_GROUP_FLOATS = 256 };

/* Writes run `run` of an x [k]: v[32]; square: the sum of squares that goes with it. */
void x_store(x_form form, void *to, uint64_t k, uint64_t run, const float *v, float square);
/* out[i] = x[first + i], i < count: whole runs. */
void x_load(x_form form, const void *from, uint32_t first, uint32_t count, float *out);
/* The sum of squares of a run. */
float x_run_square(const float *v);
/* The sum of squares that goes with x [k]. */
float x_square(x_form form, const void *from, uint32_t k);

#endif
