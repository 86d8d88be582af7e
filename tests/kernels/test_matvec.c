/* test_matvec.c - one token, every format: one run, odd rows, several blocks, all extras; and a
 * token's slots through their experts. */
#include "tests/kernels/project.h"

/* The columns cover teams of 8, 16, 32 and 64 threads, runs left over, and blocks that are full in
 * part. */
static const projection shapes[] = {
    {.rows = 1, .k = 32},
    {.rows = 37, .k = 512},
    {.rows = 130, .k = 2048},
    {.rows = 6, .k = 768, .bias = true},
    {.rows = 19, .k = 2304, .add = true},
    {.rows = 33, .k = 1024, .bias = true, .add = true, .y_first = 5, .y_pad = 2},
    {.rows = 70, .k = 2048, .across = 3},
    {.rows = 3, .k = 64},
    {.rows = 131, .k = 64, .add = true},
    {.rows = 11, .k = 96},
    {.rows = 9, .k = 288, .bias = true},
    {.rows = 21, .k = 1056},
    {.rows = 5, .k = 1152, .add = true},
    {.rows = 37, .k = 288, .tokens = 5, .each = true, .bias = true},
    {.rows = 37, .k = 288, .experts = 5, .used = 3, .bias = true},
    {.rows = 64, .k = 512, .experts = 8, .used = 2, .own_x = true},
    {.rows = 33, .k = 96, .experts = 4, .used = 4, .own_x = true, .bias = true, .y_pad = 3},
    {.rows = 5, .k = 2048, .experts = 3, .used = 1, .y_first = 2},
    {.rows = 20, .k = 96, .tokens = 4, .experts = 5, .used = 3, .bias = true},
    {.rows = 11, .k = 288, .tokens = 6, .experts = 4, .used = 2, .own_x = true, .routing = SAME},
    {.rows = 9, .k = 64, .experts = 1, .used = 1, .bias = true},
    {.rows = 48, .k = 288, .experts = 6, .used = 6, .own_x = true, .bias = true, .slab = 2},
    {.rows = 128, .k = 512, .experts = 7, .used = 5, .y_first = 32, .slab = 4},   /* f32: 1 MiB */
    {.rows = 7, .k = 96, .experts = 6, .used = 6, .bias = true, .first = 2, .bound = 3},
    {.rows = 6, .k = 32, .experts = 4, .used = 2, .routing = SAME, .first = 1, .bound = 2},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void make(uint32_t index, kernel_case *c) {
    projection p = shapes[index % SHAPES];
    p.format = index / SHAPES;
    if (!p.tokens) p.tokens = 1;
    projection_make("matvec", &p, index, c);
}

const kernel_suite suite_matvec = {"matvec", SHAPES * FORMAT_COUNT, make};
