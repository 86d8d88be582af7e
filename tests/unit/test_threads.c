/* test_threads.c - every index once, one call a thread, and which failure is told. cmocka has a
 * macro `fail`, so the function of status.h stands in parentheses. */
#include "storage/threads.h"
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

enum { COUNT = 1000 };

typedef struct seen {
    atomic_uint calls[COUNT], busy[THREADS_MAX], total;
    uint32_t threads;
    uint64_t fail_from;          /* indices from here on fail */
    pthread_barrier_t together;
} seen;

static doppler_status count_calls(error *e, uint64_t index, uint32_t thread, void *user) {
    seen *s = user;
    (void)e;
    if (thread >= s->threads || atomic_fetch_add(&s->busy[thread], 1))
        return (fail)(e, DOPPLER_BAD_ARGUMENT, "thread %u", thread);
    atomic_fetch_add(&s->calls[index], 1);
    atomic_fetch_sub(&s->busy[thread], 1);
    return DOPPLER_OK;
}

static void every_index_runs_once(void **state) {
    (void)state;
    static const uint32_t threads[] = {1, 2, 7, 64};
    for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
        static seen s;
        error e = {0};
        memset(&s, 0, sizeof s);
        s.threads = threads[t];
        assert_int_equal(parallel_for(&e, threads[t], COUNT, count_calls, &s), DOPPLER_OK);
        for (int i = 0; i < COUNT; i++) assert_int_equal(s.calls[i], 1);
    }
    error e = {0};
    assert_int_equal(parallel_for(&e, 4, 0, count_calls, NULL), DOPPLER_OK);
}

/* Only passes when two calls are under way at the same time. */
static doppler_status meet(error *e, uint64_t index, uint32_t thread, void *user) {
    (void)e, (void)index, (void)thread;
    pthread_barrier_wait(&((seen *)user)->together);
    return DOPPLER_OK;
}

static void calls_run_at_the_same_time(void **state) {
    (void)state;
    static seen s;
    error e = {0};
    pthread_barrier_init(&s.together, NULL, 2);
    assert_int_equal(parallel_for(&e, 2, 2, meet, &s), DOPPLER_OK);
    pthread_barrier_destroy(&s.together);
}

static doppler_status fail_late(error *e, uint64_t index, uint32_t thread, void *user) {
    seen *s = user;
    (void)thread;
    atomic_fetch_add(&s->total, 1);
    if (index < s->fail_from) return DOPPLER_OK;
    return (fail)(e, DOPPLER_BAD_FILE, "index %u", (unsigned)index);
}

static void the_lowest_failure_is_told_and_ends_the_work(void **state) {
    (void)state;
    for (int round = 0; round < 50; round++) {
        static seen s;
        error e = {0};
        memset(&s, 0, sizeof s);
        s.fail_from = 100;
        assert_int_equal(parallel_for(&e, 8, COUNT, fail_late, &s), DOPPLER_BAD_FILE);
        assert_string_equal(e.message, "index 100");
        assert_true(s.total >= 101 && s.total <= 108);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_index_runs_once),
        cmocka_unit_test(calls_run_at_the_same_time),
        cmocka_unit_test(the_lowest_failure_is_told_and_ends_the_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
