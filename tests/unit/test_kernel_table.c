/* test_kernel_table.c - what every program must keep to, read from the table and the WGSL texts:
 * WebGPU's default limits, and no optional feature or language extension. */
#include "gpu/dims.h"
#include "gpu/kernel.h"
#include "memory/model.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef void (*program_fn)(const gpu_program_desc *desc);

static void for_each_program(program_fn check) {
    for (uint32_t id = 0; id < KERNEL_COUNT; id++)
        for (uint32_t f = 0; f < kernel_formats(id); f++) {
            static const gpu_limits least = {.workgroup_threads = 256};
            if (!kernel_exists(id, f, &least)) continue;
            gpu_program_desc desc = kernel_program(id, f, &least);
            check(&desc);
        }
}

/* Whether text holds the word, not as a part of a longer one. */
static bool has_word(const char *text, const char *word) {
    size_t bytes = strlen(word);
    for (const char *at = text; (at = strstr(at, word)) != NULL; at += bytes) {
        bool starts = at == text || !(isalnum((unsigned char)at[-1]) || at[-1] == '_');
        if (starts && !(isalnum((unsigned char)at[bytes]) || at[bytes] == '_')) return true;
    }
    return false;
}

/* Sums the number of times a pattern occurs in all texts of a program. */
static int occurrences(const gpu_program_desc *desc, const char *pattern) {
    int count = 0;
    for (int i = 0; i < GPU_MAX_SOURCES && desc->sources[i]; i++)
        for (const char *at = desc->sources[i]; (at = strstr(at, pattern)) != NULL; at++) count++;
    return count;
}

static void check_words(const gpu_program_desc *desc) {
    /* Directives; subgroups; f16; packed_4x8_integer_dot_product; what drivers may round or flush
     * as they like. */
    static const char *const forbidden[] = {
        "enable", "requires", "diagnostic", "f16", "vec2h", "vec3h", "vec4h", "dot4I8Packed",
        "dot4U8Packed", "unpack4xI8", "unpack4xU8", "pack4xI8", "pack4xU8", "unpack2x16float",
        "pack2x16float", "tanh", "sin", "cos"};
    for (int i = 0; i < GPU_MAX_SOURCES && desc->sources[i]; i++) {
        for (size_t w = 0; w < sizeof forbidden / sizeof *forbidden; w++)
            if (has_word(desc->sources[i], forbidden[w]))
                fail_msg("%s uses %s", desc->label, forbidden[w]);
        if (strstr(desc->sources[i], "subgroup")) fail_msg("%s uses subgroups", desc->label);
    }
}

static void baseline_wgsl_needs_no_feature(void **state) {
    (void)state;
    assert_true(has_word("enable f16;", "f16") && !has_word("f16_low(x)", "f16"));
    for_each_program(check_words);
}

static void check_bindings(const gpu_program_desc *desc) {
    int count = (int)strlen(desc->access);
    assert_in_range(count, 1, GPU_MAX_BINDINGS);
    assert_int_equal(occurrences(desc, "var<storage"), count);
    assert_int_equal(occurrences(desc, "var<uniform>"), 1);
    for (int i = 0; i <= count; i++) {
        char binding[64];
        const char *space = i == count ? "uniform"
                          : desc->access[i] == 'r' ? "storage, read" : "storage, read_write";
        snprintf(binding, sizeof binding, "@group(0) @binding(%d) var<%s>", i, space);
        if (occurrences(desc, binding) != 1) fail_msg("%s lacks %s", desc->label, binding);
    }
}

static void bindings_are_those_of_the_table_and_at_most_8(void **state) {
    (void)state;
    for_each_program(check_bindings);
}

static void check_parts(const gpu_program_desc *desc) {
    assert_non_null(desc->twin);
    assert_true(*desc->label && strlen(desc->label) < sizeof desc->label - 1);
    assert_int_equal(occurrences(desc, "@compute"), 1);
    assert_int_equal(occurrences(desc, "fn main("), 1);
    assert_int_equal(occurrences(desc, "//"), 0);        /* comments were left out of the wasm */
}

static void every_program_has_one_entry_and_a_twin(void **state) {
    (void)state;
    for_each_program(check_parts);
}

/* "const NAME: u32 = 64u;", or override, in a kernel's text or in one that it is linked with. */
static uint32_t constant(kernel_id id, const char *name) {
    char text[64];
    snprintf(text, sizeof text, " %s: u32 = ", name);
    static const gpu_limits most = {.workgroup_threads = 1024, .workgroup_bytes = 65536,
                                    .features = UINT32_MAX, .matrices = UINT32_MAX};
    uint32_t format = 0;
    while (!kernel_exists(id, format, &most)) format++;
    gpu_program_desc desc = kernel_program(id, format, &most);
    const char *at = NULL;
    for (int i = 0; i < GPU_MAX_SOURCES && desc.sources[i] && !at; i++)
        at = strstr(desc.sources[i], text);
    assert_non_null(at);
    return (uint32_t)strtoul(at + strlen(text), NULL, 10);
}

static uint32_t tile_rows(kernel_id id) {
    return constant(id, "WG") / constant(id, "COLUMNS") * 4 * constant(id, "ROW_QUADS");
}

static void grids_and_kernels_agree_on_shapes(void **state) {
    (void)state;
    assert_int_equal(constant(KERNEL_GATHER, "WG"), GATHER_THREADS);
    assert_int_equal(tile_rows(KERNEL_ATTENTION_TILE_64), ATTENTION_TILE_ROWS);
    assert_int_equal(tile_rows(KERNEL_ATTENTION_TILE_128), ATTENTION_TILE_ROWS);
    assert_int_equal(tile_rows(KERNEL_ATTENTION_TILE_256), ATTENTION_TILE_256_ROWS);
    assert_int_equal(constant(KERNEL_MATVEC, "WG"), MATVEC_THREADS);
    assert_int_equal(constant(KERNEL_MATVEC, "ROWS"), MATVEC_ROWS);
    assert_int_equal(constant(KERNEL_MATMUL, "ROWS"), MATMUL_ROWS);
    assert_int_equal(constant(KERNEL_MATMUL, "WG") / 2, MATMUL_TOKENS);
    assert_int_equal(constant(KERNEL_MATMUL_FEW, "ROWS"), MATMUL_FEW_ROWS);
    assert_int_equal(constant(KERNEL_MATMUL_FEW, "TOKENS"), MATMUL_FEW_TOKENS);
    assert_int_equal(constant(KERNEL_MATMUL_PACKED, "WG") / 2, MATMUL_PACKED_TOKENS);
    assert_int_equal(MATMUL_LARGE_THREADS / 2, MATMUL_LARGE_TOKENS);
    assert_int_equal(constant(KERNEL_MATMUL_MATRIX, "WG"), MATMUL_MATRIX_THREADS);
    assert_int_equal(constant(KERNEL_MATMUL_MATRIX, "RUNS"), MATMUL_MATRIX_RUNS);
    assert_int_equal(constant(KERNEL_MATMUL_MATRIX, "M"), 16);
    assert_int_equal(constant(KERNEL_MATMUL, "BIAS"), PROJECT_BIAS);
    assert_int_equal(constant(KERNEL_MATMUL, "ADD"), PROJECT_ADD);
    assert_int_equal(constant(KERNEL_MATVEC, "EXPERTS"), PROJECT_EXPERTS);
    assert_int_equal(constant(KERNEL_ROUTE, "EXPERTS"), ROUTE_MAX_EXPERTS);
    assert_int_equal(constant(KERNEL_ROUTE, "USED"), ROUTE_MAX_USED);
    assert_int_equal(constant(KERNEL_EXPERT_TILES, "WG"), ROUTE_MAX_EXPERTS);
    assert_int_equal(constant(KERNEL_COMBINE, "WG"), COMBINE_THREADS);
    assert_int_equal(constant(KERNEL_COMBINE, "ADD"), COMBINE_ADD);
    assert_int_equal(constant(KERNEL_ACT_MUL, "WG"), ACT_MUL_THREADS);
    assert_int_equal(constant(KERNEL_ACT_MUL, "GELU_TANH"), ACTIVATION_GELU_TANH);
    assert_int_equal(constant(KERNEL_ACT_MUL, "SWIGLU_CLAMPED"), ACTIVATION_SWIGLU_CLAMPED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(baseline_wgsl_needs_no_feature),
        cmocka_unit_test(bindings_are_those_of_the_table_and_at_most_8),
        cmocka_unit_test(every_program_has_one_entry_and_a_twin),
        cmocka_unit_test(grids_and_kernels_agree_on_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
