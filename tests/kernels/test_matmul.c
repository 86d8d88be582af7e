/* test_matmul.c - many tokens, every format: one block, odd rows, several blocks, all extras, and
 * tiles that are filled in part along each side. */
#include "tests/kernels/project.h"

/* k 0: one block. */
static const projection shapes[] = {
    {.rows = 1, .k = 0, .tokens = 3},
    {.rows = 64, .k = 256, .tokens = 32},
    {.rows = 37, .k = 512, .tokens = 33, .bias = true},
    {.rows = 70, .k = 768, .tokens = 5, .add = true},
    {.rows = 33, .k = 256, .tokens = 65, .bias = true, .add = true, .y_first = 5, .y_pad = 2},
    {.rows = 5, .k = 2048, .tokens = 2},
};
/* Of formats whose block divides them. */
static const projection narrow[] = {
    {.rows = 129, .k = 64, .tokens = 7}, {.rows = 9, .k = 288, .tokens = 34, .add = true},
};
enum {
    SHAPES = sizeof shapes / sizeof *shapes, NARROW = sizeof narrow / sizeof *narrow,
    NARROW_FORMATS = FORMAT_Q8_0 + 1, SHAPED = SHAPES * FORMAT_COUNT
};

static void make(uint32_t index, kernel_case *c) {
    uint32_t i = index < SHAPED ? index : index - SHAPED;
    projection p = index < SHAPED ? shapes[i % SHAPES] : narrow[i % NARROW];
    p.format = index < SHAPED ? i / SHAPES : i / NARROW;
    if (!p.k) p.k = p.format > FORMAT_Q8_0 ? 256 : 32;
    projection_make("matmul", &p, 1000 + index, c);
}

const kernel_suite suite_matmul = {"matmul", SHAPED + NARROW * NARROW_FORMATS, make};
