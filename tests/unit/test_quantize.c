/* test_quantize.c - quantized rows decode to what went in, within each format's bound. */
#include "loader/quantize.h"

#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gpu/cpu/weights.h"

enum { COLS = 1024, ROW_BYTES = 4 * COLS + 32 };

static const weight_format quantized[] = {FORMAT_Q8_0, FORMAT_Q4_K, FORMAT_Q6_K, FORMAT_Q5_0,
                                          FORMAT_MXFP4};
enum { QUANTIZED = sizeof quantized / sizeof *quantized };

static float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t random_u32(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

/* Nearly normal, deviation 1: the sum of 12 uniform numbers, in exact integers. */
static float random_normal(uint64_t *state) {
    int32_t sum = -6 * 65536;
    for (int i = 0; i < 12; i++) sum += (int32_t)(random_u32(state) >> 16);
    return (float)sum / 65536;
}

static void random_row(uint64_t seed, float deviation, float *x) {
    for (int i = 0; i < COLS; i++) x[i] = deviation * random_normal(&seed);
}

static double rms_difference(const float *a, const float *b, uint32_t count) {
    double sum = 0;
    for (uint32_t i = 0; i < count; i++) sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return sqrt(sum / count);
}

static void round_trip(weight_format format, const float *x, uint8_t *row, float *y) {
    quantize_row(format, x, COLS, row);
    weights_decode(format, row, COLS, y);
}

static void f32_keeps_every_bit(void **state) {
    (void)state;
    uint64_t seed = 1;
    uint32_t bits[COLS];
    float x[COLS];
    uint8_t row[ROW_BYTES];
    for (int i = 0; i < COLS; i++) bits[i] = random_u32(&seed);
    bits[0] = 0x7f800001;                /* a signalling NaN */
    memcpy(x, bits, sizeof x);
    quantize_row(FORMAT_F32, x, COLS, row);
    assert_memory_equal(row, bits, sizeof bits);
}

/* What the 16-bit format makes of one number. */
static uint16_t stored(weight_format format, float value) {
    float x[32] = {value};
    uint8_t row[64];
    quantize_row(format, x, 32, row);
    return (uint16_t)(row[0] | row[1] << 8);
}

static float half_value(uint16_t half) { return half_to_float(half); }
static float bf16_value(uint16_t half) { return from_bits((uint32_t)half << 16); }

static void sixteen_bits_round_to_nearest_even(void **state) {
    (void)state;
    static const struct {
        weight_format format;
        float (*value)(uint16_t);
        uint16_t infinity;
    } cases[] = {{FORMAT_F16, half_value, 0x7c00}, {FORMAT_BF16, bf16_value, 0x7f80}};
    for (int c = 0; c < 2; c++) {
        weight_format format = cases[c].format;
        for (uint32_t n = 0; n < 0x10000; n++) {
            uint16_t half = (uint16_t)n, size = half & 0x7fff;
            float value = cases[c].value(half);
            if (size > cases[c].infinity) {
                assert_true((stored(format, value) & 0x7fff) > cases[c].infinity);
                continue;
            }
            assert_int_equal(stored(format, value), half);
            if (size + 1 >= cases[c].infinity) continue;
            /* The middle of this number and the next, and its two neighbours in f32. */
            double middle = ((double)value + cases[c].value((uint16_t)(half + 1))) / 2;
            uint16_t even = (uint16_t)(half + (half & 1));
            assert_int_equal(stored(format, (float)middle), even);
            assert_int_equal(stored(format, nextafterf((float)middle, value)), half);
            assert_int_equal(stored(format, nextafterf((float)middle, half & 0x8000 ? -INFINITY
                                                                                    : INFINITY)),
                             half + 1);
        }
        assert_int_equal(stored(format, from_bits(0x7f800001)) & 0x8000, 0);
        assert_int_equal(stored(format, INFINITY), cases[c].infinity);
        assert_int_equal(stored(format, -3.4e38f), 0x8000 | cases[c].infinity);
    }
    assert_int_equal(stored(FORMAT_F16, 65519.0f), 0x7bff);
    assert_int_equal(stored(FORMAT_F16, 65520.0f), 0x7c00);
}

static void every_byte_is_written_and_the_padding_is_zero(void **state) {
    (void)state;
    float x[COLS];
    random_row(2, 1.0f, x);
    for (int format = 0; format < FORMAT_COUNT; format++) {
        const format_info *f = &formats[format];
        if (!quantize_makes((weight_format)format)) continue;
        for (uint32_t cols = 32; cols <= COLS; cols += 32) {
            uint8_t a[ROW_BYTES], b[ROW_BYTES];
            uint32_t bytes = (uint32_t)format_row_bytes((weight_format)format, cols);
            uint32_t blocks = (cols + f->block_weights - 1) / f->block_weights;
            uint32_t used = blocks * (f->unit_bytes + f->high_bytes + f->scale_bytes);
            memset(a, 0x00, sizeof a);
            memset(b, 0xff, sizeof b);
            quantize_row((weight_format)format, x, cols, a);
            quantize_row((weight_format)format, x, cols, b);
            assert_memory_equal(a, b, bytes);
            for (uint32_t i = used; i < bytes; i++) assert_int_equal(a[i], 0);
            assert_int_equal(b[bytes], 0xff);
        }
    }
}

/* A row that ends inside a block is stored as one that goes on with zeros: the decoder stops where
 * it is told to, and what is left of the block is zero. */
static void short_rows_end_in_zeros(void **state) {
    (void)state;
    static const uint32_t lengths[] = {32, 64, 96, 288, 736, 992};
    float x[COLS], y[COLS + 1];
    uint8_t row[ROW_BYTES], whole[ROW_BYTES];
    for (int f = 0; f < QUANTIZED; f++) {
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            uint32_t cols = lengths[i], block = formats[quantized[f]].block_weights;
            uint32_t padded = (cols + block - 1) / block * block;
            random_row(5, 0.02f, x);
            memset(x + cols, 0, sizeof x - cols * sizeof *x);
            y[cols] = 42.0f;
            quantize_row(quantized[f], x, cols, row);
            weights_decode(quantized[f], row, cols, y);
            assert_true(y[cols] == 42.0f);
            assert_true(rms_difference(x, y, cols) <= 0.15 * 0.02);
            quantize_row(quantized[f], x, padded, whole);
            assert_memory_equal(row, whole, format_row_bytes(quantized[f], cols));
            weights_decode(quantized[f], row, padded, y);
            for (uint32_t j = cols; j < padded; j++) assert_true(y[j] == 0.0f);
        }
    }
}

/* Rows by number, and their size: all but a few weights are of that magnitude or below. */
enum { KNOWN_ROWS = 12 };
static void known_row(int which, float size, float *x) {
    uint64_t seed = 3;
    for (int i = 0; i < COLS; i++) {
        switch (which) {
        case 0: x[i] = size; break;
        case 1: x[i] = -size; break;
        case 2: x[i] = i & 1 ? size : -size; break;
        case 3: x[i] = i % 300 == 7 ? size : size * 1e-3f; break;
        case 4: x[i] = i % 300 == 7 ? -size : 0.0f; break;
        case 5: x[i] = size * (0.9f + 0.1f * (float)i / COLS); break;
        case 6: x[i] = -size * (0.9f + 0.1f * (float)i / COLS); break;
        case 7: x[i] = size * (2.0f * (float)i / COLS - 1.0f); break;
        case 8: x[i] = i / 32 & 1 ? size * 1e-4f : size; break;
        case 9: x[i] = i < 256 ? size * 1e-5f : size; break;
        case 10: x[i] = i & 64 ? 0.0f : -size; break;
        default: x[i] = size * random_normal(&seed) / 6.0f; break;
        }
    }
}

static void known_rows_decode_within_the_bound(void **state) {
    (void)state;
    /* Largest error of a weight over the largest magnitude in its block: half a step of the full
     * range is 1/254, 1/15 and 1/64; scales larger than that are chosen where it helps the sum of
     * squares, and q4_k rounds its offsets to 1/63. q5_0 has only 15 steps on one side; mxfp4
     * stores 5 as 4 or 6, and 8 as 6. Below, half of f16's smallest scale times q. */
    static const float bounds[] = {0.5f / 118, 0.085f, 1.25f / 64, 1.0f / 16, 0.2f};
    static const float sizes[] = {0.0f, 1e-45f, 1e-38f, 1e-10f, 1e-7f, 1e-6f, 1e-5f, 1e-4f,
                                  0.02f, 1.0f, 300.0f, 65504.0f, 4e6f};
    float x[COLS], y[COLS];
    uint8_t row[ROW_BYTES];
    for (int f = 0; f < QUANTIZED; f++) {
        for (unsigned s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            if (quantized[f] == FORMAT_Q5_0 && sizes[s] > 15 * 65504.0f) continue;
            for (int which = 0; which < KNOWN_ROWS; which++) {
                known_row(which, sizes[s], x);
                round_trip(quantized[f], x, row, y);
                for (int i = 0; i < COLS; i++) {
                    float bound = bounds[f] * sizes[s] * 1.001f + 0x1p-24f;
                    if (!(fabsf(x[i] - y[i]) <= bound))
                        fail_msg("%s row %d size %g: weight %d is %g, decoded %g",
                                 formats[quantized[f]].name, which, (double)sizes[s], i,
                                 (double)x[i], (double)y[i]);
                    if (sizes[s] == 0.0f) assert_true(y[i] == 0.0f);
                }
            }
        }
    }
}

static void constants_keep_eleven_bits(void **state) {
    (void)state;
    float x[COLS], y[COLS];
    uint8_t row[ROW_BYTES];
    for (int f = 0; f < QUANTIZED; f++) {
        if (quantized[f] == FORMAT_MXFP4) continue;          /* its scales are powers of two */
        for (int sign = -1; sign <= 1; sign += 2) {
            for (int i = 0; i < COLS; i++) x[i] = (float)sign * 777.7f;
            round_trip(quantized[f], x, row, y);
            for (int i = 0; i < COLS; i++)
                assert_true(fabsf(y[i] - x[i]) <= 777.7f * 0x1p-11f);
        }
    }
}

static void nan_counts_as_zero_and_the_too_large_saturates(void **state) {
    (void)state;
    /* What the largest are cut to; q5_0 has one step less on one side, mxfp4 rounds up. */
    static const float limits[] = {63 * 65504.0f, 63 * 65504.0f, 63 * 65504.0f, 16 * 65504.0f,
                                   0x1p22f};
    static const float within[] = {0.01f, 0.01f, 0.01f, 1.0f / 16, 0.0f};
    float x[COLS], zeroed[COLS], y[COLS];
    uint8_t row[ROW_BYTES], same[ROW_BYTES];
    for (int f = 0; f < QUANTIZED; f++) {
        uint32_t bytes = (uint32_t)format_row_bytes(quantized[f], COLS);
        random_row(4, 1.0f, x);
        memcpy(zeroed, x, sizeof x);
        for (int i = 0; i < COLS; i += 100) {
            x[i] = from_bits(i & 8 ? 0xffc00001 : 0x7f800001);
            zeroed[i] = 0.0f;
        }
        quantize_row(quantized[f], x, COLS, row);
        quantize_row(quantized[f], zeroed, COLS, same);
        assert_memory_equal(row, same, bytes);

        for (int i = 0; i < COLS; i++) x[i] = i % 3 ? INFINITY : -INFINITY;
        round_trip(quantized[f], x, row, y);
        for (int i = 0; i < COLS; i++) {
            float expected = x[i] < 0 ? -limits[f] : limits[f];
            assert_true(fabsf(y[i] - expected) <= within[f] * limits[f]);
            x[i] = x[i] < 0 ? -3e38f : 3e38f;
        }
        quantize_row(quantized[f], x, COLS, same);
        assert_memory_equal(row, same, bytes);
    }
}

/* RMS error over RMS of 64 normal rows, as measured when this was written, and 1 % of room. */
static void normal_rows_have_the_committed_error(void **state) {
    (void)state;
    static const double committed[] = {0.004733, 0.068888, 0.016313, 0.039510, 0.110436};
    float x[COLS], y[COLS], zero[COLS] = {0};
    uint8_t row[ROW_BYTES];
    for (int f = 0; f < QUANTIZED; f++) {
        double error = 0, power = 0;
        for (uint64_t seed = 0; seed < 64; seed++) {
            random_row(100 + seed, 0.02f, x);
            round_trip(quantized[f], x, row, y);
            error += pow(rms_difference(x, y, COLS), 2);
            power += pow(rms_difference(x, zero, COLS), 2);
        }
        double relative = sqrt(error / power);
        if (!(relative <= 1.01 * committed[f]))
            fail_msg("%s: %.6f of RMS, was %.6f", formats[quantized[f]].name, relative,
                     committed[f]);
    }
}

/* Small weights have f16 subnormal scales: the search must not depend on their size. Where scales
 * are powers of two, the error depends on how far below the next one the largest weights are. */
static void error_does_not_depend_on_the_size_of_weights(void **state) {
    (void)state;
    static const double most[] = {1.02, 1.02, 1.02, 1.02, 1.04};
    float x[COLS], y[COLS];
    uint8_t row[ROW_BYTES];
    for (int f = 0; f < QUANTIZED; f++) {
        double at_one = 0;
        for (float size = 1.0f; size > 0.002f; size *= 0.3f) {
            double error = 0;
            for (uint64_t seed = 0; seed < 16; seed++) {
                random_row(200 + seed, size, x);
                round_trip(quantized[f], x, row, y);
                error += rms_difference(x, y, COLS);
            }
            error /= size;
            if (size == 1.0f) at_one = error;
            assert_true(error <= most[f] * at_one);
        }
    }
}

static void quantizing_again_loses_no_more(void **state) {
    (void)state;
    float x[COLS], y[COLS], z[COLS];
    uint8_t row[ROW_BYTES], again[ROW_BYTES];
    for (int f = 0; f < QUANTIZED; f++) {
        for (uint64_t seed = 0; seed < 32; seed++) {
            random_row(300 + seed, 0.02f, x);
            round_trip(quantized[f], x, row, y);
            round_trip(quantized[f], y, again, z);
            assert_true(rms_difference(y, z, COLS) <= 0.75 * rms_difference(x, y, COLS));
            if (quantized[f] == FORMAT_Q8_0)
                assert_memory_equal(row, again, format_row_bytes(FORMAT_Q8_0, COLS));
        }
    }
}

/* ---- against llama.cpp on the real model */

static char *slurp(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    fseek(file, 0, SEEK_END);
    *bytes = (size_t)ftell(file);
    rewind(file);
    char *data = malloc(*bytes + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *bytes, file), *bytes);
    data[*bytes] = 0;
    fclose(file);
    return data;
}

/* Mean squared error of a bf16 matrix [rows, cols] of the safetensors file. */
static double matrix_error(const char *file, const char *name, weight_format format) {
    uint64_t header, from, to;
    unsigned rows, cols;
    char key[128];
    memcpy(&header, file, sizeof header);
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *entry = strstr(file + 8, key);
    assert_non_null(entry);
    const char *shape = strstr(entry, "\"shape\":["), *span = strstr(entry, "\"data_offsets\":[");
    assert_int_equal(sscanf(shape, "\"shape\":[%u,%u", &rows, &cols), 2);
    assert_int_equal(sscanf(span, "\"data_offsets\":[%" SCNu64 ",%" SCNu64, &from, &to), 2);
    const uint8_t *data = (const uint8_t *)file + 8 + header + from;
    float *x = malloc(cols * sizeof *x), *y = malloc(cols * sizeof *y), sum = 0;
    uint8_t *row = malloc(format_row_bytes(format, cols));
    double squares = 0;
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < cols; i++) {
            const uint8_t *p = data + 2 * (r * cols + i);
            x[i] = from_bits((uint32_t)(p[0] | p[1] << 8) << 16);
        }
        quantize_row(format, x, cols, row);
        weights_decode(format, row, cols, y);
        squares += pow(rms_difference(x, y, cols), 2);
        sum += y[0];
    }
    assert_true(isfinite(sum));
    free(x);
    free(y);
    free(row);
    return squares / rows;
}

/* On 6,144 numbers that ggml's own quantizers were run on, with their results. */
static void error_on_the_vectors_is_below_ggmls(void **state) {
    (void)state;
    static const char *const theirs[] = {"q8_0", "q4_K", "q6_K", "q5_0", "mxfp4"};
    static const double most[] = {0.93, 0.99, 0.94, 0.97, 0.955};
    static const char folder[] = "../shared/vectors/golden/quant";
    char path[128];
    size_t bytes, same;
    snprintf(path, sizeof path, "%s/source.f32", folder);
    float *x = (float *)(void *)slurp(path, &bytes);
    if (!x) {
        print_message("skipped: %s is absent\n", folder);
        skip();
    }
    uint32_t cols = (uint32_t)(bytes / sizeof *x);
    float *y = malloc(bytes);
    assert_non_null(y);
    for (int f = 0; f < QUANTIZED; f++) {
        snprintf(path, sizeof path, "%s/%s.f32", folder, theirs[f]);
        float *z = (float *)(void *)slurp(path, &same);
        assert_non_null(z);
        assert_int_equal(same, bytes);
        uint8_t *row = malloc(format_row_bytes(quantized[f], cols));
        quantize_row(quantized[f], x, cols, row);
        weights_decode(quantized[f], row, cols, y);
        double ratio = rms_difference(x, y, cols) / rms_difference(x, z, cols);
        if (!(ratio <= most[f]))
            fail_msg("%s: %.4f of ggml's RMS error", formats[quantized[f]].name, ratio);
        print_message("%s: %.4f of ggml's RMS error\n", formats[quantized[f]].name, ratio);
        free(row);
        free(z);
    }
    free(x);
    free(y);
}

/* The mixture's quality bar: no matrix over 1.02 of llama.cpp's RMS error, the mean below 1. */
static void error_on_stories_is_below_llamacpp(void **state) {
    (void)state;
    size_t bytes;
    char *file = slurp("../shared/models/stories/model.safetensors", &bytes);
    if (!file) {
        print_message("skipped: ../shared/models/stories is absent\n");
        skip();
    }
    FILE *table = fopen("tests/fixtures/stories_q4_k_m_rms.txt", "r");
    assert_non_null(table);
    char line[256], name[128], format[16];
    double theirs, sum = 0, most = 0;
    int count = 0;
    while (fgets(line, sizeof line, table)) {
        if (*line == '#') continue;
        assert_int_equal(sscanf(line, "%127s %15s %lf", name, format, &theirs), 3);
        double ratio = sqrt(matrix_error(file, name, format_by_name(format))) / theirs;
        if (!(ratio <= 1.02)) fail_msg("%s: %.4f of llama.cpp's RMS error", name, ratio);
        sum += ratio;
        most = ratio > most ? ratio : most;
        count++;
    }
    print_message("%d matrices: %.4f of llama.cpp's RMS error, at most %.4f\n", count,
                  sum / count, most);
    assert_int_equal(count, 57);
    assert_true(sum / count <= 0.98);
    fclose(table);
    free(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f32_keeps_every_bit),
        cmocka_unit_test(sixteen_bits_round_to_nearest_even),
        cmocka_unit_test(every_byte_is_written_and_the_padding_is_zero),
        cmocka_unit_test(short_rows_end_in_zeros),
        cmocka_unit_test(known_rows_decode_within_the_bound),
        cmocka_unit_test(constants_keep_eleven_bits),
        cmocka_unit_test(nan_counts_as_zero_and_the_too_large_saturates),
        cmocka_unit_test(normal_rows_have_the_committed_error),
        cmocka_unit_test(error_does_not_depend_on_the_size_of_weights),
        cmocka_unit_test(quantizing_again_loses_no_more),
        cmocka_unit_test(error_on_the_vectors_is_below_ggmls),
        cmocka_unit_test(error_on_stories_is_below_llamacpp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
