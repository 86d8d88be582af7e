/* quantize.h - f32 rows to stored rows of any format (memory/format.h); gpu/cpu/weights.h is the
 * way back.
 *
 * Pure functions of their arguments: the same row gives the same bytes on every machine. */
#ifndef LOADER_QUANTIZE_H
#define LOADER_QUANTIZE_H

#include <stdbool.h>

#include "memory/format.h"

/* Whether there is a quantizer for the format: for all that a target of conversion needs. */
bool quantize_makes(weight_format format);

/* row: format_row_bytes(format, cols) bytes, all written; format_suits(cols). A last block in part
 * beyond cols is filled up with zeros.
 *
 * f32 keeps x's bits. f16 and bf16 round to nearest even, too large numbers to infinity; NaN stays
 * NaN. Quantized formats search for the scales of least squared error in each block; there NaN
 * counts as 0, and what lies beyond +-4126752, infinity included, as that (q5_0 reaches 1048064).
 * mxfp4 stores blocks below 2^-124 as 0. */
void quantize_row(weight_format format, const float *x, uint32_t cols, uint8_t *row);

#endif
