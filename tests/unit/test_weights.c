/* test_weights.c - decoders of stored weights, bit for bit against ggml's dequantization. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "gpu/cpu/weights.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIXTURES "tests/fixtures/quant/"
#define SHARED "../shared/vectors/golden/quant/"

/* ---- ggml's vectors */

/* NULL when the file is absent. */
static uint8_t *file_read(const char *folder, const char *name, const char *end, size_t *bytes) {
    char path[256];
    snprintf(path, sizeof path, "%s%s%s", folder, name, end);
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    fseek(file, 0, SEEK_END);
    *bytes = (size_t)ftell(file);
    rewind(file);
    uint8_t *data = malloc(*bytes);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *bytes, file), *bytes);
    fclose(file);
    return data;
}

/* Where ggml's blocks keep what format.h stores in planes. */
static const struct { uint32_t unit, high, scale; } parts_of[FORMAT_COUNT] = {
    [FORMAT_Q4_0] = {2, 0, 0},        [FORMAT_Q5_0] = {6, 2, 0}, [FORMAT_Q8_0] = {2, 0, 0},
    [FORMAT_Q6_K] = {.scale = 208},   [FORMAT_MXFP4] = {1, 0, 0},
};

/* ggml's blocks as one row of format.h. */
static uint8_t *row_of_blocks(weight_format format, const uint8_t *blocks, uint32_t cols) {
    const format_info *f = &formats[format];
    uint8_t *row = calloc(1, (size_t)format_row_bytes(format, cols));
    assert_non_null(row);
    uint8_t *high = row + format_high_offset(format, cols);
    uint8_t *scales = row + format_scales_offset(format, cols);
    const uint8_t *block = blocks;
    for (uint32_t b = 0; b < format_blocks(format, cols); b++) {
        memcpy(row + (size_t)b * f->unit_bytes, block + parts_of[format].unit, f->unit_bytes);
        memcpy(high + (size_t)b * f->high_bytes, block + parts_of[format].high, f->high_bytes);
        memcpy(scales + (size_t)b * f->scale_bytes, block + parts_of[format].scale,
               f->scale_bytes);
        block += f->unit_bytes + f->high_bytes + f->scale_bytes;
    }
    return row;
}

/* Decodes the first cols weights of the blocks, of which count are known. */
static void check_row(const char *name, weight_format format, const uint8_t *blocks,
                      const float *want, uint32_t count, uint32_t cols) {
    float *got = malloc(cols * sizeof *got);     /* no more, so that too much written shows */
    assert_non_null(got);
    uint8_t *row = row_of_blocks(format, blocks, cols);
    weights_decode(format, row, cols, got);
    for (uint32_t i = 0; i < cols && i < count; i++)
        if (memcmp(&got[i], &want[i], sizeof *got) != 0)
            fail_msg("%s[%u] is %.9g, ggml has %.9g", name, i, got[i], want[i]);
    free(got);
    free(row);
}

/* Whole, and in rows that end inside a block of 256. Returns false when the vector is absent. */
static bool check_vector(const char *folder, const char *name, weight_format format) {
    static const uint32_t lengths[] = {32, 64, 96, 288, 480};
    size_t bytes, want_bytes;
    uint8_t *blocks = file_read(folder, name, ".bin", &bytes);
    if (!blocks) return false;
    float *want = (float *)file_read(folder, name, ".f32", &want_bytes);
    assert_non_null(want);
    uint32_t count = (uint32_t)(want_bytes / sizeof *want);
    uint32_t cols = (count + 31) / 32 * 32;              /* f16.random has 16 numbers */
    uint8_t *padded = calloc(1, bytes + 32 * sizeof(float));
    assert_non_null(padded);
    memcpy(padded, blocks, bytes);
    check_row(name, format, padded, want, count, cols);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        if (lengths[i] < cols) check_row(name, format, padded, want, count, lengths[i]);
    free(blocks);
    free(want);
    free(padded);
    return true;
}

static const struct { const char *name; weight_format format; bool is_fixture; } vectors[] = {
    {"f16.random", FORMAT_F16, true},   {"bf16.random", FORMAT_BF16, true},
    {"q4_0.random", FORMAT_Q4_0, true}, {"q5_0.random", FORMAT_Q5_0, true},
    {"q8_0.random", FORMAT_Q8_0, true}, {"q4_K.random", FORMAT_Q4_K, true},
    {"q5_K.random", FORMAT_Q5_K, true}, {"q6_K.random", FORMAT_Q6_K, true},
    {"q8_0", FORMAT_Q8_0, true},        {"mxfp4.random", FORMAT_MXFP4, true},
    {"f16", FORMAT_F16, false},         {"bf16", FORMAT_BF16, false},
    {"q4_0", FORMAT_Q4_0, false},       {"q5_0", FORMAT_Q5_0, false},
    {"q4_K", FORMAT_Q4_K, false},       {"q5_K", FORMAT_Q5_K, false},
    {"q6_K", FORMAT_Q6_K, false},       {"mxfp4", FORMAT_MXFP4, false},
};
enum { VECTORS = sizeof vectors / sizeof *vectors };

static void decoders_equal_ggml_bit_for_bit(void **state) {
    (void)state;
    for (int i = 0; i < VECTORS; i++)
        if (vectors[i].is_fixture)
            assert_true(check_vector(FIXTURES, vectors[i].name, vectors[i].format));
}

static void decoders_equal_all_of_ggmls_vectors(void **state) {
    (void)state;
    int found = 0;
    for (int i = 0; i < VECTORS; i++)
        found += check_vector(SHARED, vectors[i].name, vectors[i].format);
    if (found == 0) {
        print_message("skipped: no " SHARED "\n");
        skip();
    }
    assert_int_equal(found, VECTORS);
}

/* Random blocks have few scales. 2^(e - 127) is what e's bits make only where it is normal. */
static void every_e8m0_scale_is_a_power_of_two(void **state) {
    (void)state;
    static const double values[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
    uint8_t row[32] = {0};
    float got[32];
    for (int i = 0; i < 16; i++) row[i] = (uint8_t)(i | (15 - i) << 4);
    for (int e = 0; e < 256; e++) {
        row[format_scales_offset(FORMAT_MXFP4, 32)] = (uint8_t)e;
        weights_decode(FORMAT_MXFP4, row, 32, got);
        for (int i = 0; i < 32; i++) {
            int code = i < 16 ? i : 31 - i;
            double value = ldexp(code < 8 ? values[code] : -values[code - 8], e - 127);
            assert_true(got[i] == (float)value);
        }
    }
}

/* ---- parts and rows */

/* Two parts and a rest, which for K formats ends inside a block. */
static void parts_join_to_the_row(void **state) {
    (void)state;
    for (weight_format f = 0; f < FORMAT_COUNT; f++) {
        uint32_t cols = 608;
        size_t bytes = (size_t)format_row_bytes(f, cols);
        uint8_t *row = malloc(bytes);
        float whole[608], parts[608];
        assert_non_null(row);
        for (size_t i = 0; i < bytes; i++) row[i] = (uint8_t)(i * 37 + 11) & 0x3F;
        weights_decode(f, row, cols, whole);
        for (uint32_t i = 0; i < cols; i += WEIGHTS_PART)
            weights_decode_part(f, row, cols, i, cols - i < WEIGHTS_PART ? cols - i : WEIGHTS_PART,
                                parts + i);
        assert_memory_equal(whole, parts, cols * sizeof *whole);
        free(row);
    }
}

static void rows_are_whole_16_byte_loads(void **state) {
    (void)state;
    static const struct { weight_format format; uint32_t cols, scales, bytes; } rows[] = {
        {FORMAT_F32, 32, 128, 128},     {FORMAT_F16, 288, 576, 576}, {FORMAT_BF16, 32, 64, 64},
        {FORMAT_Q8_0, 32, 32, 48},      {FORMAT_Q8_0, 256, 256, 272}, {FORMAT_Q8_0, 288, 288, 320},
        {FORMAT_Q4_0, 32, 16, 32},      {FORMAT_Q4_0, 2880, 1440, 1632},
        {FORMAT_Q5_0, 32, 20, 32},      {FORMAT_Q5_0, 1152, 720, 800},
        {FORMAT_Q4_K, 512, 288, 288},   {FORMAT_Q4_K, 32, 144, 144}, {FORMAT_Q4_K, 1152, 720, 720},
        {FORMAT_Q5_K, 288, 352, 352},   {FORMAT_Q6_K, 256, 208, 224}, {FORMAT_Q6_K, 96, 208, 224},
        {FORMAT_Q6_K, 2304, 1872, 1904}, {FORMAT_Q6_K, 2880, 2496, 2528},
        {FORMAT_MXFP4, 32, 16, 32},     {FORMAT_MXFP4, 2880, 1440, 1536},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(format_scales_offset(rows[i].format, rows[i].cols), rows[i].scales);
        assert_int_equal(format_row_bytes(rows[i].format, rows[i].cols), rows[i].bytes);
    }
}

static void rows_are_whole_runs(void **state) {
    (void)state;
    assert_true(format_suits(32) && format_suits(2304) && format_suits(1152));
    assert_false(format_suits(0) || format_suits(48));
}

static void high_bits_lie_between_units_and_scales(void **state) {
    (void)state;
    assert_int_equal(format_high_offset(FORMAT_Q5_0, 1152), 36 * 16);
    assert_int_equal(format_scales_offset(FORMAT_Q5_0, 1152), 36 * 20);
    assert_int_equal(format_high_offset(FORMAT_Q6_K, 1152), 5 * 208);
}

static void format_names_are_found_and_others_not(void **state) {
    (void)state;
    for (weight_format f = 0; f < FORMAT_COUNT; f++)
        assert_int_equal(format_by_name(formats[f].name), f);
    assert_int_equal(format_by_name("q4_K"), FORMAT_COUNT);
    assert_int_equal(format_by_name(""), FORMAT_COUNT);
}

/* ---- f16 */

static double half_value(uint32_t bits) {
    int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    double value = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
    return bits >> 15 ? -value : value;
}

static void every_half_converts_both_ways(void **state) {
    (void)state;
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        float value = half_to_float((uint16_t)bits);
        if ((bits & 0x7C00) != 0x7C00) {
            assert_true(value == half_value(bits) && !signbit(value) == !(bits >> 15));
            assert_int_equal(float_to_half(value), bits);
        } else if (bits & 0x3FF) {
            assert_true(isnan(value) && (float_to_half(value) & 0x7FFF) == 0x7E00);
        } else {
            assert_true(isinf(value) && float_to_half(value) == bits);
        }
    }
}

/* Halfway between two neighbours: to the even one; a hair beside it: to the nearer one. */
static void float_to_half_rounds_to_nearest_even(void **state) {
    (void)state;
    for (uint32_t bits = 0; bits < 0x7BFF; bits++) {
        float middle = (float)((half_value(bits) + half_value(bits + 1)) / 2);
        assert_int_equal(float_to_half(middle), bits + (bits & 1));
        assert_int_equal(float_to_half(nextafterf(middle, 0)), bits);
        assert_int_equal(float_to_half(nextafterf(middle, 1e30f)), bits + 1);
    }
    assert_int_equal(float_to_half(65519.996f), 0x7BFF);
    assert_int_equal(float_to_half(65520), 0x7C00);
    assert_int_equal(float_to_half(-1e30f), 0xFC00);
    assert_int_equal(float_to_half(0x1p-149f), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoders_equal_ggml_bit_for_bit),
        cmocka_unit_test(decoders_equal_all_of_ggmls_vectors),
        cmocka_unit_test(every_e8m0_scale_is_a_power_of_two),
        cmocka_unit_test(parts_join_to_the_row),
        cmocka_unit_test(rows_are_whole_16_byte_loads),
        cmocka_unit_test(rows_are_whole_runs),
        cmocka_unit_test(high_bits_lie_between_units_and_scales),
        cmocka_unit_test(format_names_are_found_and_others_not),
        cmocka_unit_test(every_half_converts_both_ways),
        cmocka_unit_test(float_to_half_rounds_to_nearest_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
