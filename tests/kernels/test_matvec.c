/* test_matvec.c - one token, every format: one block, odd rows, several blocks, all extras. */
#include "tests/kernels/project.h"

/* k 0: one block. The columns cover teams of 8, 16, 32 and 64 threads, and runs left over. */
static const projection shapes[] = {
    {.rows = 1, .k = 0},
    {.rows = 37, .k = 512},
    {.rows = 130, .k = 2048},
    {.rows = 6, .k = 768, .bias = true},
    {.rows = 19, .k = 2304, .add = true},
    {.rows = 33, .k = 1024, .bias = true, .add = true, .y_first = 5, .y_pad = 2},
    {.rows = 70, .k = 2048, .across = 3},
};
/* Of formats whose block divides them. */
static const projection narrow[] = {
    {.rows = 3, .k = 64}, {.rows = 131, .k = 64, .add = true}, {.rows = 9, .k = 288, .bias = true},
    {.rows = 21, .k = 1056},
};
enum {
    SHAPES = sizeof shapes / sizeof *shapes, NARROW = sizeof narrow / sizeof *narrow,
    NARROW_FORMATS = FORMAT_Q8_0 + 1, SHAPED = SHAPES * FORMAT_COUNT
};

static void make(uint32_t index, kernel_case *c) {
    uint32_t i = index < SHAPED ? index : index - SHAPED;
    projection p = index < SHAPED ? shapes[i % SHAPES] : narrow[i % NARROW];
    p.format = index < SHAPED ? i / SHAPES : i / NARROW;
    p.tokens = 1;
    if (!p.k) p.k = p.format > FORMAT_Q8_0 ? 256 : 32;
    projection_make("matvec", &p, index, c);
}

const kernel_suite suite_matvec = {"matvec", SHAPED + NARROW * NARROW_FORMATS, make};
