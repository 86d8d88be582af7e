/* quantize.c - speed of the quantizers on one core: rows of bf16 are widened and quantized, as
 * the converter does, and MB/s counts the bf16 bytes of the fastest
 * of 16 slices, as other programs may run. The hash of the bytes made is the same on every machine
 * and in wasm. Argument: MB for each format (default 64). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gpu/cpu/weights.h"
#include "loader/quantize.h"

enum { COLS = 4096, ROWS = 64, SLICES = 16 };

static double seconds(void) {
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static uint32_t random_u32(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

/* Nearly normal with a deviation of 0.02: the sum of 12 uniform numbers, in exact integers. */
static float random_weight(uint64_t *state) {
    int32_t sum = -6 * 65536;
    for (int i = 0; i < 12; i++) sum += (int32_t)(random_u32(state) >> 16);
    return (float)sum * (0.02f / 65536);
}

static void widen(const uint16_t *bf16, float *x) {
    for (int i = 0; i < COLS; i++) {
        uint32_t bits = (uint32_t)bf16[i] << 16;
        memcpy(&x[i], &bits, sizeof bits);
    }
}

static void measure(weight_format format, const uint16_t *weights, double megabytes) {
    static uint8_t row[4 * COLS + 64];
    static float x[COLS], y[COLS];
    uint32_t bytes = (uint32_t)format_row_bytes(format, COLS);
    uint64_t hash = 14695981039346656037u;
    double error = 0, power = 0;
    for (int r = 0; r < ROWS; r++) {
        widen(weights + r * COLS, x);
        quantize_row(format, x, COLS, row);
        weights_decode(format, row, COLS, y);
        for (uint32_t i = 0; i < bytes; i++) hash = (hash ^ row[i]) * 1099511628211u;
        for (int i = 0; i < COLS; i++) {
            error += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
            power += (double)x[i] * x[i];
        }
    }
    long count = (long)(megabytes * 1e6 / (2.0 * COLS * SLICES)) + 1;
    double fastest = INFINITY;
    for (int slice = 0; slice < SLICES; slice++) {
        double start = seconds();
        for (long i = 0; i < count; i++) {
            widen(weights + i % ROWS * COLS, x);
            quantize_row(format, x, COLS, row);
        }
        double took = seconds() - start;
        fastest = took < fastest ? took : fastest;
    }
    printf("%-5s %8.1f MB/s of bf16   RMS error / RMS %.6f   hash %016llx\n",
           formats[format].name, 2e-6 * COLS * (double)count / fastest, sqrt(error / power),
           (unsigned long long)hash);
}

int main(int argc, char **argv) {
    static uint16_t weights[ROWS * COLS];
    double megabytes = argc > 1 ? atof(argv[1]) : 64;
    uint64_t state = 1;
    for (int r = 0; r < ROWS; r++) {
        float x[COLS];
        for (int i = 0; i < COLS; i++) x[i] = random_weight(&state);
        quantize_row(FORMAT_BF16, x, COLS, (uint8_t *)(weights + r * COLS));
    }
    for (int format = 0; format < FORMAT_COUNT; format++)
        if (quantize_makes((weight_format)format))
            measure((weight_format)format, weights, megabytes);
    return 0;
}
