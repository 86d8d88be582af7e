/* test_learned.c - what a host keeps of a device: taken by the same engine on the same device only,
 * and only whole. */
#include "gpu/gpu_backend.h"
#include "inference/engine.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static doppler *device(const char *name) {
    doppler *d = doppler_create(&(doppler_options){.device_name = name});
    assert_non_null(d);
    return d;
}

/* A device of which something is known. */
static doppler *known(const char *name) {
    doppler *d = device(name);
    d->trust[KERNEL_LINEAR][FORMAT_Q4_K] = TRUST_RIGHT | TRUST_WITHOUT_FEATURES;
    d->trust[KERNEL_LINEAR_PACKED][FORMAT_Q6_K] = TRUST_WRONG;
    d->programs.choices[0] = (op_choice){{FORMAT_Q4_K, 4096, 14336, 1}, KERNEL_LINEAR,
                                            KERNEL_LINEAR_WIDE};
    d->programs.choice_count = 1;
    return d;
}

static bool is_known(const doppler *d) {
    const op_choice *c = op_chosen(&d->programs, KERNEL_LINEAR,
                                   (op_shape){FORMAT_Q4_K, 4096, 14336, 1});
    return d->trust[KERNEL_LINEAR][FORMAT_Q4_K] == (TRUST_RIGHT | TRUST_WITHOUT_FEATURES) &&
           d->trust[KERNEL_LINEAR_PACKED][FORMAT_Q6_K] == TRUST_WRONG && c &&
           c->best == KERNEL_LINEAR_WIDE;
}

static bool is_unknown(const doppler *d) {
    static const uint8_t none[KERNEL_COUNT][FORMAT_COUNT];
    return memcmp(d->trust, none, sizeof none) == 0 && d->programs.choice_count == 0;
}

static void is_taken_as_it_was(void **state) {
    (void)state;
    doppler *a = known("a GPU"), *b = device("a GPU");
    char *text = doppler_learned(a);
    assert_true(doppler_learn(b, text, strlen(text)));
    assert_true(is_known(b));
    char *again = doppler_learned(b);
    assert_string_equal(again, text);
    free(again);
    free(text);
    doppler_destroy(a);
    doppler_destroy(b);
}

static void is_not_of_another_device_or_engine(void **state) {
    (void)state;
    doppler *a = known("a GPU"), *b = device("a GPU, driver 2"), *c = device("a GPU");
    char *text = doppler_learned(a);
    assert_false(doppler_learn(b, text, strlen(text)));
    c->g->limits.features ^= GPU_SUBGROUPS;
    assert_false(doppler_learn(c, text, strlen(text)));
    c->g->limits.features ^= GPU_SUBGROUPS;
    char *version = strstr(text, DOPPLER_VERSION);
    version[0]++;
    assert_false(doppler_learn(c, text, strlen(text)));
    version[0]--;
    assert_true(is_unknown(b) && is_unknown(c));
    assert_true(doppler_learn(c, text, strlen(text)));
    free(text);
    doppler_destroy(a);
    doppler_destroy(b);
    doppler_destroy(c);
}

/* Cut off anywhere, and with any byte changed. */
static void is_taken_whole_only(void **state) {
    (void)state;
    doppler *a = known("a GPU"), *b = device("a GPU");
    char *text = doppler_learned(a);
    size_t bytes = strlen(text);
    for (size_t i = 0; i < bytes; i++) assert_false(doppler_learn(b, text, i));
    for (size_t i = 0; i < bytes; i++) {
        text[i] ^= 1;
        assert_false(doppler_learn(b, text, bytes));
        text[i] ^= 1;
    }
    assert_false(doppler_learn(b, "", 0));
    assert_true(is_unknown(b));
    free(text);
    doppler_destroy(a);
    doppler_destroy(b);
}

static void choices_are_left_to_rules_without_tuning(void **state) {
    (void)state;
    doppler *a = known("a GPU");
    doppler *b = doppler_create(&(doppler_options){.device_name = "a GPU",
                                                   .tuning = DOPPLER_TUNING_OFF});
    char *text = doppler_learned(a);
    assert_true(doppler_learn(b, text, strlen(text)));
    assert_int_equal(b->programs.choice_count, 0);
    assert_int_equal(b->trust[KERNEL_LINEAR_PACKED][FORMAT_Q6_K], TRUST_WRONG);
    free(text);
    doppler_destroy(a);
    doppler_destroy(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_taken_as_it_was),
        cmocka_unit_test(is_not_of_another_device_or_engine),
        cmocka_unit_test(is_taken_whole_only),
        cmocka_unit_test(choices_are_left_to_rules_without_tuning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
