/* form_test.c - see form_test.h. */
#include "tests/kernels/form_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Byte of element i of a run. */
static size_t f32_at(uint32_t run, uint32_t i) {
    return (size_t)run / 8 * 1024 + i / 4 * 128 + run % 8 * 16 + i % 4 * 4;
}
/* Byte i of a run. */
static size_t packed_at(uint32_t run, uint32_t i) {
    return (size_t)run / 2 * 80 + run % 2 * 32 + i;
}

/* Byte 16 * part of a run. */
static size_t digits_at(uint32_t run, uint32_t part) {
    return (size_t)run / 8 * 896 + part * 128 + run % 8 * 16;
}

/* Where scale and sums of a run are. */
static size_t tail_at(x_form form, uint32_t run) {
    return form == X_PACKED ? (size_t)run / 2 * 80 + 64 + run % 2 * 8 : digits_at(run, 6);
}

/* Where the squares of a run of an x [k] are. */
static size_t square_at(x_form form, uint32_t k, uint32_t run) {
    return form == X_DIGITS ? digits_at(run, 6) + 12
                            : (k + 255) / 256 * (form == X_PACKED ? 320 : 1024) + 4 * run;
}

/* What goes with a run whose halves have these sums. */
static void set_tail(x_form form, char *to, float scale, const double *sums) {
    memcpy(to, &scale, sizeof scale);
    if (form == X_PACKED) {
        int16_t words[] = {(int16_t)sums[0], (int16_t)(sums[0] + sums[1])};
        memcpy(to + 4, words, sizeof words);
    } else {
        float words[] = {(float)sums[0], (float)sums[1]};
        memcpy(to + 4, words, sizeof words);
    }
}

static void get_sums(x_form form, const char *tail, double *sums) {
    if (form == X_PACKED) {
        int16_t words[2];
        memcpy(words, tail + 4, sizeof words);
        sums[0] = words[0];
        sums[1] = words[1] - words[0];
    } else {
        float words[2];
        memcpy(words, tail + 4, sizeof words);
        sums[0] = (double)words[0];
        sums[1] = (double)words[1];
    }
}

/* Integer i of a run has so many digits, here the place of one. */
static uint32_t digit_count(x_form form) { return form == X_PACKED ? 1 : 3; }
static size_t digit_at(x_form form, uint32_t run, uint32_t digit, uint32_t i) {
    return form == X_PACKED ? packed_at(run, i) : digits_at(run, 2 * digit + i / 16) + i % 16;
}

/* Integer i of a run. */
static int integer(x_form form, const char *at, uint32_t run, uint32_t i) {
    int q = 0;
    for (uint32_t d = 0; d < digit_count(form); d++)
        q = q * 256 + (signed char)at[digit_at(form, run, d, i)];
    return q;
}

/* Element i of a run. */
static double element(x_form form, const char *at, uint32_t run, uint32_t i) {
    float v;
    memcpy(&v, at + (form == X_F32 ? f32_at(run, i) : tail_at(form, run)), 4);
    return form == X_F32 ? v : (double)v * integer(form, at, run, i);
}

/* Bits of the nearest f16, ties to even, saturating; and its value. */
static uint16_t half_of(double v) {
    int e = v == 0 || ilogb(v) < -14 ? -14 : ilogb(v);
    double bits = v == 0 ? 0 : rint(ldexp(fabs(v), 10 - e)) + 1024 * (e + 14);
    return (uint16_t)((bits < 0x7BFF ? (unsigned)bits : 0x7BFFu) | (v < 0 ? 0x8000u : 0));
}

static double half_value(uint16_t bits) {
    int e = bits >> 10 & 31, m = bits & 1023;
    return (bits >> 15 ? -1 : 1) * (e ? ldexp(1024 + m, e - 25) : ldexp(m, -24));
}

double form_near_half(double v) { return half_value(half_of(v)); }

/* Halves anywhere between 2^-16 and 64, and some zeros. */
static void random_halves(uint32_t k, char *at, double *x, uint64_t *seed) {
    for (uint32_t i = 0; i < k; i++) {
        double v = ldexp(kernel_random(seed), (int)(kernel_random_bits(seed) % 22) - 16);
        uint16_t bits = kernel_random_bits(seed) % 16 ? half_of(v) : 0;
        memcpy(at + 2 * i, &bits, 2);
        x[i] = 64 * half_value(bits);
    }
}

void *form_random(x_form form, uint32_t k, int behind, double *x, double *square, uint64_t *seed) {
    char *at = malloc((size_t)x_form_bytes(form, k));
    if (!at) abort();
    memset(at, behind, (size_t)x_form_bytes(form, k));
    *square = 0;
    if (form == X_HALF) {
        random_halves(k, at, x, seed);
        return at;
    }
    for (uint32_t run = 0; run < k / 32; run++) {
        float one = fabsf(kernel_random(seed)), scale = fabsf(kernel_random(seed)) / 64;
        double sums[2] = {0};
        *square += one;
        for (uint32_t i = 0; i < 32; i++) {
            float v = kernel_random(seed);
            x[run * 32 + i] = v;
            if (form == X_F32) {
                memcpy(at + f32_at(run, i), &v, 4);
                continue;
            }
            int q = 0;
            for (uint32_t d = 0; d < digit_count(form); d++) {
                int digit = (int)(kernel_random(seed) * 127.4f);
                at[digit_at(form, run, d, i)] = (char)digit;
                q = q * 256 + digit;
            }
            x[run * 32 + i] = (double)scale * q;
            sums[i / 16] += q;
        }
        if (form != X_F32) set_tail(form, at + tail_at(form, run), scale, sums);
        memcpy(at + square_at(form, k, run), &one, sizeof one);
    }
    return at;
}

static bool check_squares(const double *plain, uint32_t run, float got, char *why,
                          size_t why_bytes) {
    double want = 0;
    for (uint32_t i = 0; i < 32; i++) want += plain[i] * plain[i];
    if (fabs(got - want) <= 4 * KERNEL_TOLERANCE * want) return true;
    snprintf(why, why_bytes, "run %u: squares are %g, not %g", run, (double)got, want);
    return false;
}

void form_read(x_form form, const void *from, uint32_t k, double *x) {
    const char *at = from;
    for (uint32_t i = 0; i < k && form == X_HALF; i++) {
        uint16_t bits;
        memcpy(&bits, at + 2 * i, 2);
        x[i] = 64 * half_value(bits);
    }
    for (uint32_t i = 0; i < k && form != X_HALF; i++) {
        float v;
        memcpy(&v, at + 4 * i, 4);
        x[i] = form == X_PLAIN ? (double)v : element(form, at, i / 32, i % 32);
    }
}

/* The sums are those of the integers, and packed elements within half a step of want. */
static bool check_integers(x_form form, const char *at, const double *want, uint32_t run, char *why,
                           size_t why_bytes) {
    float scale;
    double largest = 0, sums[2], worst = 0;
    memcpy(&scale, at + tail_at(form, run), sizeof scale);
    get_sums(form, at + tail_at(form, run), sums);
    for (uint32_t i = 0; i < 32; i++) {
        largest = fmax(largest, fabs(want[i]));
        worst = fmax(worst, fabs(element(form, at, run, i) - want[i]));
        sums[i / 16] -= integer(form, at, run, i);
    }
    double step = largest / 127, off = fmax(fabs(sums[0]), fabs(sums[1]));
    bool ok = off <= (form == X_PACKED ? 0 : 16);    /* of up to 16 * 127 * 65536, as floats */
    if (form == X_PACKED)
        ok = ok && worst <= 0.5001 * step && fabs(scale - step) <= 1e-5 * step;
    if (!ok)
        snprintf(why, why_bytes, "run %u: %g off with steps of %g, scale %g, sums %g off", run,
                 worst, step, (double)scale, off);
    return ok;
}

static bool check_values(x_form form, const char *at, const double *want, uint32_t first,
                         uint32_t count, char *why, size_t why_bytes) {
    float *x = malloc(count * sizeof *x);
    if (!x) abort();
    for (uint32_t i = 0; i < count; i++)
        x[i] = (float)element(form, at, (first + i) / 32, (first + i) % 32);
    double error = kernel_error(x, want, count);
    free(x);
    snprintf(why, why_bytes, "error %.3g of the largest value", error);
    return error <= KERNEL_TOLERANCE;
}

/* Each the nearest f16 to a 64th of want; a gain may have been rounded to f32 before. */
static bool check_halves(const char *at, const double *want, uint32_t first, uint32_t count,
                         char *why, size_t why_bytes) {
    for (uint32_t i = 0; i < count; i++) {
        uint16_t bits;
        memcpy(&bits, at + 2 * (first + i), 2);
        double v = want[i] / 64, got = half_value(bits), size = fabs(v) > 65504 ? 65504 : fabs(v);
        double step = ldexp(1, (size < ldexp(1, -14) ? -14 : ilogb(size)) - 10);
        if (isfinite(got) && fabs(got - (v < 0 ? -size : size)) <= 0.501 * step) continue;
        snprintf(why, why_bytes, "element %u is 64 * %g, not 64 * %g", first + i, got, v);
        return false;
    }
    return true;
}

bool form_check(x_form form, const void *got, uint32_t k, uint32_t first, uint32_t count,
                const double *want, const double *plain, char *why, size_t why_bytes) {
    const char *at = got;
    if (form == X_HALF) return check_halves(at, want, first, count, why, why_bytes);
    if (form != X_PACKED && !check_values(form, at, want, first, count, why, why_bytes))
        return false;
    for (uint32_t i = 0; i < count; i += 32) {
        uint32_t run = (first + i) / 32;
        float square;
        memcpy(&square, at + square_at(form, k, run), sizeof square);
        if (form != X_F32 && !check_integers(form, at, want + i, run, why, why_bytes)) return false;
        if (!check_squares(plain + i, run, square, why, why_bytes)) return false;
    }
    return true;
}
