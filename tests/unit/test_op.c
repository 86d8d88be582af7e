/* test_op.c - matrices larger than the binding limit: slabs of rows give what one piece gives. */
#include "gpu/gpu_backend.h"
#include "gpu/op.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 100, COLS = 512, TOKENS = 3, OFFSET = 512, FIRST = 2, STRIDE = ROWS + 5 };
enum { WEIGHTS, X, VECTORS, IDS, Y, GATHERED, BUFFERS };

static void expect_ok(doppler_status status, void *user) {
    (void)user;
    assert_int_equal(status, DOPPLER_OK);
}

static void fill(gpu *g, gpu_buffer b, uint32_t floats) {
    float *at = gpu_buffer_host(g, b);
    for (uint32_t i = 0; i < floats; i++) at[i] = (float)(i * 7919 % 1009) / 512.0f - 1;
}

/* Bytes below 64, whose readings as f32, f16 and int8 are finite. */
static void fill_bytes(gpu *g, gpu_buffer b, uint64_t bytes) {
    uint8_t *at = gpu_buffer_host(g, b);
    for (uint32_t i = 0; i < bytes; i++) at[i] = (uint8_t)(i * 2654435761u >> 26);
}

typedef struct results { float y[TOKENS * STRIDE], gathered[TOKENS * COLS]; } results;

/* Projects (1 token, then all, adding) and gathers, with bindings of at most binding_bytes. */
static void run(weight_format format, uint64_t binding_bytes, results *out) {
    gpu *g = gpu_cpu_create();
    assert_non_null(g);
    g->limits.binding_bytes = binding_bytes;
    uint64_t matrix_bytes = ROWS * format_row_bytes(format, COLS);
    gpu_buffer b[BUFFERS];
    const gpu_buffer_desc descs[BUFFERS] = {
        {OFFSET + matrix_bytes, "weights"}, {TOKENS * COLS * 4, "x"}, {(ROWS + 1) * 4, "vectors"},
        {TOKENS * 4, "ids"}, {sizeof out->y, "y"}, {sizeof out->gathered, "gathered"}};
    gpu_buffers_create(g, descs, BUFFERS, b, expect_ok, NULL);
    const kernel_id used[] = {KERNEL_MATVEC, KERNEL_MATMUL_FEW, KERNEL_GATHER};
    op_programs programs = {0};
    for (int i = 0; i < 3; i++) {
        gpu_program_desc desc = kernel_program(used[i], format, gpu_get_limits(g));
        gpu_programs_create(g, &desc, 1, &programs.of[used[i]][format], expect_ok, NULL);
    }
    while (gpu_poll(g)) continue;
    fill_bytes(g, b[WEIGHTS], OFFSET + matrix_bytes);
    fill(g, b[X], TOKENS * COLS);
    fill(g, b[VECTORS], ROWS + 1);
    gpu_write(g, b[IDS], 0, (uint32_t[]){ROWS - 1, 0, 40}, TOKENS * 4);

    matrix w = {format, ROWS, COLS, b[WEIGHTS], OFFSET};
    op_context o = {g, &programs};
    gpu_record_begin(g);
    op_project(o, X_PLAIN, b[Y], FIRST, STRIDE, &w, b[X], 1, b[VECTORS], 1, false);
    op_project(o, X_PLAIN, b[Y], FIRST, STRIDE, &w, b[X], TOKENS, b[VECTORS], 1, true);
    op_gather(o, b[GATHERED], &w, b[IDS], TOKENS, 2);
    gpu_list list = gpu_record_end(g);
    assert_true(list);
    gpu_submit(g, list, 1, NULL, NULL, NULL);
    memcpy(out->y, gpu_buffer_host(g, b[Y]), sizeof out->y);
    memcpy(out->gathered, gpu_buffer_host(g, b[GATHERED]), sizeof out->gathered);
    gpu_destroy(g);
}

static void slabs_change_nothing(void **state) {
    (void)state;
    static const weight_format tried[] = {FORMAT_F32, FORMAT_Q8_0, FORMAT_Q6_K};
    static results whole, slabs;
    for (int i = 0; i < 3; i++) {
        uint64_t row_bytes = format_row_bytes(tried[i], COLS);
        run(tried[i], UINT64_C(1) << 30, &whole);
        run(tried[i], 37 * row_bytes, &slabs);           /* 32 + 32 + 32 + 4 rows */
        assert_memory_equal(&whole, &slabs, sizeof whole);
        assert_true(whole.y[FIRST] != 0 && whole.y[FIRST + ROWS - 1] != whole.y[FIRST]);
        assert_true(whole.gathered[0] != whole.gathered[2 * COLS]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(slabs_change_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
