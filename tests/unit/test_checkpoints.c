/* test_checkpoints.c - a session that returns to the end of an earlier turn (inference/checkpoints.c)
 * computes what a fresh one does, and reads no more than it must. On the micro Gemma 3: five layers
 * with a window of 8, one full; conversations of up to 40 windows. */
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

#define PACKAGE "build/tests/micro-gemma3-turns"

enum { TOKENS = 400, VOCAB = 640, CONTEXT = 512, WINDOW = 8, CHUNK = 16, RING = WINDOW + 64 };

/* What the KV format permits, of the largest logit: the same numbers are computed in other steps. */
static const double bounds[] = {[DOPPLER_KV_F16] = 2e-3, [DOPPLER_KV_F32] = 1e-4,
                                [DOPPLER_KV_Q8_0] = 2e-2};

typedef struct fixture {
    host h;
    doppler_kv kv;
    doppler_session *s, *fresh;          /* fresh: its rings never wrap */
    uint32_t ids[TOKENS];                /* the conversation */
    uint32_t count;
} fixture;

static doppler_session *make_session(fixture *f, uint32_t chunk, uint32_t checkpoints) {
    doppler_session *s = NULL;
    host_answer answer = {0};
    const doppler_session_options o = {
        .context = CONTEXT, .chunk = chunk, .kv = f->kv, .checkpoints = checkpoints};
    assert_int_equal(doppler_session_create(f->h.model, &o, &s, host_done, &answer), DOPPLER_OK);
    assert_int_equal(host_wait(&f->h, &answer), DOPPLER_OK);
    return s;
}

static int open_fixture(void **state) {
    static const command c = {"test", "", NULL, 0, NULL, 0};
    char *argv[] = {"convert", "tests/fixtures/micro/gemma3", PACKAGE, "--quiet", NULL};
    fixture *f = calloc(1, sizeof *f);
    const host_options options = {.context = CONTEXT};
    if (!f || system("rm -rf " PACKAGE " && mkdir -p build/tests") || cmd_convert(4, argv) ||
        host_open(&f->h, &c, PACKAGE, &options))
        return 1;
    *state = f;
    return 0;
}

static int close_fixture(void **state) {
    fixture *f = *state;
    host_close(&f->h);
    free(f);
    return 0;
}

static void begin(fixture *f, doppler_kv kv, uint32_t checkpoints) {
    f->kv = kv;
    f->s = make_session(f, CHUNK, checkpoints);
    f->fresh = make_session(f, CONTEXT, 0);
    assert_int_equal(f->s->slots[LAYER_SLIDING], RING);
    assert_int_equal(f->fresh->slots[LAYER_SLIDING], CONTEXT);
    assert_int_equal(f->fresh->checkpoint_count, 0);
    for (uint32_t i = 0; i < TOKENS; i++) f->ids[i] = (i * i * 7 + i * 37 + 5) % 600;
}

static void end(fixture *f) {
    doppler_session_destroy(f->s);
    doppler_session_destroy(f->fresh);
}

static bool append(uint32_t id, const char *text, size_t bytes, void *user) {
    fixture *f = user;
    (void)text;
    (void)bytes;
    if (id != DOPPLER_NO_TOKEN) f->ids[f->count++] = id;
    return true;
}

typedef struct turn { fixture *f; host_answer answer; } turn;

static bool take(uint32_t id, const char *text, size_t bytes, void *user) {
    return append(id, text, bytes, ((turn *)user)->f);
}

static void took(doppler_status status, void *user) { host_done(status, &((turn *)user)->answer); }

/* The first `count` ids as a prompt; what is generated goes behind them. */
static void generate(fixture *f, doppler_session *s, uint32_t count, uint32_t more) {
    turn t = {.f = f};
    f->count = count;
    assert_int_equal(doppler_generate(s, f->ids, count, NULL, more, take, took, &t), DOPPLER_OK);
    assert_int_equal(host_wait(&f->h, &t.answer), DOPPLER_OK);
}

/* Logits of the prompt's last token. */
static void last_logits(fixture *f, doppler_session *s, uint32_t count, float *out) {
    generate(f, s, count, 1);
    memcpy(out, gpu_buffer_host(f->h.d->g, s->buffers.logits), VOCAB * sizeof *out);
}

/* A prompt of the first `count` ids finds `reused` of them, gives a fresh session's logits, and is
 * then gone on from by `more` tokens, which stand behind it in ids. */
static void expect(fixture *f, uint32_t count, uint32_t reused, uint32_t more) {
    float got[VOCAB], want[VOCAB], largest = 0, worst = 0;
    last_logits(f, f->s, count, got);
    assert_int_equal(doppler_session_reused(f->s), reused);
    f->fresh->cached_tokens = 0;
    last_logits(f, f->fresh, count, want);
    assert_int_equal(doppler_session_reused(f->fresh), 0);
    for (int i = 0; i < VOCAB; i++) {
        largest = fmaxf(largest, fabsf(want[i]));
        worst = fmaxf(worst, fabsf(got[i] - want[i]));
    }
    if (!(worst <= bounds[f->kv] * (double)largest))
        fail_msg("%u tokens, %u reused: %g of %g", count, reused, (double)worst, (double)largest);
    if (more) generate(f, f->s, count, more);
}

/* From ids[at] on other tokens stand. */
static void depart(fixture *f, uint32_t at) {
    for (uint32_t i = at; i < TOKENS; i++) f->ids[i] = (f->ids[i] + 1 + i % 5) % 600;
}

static void turns_are_returned_to(fixture *f) {
    expect(f, 100, 0, 120);
    uint32_t answered = f->count;
    assert_int_equal(answered, 220);
    expect(f, 260, 219, 100);            /* goes on; the last token was sampled, not fed */
    expect(f, 260, 259, 110);            /* another try */
    depart(f, 222);                      /* an edited message */
    expect(f, 270, 219, 100);            /* the turn's end was at 219 */
    expect(f, 100, 99, 90);              /* back to the first question */
    depart(f, 92);                       /* a little before its end: within the slack */
    expect(f, 97, 92, 90);
    depart(f, 60);                       /* further: nothing has that window any more */
    expect(f, 90, 0, 0);
    depart(f, 80);                       /* before the ring's end: it holds all */
    expect(f, 85, 80, 0);
}

static void logits_after_a_return_are_a_fresh_session_s(void **state) {
    fixture *f = *state;
    for (int kv = 0; kv < KV_COUNT; kv++) {
        begin(f, (doppler_kv)kv, 8);
        turns_are_returned_to(f);
        end(f);
    }
}

/* Every departure behind the first ring's end, one token after another. */
static void any_departure_is_exact(void **state) {
    fixture *f = *state;
    begin(f, DOPPLER_KV_F32, 2);
    expect(f, 90, 0, 100);
    for (uint32_t at = 89; at > 60; at -= 4) {
        depart(f, at);
        /* 16 tokens of slack and the window end at 90: first 66, a window before it 73. */
        expect(f, 90, at >= 73 ? at : 0, at >= 73 ? 100 : 0);
        if (at < 73) break;
    }
    end(f);
}

static void without_checkpoints_all_is_read_again(void **state) {
    fixture *f = *state;
    begin(f, DOPPLER_KV_F32, DOPPLER_NO_CHECKPOINTS);
    assert_int_equal(f->s->checkpoint_count, 0);
    expect(f, 100, 0, 120);
    expect(f, 100, 0, 0);
    end(f);
}

/* The oldest makes room. */
static void checkpoints_are_bounded(void **state) {
    fixture *f = *state;
    begin(f, DOPPLER_KV_F32, 2);
    expect(f, 50, 0, 80);
    expect(f, 170, 129, 80);             /* 50 and 129 are kept, then 170 for 50 */
    expect(f, 170, 169, 80);
    depart(f, 132);
    expect(f, 170, 129, 80);
    expect(f, 50, 0, 0);
    end(f);
}

static void their_memory_is_told_and_bounded(void **state) {
    fixture *f = *state;
    doppler_memory m;
    doppler_session_options o = {.context = CONTEXT, .chunk = CHUNK, .kv = DOPPLER_KV_F32};
    uint64_t token = 2 * 2 * 32 * sizeof(float);         /* K and V, 2 heads of 32 */
    uint64_t one = 5 * (WINDOW + 16) * token;
    assert_int_equal(doppler_session_memory(f->h.model, &o, &m), DOPPLER_OK);
    assert_int_equal(m.kv, (5 * RING + CONTEXT) * token);
    assert_int_equal(m.checkpoints, m.kv / 2 / one * one);
    o.checkpoints = 7;
    assert_int_equal(doppler_session_memory(f->h.model, &o, &m), DOPPLER_OK);
    assert_int_equal(m.checkpoints, 7 * one);
    o.kv = DOPPLER_KV_Q8_0;
    assert_int_equal(doppler_session_memory(f->h.model, &o, &m), DOPPLER_OK);
    assert_int_equal(m.checkpoints, 7 * one / 128 * 36);
    o.checkpoints = DOPPLER_NO_CHECKPOINTS;
    assert_int_equal(doppler_session_memory(f->h.model, &o, &m), DOPPLER_OK);
    assert_int_equal(m.checkpoints, 0);
    o.checkpoints = DOPPLER_MAX_CHECKPOINTS + 1;
    assert_int_equal(doppler_session_memory(f->h.model, &o, &m), DOPPLER_BAD_ARGUMENT);
    o = (doppler_session_options){.context = RING, .checkpoints = 7};
    assert_int_equal(doppler_session_memory(f->h.model, &o, &m), DOPPLER_OK);
    assert_int_equal(m.checkpoints, 0);                  /* no ring, nothing is forgotten */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_after_a_return_are_a_fresh_session_s),
        cmocka_unit_test(any_departure_is_exact),
        cmocka_unit_test(without_checkpoints_all_is_read_again),
        cmocka_unit_test(checkpoints_are_bounded),
        cmocka_unit_test(their_memory_is_told_and_bounded),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
