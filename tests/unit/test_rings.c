/* test_rings.c - sliding layers keep rings (inference/kv_cache.c): what must not change a result
 * over sequences of many windows, and what of a timeline may be reused. On the micro Gemma 3: five
 * layers with a window of 8, one full. */
#include "inference/engine.h"
#include "tools/cmd.h"
#include "tools/host.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#define PACKAGE "build/tests/micro-gemma3"

enum { TOKENS = 300, MORE = 12, VOCAB = 640, CONTEXT = 512, WINDOW = 8 };

typedef struct fixture {
    host h;
    uint32_t ids[TOKENS];
} fixture;

static int open_fixture(void **state) {
    static const command c = {"test", "", NULL, 0, NULL, 0};
    char *argv[] = {"convert", "tests/fixtures/micro/gemma3", PACKAGE, "--quiet", NULL};
    fixture *f = calloc(1, sizeof *f);
    const host_options options = {.kv = 1, .context = CONTEXT};
    if (!f || system("rm -rf " PACKAGE " && mkdir -p build/tests") || cmd_convert(4, argv) ||
        host_open(&f->h, &c, PACKAGE, &options))
        return 1;
    for (uint32_t i = 0; i < TOKENS; i++) f->ids[i] = (i * i * 7 + i * 37 + 5) % 600;
    *state = f;
    return 0;
}

static int close_fixture(void **state) {
    fixture *f = *state;
    host_close(&f->h);
    free(f);
    return 0;
}

static doppler_session *make_session(fixture *f, uint32_t chunk, doppler_kv kv) {
    doppler_session *s = NULL;
    host_answer answer = {0};
    const doppler_session_options o = {.context = CONTEXT, .chunk = chunk, .kv = kv};
    assert_int_equal(doppler_session_create(f->h.model, &o, &s, host_done, &answer), DOPPLER_OK);
    assert_int_equal(host_wait(&f->h, &answer), DOPPLER_OK);
    return s;
}

static bool take(uint32_t id, const char *text, size_t bytes, void *user) {
    uint32_t **next = user;
    (void)text;
    (void)bytes;
    if (id != DOPPLER_NO_TOKEN) *(*next)++ = id;
    return true;
}

typedef struct taken { uint32_t *next, ids[MORE]; host_answer answer; } taken;

static void took(doppler_status status, void *user) { host_done(status, &((taken *)user)->answer); }

static void generate(fixture *f, doppler_session *s, const uint32_t *ids, size_t count, taken *t) {
    *t = (taken){0};
    t->next = t->ids;
    assert_int_equal(doppler_generate(s, ids, count, NULL, MORE, take, took, t), DOPPLER_OK);
    assert_int_equal(host_wait(&f->h, &t->answer), DOPPLER_OK);
}

static float *logits(fixture *f, uint32_t chunk, doppler_kv kv) {
    doppler_session *s = make_session(f, chunk, kv);
    float *out = malloc(TOKENS * VOCAB * sizeof *out);
    host_answer answer = {0};
    assert_int_equal(doppler_logits(s, f->ids, TOKENS, out, host_done, &answer), DOPPLER_OK);
    assert_int_equal(host_wait(&f->h, &answer), DOPPLER_OK);
    doppler_session_destroy(s);
    return out;
}

/* Largest difference of logits, of the largest one. */
static double difference(const float *got, const float *want) {
    float largest = 0, worst = 0;
    for (int j = 0; j < TOKENS * VOCAB; j++) {
        largest = fmaxf(largest, fabsf(want[j]));
        worst = fmaxf(worst, fabsf(got[j] - want[j]));
    }
    return (double)(worst / largest);
}

static void chunks_agree_over_many_windows(void **state) {
    static const uint32_t chunks[] = {64, 7, 1};
    static const double bounds[] = {[DOPPLER_KV_F16] = 2e-3, [DOPPLER_KV_F32] = 1e-5,
                                    [DOPPLER_KV_Q8_0] = 2e-2};
    for (int kv = 0; kv < KV_COUNT; kv++) {
        float *want = logits(*state, 512, (doppler_kv)kv);           /* no ring wraps */
        for (int i = 0; i < 3; i++) {
            float *got = logits(*state, chunks[i], (doppler_kv)kv);
            double error = difference(got, want);
            if (!(error <= bounds[kv])) fail_msg("chunks of %u: %g", chunks[i], error);
            free(got);
        }
        free(want);
    }
}

/* A device that binds so little that each KV head of the full layer needs a buffer of its own. */
static void caches_in_slabs_give_the_same_logits(void **state) {
    static const command c = {"test", "", NULL, 0, NULL, 0};
    fixture small = **(fixture **)state;
    const host_options options = {.kv = 1, .context = 64};
    assert_int_equal(host_open(&small.h, &c, PACKAGE, &options), 0);
    gpu_limits most = *gpu_get_limits(small.h.d->g);
    most.binding_bytes = 160 << 10;
    gpu_cap_limits(small.h.d->g, &most);
    doppler_session *s = make_session(&small, 16, DOPPLER_KV_F32);
    assert_int_equal(s->slabs[LAYER_FULL], 2);
    assert_int_equal(s->slabs[LAYER_SLIDING], 1);
    doppler_session_destroy(s);
    float *want = logits(*state, 16, DOPPLER_KV_F32), *got = logits(&small, 16, DOPPLER_KV_F32);
    assert_memory_equal(got, want, TOKENS * VOCAB * sizeof *got);
    free(want);
    free(got);

    doppler_memory m;
    doppler_session_options o = {.context = 641, .chunk = 16, .kv = DOPPLER_KV_F32};
    assert_int_equal(doppler_session_memory(small.h.model, &o, &m), DOPPLER_NO_MEMORY);
    assert_non_null(strstr(doppler_message(small.h.d), "at most 640 tokens"));
    o.context = 0;                                                   /* what fits */
    assert_int_equal(doppler_session_memory(small.h.model, &o, &m), DOPPLER_OK);
    assert_int_equal(m.kv, 2 * 2 * 32 * sizeof(float) * (5 * (WINDOW + 64) + 640));
    host_close(&small.h);
}

static void generated_tokens_follow_the_prompt_through_the_ring(void **state) {
    fixture *f = *state;
    doppler_session *whole = make_session(f, 512, DOPPLER_KV_F32);
    taken want, got;
    for (uint32_t count = 60; count <= 80; count += 5) {             /* about the ring's end */
        doppler_session *s = make_session(f, 16, DOPPLER_KV_F32);
        generate(f, whole, f->ids, count, &want);
        generate(f, s, f->ids, count, &got);
        assert_memory_equal(got.ids, want.ids, sizeof want.ids);
        doppler_session_destroy(s);
    }
    doppler_session_destroy(whole);
}

/* A prefix whose window was overwritten is fed again. */
static void what_a_ring_has_lost_is_not_reused(void **state) {
    fixture *f = *state;
    doppler_session *s = make_session(f, 16, DOPPLER_KV_F32);
    doppler_session *fresh = make_session(f, 512, DOPPLER_KV_F32);
    static const uint32_t prompts[] = {280, 100, 290, 282, 40, 20, 300};
    taken want, got;
    for (size_t i = 0; i < sizeof prompts / sizeof *prompts; i++) {
        generate(f, s, f->ids, prompts[i], &got);
        generate(f, fresh, f->ids, prompts[i], &want);
        assert_memory_equal(got.ids, want.ids, sizeof want.ids);
    }
    doppler_session_destroy(s);
    doppler_session_destroy(fresh);
}

static void a_prefix_is_reused_while_rings_hold_its_window(void **state) {
    fixture *f = *state;
    doppler_session *s = make_session(f, 16, DOPPLER_KV_F32);
    uint32_t slots = s->slots[LAYER_SLIDING];
    assert_in_range(slots, WINDOW + 16, CONTEXT / 2);
    assert_int_equal(s->slots[LAYER_FULL], CONTEXT);
    kv_written(s, slots);
    assert_int_equal(kv_reuse(s, 0, 0), 0);
    kv_written(s, slots);
    assert_int_equal(kv_reuse(s, 1, 1), 1);                          /* nothing was overwritten */
    kv_written(s, 280);
    assert_int_equal(kv_reuse(s, 280, 279), 279);
    uint32_t last = 280 - slots + WINDOW - 1;
    assert_int_equal(kv_reuse(s, last, last), last);
    kv_written(s, 200);                                              /* the ring's end stays */
    assert_int_equal(kv_reuse(s, last, last - 1), 0);
    assert_int_equal(kv_reuse(s, 100, 100), 100);                    /* all anew */
    doppler_session_destroy(s);
}

static void memory_is_known_before_it_is_allocated(void **state) {
    fixture *f = *state;
    const doppler_session_options o = {.context = CONTEXT, .chunk = 64, .kv = DOPPLER_KV_F32};
    doppler_memory m;
    assert_int_equal(doppler_session_memory(f->h.model, &o, &m), DOPPLER_OK);
    uint64_t token = 2 * 2 * 32 * sizeof(float);                     /* K and V, 2 heads of 32 */
    assert_int_equal(m.kv, token * (5 * (WINDOW + 64) + CONTEXT));
    assert_true(m.weights > 1 << 20 && m.work > 0);
    const doppler_session_options half = {.context = CONTEXT, .chunk = 64};
    uint64_t kv = m.kv;
    assert_int_equal(doppler_session_memory(f->h.model, &half, &m), DOPPLER_OK);
    assert_int_equal(m.kv, kv / 2);
    const doppler_session_options eighth = {.context = CONTEXT, .chunk = 64,
                                            .kv = DOPPLER_KV_Q8_0};
    assert_int_equal(doppler_session_memory(f->h.model, &eighth, &m), DOPPLER_OK);
    assert_int_equal(m.kv, kv / 128 * (32 + 4));                     /* a row: int8 and scales */
}

/* _compute_yarn_parameters of transformers in double precision, by hand: base 150000,
 * head 64, factor 32, betas 32 and 1, 4096 tokens. */
static void yarn_frequencies_are_those_of_transformers(void **state) {
    (void)state;
    static const struct { bool truncate; uint32_t i; double want; } cases[] = {
        {false, 0, 1},                         {false, 8, 5.0813274815461475e-2},
        {false, 12, 6.794959489732219e-3},     {false, 17, 1.2931870124506317e-4},
        {true, 12, 7.015713910504388e-3},      {true, 31, 3.0235114281192144e-7},
    };
    rope_config r = {.type = ROPE_YARN, .theta = 150000, .factor = 32, .beta_fast = 32,
                     .beta_slow = 1, .attention_factor = 1.3465736f, .original_context = 4096};
    float got[32];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        r.truncate = cases[i].truncate;
        rope_frequencies(&r, 64, got);
        double error = fabs(got[cases[i].i] / cases[i].want - 1);
        if (!(error < 1e-6)) fail_msg("case %zu: %.9g", i, (double)got[cases[i].i]);
    }
    assert_true(rope_table_scale(&r) == 1.3465736f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_agree_over_many_windows),
        cmocka_unit_test(caches_in_slabs_give_the_same_logits),
        cmocka_unit_test(generated_tokens_follow_the_prompt_through_the_ring),
        cmocka_unit_test(what_a_ring_has_lost_is_not_reused),
        cmocka_unit_test(a_prefix_is_reused_while_rings_hold_its_window),
        cmocka_unit_test(memory_is_known_before_it_is_allocated),
        cmocka_unit_test(yarn_frequencies_are_those_of_transformers),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
