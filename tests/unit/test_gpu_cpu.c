/* test_gpu_cpu.c - what gpu.h promises, on the CPU backend: order, callbacks, failures. */
#include "gpu/gpu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* y[i] = y[i] * scale + x[i] over the bytes bound */
struct axpy_dims { uint32_t count; float scale; };

static void twin_axpy(const gpu_call *call) {
    const struct axpy_dims *d = call->dims;
    const float *x = call->buffer[0];
    float *y = call->buffer[1];
    for (uint32_t i = 0; i < d->count; i++) y[i] = y[i] * d->scale + x[i];
}

/* What the twin was called with, into its only buffer. */
static void twin_show(const gpu_call *call) {
    uint32_t *out = call->buffer[0];
    memcpy(out, call->groups, sizeof call->groups);
    out[3] = call->format;
    out[4] = (uint32_t)call->bytes[0];
}

typedef struct counter { int calls; doppler_status status; } counter;

static void count(doppler_status status, void *user) {
    counter *c = user;
    c->calls++;
    c->status = status;
}

static void poll_all(gpu *g) {
    while (gpu_poll(g)) continue;
}

enum { X, Y, BUFFERS, FLOATS = 128, BYTES = FLOATS * 4 };

typedef struct rig {
    gpu *g;
    gpu_buffer buffer[BUFFERS];
    gpu_program axpy;
} rig;

static int rig_up(void **state) {
    rig *r = calloc(1, sizeof *r);
    counter made = {0};
    if (!r || !(r->g = gpu_cpu_create())) return -1;
    gpu_buffers_create(r->g, (gpu_buffer_desc[]){{BYTES, "x"}, {BYTES, "y"}}, BUFFERS, r->buffer,
                       count, &made);
    gpu_programs_create(r->g, &(gpu_program_desc){.access = "rw", .twin = twin_axpy}, 1, &r->axpy,
                        count, &made);
    poll_all(r->g);
    *state = r;
    return made.calls == 2 && made.status == DOPPLER_OK ? 0 : -1;
}

static int rig_down(void **state) {
    rig *r = *state;
    gpu_destroy(r->g);
    free(r);
    return 0;
}

static gpu_list record_axpy(const rig *r, float scale, uint32_t times) {
    struct axpy_dims dims = {FLOATS, scale};
    gpu_record_begin(r->g);
    for (uint32_t i = 0; i < times; i++)
        gpu_dispatch(r->g, r->axpy, (gpu_binding[]){{r->buffer[X], 0, 0}, {r->buffer[Y], 0, 0}}, 2,
                     &dims, sizeof dims, 1, 1, 1);
    dims.scale = -1000;                      /* dims were copied */
    gpu_list list = gpu_record_end(r->g);
    assert_true(list);
    return list;
}

static void write_all(const rig *r, int buffer, float value) {
    float values[FLOATS];
    for (int i = 0; i < FLOATS; i++) values[i] = value;
    gpu_write(r->g, r->buffer[buffer], 0, values, sizeof values);
}

static void buffers_start_as_zeros_and_aligned(void **state) {
    rig *r = *state;
    const float *y = gpu_buffer_host(r->g, r->buffer[Y]);
    assert_int_equal((uintptr_t)y % 16, 0);
    for (int i = 0; i < FLOATS; i++) assert_true(y[i] == 0);
}

/* y = 0 -> 1 -> 3 -> 7; the write that follows must not be seen by the submit before it, nor by
 * the read before it. */
static void calls_take_effect_in_their_order(void **state) {
    rig *r = *state;
    counter done = {0};
    float first = -1, second = -1;
    gpu_list list = record_axpy(r, 2, 1);
    write_all(r, X, 1);
    gpu_submit(r->g, list, 3, NULL, NULL, NULL);
    gpu_read(r->g, r->buffer[Y], BYTES - 4, &first, 4, count, &done);
    write_all(r, Y, 100);
    gpu_submit(r->g, list, 1, &(gpu_readback){r->buffer[Y], 8, 4, &second}, count, &done);
    write_all(r, Y, 0);
    poll_all(r->g);
    assert_int_equal(done.calls, 2);
    assert_true(first == 7 && second == 201);
}

/* Of y = 2 y + x with x = 1, recorded `count` times; 0 -> 1 -> 3 -> 7. */
static void a_part_of_a_list_is_submitted(void **state) {
    rig *r = *state;
    counter done = {0};
    float y[2] = {-1, -1};
    gpu_list list = record_axpy(r, 2, 3);
    write_all(r, X, 1);
    gpu_submit_part(r->g, list, 0, 1, NULL, NULL, NULL);
    gpu_submit_part(r->g, list, 2, 1, &(gpu_readback){r->buffer[Y], 4, 4, &y[0]}, count, &done);
    gpu_submit_part(r->g, list, 3, 0, NULL, count, &done);
    gpu_submit_part(r->g, list, 1, 1, &(gpu_readback){r->buffer[Y], 4, 4, &y[1]}, count, &done);
    poll_all(r->g);
    assert_int_equal(done.calls, 3);
    assert_true(y[0] == 3 && y[1] == 7);
}

static void callbacks_wait_for_poll_one_at_a_time(void **state) {
    rig *r = *state;
    counter done = {0};
    float out[2];
    gpu_list list = record_axpy(r, 1, 2);
    gpu_submit(r->g, list, 1, NULL, count, &done);
    gpu_read(r->g, r->buffer[Y], 0, out, sizeof out, count, &done);
    write_all(r, X, 1);                      /* runs the work, not the callbacks */
    assert_int_equal(done.calls, 0);
    assert_true(gpu_poll(r->g));
    assert_int_equal(done.calls, 1);
    assert_false(gpu_poll(r->g));
    assert_int_equal(done.calls, 2);
    assert_false(gpu_poll(r->g));
}

typedef struct chain { rig *r; gpu_list list; int left; float out; } chain;

static void submit_again(doppler_status status, void *user) {
    chain *c = user;
    assert_int_equal(status, DOPPLER_OK);
    if (c->left-- == 0) return;
    gpu_submit(c->r->g, c->list, 1, &(gpu_readback){c->r->buffer[Y], 0, 4, &c->out}, submit_again,
               c);
}

static void callbacks_may_submit(void **state) {
    rig *r = *state;
    chain c = {.r = r, .list = record_axpy(r, 1, 1), .left = 1000};
    write_all(r, X, 1);
    submit_again(DOPPLER_OK, &c);
    poll_all(r->g);
    assert_int_equal(c.left, -1);
    assert_true(c.out == 1000);
}

static void destroyed_lists_and_buffers_finish_their_work_first(void **state) {
    rig *r = *state;
    counter done = {0};
    float out = 0;
    gpu_list list = record_axpy(r, 1, 1);
    write_all(r, X, 5);
    gpu_submit(r->g, list, 1, &(gpu_readback){r->buffer[Y], 0, 4, &out}, count, &done);
    gpu_list_destroy(r->g, list);
    gpu_buffer_destroy(r->g, r->buffer[Y]);
    poll_all(r->g);
    assert_true(done.calls == 1 && out == 5);
}

static void twins_are_told_grid_format_and_bound_bytes(void **state) {
    rig *r = *state;
    gpu_program show;
    counter done = {0};
    uint32_t dims = 0, out[5], want[] = {2, 3, 4, 7, 64};
    gpu_programs_create(r->g, &(gpu_program_desc){.access = "w", .twin = twin_show, .format = 7},
                        1, &show, count, &done);
    poll_all(r->g);
    gpu_record_begin(r->g);
    gpu_dispatch(r->g, show, &(gpu_binding){r->buffer[Y], 256, 64}, 1, &dims, 4, 2, 3, 4);
    gpu_list list = gpu_record_end(r->g);
    gpu_submit(r->g, list, 1, &(gpu_readback){r->buffer[Y], 256, sizeof out, out}, count, &done);
    poll_all(r->g);
    assert_int_equal(done.calls, 2);
    assert_memory_equal(out, want, sizeof want);
}

static void a_plan_that_does_not_fit_is_given_back_whole(void **state) {
    rig *r = *state;
    counter done = {0};
    gpu_buffer plan[3], again[2];
    uint64_t limit = gpu_get_limits(r->g)->buffer_bytes;
    gpu_buffers_create(r->g, (gpu_buffer_desc[]){{64, "a"}, {limit + 4, "too large"}, {64, "c"}},
                       3, plan, count, &done);
    assert_int_equal(done.calls, 0);
    poll_all(r->g);
    assert_int_equal(done.calls, 1);
    assert_int_equal(done.status, DOPPLER_NO_MEMORY);
    assert_non_null(strstr(gpu_message(r->g), "too large"));
    gpu_buffers_create(r->g, (gpu_buffer_desc[]){{64, "a"}, {64, "b"}}, 2, again, count, &done);
    poll_all(r->g);
    assert_true(again[0] == plan[0] && again[1] == plan[1]);     /* handles were free again */
    assert_int_equal(done.status, DOPPLER_OK);
}

static void every_dispatch_is_timed(void **state) {
    rig *r = *state;
    counter done = {0};
    double ns[3] = {-1, -1, -1};
    gpu_list list = record_axpy(r, 1, 3);
    write_all(r, X, 1);
    gpu_time(r->g, list, ns, count, &done);
    assert_true(ns[0] == -1);
    poll_all(r->g);
    assert_true(done.calls == 1 && done.status == DOPPLER_OK);
    for (int i = 0; i < 3; i++) assert_true(ns[i] >= 0 && ns[i] < 1e9);
    assert_true(*(float *)gpu_buffer_host(r->g, r->buffer[Y]) == 3);
}

/* Found by the leak checker: whatever was outstanding is freed. */
static void a_device_may_be_destroyed_with_work_outstanding(void **state) {
    (void)state;
    gpu *g = gpu_cpu_create();
    gpu_buffer b[2];
    counter done = {0};
    assert_non_null(g);
    gpu_buffers_create(g, (gpu_buffer_desc[]){{64, "a"}, {64, "b"}}, 2, b, count, &done);
    gpu_destroy(g);
    gpu_destroy(NULL);
    assert_int_equal(done.calls, 0);
}

static void many_handles_stay_apart(void **state) {
    rig *r = *state;
    enum { MANY = 300 };
    static gpu_buffer many[MANY];
    gpu_buffer_desc descs[MANY];
    counter done = {0};
    for (uint32_t i = 0; i < MANY; i++) descs[i] = (gpu_buffer_desc){4 * (i + 1), "many"};
    gpu_buffers_create(r->g, descs, MANY, many, count, &done);
    poll_all(r->g);
    for (uint32_t i = 0; i < MANY; i++) gpu_write(r->g, many[i], 4 * i, &i, 4);
    for (uint32_t i = 0; i < MANY; i++)
        assert_int_equal(((uint32_t *)gpu_buffer_host(r->g, many[i]))[i], i);
    for (uint32_t i = 0; i < MANY; i++) gpu_buffer_destroy(r->g, many[i]);
}

/* Behind what was submitted before, ahead of what comes after. */
static void copies_take_effect_in_their_order(void **state) {
    rig *r = *state;
    float x[FLOATS], y[FLOATS];
    for (int i = 0; i < FLOATS; i++) x[i] = (float)i;
    gpu_write(r->g, r->buffer[X], 0, x, sizeof x);
    gpu_list list = record_axpy(r, 1, 1);
    gpu_submit(r->g, list, 1, NULL, NULL, NULL);
    gpu_copy(r->g, (gpu_copy_range[]){{r->buffer[Y], r->buffer[X], 40, 0, 8}}, 1);
    gpu_submit(r->g, list, 1, NULL, NULL, NULL);
    memcpy(y, gpu_buffer_host(r->g, r->buffer[Y]), sizeof y);
    assert_true(y[0] == 10 && y[1] == 12 && y[2] == 4);
    gpu_list_destroy(r->g, list);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_up, rig_down)
    const struct CMUnitTest tests[] = {
        TEST(buffers_start_as_zeros_and_aligned),
        TEST(calls_take_effect_in_their_order),
        TEST(callbacks_wait_for_poll_one_at_a_time),
        TEST(a_part_of_a_list_is_submitted), TEST(callbacks_may_submit),
        TEST(destroyed_lists_and_buffers_finish_their_work_first),
        TEST(twins_are_told_grid_format_and_bound_bytes),
        TEST(a_plan_that_does_not_fit_is_given_back_whole),
        TEST(every_dispatch_is_timed),
        TEST(copies_take_effect_in_their_order),
        cmocka_unit_test(a_device_may_be_destroyed_with_work_outstanding),
        TEST(many_handles_stay_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
