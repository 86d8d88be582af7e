/* test_pace.c - how a prompt's steps are cut into submits, by a clock that only the device's work
 * moves: a slow device gets little at a time, a fast one all of it, and the numbers are the same. */
#include "gpu/gpu_backend.h"
#include "inference/engine.h"
#include "tools/cmd.h"
#include "tools/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#define PACKAGE "build/tests/micro-llama3-pace"

enum { PROMPT = 40, CHUNK = 16, STEPS = 3, MOST = 4096 };

static struct device {
    double now_ms, dispatch_ms;            /* what a dispatch takes */
    uint32_t parts, dispatches[MOST];      /* submitted */
    uint32_t cancel_at;                    /* a part behind which the session is cancelled; 0: none */
    doppler_session *session;
    const gpu_ops *cpu;
} device;

typedef struct pending { doppler_done_fn done; void *user; uint32_t count; } pending;

static double fake_ms(void) { return device.now_ms; }

static void passed(doppler_status status, void *user) {
    pending p = *(pending *)user;
    free(user);
    device.now_ms += p.count * device.dispatch_ms;
    if (device.cancel_at && device.parts >= device.cancel_at) doppler_cancel(device.session);
    if (p.done) p.done(status, p.user);
}

static void counted_submit(gpu *g, gpu_list list, uint32_t first, uint32_t count, uint32_t repeat,
                           const gpu_readback *readback, doppler_done_fn done, void *user) {
    pending *p = malloc(sizeof *p);
    assert_true(p && device.parts < MOST);
    *p = (pending){done, user, count * repeat};
    device.dispatches[device.parts++] = count * repeat;
    device.cpu->submit(g, list, first, count, repeat, readback, passed, p);
}

static host open_host(void) {
    static const command c = {"test", "", NULL, 0, NULL, 0};
    static gpu_ops ops;
    host h;
    assert_int_equal(host_open(&h, &c, PACKAGE, &(host_options){.kv = 1, .context = 128}), 0);
    device = (struct device){.cpu = h.d->g->ops};
    ops = *h.d->g->ops;
    ops.submit = counted_submit;
    h.d->g->ops = &ops;
    h.d->now_ms = fake_ms;
    return h;
}

static doppler_session *make_session(host *h, uint32_t chunk) {
    host_answer answer = {0};
    const doppler_session_options o = {.context = 128, .chunk = chunk, .kv = DOPPLER_KV_F32};
    doppler_session *s = NULL;
    assert_int_equal(doppler_session_create(h->model, &o, &s, host_done, &answer), DOPPLER_OK);
    assert_int_equal(host_wait(h, &answer), DOPPLER_OK);
    device.session = s;
    device.parts = 0;
    return s;
}

typedef struct generated { host_answer answer; uint32_t id; } generated;

static bool take(uint32_t id, const char *text, size_t bytes, void *user) {
    (void)text, (void)bytes;
    if (id != DOPPLER_NO_TOKEN) ((generated *)user)->id = id;
    return true;
}

static void ended(doppler_status status, void *user) {
    host_done(status, &((generated *)user)->answer);
}

/* The first token behind a prompt of `count`. */
static doppler_status first_token(host *h, doppler_session *s, uint32_t count, uint32_t *id) {
    uint32_t ids[PROMPT];
    for (uint32_t i = 0; i < PROMPT; i++) ids[i] = (i * 37 + 5) % 400;
    generated g = {.id = UINT32_MAX};
    assert_int_equal(doppler_generate(s, ids, count, NULL, 1, take, ended, &g), DOPPLER_OK);
    doppler_status status = host_wait(h, &g.answer);
    *id = g.id;
    return status;
}

static uint32_t all_dispatches(void) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < device.parts; i++) sum += device.dispatches[i];
    return sum;
}

/* One that takes 10 ms for a dispatch: no submit longer than 100 ms, from the first one on. */
static void a_slow_device_gets_little_at_a_time(void **state) {
    host *h = *state;
    doppler_session *s = make_session(h, CHUNK);
    uint32_t id, want;
    device.dispatch_ms = 0;
    assert_int_equal(first_token(h, s, PROMPT, &want), DOPPLER_OK);
    uint32_t all = all_dispatches();
    doppler_session_destroy(s);
    s = make_session(h, CHUNK);
    device.dispatch_ms = 10;
    assert_int_equal(first_token(h, s, PROMPT, &id), DOPPLER_OK);
    assert_int_equal(id, want);
    assert_int_equal(all_dispatches(), all);
    for (uint32_t i = 0; i < device.parts; i++) assert_in_range(device.dispatches[i], 1, 10);
    assert_true(device.parts <= all / 5 + 8);    /* and not less than it could have */
    doppler_session_destroy(s);
}

/* A step of a known device that is fast enough is one submit. */
static void a_fast_device_gets_a_step_at_once(void **state) {
    host *h = *state;
    doppler_session *s = make_session(h, CHUNK);
    uint32_t id;
    device.dispatch_ms = 0.01;
    assert_int_equal(first_token(h, s, PROMPT, &id), DOPPLER_OK);
    device.parts = 0;
    assert_int_equal(first_token(h, s, 1, &id), DOPPLER_OK);
    device.parts = 0;
    assert_int_equal(first_token(h, s, PROMPT, &id), DOPPLER_OK);
    assert_int_equal(device.parts, STEPS);
    doppler_session_destroy(s);
}

/* A device that becomes slow, and fast again. */
static void what_was_learned_is_corrected(void **state) {
    host *h = *state;
    doppler_session *s = make_session(h, CHUNK);
    uint32_t id;
    device.dispatch_ms = 0.5;
    assert_int_equal(first_token(h, s, PROMPT, &id), DOPPLER_OK);
    device.dispatch_ms = 5;
    device.parts = 0;
    assert_int_equal(first_token(h, s, 1, &id), DOPPLER_OK);
    assert_int_equal(first_token(h, s, PROMPT, &id), DOPPLER_OK);
    assert_in_range(device.dispatches[device.parts - 2], 1, 20);
    device.dispatch_ms = 0.5;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(first_token(h, s, 1, &id), DOPPLER_OK);
        device.parts = 0;
        assert_int_equal(first_token(h, s, PROMPT, &id), DOPPLER_OK);
    }
    assert_int_equal(device.parts, STEPS);
    doppler_session_destroy(s);
}

/* The step that was under way is forgotten; the ones before it are kept. */
static void a_step_is_cancelled_between_its_parts(void **state) {
    host *h = *state;
    uint32_t id, want;
    doppler_session *s = make_session(h, CHUNK);
    device.dispatch_ms = 10;
    assert_int_equal(first_token(h, s, PROMPT, &want), DOPPLER_OK);
    uint32_t parts = device.parts;
    doppler_session_destroy(s);
    for (uint32_t at = 1; at < parts; at += 3) {
        s = make_session(h, CHUNK);
        device.cancel_at = at;
        assert_int_equal(first_token(h, s, PROMPT, &id), DOPPLER_CANCELLED);
        assert_true(device.parts <= at + PACE_PARTS);
        uint32_t position = doppler_session_position(s);
        assert_true(position % CHUNK == 0 && position < PROMPT);
        device.cancel_at = 0;
        assert_int_equal(first_token(h, s, PROMPT, &id), DOPPLER_OK);
        assert_int_equal(id, want);
        doppler_session_destroy(s);
    }
}

static void logits_are_cut_and_cancelled_too(void **state) {
    host *h = *state;
    uint32_t ids[PROMPT] = {1, 2, 3};
    float *nll = malloc(PROMPT * sizeof *nll), *want = malloc(PROMPT * sizeof *want);
    doppler_session *s = make_session(h, CHUNK);
    for (int slow = 0; slow < 2; slow++) {
        host_answer answer = {0};
        device.dispatch_ms = slow * 10;
        device.parts = 0;
        assert_int_equal(doppler_score(s, ids, PROMPT, slow ? nll : want, host_done, &answer), 0);
        assert_int_equal(host_wait(h, &answer), DOPPLER_OK);
    }
    assert_memory_equal(nll, want, (PROMPT - 1) * sizeof *nll);
    host_answer answer = {0};
    device.cancel_at = 3;
    device.parts = 0;
    assert_int_equal(doppler_score(s, ids, PROMPT, nll, host_done, &answer), 0);
    assert_int_equal(host_wait(h, &answer), DOPPLER_CANCELLED);
    assert_true(device.parts <= 3 + PACE_PARTS);
    device.cancel_at = 0;
    doppler_session_destroy(s);
    free(nll);
    free(want);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_device_gets_little_at_a_time),
        cmocka_unit_test(a_fast_device_gets_a_step_at_once),
        cmocka_unit_test(what_was_learned_is_corrected),
        cmocka_unit_test(a_step_is_cancelled_between_its_parts),
        cmocka_unit_test(logits_are_cut_and_cancelled_too),
    };
    char *argv[] = {"convert", "tests/fixtures/micro/llama3", PACKAGE, "--quiet", NULL};
    if (system("rm -rf " PACKAGE " && mkdir -p build/tests") || cmd_convert(4, argv)) return 1;
    host h = open_host();
    struct CMUnitTest with_state[sizeof tests / sizeof tests[0]];
    memcpy(with_state, tests, sizeof tests);
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) with_state[i].initial_state = &h;
    int failed = cmocka_run_group_tests(with_state, NULL, NULL);
    host_close(&h);
    return failed;
}
