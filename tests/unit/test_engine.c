/* test_engine.c - sessions on the CPU backend with the shipped micro model: what must not change
 * a result (chunking, reuse of a prefix), and how generations end. */
#include "gpu/gpu_backend.h"
#include "inference/engine.h"
#include "tools/cmd.h"
#include "tools/host.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#define PACKAGE "build/tests/micro-llama3"

enum { PROMPT = 40, MORE = 12, VOCAB = 512 };

typedef struct fixture {
    host h;
    uint32_t ids[PROMPT];
} fixture;

static int convert_package(void) {
    char *argv[] = {"convert", "tests/fixtures/micro/llama3", PACKAGE, "--quiet", NULL};
    return system("rm -rf " PACKAGE " && mkdir -p build/tests") || cmd_convert(4, argv);
}

static int open_host(void **state) {
    static const command c = {"test", "", NULL, 0, NULL, 0};
    fixture *f = calloc(1, sizeof *f);
    const host_options options = {.kv = 1, .context = 128};
    if (!f || host_open(&f->h, &c, PACKAGE, &options)) return 1;
    for (uint32_t i = 0; i < PROMPT; i++) f->ids[i] = (i * 37 + 5) % 400;
    *state = f;
    return 0;
}

static int close_host(void **state) {
    fixture *f = *state;
    host_close(&f->h);
    free(f);
    return 0;
}

/* A further session of the fixture's model. */
static doppler_session *make_session(fixture *f, uint32_t context, uint32_t chunk) {
    doppler_session *s = NULL;
    host_answer answer = {0};
    const doppler_session_options o = {.context = context, .chunk = chunk, .kv = DOPPLER_KV_F32};
    assert_int_equal(doppler_session_create(f->h.model, &o, &s, host_done, &answer), DOPPLER_OK);
    assert_int_equal(host_wait(&f->h, &answer), DOPPLER_OK);
    return s;
}

typedef struct taken {
    host_answer answer;
    doppler_session *session;
    uint32_t ids[256], count, stop_after;      /* stop_after 0: never */
    bool cancel;                               /* stop by doppler_cancel, not by returning false */
} taken;

static bool take(uint32_t id, const char *text, size_t bytes, void *user) {
    taken *t = user;
    assert_true(bytes == 0 || text[0] != 0);
    if (id != DOPPLER_NO_TOKEN) t->ids[t->count++] = id;
    bool stop = t->stop_after && t->count >= t->stop_after;
    if (stop && t->cancel) doppler_cancel(t->session);
    return !stop || t->cancel;
}

static void took(doppler_status status, void *user) {
    taken *t = user;
    assert_false(t->answer.done);
    host_done(status, &t->answer);
}

static doppler_status generate(fixture *f, doppler_session *s, const uint32_t *ids, size_t count,
                               const doppler_sampling *p, uint32_t n, taken *t) {
    t->session = s;
    doppler_status status = doppler_generate(s, ids, count, p, n, take, took, t);
    return status ? status : host_wait(&f->h, &t->answer);
}

static void chunking_does_not_change_logits(void **state) {
    fixture *f = *state;
    const uint32_t chunks[] = {64, 7, 1};
    float *want = malloc(PROMPT * VOCAB * sizeof *want), *got = malloc(PROMPT * VOCAB * sizeof *got);
    for (int i = 0; i < 3; i++) {
        doppler_session *s = make_session(f, 128, chunks[i]);
        host_answer answer = {0};
        assert_int_equal(doppler_logits(s, f->ids, PROMPT, i ? got : want, host_done, &answer),
                         DOPPLER_OK);
        assert_int_equal(host_wait(&f->h, &answer), DOPPLER_OK);
        float largest = 0, worst = 0;
        for (int j = 0; i && j < PROMPT * VOCAB; j++) {
            largest = fmaxf(largest, fabsf(want[j]));
            worst = fmaxf(worst, fabsf(got[j] - want[j]));
        }
        assert_true(i == 0 || (largest > 0 && worst <= 1e-5f * largest));
        doppler_session_destroy(s);
    }
    free(want);
    free(got);
}

static void score_is_the_likelihood_of_the_logits(void **state) {
    fixture *f = *state;
    float nll[PROMPT - 1], *logits = malloc(PROMPT * VOCAB * sizeof *logits);
    host_answer answer = {0};
    assert_int_equal(doppler_score(f->h.session, f->ids, PROMPT, nll, host_done, &answer), 0);
    assert_int_equal(host_wait(&f->h, &answer), DOPPLER_OK);
    answer = (host_answer){0};
    assert_int_equal(doppler_logits(f->h.session, f->ids, PROMPT, logits, host_done, &answer), 0);
    assert_int_equal(host_wait(&f->h, &answer), DOPPLER_OK);
    for (int t = 0; t < PROMPT - 1; t++) {
        double sum = 0;
        for (int i = 0; i < VOCAB; i++) sum += exp((double)logits[t * VOCAB + i]);
        double want = log(sum) - (double)logits[t * VOCAB + f->ids[t + 1]];
        assert_true(fabs(nll[t] - want) < 1e-4);
    }
    free(logits);
}

typedef struct told {
    taken taken;
    const doppler_model *model;
    char text[512];
    size_t bytes;
    bool cut[512];               /* a special token stands before this byte */
} told;

static bool tell(uint32_t id, const char *text, size_t bytes, void *user) {
    told *t = user;
    if (id != DOPPLER_NO_TOKEN) t->taken.ids[t->taken.count++] = id;
    assert_true(t->bytes + bytes < sizeof t->text);
    memcpy(t->text + t->bytes, text, bytes);
    t->bytes += bytes;
    if (id != DOPPLER_NO_TOKEN) t->cut[t->bytes] |= doppler_model_is_special(t->model, id);
    return true;
}

static told told_with(fixture *f, const char *stops, size_t stops_bytes) {
    const doppler_sampling p = {.stops = stops, .stops_bytes = stops_bytes};
    told t = {.model = f->h.model};
    assert_int_equal(doppler_generate(f->h.session, f->ids, PROMPT, &p, 40, tell, took, &t),
                     DOPPLER_OK);
    assert_int_equal(host_wait(&f->h, &t.taken.answer), DOPPLER_OK);
    return t;
}

/* Stop strings cut out of what is told without them, at every place, end it there. */
static void a_stop_string_ends_the_text_before_it(void **state) {
    fixture *f = *state;
    told whole = told_with(f, NULL, 0);
    assert_int_equal(whole.taken.count, 40);
    assert_int_equal(doppler_session_stop_string(f->h.session), DOPPLER_NO_TOKEN);
    assert_int_equal(doppler_session_stop_token(f->h.session), DOPPLER_NO_TOKEN);
    uint32_t ends = 0;
    for (size_t at = 0, cut; at + 6 < whole.bytes; at += 3) {
        for (cut = at + 1; cut < at + 5 && !whole.cut[cut]; cut++) {}
        if (cut < at + 5) continue;              /* special tokens interrupt what is searched */
        ends++;
        char stops[16] = "\x01\x02";              /* a first string that does not occur */
        memcpy(stops + 3, whole.text + at, 5);
        told t = told_with(f, stops, 9);
        assert_int_equal(doppler_session_stop_string(f->h.session), 1);
        size_t first = 0;
        while (memcmp(whole.text + first, stops + 3, 5)) first++;
        assert_int_equal(t.bytes, first);
        assert_memory_equal(t.text, whole.text, first);
        assert_memory_equal(t.taken.ids, whole.taken.ids, t.taken.count * sizeof *t.taken.ids);
        assert_int_equal(doppler_session_position(f->h.session), PROMPT + t.taken.count);
    }
    assert_true(ends > 10);
    char stops[8];                               /* held back to the end, then given out */
    memcpy(stops, whole.text + whole.bytes - 3, 3);
    memcpy(stops + 3, "\x01", 2);
    told t = told_with(f, stops, 5);
    assert_int_equal(t.bytes, whole.bytes);
    assert_memory_equal(t.text, whole.text, whole.bytes);
    const doppler_sampling empty = {.stops = "", .stops_bytes = 1};
    assert_int_equal(doppler_generate(f->h.session, f->ids, PROMPT, &empty, 4, tell, took, &t),
                     DOPPLER_BAD_ARGUMENT);
    assert_string_equal(doppler_message(f->h.d), "stop string 0 is empty");
}

static void a_continued_timeline_equals_a_fresh_one(void **state) {
    fixture *f = *state;
    taken first = {0}, fresh = {0}, reused = {0};
    doppler_session *s = make_session(f, 128, 16), *other = make_session(f, 128, 16);
    assert_int_equal(generate(f, s, f->ids, 20, NULL, MORE, &first), DOPPLER_OK);
    assert_int_equal(first.count, MORE);
    uint32_t longer[64];
    memcpy(longer, f->ids, 20 * sizeof *longer);
    memcpy(longer + 20, first.ids, MORE * sizeof *longer);
    memcpy(longer + 20 + MORE, f->ids + 20, 10 * sizeof *longer);
    assert_int_equal(generate(f, s, longer, 30 + MORE, NULL, MORE, &reused), DOPPLER_OK);
    assert_int_equal(generate(f, other, longer, 30 + MORE, NULL, MORE, &fresh), DOPPLER_OK);
    assert_memory_equal(reused.ids, fresh.ids, MORE * sizeof *fresh.ids);
    taken shorter = {0}, again = {0};           /* back to a prefix, and to the same prompt */
    assert_int_equal(generate(f, s, longer, 5, NULL, MORE, &shorter), DOPPLER_OK);
    assert_int_equal(generate(f, s, longer, 30 + MORE, NULL, MORE, &again), DOPPLER_OK);
    assert_memory_equal(again.ids, fresh.ids, MORE * sizeof *fresh.ids);
    doppler_session_destroy(s);
    doppler_session_destroy(other);
}

static void a_stopped_generation_leaves_a_usable_session(void **state) {
    fixture *f = *state;
    for (int cancel = 0; cancel < 2; cancel++) {
        doppler_session *s = make_session(f, 128, 0);
        taken stopped = {.stop_after = 3, .cancel = cancel}, whole = {0}, fresh = {0};
        assert_int_equal(generate(f, s, f->ids, PROMPT, NULL, MORE, &stopped), DOPPLER_CANCELLED);
        assert_int_equal(stopped.count, 3);
        assert_int_equal(doppler_session_position(s), PROMPT + 3);
        assert_int_equal(generate(f, s, f->ids, PROMPT, NULL, MORE, &whole), DOPPLER_OK);
        assert_int_equal(generate(f, f->h.session, f->ids, PROMPT, NULL, MORE, &fresh), DOPPLER_OK);
        assert_memory_equal(whole.ids, fresh.ids, MORE * sizeof *fresh.ids);
        doppler_session_destroy(s);
    }
}

static void the_context_ends_a_generation(void **state) {
    fixture *f = *state;
    doppler_session *s = make_session(f, 24, 0);
    taken full = {0}, none = {0};
    assert_int_equal(generate(f, s, f->ids, 20, NULL, 100, &full), DOPPLER_CONTEXT_FULL);
    assert_int_equal(full.count, 4);
    assert_int_equal(doppler_session_position(s), 24);
    assert_int_equal(generate(f, s, f->ids, 25, NULL, 1, &none), DOPPLER_CONTEXT_FULL);
    assert_int_equal(generate(f, s, f->ids, 24, NULL, 1, &none), DOPPLER_CONTEXT_FULL);
    assert_int_equal(none.count, 0);
    doppler_session_destroy(s);
}

static void the_seed_decides_the_draws(void **state) {
    fixture *f = *state;
    doppler_sampling p = {.temperature = 1.5f, .top_p = 0.98f, .seed = 11};
    taken a = {0}, b = {0}, c = {0};
    assert_int_equal(generate(f, f->h.session, f->ids, PROMPT, &p, MORE, &a), DOPPLER_OK);
    assert_int_equal(generate(f, f->h.session, f->ids, PROMPT, &p, MORE, &b), DOPPLER_OK);
    p.seed = 12;
    assert_int_equal(generate(f, f->h.session, f->ids, PROMPT, &p, MORE, &c), DOPPLER_OK);
    assert_memory_equal(a.ids, b.ids, MORE * sizeof *a.ids);
    assert_memory_not_equal(a.ids, c.ids, MORE * sizeof *a.ids);
}

/* A penalty too large for any logit: nothing seen, in prompt or answer, comes again. */
static void penalties_count_prompt_and_answer(void **state) {
    fixture *f = *state;
    const doppler_sampling p = {.presence_penalty = 1e6f};
    taken t = {0};
    assert_int_equal(generate(f, f->h.session, f->ids, PROMPT, &p, 60, &t), DOPPLER_OK);
    bool seen[VOCAB] = {false};
    for (int i = 0; i < PROMPT; i++) seen[f->ids[i]] = true;
    for (uint32_t i = 0; i < t.count; i++) {
        assert_false(seen[t.ids[i]]);
        seen[t.ids[i]] = true;
    }
}

static void bad_arguments_are_named(void **state) {
    fixture *f = *state;
    doppler_session *s = f->h.session;
    taken t = {0};
    const doppler_sampling wide = {.temperature = 1, .top_p = 1.5f};
    const doppler_sampling nan_penalty = {.presence_penalty = NAN};
    const uint32_t outside[] = {1, VOCAB};
    assert_int_equal(generate(f, s, f->ids, PROMPT, &wide, 1, &t), DOPPLER_BAD_ARGUMENT);
    assert_non_null(strstr(doppler_message(f->h.d), "top_p is 1.5"));
    assert_int_equal(generate(f, s, f->ids, 1, &nan_penalty, 1, &t), DOPPLER_BAD_ARGUMENT);
    assert_int_equal(generate(f, s, outside, 2, NULL, 1, &t), DOPPLER_BAD_ARGUMENT);
    assert_non_null(strstr(doppler_message(f->h.d), "512"));
    assert_int_equal(generate(f, s, f->ids, 0, NULL, 1, &t), DOPPLER_BAD_ARGUMENT);
    const doppler_session_options o = {.context = 1 << 20};
    doppler_session *large;
    assert_int_equal(doppler_session_create(f->h.model, &o, &large, host_done, &t.answer),
                     DOPPLER_BAD_ARGUMENT);
    assert_null(large);
}

static void a_running_session_is_busy(void **state) {
    fixture *f = *state;
    taken t = {0}, second = {0};
    t.session = f->h.session;
    assert_int_equal(doppler_generate(f->h.session, f->ids, 4, NULL, 2, take, took, &t),
                     DOPPLER_OK);
    assert_false(t.answer.done);                /* never from inside the call */
    assert_int_equal(generate(f, f->h.session, f->ids, 4, NULL, 2, &second), DOPPLER_BUSY);
    assert_int_equal(host_wait(&f->h, &t.answer), DOPPLER_OK);
    assert_int_equal(t.count, 2);
}

static doppler_model *plan_model(doppler *d) {
    FILE *file = fopen(PACKAGE "/manifest.json", "rb");
    static char json[1 << 20];
    size_t bytes = file ? fread(json, 1, sizeof json, file) : 0;
    assert_true(bytes > 0);
    fclose(file);
    doppler_model *m = NULL;
    assert_int_equal(doppler_model_create(d, json, bytes, &m), DOPPLER_OK);
    return m;
}

static void a_model_may_go_while_it_loads(void **state) {
    (void)state;
    doppler_request request;
    for (int steps = 0; steps < 2; steps++) {
        doppler *d = doppler_create(NULL);
        doppler_model *m = plan_model(d);
        if (steps) doppler_model_next(m, &request);
        doppler_model_destroy(m);               /* buffers and programs are on their way */
        doppler_destroy(d);
    }
}

static void memory_is_told_before_any_is_taken(void **state) {
    (void)state;
    doppler *d = doppler_create(NULL);
    doppler_model *m = plan_model(d);
    doppler_memory memory;
    doppler_request request;
    assert_int_equal(doppler_session_memory(m, NULL, &memory), DOPPLER_OK);
    assert_true(memory.weights > 0 && memory.kv > 0 && memory.work > 0);
    assert_int_equal(d->g->buffers.count, 0);
    doppler_session *s;
    assert_int_equal(doppler_session_create(m, NULL, &s, NULL, NULL), DOPPLER_BUSY);
    doppler_model_next(m, &request);
    assert_true(d->g->buffers.count > 0);
    doppler_model_destroy(m);
    doppler_destroy(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunking_does_not_change_logits),
        cmocka_unit_test(score_is_the_likelihood_of_the_logits),
        cmocka_unit_test(a_stop_string_ends_the_text_before_it),
        cmocka_unit_test(a_continued_timeline_equals_a_fresh_one),
        cmocka_unit_test(a_stopped_generation_leaves_a_usable_session),
        cmocka_unit_test(the_context_ends_a_generation),
        cmocka_unit_test(the_seed_decides_the_draws),
        cmocka_unit_test(penalties_count_prompt_and_answer),
        cmocka_unit_test(bad_arguments_are_named),
        cmocka_unit_test(a_running_session_is_busy),
        cmocka_unit_test(a_model_may_go_while_it_loads),
        cmocka_unit_test(memory_is_told_before_any_is_taken),
    };
    if (convert_package()) return 1;
    void *state = NULL;
    if (open_host(&state)) return 1;
    struct CMUnitTest with_state[sizeof tests / sizeof tests[0]];
    memcpy(with_state, tests, sizeof tests);
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) with_state[i].initial_state = state;
    int failed = cmocka_run_group_tests(with_state, NULL, NULL);
    close_host(&state);
    return failed;
}
