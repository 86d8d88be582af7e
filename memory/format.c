/* format.c - the table of weight formats, and the size of a stored row. */
#include "memory/format.h"

#include <assert.h>
#include <string.h>

enum { ROW_ALIGNMENT_BYTES = 16, RUN_WEIGHTS = 32 };

const format_info formats[FORMAT_COUNT] = {
    [FORMAT_F32]   = {"f32",   1,   4,   0, 0},
    [FORMAT_F16]   = {"f16",   1,   2,   0, 0},
    [FORMAT_BF16]  = {"bf16",  1,   2,   0, 0},
    [FORMAT_Q4_0]  = {"q4_0",  32,  16,  0, 2},
    [FORMAT_Q5_0]  = {"q5_0",  32,  16,  4, 2},
    [FORMAT_Q8_0]  = {"q8_0",  32,  32,  0, 2},
    [FORMAT_Q4_K]  = {"q4_k",  256, 144, 0, 0},
    [FORMAT_Q5_K]  = {"q5_k",  256, 176, 0, 0},
    [FORMAT_Q6_K]  = {"q6_k",  256, 208, 0, 2},
    [FORMAT_MXFP4] = {"mxfp4", 32,  16,  0, 1},
};

weight_format format_by_name(const char *name) {
    weight_format format = 0;
    while (format < FORMAT_COUNT && strcmp(formats[format].name, name) != 0) format++;
    return format;
}

int format_suits(uint32_t cols) { return cols > 0 && cols % RUN_WEIGHTS == 0; }

uint32_t format_blocks(weight_format format, uint32_t cols) {
    assert(format < FORMAT_COUNT && format_suits(cols));
    return (cols - 1) / formats[format].block_weights + 1;
}

uint64_t format_row_bytes(weight_format format, uint32_t cols) {
    const format_info *f = &formats[format];
    uint64_t block_bytes = f->unit_bytes + f->high_bytes + f->scale_bytes;
    uint64_t bytes = format_blocks(format, cols) * block_bytes;
    return (bytes + ROW_ALIGNMENT_BYTES - 1) / ROW_ALIGNMENT_BYTES * ROW_ALIGNMENT_BYTES;
}

/* Bytes of a row in front of a plane, when those of every block in front of it are so many. */
static uint32_t plane_offset(weight_format format, uint32_t cols, uint32_t block_bytes) {
    uint64_t offset = (uint64_t)format_blocks(format, cols) * block_bytes;
    assert(offset <= UINT32_MAX);
    return (uint32_t)offset;
}

uint32_t format_high_offset(weight_format format, uint32_t cols) {
    return plane_offset(format, cols, formats[format].unit_bytes);
}

uint32_t format_scales_offset(weight_format format, uint32_t cols) {
    return plane_offset(format, cols, formats[format].unit_bytes + formats[format].high_bytes);
}
