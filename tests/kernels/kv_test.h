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

static inline size_t kv_test_bytes(kv_format format) { return format == KV_F16 ? 2 : 4; }

/* Element i of a cache. */
static inline double kv_test_get(kv_format format, const void *kv, size_t i) {
    if (format == KV_F16) return kv_test_half(((const uint16_t *)kv)[i]);
    return ((const float *)kv)[i];
}

static inline void kv_test_set(kv_format format, void *kv, size_t i, double value) {
    if (format == KV_F16) ((uint16_t *)kv)[i] = kv_test_to_half(value);
    else ((float *)kv)[i] = (float)value;
}

#endif
