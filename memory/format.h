/* format.h - how weights are stored: one row of a table per format.
 *
 * A matrix [rows, cols] is `rows` equal rows. A row holds the quantized units of its blocks, one
 * after another, each a multiple of 16 bytes; behind them, in the same order, the blocks' high
 * bits where the format keeps them apart, then the blocks' scales; then zeros up to a multiple of
 * 16 bytes. So every load of quants is 16 bytes wide and aligned, and any range of rows (a slab,
 * an expert, Q next to K next to V) is a contiguous range of bytes.
 *
 *   f32, f16, bf16   units are the numbers themselves, no scales
 *   q4_0             unit 16 bytes of nibbles          scale f16 d              32 weights
 *   q5_0             unit 16 bytes of nibbles, high 4  scale f16 d              32 weights
 *   q8_0             unit 32 int8                      scale f16 d              32 weights
 *   q4_k             unit 144 bytes, ggml's block      -                       256 weights
 *   q5_k             unit 176 bytes, ggml's block      -                       256 weights
 *   q6_k             unit ql 128, qh 64, sc 16 bytes   scale f16 d             256 weights
 *   mxfp4            unit 16 bytes of nibbles          scale 1 byte, E8M0       32 weights
 *
 * cols is a multiple of 32, a run, for every format. The last block of a row need not be full: it
 * is stored whole, but nothing reads its weights beyond cols. */
#ifndef MEMORY_FORMAT_H
#define MEMORY_FORMAT_H

#include <stdint.h>

typedef enum weight_format {
    FORMAT_F32, FORMAT_F16, FORMAT_BF16, FORMAT_Q4_0, FORMAT_Q5_0, FORMAT_Q8_0, FORMAT_Q4_K,
    FORMAT_Q5_K, FORMAT_Q6_K, FORMAT_MXFP4, FORMAT_COUNT
} weight_format;

typedef struct format_info {
    const char *name;            /* as in manifests: "q4_k" */
    uint32_t block_weights;      /* weights of a block */
    uint32_t unit_bytes;         /* quantized unit of a block */
    uint32_t high_bytes;         /* of a block, behind all units of the row */
    uint32_t scale_bytes;        /* of a block, behind those */
} format_info;

extern const format_info formats[FORMAT_COUNT];

/* FORMAT_COUNT when the name is unknown. */
weight_format format_by_name(const char *name);
/* Whether rows of cols weights can be stored: whole runs. The functions below need it. */
int format_suits(uint32_t cols);
/* Blocks of a row of cols weights; the last may be in part beyond them. */
uint32_t format_blocks(weight_format format, uint32_t cols);
/* Bytes of one stored row of cols weights. */
uint64_t format_row_bytes(weight_format format, uint32_t cols);
/* Where the high bits start in a row: blocks * unit_bytes. */
uint32_t format_high_offset(weight_format format, uint32_t cols);
/* Where the scales start in a row: blocks * (unit_bytes + high_bytes). */
uint32_t format_scales_offset(weight_format format, uint32_t cols);

#endif
