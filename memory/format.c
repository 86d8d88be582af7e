/* format.c - the table of weight formats, and the size of a stored row. */
#include "memory/format.h"

#include <assert.h>
#include <string.h>

enum { ROW_ALIGNMENT_BYTES = 16, RUN_WEIGHTS = 32 };

const format_info formats[FORMAT_COUNT] = {
    [FORMAT_F32]  = {"f32",  1,   4,   0},
    [FORMAT_F16]  = {"f16",  1,   2,   0},
    [FORMAT_BF16] = {"bf16", 1,   2,   0},
    [FORMAT_Q8_0] = {"q8_0", 32,  32,  2},
    [FORMAT_Q4_K] = {"q4_k", 256, 144, 0},
    [FORMAT_Q6_K] = {"q6_k", 256, 208, 2},
};

weight_format format_by_name(const char *name) {
    weight_format format = 0;
    while (format < FORMAT_COUNT && strcmp(formats[format].name, name) != 0) format++;
    return format;
}

int format_suits(weight_format format, uint32_t cols) {
    return cols > 0 && cols % RUN_WEIGHTS == 0 && cols % formats[format].block_weights == 0;
}

uint64_t format_row_bytes(weight_format format, uint32_t cols) {
    assert(format < FORMAT_COUNT && format_suits(format, cols));
    const format_info *f = &formats[format];
    uint64_t blocks = cols / f->block_weights;
    uint64_t bytes = blocks * (f->unit_bytes + f->scale_bytes);
    return (bytes + ROW_ALIGNMENT_BYTES - 1) / ROW_ALIGNMENT_BYTES * ROW_ALIGNMENT_BYTES;
}

uint32_t format_scales_offset(weight_format format, uint32_t cols) {
    assert(format < FORMAT_COUNT && format_suits(format, cols));
    uint64_t offset = (uint64_t)(cols / formats[format].block_weights) * formats[format].unit_bytes;
    assert(offset <= UINT32_MAX);
    return (uint32_t)offset;
}
