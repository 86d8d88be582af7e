/* test_selftest.c - programs that are wrong on a device are found out before they are used, and
 * the answer stays right: faults are put in where programs are compiled. On the stories model. */
#include "gpu/gpu_backend.h"
#include "inference/engine.h"
#include "inference/trials.h"
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

enum { TOKENS = 3, CONTEXT = 64 };
#define ALL UINT32_MAX           /* features */

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
    for (uint32_t f = 0; f < kernel_formats(id); f++) {
        if (!kernel_exists(id, f, gpu_get_limits(d->g))) continue;
        gpu_program_desc desc = kernel_program(id, f, gpu_get_limits(d->g));
        desc.twin = twin_of_nothing;
        gpu_programs_create(d->g, &desc, 1, &d->programs.of[id][f], ignore, NULL);
    }
    while (doppler_poll(d)) continue;
}

/* What a session with these faults tells, and how it came to be. noticed: a bit for each kernel of
 * which a program was found to be wrong. */
typedef struct outcome { story t; x_form form; bool plain; uint64_t noticed; } outcome;
_Static_assert(KERNEL_COUNT <= 64, "a bit for each kernel");

static host h;

/* A device with all features: the CPU runs every kernel's twin. */
static int open_model(void **state) {
    (void)state;
    static const command c = {"test", "", NULL, 0, NULL, 0};
    const host_options options = {.context = CONTEXT, .kv = 1};
    if (host_open(&h, &c, PACKAGE, &options)) return 1;
    h.d->g->limits.workgroup_threads = 1024;
    h.d->g->limits.workgroup_bytes = 65536;
    return 0;
}

static int close_model(void **state) {
    (void)state;
    host_close(&h);
    return 0;
}

/* All that is tested begins anew. */
static void forget(uint32_t features) {
    h.d->g->limits.features = features;
    memset(h.d->trust, 0, sizeof h.d->trust);
    for (kernel_id id = 0; id < KERNEL_COUNT; id++)
        for (uint32_t f = 0; trials_have(id) && f < FORMAT_COUNT; f++) {
            gpu_program_destroy(h.d->g, h.d->programs.of[id][f]);
            h.d->programs.of[id][f] = 0;
        }
}

static outcome tell(uint32_t features, const kernel_id *faults, size_t count,
                    doppler_precision precision) {
    forget(features);
    for (size_t i = 0; i < count; i++) put_in_faults(h.d, faults[i]);
    doppler_session *s = NULL;
    host_answer answer = {0};
    const doppler_session_options o = {.context = CONTEXT, .precision = precision};
    assert_int_equal(doppler_session_create(h.model, &o, &s, host_done, &answer), DOPPLER_OK);
    assert_int_equal(host_wait(&h, &answer), DOPPLER_OK);
    const uint32_t prompt[] = {4091, 100};
    outcome out = {.form = s->form, .plain = s->plain};
    assert_int_equal(doppler_generate(s, prompt, 2, NULL, TOKENS, take, host_done, &out.t),
                     DOPPLER_OK);
    assert_int_equal(host_wait(&h, &out.t.answer), DOPPLER_OK);
    for (kernel_id id = 0; id < KERNEL_COUNT; id++)
        for (uint32_t f = 0; f < FORMAT_COUNT; f++)
            if (h.d->trust[id][f] & (TRUST_WRONG | TRUST_WITHOUT_FEATURES))
                out.noticed |= UINT64_C(1) << id;
    doppler_session_destroy(s);
    return out;
}

/* What a device with all features has and the least one has not, or has another text of, is tested;
 * unpack2x16float aside, which openDevice tests. */
static void variants_have_trials(void **state) {
    (void)state;
    const gpu_limits least = {.workgroup_bytes = 16384, .workgroup_threads = 256};
    gpu_limits most = *gpu_get_limits(h.d->g);
    most.features = ALL & ~(uint32_t)GPU_EXACT_HALF;
    for (kernel_id id = 0; id < KERNEL_COUNT; id++)
        for (uint32_t f = 0; f < kernel_formats(id); f++) {
            if (!kernel_exists(id, f, &most) || trials_have(id)) continue;
            gpu_program_desc here = kernel_program(id, f, &most), there = here;
            bool varies = !kernel_exists(id, f, &least);
            if (!varies) there = kernel_program(id, f, &least);
            if (varies || memcmp(here.sources, there.sources, sizeof here.sources))
                fail_msg("%s is not in inference/trials.c", here.label);
        }
}

static void all_are_right(void **state) {
    (void)state;
    outcome fast = tell(ALL, NULL, 0, DOPPLER_FAST), exact = tell(ALL, NULL, 0, DOPPLER_EXACT);
    assert_true(fast.form == X_PACKED && !fast.plain && exact.form == X_F32 && !exact.plain);
    assert_int_equal(exact.t.count, TOKENS);
    assert_true(!fast.noticed && !exact.noticed);
}

/* Each kernel that is tested, wrong alone: it is found out in the precision that uses it, and the
 * answer is that of the others. */
static void wrong_programs_are_not_used(void **state) {
    (void)state;
    outcome fast = tell(ALL, NULL, 0, DOPPLER_FAST), exact = tell(ALL, NULL, 0, DOPPLER_EXACT);
    for (kernel_id id = 0; id < KERNEL_COUNT; id++) {
        if (!trials_have(id)) continue;
        outcome with = tell(ALL, &id, 1, DOPPLER_FAST);
        if (!with.noticed) with = tell(ALL, &id, 1, DOPPLER_EXACT);
        if (with.noticed != UINT64_C(1) << id)
            fail_msg("%s was wrong and nobody noticed", kernels[id].name);
        assert_true(memcmp(&with.t, &fast.t, sizeof fast.t) == 0 ||
                    memcmp(&with.t, &exact.t, sizeof exact.t) == 0);
    }
}

/* Without any of decode.c's programs forward.c serves. */
static void one_falls_back_to_another(void **state) {
    (void)state;
    kernel_id all[KERNEL_COUNT];
    size_t packed = 0, count;
    for (kernel_id id = 0; id < KERNEL_COUNT; id++)
        if (kernel_base(id) == KERNEL_LINEAR_PACKED) all[packed++] = id;
    count = packed;
    for (kernel_id id = 0; id < KERNEL_COUNT; id++)
        if (kernel_base(id) == KERNEL_LINEAR) all[count++] = id;
    const uint32_t some = ALL & ~(uint32_t)(GPU_SUBGROUPS | GPU_EXACT_HALF);   /* no other text */
    outcome exact = tell(ALL, NULL, 0, DOPPLER_EXACT);
    outcome other = tell(some, all, 1, DOPPLER_FAST);
    outcome no_packed = tell(some, all, packed, DOPPLER_FAST);
    outcome none = tell(some, all, count, DOPPLER_FAST);
    assert_true(other.form == X_PACKED && no_packed.form == X_F32 && !no_packed.plain);
    assert_memory_equal(&no_packed.t, &exact.t, sizeof exact.t);
    assert_true(none.plain);
    assert_memory_equal(&none.t, &exact.t, sizeof exact.t);
}

static gpu_twin_fn right_twin;

/* As the twin, later. */
static void slow_twin(const gpu_call *call) {
    for (double start = prepare_clock(); prepare_clock() - start < 5;) continue;
    right_twin(call);
}

/* On a device that is not known to be the CPU kernels are timed, and the slow one is not chosen. */
static void slow_kernels_are_not_chosen(void **state) {
    (void)state;
    const kernel_id slow = KERNEL_LINEAR_PACKED_WIDE;
    op_programs *p = &h.d->programs;
    forget(ALL);
    for (uint32_t f = 0; f < FORMAT_COUNT; f++) {
        if (!kernel_exists(slow, f, gpu_get_limits(h.d->g))) continue;
        gpu_program_desc desc = kernel_program(slow, f, gpu_get_limits(h.d->g));
        right_twin = desc.twin;
        desc.twin = slow_twin;
        gpu_programs_create(h.d->g, &desc, 1, &p->of[slow][f], ignore, NULL);
    }
    while (doppler_poll(h.d)) continue;
    h.d->is_cpu = false;
    h.d->tune_most_ms = 1e9;
    p->choice_count = 0;
    doppler_session *s = NULL;
    host_answer answer = {0};
    const doppler_session_options o = {.context = CONTEXT, .chunk = 4, .precision = DOPPLER_FAST};
    assert_int_equal(doppler_session_create(h.model, &o, &s, host_done, &answer), DOPPLER_OK);
    assert_int_equal(host_wait(&h, &answer), DOPPLER_OK);
    h.d->is_cpu = true;
    uint32_t chosen = 0, wrongly = 0;
    for (uint32_t i = 0; i < p->choice_count; i++) {
        wrongly += p->choices[i].best == slow;
        chosen += p->choices[i].base == KERNEL_LINEAR_PACKED;
    }
    assert_true(chosen > 4 && wrongly <= 1);             /* a busy machine may stop the others */
    p->choice_count = 0;
    doppler_session_destroy(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(variants_have_trials),
        cmocka_unit_test(all_are_right),
        cmocka_unit_test(wrong_programs_are_not_used),
        cmocka_unit_test(one_falls_back_to_another),
        cmocka_unit_test(slow_kernels_are_not_chosen),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
