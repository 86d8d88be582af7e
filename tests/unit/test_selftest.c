/* test_selftest.c - programs that are wrong on a device are found out before they are used, and
 * the answer stays right: faults are put in where programs are compiled. On the stories model. */
#include "inference/engine.h"
#include "tools/cmd.h"
#include "tools/host.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define PACKAGE "models/stories"

enum { TOKENS = 12, CONTEXT = 64 };

/* answer: first, it is what host_done takes for its own. */
typedef struct story { host_answer answer; uint32_t ids[TOKENS], count; } story;

static bool take(uint32_t id, const char *text, size_t bytes, void *user) {
    story *t = user;
    (void)text, (void)bytes;
    if (id != DOPPLER_NO_TOKEN && t->count < TOKENS) t->ids[t->count++] = id;
    return true;
}

static void ignore(doppler_status status, void *user) {
    (void)user;
    assert_int_equal(status, DOPPLER_OK);
}

/* A program with the numbers of another kernel's: it leaves its output as it was. */
static void twin_of_nothing(const gpu_call *call) { (void)call; }

static void put_in_faults(doppler *d, kernel_id id) {
    for (uint32_t f = 0; f < FORMAT_COUNT; f++) {
        if (!kernel_exists(id, f, gpu_get_limits(d->g))) continue;
        gpu_program_desc desc = kernel_program(id, f, gpu_get_limits(d->g));
        desc.twin = twin_of_nothing;
        gpu_programs_create(d->g, &desc, 1, &d->programs.of[id][f], ignore, NULL);
    }
    while (doppler_poll(d)) continue;
}

/* What a session with these faults tells, and how it came to be. */
typedef struct outcome { story t; x_form form; bool plain; } outcome;

static outcome tell(const kernel_id *faults, size_t count, doppler_precision precision) {
    static const command c = {"test", "", NULL, 0, NULL, 0};
    const host_options options = {.context = CONTEXT, .kv = 1};
    host h;
    assert_int_equal(host_open(&h, &c, PACKAGE, &options), 0);
    memset(h.d->programs.of[KERNEL_LINEAR], 0,
           sizeof h.d->programs.of[0] * (KERNEL_LINEAR_PACKED_WIDE - KERNEL_LINEAR + 1));
    memset(h.d->trust, 0, sizeof h.d->trust);        /* as if nothing had been tested */
    for (size_t i = 0; i < count; i++) put_in_faults(h.d, faults[i]);
    doppler_session *s = NULL;
    host_answer answer = {0};
    const doppler_session_options o = {.context = CONTEXT, .precision = precision};
    assert_int_equal(doppler_session_create(h.model, &o, &s, host_done, &answer), DOPPLER_OK);
    assert_int_equal(host_wait(&h, &answer), DOPPLER_OK);
    const uint32_t prompt[] = {4091, 100, 200};
    outcome out = {.form = s->form, .plain = s->plain};
    assert_int_equal(doppler_generate(s, prompt, 3, NULL, TOKENS, take, host_done, &out.t),
                     DOPPLER_OK);
    assert_int_equal(host_wait(&h, &out.t.answer), DOPPLER_OK);
    doppler_session_destroy(s);
    host_close(&h);
    return out;
}

static void wrong_programs_are_not_used(void **state) {
    (void)state;
    const kernel_id all[] = {KERNEL_LINEAR_PACKED, KERNEL_LINEAR};
    outcome fast = tell(NULL, 0, DOPPLER_FAST), exact = tell(NULL, 0, DOPPLER_EXACT);
    assert_true(fast.form == X_PACKED && !fast.plain && exact.form == X_F32 && !exact.plain);
    assert_int_equal(exact.t.count, TOKENS);

    outcome no_packed = tell(all, 1, DOPPLER_FAST);
    assert_true(no_packed.form == X_F32 && !no_packed.plain);
    assert_memory_equal(&no_packed.t, &exact.t, sizeof exact.t);

    outcome none = tell(all, 2, DOPPLER_FAST);
    assert_true(none.plain);
    assert_memory_equal(&none.t, &exact.t, sizeof exact.t);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(wrong_programs_are_not_used)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
