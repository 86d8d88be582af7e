/* quantize_q6_k.c - 256 weights to ggml's ql, qh and scales (208 bytes) and an f16 d.
 *
 *   ql 128, qh 64, sc 16 bytes; for half h in 0..1, quarter g in 0..3 and i in 0..31, weight
 *   128 h + 32 g + i is
 *
 *     q  = (ql[64 h + 32 (g % 2) + i] >> 4 (g / 2)) % 16  |  (qh[32 h + i] >> 2 g) % 4 << 4
 *     w  = d * sc[8 h + 2 g + i / 16] * (q - 32)             sc is int8
 *
 * Source of the layout: ggml-quants.c, dequantize_row_q6_K.
 *
 * A group of 16 weights is fitted in each of 8 lanes, as in quantize_q4_k.c; a super-block is two
 * such sets. With 64 levels and 16 weights the error of a scale is largely luck, so many of the
 * scales that can be stored are tried. */
#include <float.h>
#include <string.h>

#include "gpu/cpu/weights.h"
#include "loader/quantize_blocks.h"

enum { LANES = 8, GROUP_WEIGHTS = 16, SETS = K_WEIGHTS / GROUP_WEIGHTS / LANES, PARTS = 127 };

/* 128 weights as [i][group], and of each group the sum of squares and the weight of largest
 * magnitude. */
typedef struct groups {
    float x[GROUP_WEIGHTS][LANES];
    float squares[LANES], extreme[LANES];
} groups;

/* What is stored of a set, but for d, with what d's refit needs: sums of q^2 and of x q. */
typedef struct choice {
    float sc[LANES];                     /* integers -127..127 */
    float qq[LANES], xq[LANES], error[LANES];
} choice;

static void load(const float *x, groups *g) {
    for (int j = 0; j < LANES; j++)
        for (int i = 0; i < GROUP_WEIGHTS; i++) g->x[i][j] = x[j * GROUP_WEIGHTS + i];
    float squares[LANES] = {0}, low[LANES] = {0}, high[LANES] = {0};
    for (int i = 0; i < GROUP_WEIGHTS; i++) {
        for (int j = 0; j < LANES; j++) {
            float t = g->x[i][j];
            squares[j] += t * t;
            low[j] = t < low[j] ? t : low[j];
            high[j] = t > high[j] ? t : high[j];
        }
    }
    memcpy(g->squares, squares, sizeof squares);
    for (int j = 0; j < LANES; j++) g->extreme[j] = high[j] > -low[j] ? high[j] : low[j];
}

/* Tries sc[j] for each group with q = x / (d sc) rounded into -32..31; c keeps the better. */
static void attempt(const groups *g, const float *sc, float d, choice *c) {
    float inverse[LANES], qq[LANES] = {0}, xq[LANES] = {0};
    for (int j = 0; j < LANES; j++) inverse[j] = reciprocal(sc[j] * d);
    for (int i = 0; i < GROUP_WEIGHTS; i++) {
        for (int j = 0; j < LANES; j++) {
            float x = g->x[i][j];
            float q = nearest(x * inverse[j], -32.0f, 31.0f);
            qq[j] += q * q;
            xq[j] += x * q;
        }
    }
    for (int j = 0; j < LANES; j++) {
        float scale = sc[j] * d;
        float error = g->squares[j] + scale * (scale * qq[j] - 2.0f * xq[j]);
        int better = error < c->error[j];
        c->error[j] = better ? error : c->error[j];
        c->sc[j] = better ? sc[j] : c->sc[j];
        c->qq[j] = better ? qq[j] : c->qq[j];
        c->xq[j] = better ? xq[j] : c->xq[j];
    }
}

/* The best of the scales middle + from .. middle + to, in steps of d away from zero. */
static void search(const groups *g, const float *middle, int from, int to, float d, choice *c) {
    float sc[LANES];
    for (int j = 0; j < LANES; j++) c->error[j] = FLT_MAX;
    for (int step = from; step <= to; step++) {
        for (int j = 0; j < LANES; j++) {
            float away = middle[j] < 0.0f ? -(float)step : (float)step;
            sc[j] = clamp(middle[j] + away, -PARTS, PARTS);
        }
        attempt(g, sc, d, c);
    }
}

static float total_error(const choice *c) {
    float sum = 0.0f;
    for (int s = 0; s < SETS; s++)
        for (int j = 0; j < LANES; j++) sum += c[s].error[j];
    return sum;
}

/* d of least error for the choice: sum of sc x q over sum of (sc q)^2. */
static float refit(const choice *c, float d) {
    double above = 0, below = 0;
    for (int s = 0; s < SETS; s++) {
        for (int j = 0; j < LANES; j++) {
            above += (double)c[s].sc[j] * c[s].xq[j];
            below += (double)c[s].sc[j] * c[s].sc[j] * c[s].qq[j];
        }
    }
    return above > 0 && below > 0 ? half_to_float(quantize_scale((float)(above / below))) : d;
}

/* Chooses every group's sc and returns d. A group's scale starts where its extreme weight has
 * q = -32, which for the largest group is sc = +-FIRST; larger scales, up to the 127 of int8, are
 * often better and smaller ones rarely. */
static float choose(const groups *g, choice *c) {
    enum { FIRST = 108, FROM = -2, TO = PARTS - FIRST };
    float largest = 0.0f, middle[LANES];
    for (int s = 0; s < SETS; s++) {
        for (int j = 0; j < LANES; j++) {
            float t = g[s].extreme[j] < 0.0f ? -g[s].extreme[j] : g[s].extreme[j];
            largest = t > largest ? t : largest;
        }
    }
    float d = half_to_float(quantize_scale(largest / (32.0f * FIRST)));
    float inverse = reciprocal(32.0f * d);
    for (int s = 0; s < SETS; s++) {
        for (int j = 0; j < LANES; j++)
            middle[j] = nearest(g[s].extreme[j] * -inverse, -PARTS, PARTS);
        search(&g[s], middle, FROM, TO, d, &c[s]);
    }
    choice next[SETS];
    memcpy(next, c, sizeof next);
    float d_next = refit(c, d);
    for (int s = 0; s < SETS; s++) search(&g[s], c[s].sc, -1, 1, d_next, &next[s]);
    if (total_error(next) >= total_error(c)) return d;
    memcpy(c, next, sizeof next);
    return d_next;
}

static void pack(const float *x, const choice *c, float d, uint8_t *unit) {
    uint8_t q[K_WEIGHTS], *ql = unit, *qh = unit + 128, *scales = unit + 192;
    for (int group = 0; group < K_WEIGHTS / GROUP_WEIGHTS; group++) {
        float sc = c[group / LANES].sc[group % LANES], inverse = reciprocal(sc * d);
        scales[group] = (uint8_t)(int8_t)sc;
        for (int i = group * GROUP_WEIGHTS; i < (group + 1) * GROUP_WEIGHTS; i++)
            q[i] = (uint8_t)(int)(nearest(x[i] * inverse, -32.0f, 31.0f) + 32.0f);
    }
    for (int half = 0; half < 2; half++) {
        const uint8_t *p = q + 128 * half;
        for (int i = 0; i < 64; i++) ql[64 * half + i] = (uint8_t)((p[i] & 15) | p[64 + i] << 4);
        for (int i = 0; i < 32; i++) {
            qh[32 * half + i] = (uint8_t)(p[i] >> 4 | p[32 + i] >> 4 << 2 | p[64 + i] >> 4 << 4 |
                                          p[96 + i] >> 4 << 6);
        }
    }
}

void quantize_q6_k(const float *x, block_bytes to) {
    groups g[SETS];
    choice c[SETS];
    for (int s = 0; s < SETS; s++) load(x + s * LANES * GROUP_WEIGHTS, &g[s]);
    memset(c, 0, sizeof c);
    float d = choose(g, c);
    pack(x, c, d, to.unit);
    put_half(to.scale, float_to_half(d));
}
