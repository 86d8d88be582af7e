/* fill.c - see fill.h: what is random in a format and what is not, so that every block is valid and
 * its weights are about so large. Quants are any bits; scales are the same everywhere. */
#include "bench/fill.h"
#include "gpu/cpu/half.h"

#include <assert.h>
#include <math.h>
#include <string.h>

extern const char wgsl_fill[];

enum { THREADS = 256 };          /* WG of fill.wgsl */

/* As fill.wgsl. */
static uint32_t hash(uint32_t h) {
    h = (h ^ h >> 16) * 0x7FEB352D;
    h = (h ^ h >> 15) * 0x846CA68B;
    return h ^ h >> 16;
}

static void twin_fill(const gpu_call *call) {
    const struct fill_dims *d = call->dims;
    uint32_t *out = call->buffer[0];
    for (uint32_t i = 0; i < d->words; i++) {
        uint32_t n = d->first + i, at = n % d->row_words;
        const fill_part *part = at >= d->scales_from ? &d->scale
                              : d->unit_words && at % d->unit_words == 0 ? &d->head : &d->unit;
        out[i] = (hash(n ^ d->seed) & part->keep) | part->set;
    }
}

gpu_program_desc fill_program(void) {
    return (gpu_program_desc){.label = "fill", .sources = {wgsl_fill}, .access = "w",
                              .twin = twin_fill};
}

static void dispatch(gpu *g, gpu_program p, gpu_binding b, const struct fill_dims *d) {
    uint32_t groups = (d->words / 4 + THREADS - 1) / THREADS, most = gpu_get_limits(g)->grid;
    uint32_t down = (groups + most - 1) / most;
    assert(d->words % 4 == 0 && d->words > 0);
    gpu_dispatch(g, p, &b, 1, d, sizeof *d, (groups + down - 1) / down, down, 1);
}

/* ---- weights */

/* The root mean square of a format's weights where its scales are 1: of numbers that are not
 * quantized in [1, 2) and both signs, of others with quants (and six-bit scales) of any bits.
 * q4_k, q5_k: dmin = 7.5 d and 15.5 d, so that their mean is 0. */
static const float sizes[FORMAT_COUNT] = {
    [FORMAT_F32] = 1.53f, [FORMAT_F16] = 1.53f, [FORMAT_BF16] = 1.53f, [FORMAT_Q4_0] = 4.6f,
    [FORMAT_Q5_0] = 9.2f, [FORMAT_Q8_0] = 73.9f, [FORMAT_Q4_K] = 257, [FORMAT_Q5_K] = 524,
    [FORMAT_Q6_K] = 1366, [FORMAT_MXFP4] = 2.93f};

static uint32_t twice(uint32_t half) { return half | half << 16; }

/* Numbers of random sign and mantissa, their exponent that of scale. */
static fill_part numbers(weight_format format, float scale) {
    uint32_t bits;
    memcpy(&bits, &scale, sizeof bits);
    if (format == FORMAT_F32) return (fill_part){0x807FFFFF, bits & 0x7F800000};
    if (format == FORMAT_BF16) return (fill_part){0x807F807F, twice(bits >> 16 & 0x7F80)};
    return (fill_part){0x83FF83FF, twice(float_to_half(scale) & 0x7C00u)};
}

static struct fill_dims dims_of(weight_format format, uint32_t cols) {
    const format_info *f = &formats[format];
    static const float lows[FORMAT_COUNT] = {[FORMAT_Q4_K] = 7.5f, [FORMAT_Q5_K] = 15.5f};
    float scale = 1 / (sqrtf((float)cols) * sizes[format]);
    uint32_t half = float_to_half(scale), row_words = (uint32_t)format_row_bytes(format, cols) / 4;
    struct fill_dims d = {.row_words = row_words, .scales_from = row_words, .unit = {~0u, 0}};
    if (f->block_weights == 1) {
        d.unit = numbers(format, scale);
    } else if (lows[format] > 0) {
        d.unit_words = f->unit_bytes / 4;
        d.head.set = half | (uint32_t)float_to_half(scale * lows[format]) << 16;
    } else {
        d.scales_from = format_scales_offset(format, cols) / 4;
        d.scale.set = f->scale_bytes == 2 ? twice(half)
                                          : 0x01010101u * (uint32_t)(127 + ilogbf(scale));
    }
    return d;
}

void fill_matrix(gpu *g, gpu_program p, const matrix *w, uint32_t seed) {
    struct fill_dims d = dims_of(w->format, w->cols);
    uint64_t row_bytes = format_row_bytes(w->format, w->cols);
    uint64_t most = gpu_get_limits(g)->binding_bytes / row_bytes;
    most = most < w->rows ? most / OP_SLAB_ROWS * OP_SLAB_ROWS : w->rows;
    d.seed = hash(seed);
    for (uint64_t row = 0; row < w->rows; row += most) {
        uint64_t rows = w->rows - row < most ? w->rows - row : most;
        d.first = (uint32_t)(row * row_bytes / 4);
        d.words = (uint32_t)(rows * row_bytes / 4);
        dispatch(g, p, (gpu_binding){w->buffer, w->offset_bytes + row * row_bytes,
                                     rows * row_bytes}, &d);
    }
}

/* ---- other numbers */

void fill_kv(gpu *g, gpu_program p, kv_format format, gpu_buffer b, uint64_t element_bytes,
             uint64_t scale_bytes, uint32_t seed) {
    static const weight_format as[KV_COUNT] = {[KV_F16] = FORMAT_F16, [KV_F32] = FORMAT_F32};
    uint32_t words = (uint32_t)((element_bytes + scale_bytes) / 4);
    struct fill_dims d = {.words = words, .seed = hash(seed), .row_words = words,
                          .scales_from = (uint32_t)(element_bytes / 4), .unit = {~0u, 0},
                          .scale = {0, twice(float_to_half(1 / sizes[FORMAT_Q8_0]))}};
    if (format != KV_Q8_0) d.unit = numbers(as[format], 0.5f);
    dispatch(g, p, (gpu_binding){b, 0, 0}, &d);
}

void fill_floats(gpu *g, gpu_program p, gpu_buffer b, uint64_t count, float size, uint32_t seed) {
    uint32_t words = (uint32_t)count;
    struct fill_dims d = {.words = words / 4 * 4, .seed = hash(seed), .row_words = words,
                          .scales_from = words, .unit = numbers(FORMAT_F32, size)};
    dispatch(g, p, (gpu_binding){b, 0, 0}, &d);
}
