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
    return (size_t)run * 48 + i;
}

void *form_random(x_form form, uint32_t k, double *x, double *square, uint64_t *seed) {
    char *at = calloc(1, (size_t)x_form_bytes(form, k));
    if (!at) abort();
    size_t squares = (k + 255) / 256 * 1024;
    *square = 0;
    for (uint32_t run = 0; run < k / 32; run++) {
        float one = fabsf(kernel_random(seed)), scale = fabsf(kernel_random(seed)) / 64;
        float sums[2] = {0, 0};
        *square += one;
        for (uint32_t i = 0; i < 32; i++) {
            float v = kernel_random(seed);
            int q = (int)(v * 127.4f);
            x[run * 32 + i] = form == X_F32 ? v : (double)scale * q;
            sums[i / 16] += scale * (float)q;
            if (form == X_F32) memcpy(at + f32_at(run, i), &v, 4);
            else at[packed_at(run, i)] = (char)q;
        }
        const float tail[] = {scale, sums[0], sums[1], one};
        if (form == X_F32) memcpy(at + squares + 4 * run, &one, 4);
        else memcpy(at + packed_at(run, 32), tail, sizeof tail);
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
    for (uint32_t i = 0; i < k; i++) {
        float v;
        size_t scale = packed_at(i / 32, 32);
        memcpy(&v, at + (form == X_PLAIN ? 4 * i : form == X_F32 ? f32_at(i / 32, i % 32) : scale),
               4);
        x[i] = form == X_PACKED ? (double)v * (signed char)at[packed_at(i / 32, i % 32)] : v;
    }
}

/* Each element within half a step of want, the sums those of the integers. */
static bool check_packed(const char *at, const double *want, uint32_t run, char *why,
                         size_t why_bytes) {
    float tail[4];
    double largest = 0, sums[2] = {0, 0};
    memcpy(tail, at + packed_at(run, 32), sizeof tail);
    for (uint32_t i = 0; i < 32; i++) largest = fmax(largest, fabs(want[i]));
    double step = largest / 127, worst = 0;
    for (uint32_t i = 0; i < 32; i++) {
        double value = (double)tail[0] * (signed char)at[packed_at(run, i)];
        worst = fmax(worst, fabs(value - want[i]));
        sums[i / 16] += value;
    }
    double off = fmax(fabs(sums[0] - tail[1]), fabs(sums[1] - tail[2]));
    bool ok = worst <= 0.5001 * step && off <= 1e-5 * largest + 1e-30 &&
              fabs(tail[0] - step) <= 1e-5 * step;
    if (!ok)
        snprintf(why, why_bytes, "run %u: %g off with steps of %g, scale %g, sums %g off", run,
                 worst, step, (double)tail[0], off);
    return ok;
}

static bool check_floats(const char *at, const double *want, uint32_t first, uint32_t count,
                         char *why, size_t why_bytes) {
    float *x = malloc(count * sizeof *x);
    if (!x) abort();
    for (uint32_t i = 0; i < count; i++)
        memcpy(x + i, at + f32_at((first + i) / 32, (first + i) % 32), 4);
    double error = kernel_error(x, want, count);
    free(x);
    snprintf(why, why_bytes, "error %.3g of the largest value", error);
    return error <= KERNEL_TOLERANCE;
}

bool form_check(x_form form, const void *got, uint32_t k, uint32_t first, uint32_t count,
                const double *want, const double *plain, char *why, size_t why_bytes) {
    const char *at = got;
    if (form == X_F32 && !check_floats(at, want, first, count, why, why_bytes)) return false;
    for (uint32_t i = 0; i < count; i += 32) {
        uint32_t run = (first + i) / 32;
        float square;
        size_t squares = (k + 255) / 256 * 1024;
        memcpy(&square, at + (form == X_F32 ? squares + 4 * run : packed_at(run, 44)), 4);
        if (form == X_PACKED && !check_packed(at, want + i, run, why, why_bytes)) return false;
        if (!check_squares(plain + i, run, square, why, why_bytes)) return false;
    }
    return true;
}
