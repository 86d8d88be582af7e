/* test_matmul.c - many tokens, every format: one run, odd rows, several blocks, all extras, and
 * tiles that are filled in part along each side. */
#include "tests/kernels/project.h"

/* An odd number of runs leaves half a step empty; a K format's last block may be full in part. */
static const projection shapes[] = {
    {.rows = 1, .k = 32, .tokens = 3},
    {.rows = 64, .k = 256, .tokens = 32},
    {.rows = 37, .k = 512, .tokens = 33, .bias = true},
    {.rows = 70, .k = 768, .tokens = 5, .add = true},
    {.rows = 33, .k = 256, .tokens = 65, .bias = true, .add = true, .y_first = 5, .y_pad = 2},
    {.rows = 5, .k = 2048, .tokens = 2},
    {.rows = 129, .k = 64, .tokens = 7},
    {.rows = 33, .k = 96, .tokens = 2},
    {.rows = 9, .k = 288, .tokens = 34, .add = true},
    {.rows = 6, .k = 1152, .tokens = 3, .bias = true},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void make(uint32_t index, kernel_case *c) {
    projection p = shapes[index % SHAPES];
    p.format = index / SHAPES;
    projection_make("matmul", &p, 1000 + index, c);
}

const kernel_suite suite_matmul = {"matmul", SHAPES * FORMAT_COUNT, make};
