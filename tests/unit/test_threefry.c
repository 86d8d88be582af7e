/* test_threefry.c - the random numbers of sampling. */
#include "gpu/cpu/threefry.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

/* The known answers of the Random123 distribution (kat_vectors, threefry2x32 20). */
static void published_answers(void **state) {
    (void)state;
    static const struct { uint32_t counter[2], key[2], want[2]; } answers[] = {
        {{0, 0}, {0, 0}, {0x6b200159, 0x99ba4efe}},
        {{UINT32_MAX, UINT32_MAX}, {UINT32_MAX, UINT32_MAX}, {0x1cb996fc, 0xbb002be7}},
        {{0x243f6a88, 0x85a308d3}, {0x13198a2e, 0x03707344}, {0xc4923a9c, 0x483df7a0}},
    };
    for (int i = 0; i < 3; i++) {
        uint32_t got[2];
        threefry(answers[i].counter, answers[i].key, got);
        assert_int_equal(got[0], answers[i].want[0]);
        assert_int_equal(got[1], answers[i].want[1]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(published_answers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
