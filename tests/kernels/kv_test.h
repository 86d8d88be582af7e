/* kv_test.h - what the tests of rope_kv and attention know of the cache's formats, written from
 * IEEE 754 and not from the code under test. */
#ifndef TESTS_KV_TEST_H
#define TESTS_KV_TEST_H

#include "gpu/kernel.h"

#include <math.h>
#include <string.h>

/* The value of a binary16. */
static inline double kv_test_half(uint16_t h) {
    int exponent = h >> 10 & 31, mantissa = h & 1023;
    double magnitude = exponent == 31 ? (mantissa ? NAN : INFINITY)
                     : exponent       ? ldexp(1024 + mantissa, exponent - 25)
                                      : ldexp(mantissa, -24);
    return h & 0x8000 ? -magnitude : magnitude;
}

/* The binary16 nearest to a value, ties to even, at most 65504 in magnitude. rint() rounds to
 * even in the default mode; a significand of 2048 carries into the exponent by itself. */
static inline uint16_t kv_test_to_half(double value) {
    uint16_t sign = signbit(value) ? 0x8000 : 0;
    double magnitude = fabs(value);
    if (magnitude >= 65504) return sign | 0x7BFF;
    if (magnitude == 0) return sign;
    int exponent;
    frexp(magnitude, &exponent);                     /* magnitude = [0.5, 1) * 2^exponent */
    if (exponent < -13) exponent = -13;              /* subnormals: units of 2^-24 */
    uint32_t units = (uint32_t)rint(ldexp(magnitude, 11 - exponent));
    return (uint16_t)(sign + (uint32_t)(exponent + 13) * 1024 + units);
}

/* A cache of rows of head_dim elements. q8_0: int8 of all rows, then an f16 scale for each 32 of a
 * row, an even number a row. */
typedef struct kv_test { kv_format format; uint32_t head_dim; size_t rows; void *data; } kv_test;

enum { KV_TEST_RUN = 32 };

static inline size_t kv_test_scales(const kv_test *kv) {
    return kv->format == KV_Q8_0 ? (kv->head_dim / KV_TEST_RUN + 1) / 2 * 2 : 0;
}

static inline size_t kv_test_element(kv_format format) {
    return format == KV_Q8_0 ? 1 : format == KV_F16 ? 2 : 4;
}

static inline size_t kv_test_bytes(const kv_test *kv) {
    return kv->rows * (kv->head_dim * kv_test_element(kv->format) + 2 * kv_test_scales(kv));
}

/* The scale of element e of a row. */
static inline uint16_t *kv_test_scale(const kv_test *kv, size_t row, uint32_t e) {
    uint16_t *scales = (uint16_t *)((char *)kv->data + kv->rows * kv->head_dim);
    return scales + row * kv_test_scales(kv) + e / KV_TEST_RUN;
}

static inline double kv_test_get(const kv_test *kv, size_t row, uint32_t e) {
    size_t i = row * kv->head_dim + e;
    if (kv->format == KV_F16) return kv_test_half(((const uint16_t *)kv->data)[i]);
    if (kv->format == KV_F32) return ((const float *)kv->data)[i];
    return ((const int8_t *)kv->data)[i] * kv_test_half(*kv_test_scale(kv, row, e));
}

/* About `value`, of at most 1 in magnitude; in q8_0 with scales that differ from run to run. */
static inline void kv_test_set(const kv_test *kv, size_t row, uint32_t e, double value) {
    size_t i = row * kv->head_dim + e;
    if (kv->format == KV_F16) ((uint16_t *)kv->data)[i] = kv_test_to_half(value);
    if (kv->format == KV_F32) ((float *)kv->data)[i] = (float)value;
    if (kv->format != KV_Q8_0) return;
    double scale = (1 + (double)((row * 7 + e / KV_TEST_RUN) % 5) / 4) / 127;
    ((int8_t *)kv->data)[i] = (int8_t)rint(value / scale);
    *kv_test_scale(kv, row, e) = kv_test_to_half(scale);
}

static inline void kv_test_set_nan(const kv_test *kv, size_t row, uint32_t e) {
    size_t i = row * kv->head_dim + e;
    if (kv->format == KV_F16) ((uint16_t *)kv->data)[i] = 0x7E00;
    if (kv->format == KV_F32) ((float *)kv->data)[i] = NAN;
    if (kv->format == KV_Q8_0) *kv_test_scale(kv, row, e) = 0x7E00;
}

/* A head_dim that the format can have: of q8_0 the multiple of 32 below. */
static inline uint32_t kv_test_head_dim(kv_format format, uint32_t head_dim) {
    if (format != KV_Q8_0 || head_dim % KV_TEST_RUN == 0) return head_dim;
    return head_dim < KV_TEST_RUN ? KV_TEST_RUN : head_dim / KV_TEST_RUN * KV_TEST_RUN;
}

#endif
