/* repack.h - rows of a checkpoint's blocks (bridge/source.h) to stored rows (memory/format.h) and
 * to floats. */
#ifndef LOADER_REPACK_H
#define LOADER_REPACK_H

#include "bridge/source.h"

/* The format that `keep` stores a type in: the same numbers where that is exact, else one that
 * holds them with less error than they have already. */
weight_format repack_format(source_type type);
bool repack_is_exact(source_type type);
/* A row of an exact type: every number of row, decoded, equals that of blocks. row has
 * format_row_bytes(repack_format(type), cols) bytes. cols: whole runs of 32; the last block may be
 * in part beyond them. Where scales are apart, those of the row stand behind its blocks. */
void repack_row(source_type type, const uint8_t *blocks, uint32_t cols, uint8_t *row);
/* out[i] = number i of blocks, i < cols, as ggml dequantizes it, bit for bit. cols: whole
 * runs of 32; f32, f16 and bf16: any, but room is read and written to a multiple of 32. */
void repack_decode(source_type type, const uint8_t *blocks, uint32_t cols, float *out);

#endif
