/* test_repack.c - checkpoint blocks against ggml's dequantization, bit for bit: decoded as they
 * are, and stored by `keep` and decoded from there. */
#include "gpu/cpu/weights.h"
#include "loader/repack.h"
#include "storage/files.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#define FIXTURES "tests/fixtures/quant"
#define SHARED "../shared/vectors/golden/quant"

enum { RUN = 32 };

static const struct { const char *name; source_type type; } vectors[] = {
    {"f16", SOURCE_F16}, {"bf16", SOURCE_BF16}, {"q4_0", SOURCE_Q4_0},
    {"q4_1", SOURCE_Q4_1}, {"q5_0", SOURCE_Q5_0}, {"q5_1", SOURCE_Q5_1},
    {"q8_0", SOURCE_Q8_0}, {"q2_K", SOURCE_Q2_K}, {"q3_K", SOURCE_Q3_K},
    {"q4_K", SOURCE_Q4_K}, {"q5_K", SOURCE_Q5_K}, {"q6_K", SOURCE_Q6_K},
    {"mxfp4", SOURCE_MXFP4},
};
enum { VECTORS = sizeof vectors / sizeof *vectors };

/* NULL when it is absent; room for a run behind it. */
static uint8_t *load(const char *folder, const char *name, const char *end, size_t *bytes) {
    char file[64];
    storage_file f = {0};
    error e = {0};
    snprintf(file, sizeof file, "%s%s", name, end);
    if (storage_open(&e, &f, folder, file)) return NULL;
    *bytes = (size_t)f.bytes;
    uint8_t *data = calloc(1, *bytes + RUN * sizeof(float));
    if (storage_read(&e, &f, 0, data, *bytes)) fail_msg("%s", e.message);
    storage_close(&f);
    return data;
}

static void same_bits(const char *name, const char *what, const float *got, const float *want,
                      uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        if (memcmp(&got[i], &want[i], sizeof *got) && !(isnan(got[i]) && isnan(want[i])))
            fail_msg("%s %s: [%u] is %.9g, ggml has %.9g", name, what, i, (double)got[i],
                     (double)want[i]);
}

static bool check(const char *folder, int v, const char *kind) {
    char name[64];
    size_t bytes, want_bytes;
    source_type type = vectors[v].type;
    snprintf(name, sizeof name, "%s%s", vectors[v].name, kind);
    uint8_t *blocks = load(folder, name, ".bin", &bytes);
    if (!blocks) return false;
    float *want = (float *)load(folder, name, ".f32", &want_bytes);
    uint32_t count = (uint32_t)(want_bytes / sizeof *want), padded = (count + RUN - 1) / RUN * RUN;
    assert_int_equal(bytes, count / source_types[type].block_weights *
                            source_types[type].block_bytes);
    float *got = malloc(padded * sizeof *got);
    repack_decode(type, blocks, count, got);
    same_bits(name, "decoded", got, want, count);
    weight_format format = repack_format(type);
    if (repack_is_exact(type) && count % RUN == 0) {
        uint8_t *row = malloc((size_t)format_row_bytes(format, count));
        repack_row(type, blocks, count, row);
        weights_decode(format, row, count, got);
        same_bits(name, "stored", got, want, count);
        free(row);
    }
    free(got);
    free(want);
    free(blocks);
    return true;
}

static void blocks_decode_as_ggml_does(void **state) {
    (void)state;
    for (int v = 0; v < VECTORS; v++)
        if (!check(FIXTURES, v, ".random")) fail_msg("%s is missing", vectors[v].name);
}

static void all_of_ggmls_vectors_decode_alike(void **state) {
    (void)state;
    if (!storage_exists(SHARED, "index.json")) {
        print_message("skipped: %s is absent\n", SHARED);
        skip();
    }
    for (int v = 0; v < VECTORS; v++) {
        assert_true(check(SHARED, v, ""));
        assert_true(check(SHARED, v, ".random"));
    }
}

static void inexact_types_go_upward(void **state) {
    (void)state;
    static const struct { source_type type; weight_format format; bool exact; } table[] = {
        {SOURCE_Q3_K, FORMAT_Q6_K, true},  {SOURCE_Q4_1, FORMAT_Q8_0, false},
        {SOURCE_Q5_1, FORMAT_Q8_0, false}, {SOURCE_Q2_K, FORMAT_Q8_0, false},
        {SOURCE_Q4_0, FORMAT_Q4_0, true},  {SOURCE_Q5_0, FORMAT_Q5_0, true},
        {SOURCE_Q5_K, FORMAT_Q5_K, true},  {SOURCE_MXFP4, FORMAT_MXFP4, true},
        {SOURCE_Q4_K_LOOSE, FORMAT_Q8_0, false},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        assert_int_equal(repack_format(table[i].type), table[i].format);
        assert_int_equal(repack_is_exact(table[i].type), table[i].exact);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_decode_as_ggml_does),
        cmocka_unit_test(all_of_ggmls_vectors_decode_alike),
        cmocka_unit_test(inexact_types_go_upward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
