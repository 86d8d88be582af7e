/* test_matmul.c - many tokens, every format: one run, odd rows, several blocks, all extras, and
 * tiles that are filled in part along each side; and slots through their experts. */
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
    {.rows = 37, .k = 288, .tokens = 33, .experts = 5, .used = 2, .bias = true},
    {.rows = 70, .k = 96, .tokens = 50, .experts = 4, .used = 1, .routing = SAME},
    {.rows = 5, .k = 512, .tokens = 7, .experts = 9, .used = 4, .own_x = true, .bias = true},
    {.rows = 33, .k = 64, .tokens = 40, .experts = 6, .used = 6, .own_x = true, .y_pad = 3},
    {.rows = 16, .k = 32, .tokens = 6, .experts = 3, .used = 2, .routing = NOT_FIRST},
    {.rows = 9, .k = 64, .tokens = 34, .experts = 1, .used = 1, .bias = true, .y_first = 1},
    {.rows = 96, .k = 288, .tokens = 21, .experts = 6, .used = 3, .bias = true, .slab = 2},
    {.rows = 64, .k = 64, .tokens = 5, .experts = 7, .used = 5, .own_x = true, .slab = 4},
    {.rows = 7, .k = 96, .tokens = 11, .experts = 6, .used = 3, .bias = true, .first = 2,
     .bound = 3},
    {.rows = 12, .k = 32, .tokens = 5, .experts = 3, .used = 2, .routing = NO_SLOTS},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void make(uint32_t index, kernel_case *c) {
    projection p = shapes[index % SHAPES];
    p.format = index / SHAPES;
    projection_make("matmul", &p, 1000 + index, c);
}

const kernel_suite suite_matmul = {"matmul", SHAPES * FORMAT_COUNT, make};

/* By hand, whatever op_project would take: more than a tile each way, and little. */
static const projection variants[] = {
    {.rows = 70, .k = 96, .tokens = 35, .kernel = KERNEL_MATMUL, .add = true},
    {.rows = 70, .k = 96, .tokens = 131, .kernel = KERNEL_MATMUL_LARGE, .y_first = 3, .y_pad = 1},
    {.rows = 5, .k = 288, .tokens = 2, .kernel = KERNEL_MATMUL_LARGE, .bias = true},
    {.rows = 67, .k = 544, .tokens = 6, .kernel = KERNEL_MATMUL_FEW, .bias = true},
};
enum { VARIANTS = sizeof variants / sizeof *variants };

static void make_variant(uint32_t index, kernel_case *c) {
    projection p = variants[index % VARIANTS];
    p.format = index / VARIANTS;
    projection_make(kernels[p.kernel].name, &p, 2000 + index, c);
}

const kernel_suite suite_matmul_variants = {"matmul_variants", VARIANTS * FORMAT_COUNT,
                                            make_variant};

static const projection packed[] = {
    {.rows = 70, .k = 288, .tokens = 35, .kernel = KERNEL_MATMUL_PACKED, .y_first = 3, .y_pad = 1},
    {.rows = 130, .k = 96, .tokens = 131, .kernel = KERNEL_MATMUL_PACKED_LARGE, .bias = true},
    {.rows = 5, .k = 512, .tokens = 3, .kernel = KERNEL_MATMUL_PACKED_LARGE, .add = true},
    {.rows = 35, .k = 1056, .tokens = 6, .kernel = KERNEL_MATMUL_FEW_PACKED, .add = true},
    {.rows = 3, .k = 1056, .tokens = 1, .bias = true},
    {.rows = 7, .k = 96, .tokens = 40, .experts = 5, .used = 2, .bias = true},
    {.rows = 9, .k = 32, .tokens = 7, .experts = 4, .used = 2, .own_x = true},
};
enum { PACKED = sizeof packed / sizeof *packed };
static const weight_format packed_formats[] = {FORMAT_Q4_0, FORMAT_Q5_0, FORMAT_Q8_0, FORMAT_Q4_K,
                                               FORMAT_Q5_K, FORMAT_Q6_K, FORMAT_MXFP4};
enum { PACKED_FORMATS = sizeof packed_formats / sizeof *packed_formats };

static void make_packed(uint32_t index, kernel_case *c) {
    projection p = packed[index % PACKED];
    p.form = X_PACKED;
    p.format = packed_formats[index / PACKED];
    projection_make(p.kernel ? kernels[p.kernel].name : "matmul packed", &p, 3000 + index, c);
}

const kernel_suite suite_matmul_packed = {"matmul_packed", PACKED * PACKED_FORMATS, make_packed};

static const projection halves[] = {
    {.rows = 130, .k = 96, .tokens = 131, .bias = true, .y_first = 3, .y_pad = 1},
    {.rows = 70, .k = 288, .tokens = 67, .add = true},
    {.rows = 5, .k = 32, .tokens = 1, .bias = true},
    {.rows = 7, .k = 96, .tokens = 40, .experts = 5, .used = 2, .bias = true},
    {.rows = 9, .k = 32, .tokens = 70, .experts = 2, .used = 2, .own_x = true},
};
enum { MATRIX = sizeof halves / sizeof *halves };

static void make_matrix(uint32_t index, kernel_case *c) {
    projection p = halves[index % MATRIX];
    p.form = X_HALF;
    p.format = packed_formats[index / MATRIX];
    projection_make("matmul_matrix", &p, 4000 + index, c);
}

const kernel_suite suite_matmul_matrix = {"matmul_matrix", MATRIX * PACKED_FORMATS, make_matrix};
