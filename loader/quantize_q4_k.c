/* quantize_q4_k.c - 256 weights to ggml's 144-byte block, by search and least squares.
 *
 *   bytes 0-3     d, dmin          f16, little-endian
 *   bytes 4-15    8 x (sc, mn)     6 bits each: runs 0-3 in the low bits of bytes 4+j and 8+j;
 *                                  runs 4-7 low nibbles in byte 8+j (sc low, mn high), upper two
 *                                  bits on top of bytes j and 4+j
 *   bytes 16-143  q                32 bytes hold runs 2c (low nibbles) and 2c + 1 (high)
 *
 *   w[j][i] = d * sc[j] * q[j][i] - dmin * mn[j],  run j in 0..7, i in 0..31
 *
 * Source of the layout: ggml-quants.c, dequantize_row_q4_K.
 *
 * The eight runs are fitted side by side, one in each lane: everything known of a run is an array
 * [RUNS], weights are [i][run], and every loop over runs is one or two vector instructions. */
#include <float.h>
#include <stdbool.h>
#include <string.h>

#include "gpu/cpu/weights.h"
#include "loader/quantize_blocks.h"

enum { RUNS = 8, RUN_WEIGHTS = K_WEIGHTS / RUNS, LEVELS = 15, PARTS = 63 };

/* The 256 weights, and of each run the sum and the sum of squares. */
typedef struct runs {
    float x[RUN_WEIGHTS][RUNS];
    float sum[RUNS], squares[RUNS];
    float low[RUNS], high[RUNS];         /* smallest and largest; low <= 0 */
} runs;

/* Of a choice of q, for each run: sum of q, of q^2 and of x q. The error of any scale and offset
 * follows from them. */
typedef struct moments { float q[RUNS], qq[RUNS], xq[RUNS]; } moments;

/* What is stored: steps of d and dmin. */
typedef struct choice {
    float d, dmin;
    float sc[RUNS], mn[RUNS];            /* integers 0..63 */
    float error;                         /* sum of (x - w)^2 over all runs */
} choice;

static void load(const float *x, runs *r) {
    for (int j = 0; j < RUNS; j++)
        for (int i = 0; i < RUN_WEIGHTS; i++) r->x[i][j] = x[j * RUN_WEIGHTS + i];
    float sum[RUNS] = {0}, squares[RUNS] = {0}, low[RUNS] = {0}, high[RUNS];
    memcpy(high, r->x[0], sizeof high);
    for (int i = 0; i < RUN_WEIGHTS; i++) {
        for (int j = 0; j < RUNS; j++) {
            float t = r->x[i][j];
            sum[j] += t;
            squares[j] += t * t;
            low[j] = t < low[j] ? t : low[j];
            high[j] = t > high[j] ? t : high[j];
        }
    }
    memcpy(r->sum, sum, sizeof sum);
    memcpy(r->squares, squares, sizeof squares);
    memcpy(r->low, low, sizeof low);
    memcpy(r->high, high, sizeof high);
}

/* q = x * inverse + shift, rounded into 0..15, and its moments. inverse, shift: [RUNS] */
static void measure(const runs *r, const float *inverse, const float *shift, moments *m) {
    float q[RUNS] = {0}, qq[RUNS] = {0}, xq[RUNS] = {0};
    for (int i = 0; i < RUN_WEIGHTS; i++) {
        for (int j = 0; j < RUNS; j++) {
            float x = r->x[i][j];
            float t = nearest(x * inverse[j] + shift[j], 0.0f, LEVELS);
            q[j] += t;
            qq[j] += t * t;
            xq[j] += x * t;
        }
    }
    memcpy(m->q, q, sizeof q);
    memcpy(m->qq, qq, sizeof qq);
    memcpy(m->xq, xq, sizeof xq);
}

/* Sum over a run of (x - (scale * q - offset))^2, from its moments. */
static inline float run_error(const runs *r, const moments *m, int j, float scale, float offset) {
    return r->squares[j] + scale * (scale * m->qq[j] - 2.0f * m->xq[j]) +
           offset * (2.0f * (r->sum[j] - scale * m->q[j]) + RUN_WEIGHTS * offset);
}

/* The scale and offset of least error for each run's q, neither negative: a linear regression of
 * x on q; through the origin where its offset came out negative; the mean alone where q is 0. */
static void regress(const runs *r, const moments *m, float *scale, float *offset) {
    for (int j = 0; j < RUNS; j++) {
        float spread = RUN_WEIGHTS * m->qq[j] - m->q[j] * m->q[j];
        float rise = RUN_WEIGHTS * m->xq[j] - m->q[j] * r->sum[j];
        float slope = rise / (spread > 0.0f ? spread : 1.0f);
        float below = (slope * m->q[j] - r->sum[j]) * (1.0f / RUN_WEIGHTS);
        float through = m->xq[j] / (m->qq[j] > 0.0f ? m->qq[j] : 1.0f);
        float mean = r->sum[j] * (1.0f / RUN_WEIGHTS);
        int line = (spread > 0.0f) & (below >= 0.0f);
        int flat = (through <= 0.0f) & (mean < 0.0f);
        scale[j] = line ? slope : clamp(through, 0.0f, QUANTIZE_LIMIT);
        offset[j] = line ? below : (flat ? -mean : 0.0f);
    }
}

/* Keeps in scale and offset what regress() makes of the q of each run's grid (inverse, shift),
 * where its error is below best; the grid moves to it either way. All: [RUNS] */
static void improve(const runs *r, float *inverse, float *shift, float *best, float *scale,
                    float *offset) {
    moments m;
    float s[RUNS], o[RUNS];
    measure(r, inverse, shift, &m);
    regress(r, &m, s, o);
    for (int j = 0; j < RUNS; j++) {
        float error = run_error(r, &m, j, s[j], o[j]);
        int better = error < best[j];
        best[j] = better ? error : best[j];
        scale[j] = better ? s[j] : scale[j];
        offset[j] = better ? o[j] : offset[j];
        inverse[j] = reciprocal(s[j]);
        shift[j] = o[j] * inverse[j];
    }
}

/* The best real scale and offset found for each run, [RUNS]. A grid is tried that cuts the range
 * of x in `levels` parts: over 15 cut one end off, below 15 leave a level unused; it starts at
 * the lower end and, as errors at the two ends differ, then at the upper one. Each moves once to
 * where regression puts it. More of either gains less than 0.3 % of RMS error. */
static void fit_runs(const runs *r, float *scale, float *offset) {
    static const float levels[] = {13.2f, 13.8f, 14.4f, 15.0f, 15.6f};
    float best[RUNS], inverse[RUNS], shift[RUNS];
    for (int j = 0; j < RUNS; j++) {
        best[j] = FLT_MAX;
        scale[j] = offset[j] = 0.0f;
    }
    for (unsigned k = 0; k < 2 * sizeof levels / sizeof *levels; k++) {
        bool upper = k & 1;
        for (int j = 0; j < RUNS; j++) {
            inverse[j] = levels[k / 2] * reciprocal(r->high[j] - r->low[j]);
            shift[j] = upper ? LEVELS - r->high[j] * inverse[j] : -r->low[j] * inverse[j];
        }
        improve(r, inverse, shift, best, scale, offset);
        improve(r, inverse, shift, best, scale, offset);
    }
}

/* Replaces each run's sc and mn: of the first `count` steps away from them the one is taken whose
 * q, given the mn that then fits best, have the least error. m: the moments of that q. */
static void round_runs(const runs *r, int count, choice *c, moments *m) {
    static const struct { float sc, mn; } around[] = {
        {0, 0}, {0, -1}, {0, 1}, {-1, 0}, {-1, -1}, {-1, 1}, {1, 0}, {1, -1}, {1, 1},
    };
    float best[RUNS], inverse[RUNS], shift[RUNS], sc[RUNS];
    float per_dmin = reciprocal(c->dmin);
    choice from = *c;
    for (int j = 0; j < RUNS; j++) best[j] = FLT_MAX;
    for (int k = 0; k < count; k++) {
        moments t;
        for (int j = 0; j < RUNS; j++) {
            sc[j] = clamp(from.sc[j] + around[k].sc, 0.0f, PARTS);
            inverse[j] = reciprocal(sc[j] * c->d);
            shift[j] = (from.mn[j] + around[k].mn) * c->dmin * inverse[j];
        }
        measure(r, inverse, shift, &t);
        for (int j = 0; j < RUNS; j++) {
            float scale = sc[j] * c->d;
            float offset = (scale * t.q[j] - r->sum[j]) * (1.0f / RUN_WEIGHTS);
            float mn = nearest(offset * per_dmin, 0.0f, PARTS);
            float error = run_error(r, &t, j, scale, mn * c->dmin);
            int better = error < best[j];
            best[j] = better ? error : best[j];
            c->sc[j] = better ? sc[j] : c->sc[j];
            c->mn[j] = better ? mn : c->mn[j];
            m->q[j] = better ? t.q[j] : m->q[j];
            m->qq[j] = better ? t.qq[j] : m->qq[j];
            m->xq[j] = better ? t.xq[j] : m->xq[j];
        }
    }
    c->error = 0.0f;
    for (int j = 0; j < RUNS; j++) c->error += best[j];
}

/* d and dmin of least error for c's sc and mn and the moments of its q: the normal equations of
 * x ~ d (sc q) - dmin mn over all 256 weights; without dmin where every mn is 0. False when they
 * have no positive solution. */
static bool refit(const runs *r, const moments *m, choice *c) {
    double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;
    for (int j = 0; j < RUNS; j++) {
        double sc = c->sc[j], mn = c->mn[j];
        aa += sc * sc * m->qq[j];
        ab += sc * mn * m->q[j];
        bb += mn * mn * RUN_WEIGHTS;
        ax += sc * m->xq[j];
        bx -= mn * r->sum[j];
    }
    if (bb == 0) {
        bb = 1;
        bx = c->dmin;
    }
    double det = aa * bb - ab * ab;
    double d = ax * bb + ab * bx, dmin = aa * bx + ab * ax;
    if (!(det > 0 && d > 0 && dmin >= 0)) return false;
    c->d = half_to_float(quantize_scale((float)(d / det)));
    c->dmin = half_to_float(quantize_scale((float)(dmin / det)));
    return true;
}

static void choose(const runs *r, choice *c) {
    float scale[RUNS], offset[RUNS], most = 0.0f, lowest = 0.0f;
    fit_runs(r, scale, offset);
    for (int j = 0; j < RUNS; j++) {
        most = scale[j] > most ? scale[j] : most;
        lowest = offset[j] > lowest ? offset[j] : lowest;
    }
    c->d = half_to_float(quantize_scale(most / PARTS));
    c->dmin = half_to_float(quantize_scale(lowest / PARTS));
    for (int j = 0; j < RUNS; j++) {
        c->sc[j] = nearest(scale[j] * reciprocal(c->d), 0.0f, PARTS);
        c->mn[j] = nearest(offset[j] * reciprocal(c->dmin), 0.0f, PARTS);
    }
    moments m = {0};
    round_runs(r, 9, c, &m);
    choice next = *c;
    if (!refit(r, &m, &next)) return;
    round_runs(r, 3, &next, &m);
    if (next.error < c->error) *c = next;
}

static void pack(const float *x, const choice *c, uint8_t *unit) {
    put_half(unit, float_to_half(c->d));
    put_half(unit + 2, float_to_half(c->dmin));
    for (int j = 0; j < RUNS / 2; j++) {
        int sc = (int)c->sc[j], mn = (int)c->mn[j];
        int sc4 = (int)c->sc[j + 4], mn4 = (int)c->mn[j + 4];
        unit[4 + j] = (uint8_t)(sc | sc4 >> 4 << 6);
        unit[8 + j] = (uint8_t)(mn | mn4 >> 4 << 6);
        unit[12 + j] = (uint8_t)((sc4 & 15) | (mn4 & 15) << 4);
    }
    uint8_t q[K_WEIGHTS];
    for (int j = 0; j < RUNS; j++) {
        float inverse = reciprocal(c->sc[j] * c->d);
        float shift = c->mn[j] * c->dmin * inverse;
        for (int i = j * RUN_WEIGHTS; i < (j + 1) * RUN_WEIGHTS; i++)
            q[i] = (uint8_t)(int)nearest(x[i] * inverse + shift, 0.0f, LEVELS);
    }
    for (int pair = 0; pair < RUNS / 2; pair++) {
        const uint8_t *low = q + 2 * pair * RUN_WEIGHTS, *high = low + RUN_WEIGHTS;
        for (int i = 0; i < RUN_WEIGHTS; i++)
            unit[16 + pair * RUN_WEIGHTS + i] = (uint8_t)(low[i] | high[i] << 4);
    }
}

void quantize_q4_k(const float *x, block_bytes to) {
    runs r;
    choice c;
    load(x, &r);
    choose(&r, &c);
    pack(x, &c, to.unit);
}
