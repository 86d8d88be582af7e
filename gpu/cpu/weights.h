/* weights.h - the CPU's decoders, one row of a matrix at a time: twins of gpu/wgsl/weights/. */
#ifndef GPU_CPU_WEIGHTS_H
#define GPU_CPU_WEIGHTS_H

#include "gpu/cpu/half.h"
#include "memory/format.h"

/* out[i] = weight i of a stored row, i < cols. Exact: every intermediate is representable. */
void weights_decode(weight_format format, const uint8_t *row, uint32_t cols, float *out);

/* out[i] = weight first + i of a stored row, i < count. first and count: multiples of
 * WEIGHTS_PART, except that the last part of a row may be shorter. */
enum { WEIGHTS_PART = 256 };
void weights_decode_part(weight_format format, const uint8_t *row, uint32_t cols, uint32_t first,
                         uint32_t count, float *out);

#endif
