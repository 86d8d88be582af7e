/* test_sample.c - every draw against a reference that sorts, in doubles, and 20,000 draws against
 * its probabilities by chi-square.
 *
 * The random number of a row is known (its generator is checked against published answers in
 * tests/unit/test_threefry.c), and so is the order of tokens, so each id is known, up to rounding
 * of the probabilities where the number falls next to a boundary between two tokens. */
#include "gpu/cpu/threefry.h"
#include "tests/kernels/logits_test.h"

enum { DRAWS = 20000, THREADS = 256 };
#define BOUNDARY 4e-6        /* of the total probability */
#define CHI_SQUARE_Z 3.719   /* one-sided p = 1e-4 of the normal distribution */

static const struct shape {
    uint32_t vocab, rows, stride;
    logits_kind kind;
    float temperature;
    uint32_t top_k;
    float top_p, min_p, repetition, presence;
    uint32_t flags;
    const char *name;
} shapes[] = {
    {300, DRAWS, 0, RANDOM, 0.8f, 0, 1, 0, 1, 0, 0, "temperature"},
    {300, DRAWS, 0, RANDOM, 1.3f, 40, 0.9f, 0, 1, 0, 0, "top_k 40, top_p 0.9"},
    {300, DRAWS, 0, RANDOM, 1, 0, 1, 0.02f, 1.3f, 0.7f, SAMPLE_PENALIZE, "min_p, penalties"},
    {1, 3, 4, RANDOM, 1, 1, 0.5f, 0.5f, 1, 0, 0, "one token"},
    {255, 40, 258, RANDOM, 0.7f, 20, 0.95f, 0.01f, 1, 0, 0, "everything"},
    {257, 40, 260, RANDOM, 2, 256, 0.5f, 0, 1.1f, 0.1f, SAMPLE_PENALIZE, "everything"},
    {4096, 40, 4099, RANDOM, 1, 50, 0.9f, 0.05f, 1.2f, 0, SAMPLE_PENALIZE, "everything"},
    {4096, 40, 0, RANDOM, 1, 0, 0.999f, 0, 1, 0, 0, "nearly all"},
    {262144, 6, 0, RANDOM, 0.9f, 0, 1, 0, 1, 0, 0, "temperature"},
    {262144, 6, 0, RANDOM, 0.9f, 1000, 0.8f, 0, 1, 0, 0, "top_k 1000, top_p"},
    {262144, 6, 0, FLAT, 1, 0, 1, 0, 1, 0, 0, "all alike"},
    {4096, 30, 4099, RANDOM, 1, 1, 1, 0, 1, 0, 0, "top_k 1 is argmax"},
    {4096, 30, 4099, RANDOM, 1, 0, 1e-9f, 0, 1, 0, 0, "top_p 1e-9 is argmax"},
    {4096, 30, 4099, RANDOM, 1, 0, 1, 1, 1, 0, 0, "min_p 1 is argmax"},
    {4096, 30, 4099, RANDOM, 1e-9f, 0, 1, 0, 1, 0, 0, "cold is argmax"},
    {300, 200, 0, TIES, 1, 3, 1, 0, 1, 0, 0, "ties of the k-th are kept"},
    {300, 200, 0, TIES, 1, 0, 0.3f, 0, 1, 0, 0, "ties at top_p are kept"},
    {300, 50, 0, PEAK, 1, 0, 1, 0, 1, 0, 0, "one has all the mass"},
    {300, 50, 0, ONE, 1, 40, 0.9f, 0, 1, 0, 0, "one above -inf, top_k 40"},
    {1000, 50, 1003, HOLES, 1, 100, 0.9f, 0, 1, 0, 0, "fewer than top_k"},
    {1000, 50, 1003, HOLES, 1, 0, 1, 0, 1.2f, 0.3f, SAMPLE_PENALIZE, "holes"},
    {300, 20, 0, NOTHING, 1, 40, 0.9f, 0, 1, 0, 0, "nothing to draw: id 0"},
    {4096, 1, 0, RANDOM, 1, 40, 0.9f, 0, 1.2f, 0.3f, SAMPLE_PENALIZE | SAMPLE_ADVANCE, "advance"},
    {4096, 1, 0, RANDOM, 1, 0, 1, 0, 1, 0, SAMPLE_ADVANCE, "advance"},
    {10000, 6, 10003, RANDOM, 1, 40, 0.9f, 0, 1.2f, 0.3f, SAMPLE_PENALIZE, "by parts"},
    {10000, 6, 10003, RANDOM, 0.8f, 0, 0.7f, 0.02f, 1, 0, 0, "by parts"},
    {10000, 6, 10003, RANDOM, 0.8f, 0, 1, 0.3f, 1.2f, 0, SAMPLE_PENALIZE, "by parts"},
    {10000, 6, 0, RANDOM, 1.3f, 0, 0.9f, 0, 1, 0, 0, "by parts, many kept"},
    {10000, 6, 0, RANDOM, 1, 2000, 1, 0.01f, 1, 0, 0, "by parts, many kept"},
    {10000, 6, 0, RANDOM, 1, 2000, 0.7f, 0, 1, 0, 0, "by parts, many kept"},
    {6000, 6, 6003, HOLES, 1, 100, 0.9f, 0, 1, 0, 0, "by parts, fewer than top_k"},
    {6000, 6, 0, TIES, 1, 3, 1, 0, 1, 0, 0, "by parts, ties of the k-th are kept"},
    {6000, 6, 0, FLAT, 1, 0, 0.5f, 0, 1, 0, 0, "by parts, all alike"},
    {6000, 6, 0, ONE, 1, 40, 0.9f, 0, 1, 0, 0, "by parts, one above -inf"},
    {6000, 6, 0, NOTHING, 1, 40, 0.9f, 0, 1, 0, 0, "by parts, nothing to draw"},
    {6000, 6, 0, NOTHING, 1, 0, 1, 0, 1, 0, 0, "by parts, nothing to draw"},
};

/* ---- the reference */

typedef struct ranked { double z; uint32_t id; } ranked;

static int by_rank(const void *a, const void *b) {
    double x = ((const ranked *)a)->z, y = ((const ranked *)b)->z;
    return (x < y) - (x > y);
}

/* p[i]: probability of token i, by sorting. Returns false when no token can be drawn.
 * The meaning of the settings: sample_dims in gpu/dims.h. */
static bool probabilities(const logits_case *l, const float *row, double *p) {
    uint32_t vocab = l->dims.vocab, kept = vocab;
    const step_state *s = &l->state;
    ranked *r = malloc(vocab * sizeof *r);
    for (uint32_t i = 0; i < vocab; i++) {
        r[i] = (ranked){logits_test_penalized(l, row, i) / (double)s->temperature, i};
        p[i] = 0;
    }
    qsort(r, vocab, sizeof *r, by_rank);
    double top = r[0].z, sum = 0, part = 0;
    if (s->top_k > 0 && s->top_k < vocab)
        for (kept = s->top_k; kept < vocab && r[kept].z == r[kept - 1].z;) kept++;
    while (kept > 0 && r[kept - 1].z == -INFINITY) kept--;
    for (uint32_t i = 0; i < kept; i++) sum += exp(r[i].z - top);
    if (s->top_p < 1) {
        uint32_t n = 0;
        while (n < kept && (n == 0 || part < s->top_p * sum)) part += exp(r[n++].z - top);
        while (n > 0 && n < kept && r[n].z == r[n - 1].z) n++;
        kept = n;
    }
    while (kept > 0 && exp(r[kept - 1].z - top) < s->min_p) kept--;
    sum = 0;
    for (uint32_t i = 0; i < kept; i++) sum += exp(r[i].z - top);
    for (uint32_t i = 0; i < kept; i++) p[r[i].id] = exp(r[i].z - top) / sum;
    free(r);
    return kept > 0;
}

/* start[i]: sum of the probabilities before token i, in the order thread by thread. */
static void cumulate(const double *p, double *start, uint32_t vocab) {
    double sum = 0;
    for (uint32_t t = 0; t < THREADS; t++)
        for (uint32_t i = t; i < vocab; i += THREADS) {
            start[i] = sum;
            sum += p[i];
        }
}

static bool check_draw(const logits_case *l, uint32_t row, uint32_t id, bool some,
                       const double *p, const double *start, char *why, size_t why_bytes) {
    const uint32_t counter[2] = {FIRST_POSITION + l->dims.tokens + row, 0};
    const uint32_t key[2] = {l->state.seed_lo, l->state.seed_hi};
    uint32_t random[2];
    threefry(counter, key, random);
    double u = random[0] / 4294967296.0;
    if (!some && id == 0) return true;
    if (some && id < l->dims.vocab && p[id] > 0 && u > start[id] - BOUNDARY &&
        u < start[id] + p[id] + BOUNDARY) return true;
    bool known = some && id < l->dims.vocab;
    snprintf(why, why_bytes, "row %u: u %.9f drew %u, which has [%.9f, + %.3g)", row, u, id,
             known ? start[id] : 0, known ? p[id] : 0);
    return false;
}

/* Pearson's statistic over tokens expected at least 5 times, the others as one; its distribution
 * by Wilson and Hilferty (1931). */
static bool check_frequencies(const uint32_t *ids, uint32_t draws, const double *p,
                              uint32_t vocab, char *why, size_t why_bytes) {
    uint32_t *seen = calloc(vocab, sizeof *seen);
    for (uint32_t i = 0; i < draws; i++) seen[ids[i]]++;
    double statistic = 0, rare = 0, rare_seen = 0, freedom = -1;
    for (uint32_t i = 0; i < vocab; i++) {
        double expected = p[i] * draws;
        if (expected < 5) {
            rare += expected;
            rare_seen += seen[i];
            continue;
        }
        statistic += (seen[i] - expected) * (seen[i] - expected) / expected;
        freedom++;
    }
    free(seen);
    if (rare >= 5) {
        statistic += (rare_seen - rare) * (rare_seen - rare) / rare;
        freedom++;
    }
    double variance = 2 / (9 * freedom);
    double z = (cbrt(statistic / freedom) - (1 - variance)) / sqrt(variance);
    if (z < CHI_SQUARE_Z) return true;
    snprintf(why, why_bytes, "chi-square %.1f with %.0f degrees of freedom: p < 1e-4", statistic,
             freedom);
    return false;
}

static bool check(const kernel_case *c, char *why, size_t why_bytes) {
    const logits_case *l = c->user;
    const uint32_t *ids = c->buffer[IDS].data;
    uint32_t vocab = l->dims.vocab;
    double *p = malloc(vocab * sizeof *p), *start = malloc(vocab * sizeof *start);
    bool ok = true, some = false;
    for (uint32_t row = 0; ok && row < l->dims.rows; row++) {
        if (row == 0 || l->dims.stride > 0) {
            some = probabilities(l, logits_test_row(c, row), p);
            cumulate(p, start, vocab);
        }
        ok = check_draw(l, row, ids[row], some, p, start, why, why_bytes);
    }
    if (ok && l->distribution)
        ok = check_frequencies(ids, l->dims.rows, p, vocab, why, why_bytes);
    free(p);
    free(start);
    return ok && logits_test_advanced(c, why, why_bytes);
}

static void record(op_context o, const gpu_buffer *b, const void *user) {
    const logits_case *l = user;
    op_sample(o, KERNEL_SAMPLE, b[LOGITS], b[COUNTS], b[STATE], b[IDS], b[RING], b[PARTS], l->dims);
}

/* ---- seeds: the same state twice, and one that differs in the seed's upper word */

enum { OTHER_STATE = PARTS + 1, SAME_IDS, OTHER_IDS };

static void record_seeds(op_context o, const gpu_buffer *b, const void *user) {
    const logits_case *l = user;
    record(o, b, user);
    op_sample(o, KERNEL_SAMPLE, b[LOGITS], b[COUNTS], b[STATE], b[SAME_IDS], b[RING], b[PARTS],
              l->dims);
    op_sample(o, KERNEL_SAMPLE, b[LOGITS], b[COUNTS], b[OTHER_STATE], b[OTHER_IDS], b[RING],
              b[PARTS], l->dims);
}

static bool check_seeds(const kernel_case *c, char *why, size_t why_bytes) {
    const logits_case *l = c->user;
    const uint32_t *ids = c->buffer[IDS].data, *same = c->buffer[SAME_IDS].data;
    const uint32_t *other = c->buffer[OTHER_IDS].data;
    uint32_t differ = 0, rows = l->dims.rows;
    for (uint32_t row = 0; row < rows; row++) differ += ids[row] != other[row];
    if (memcmp(ids, same, rows * sizeof *ids)) {
        snprintf(why, why_bytes, "the same seed drew other ids");
        return false;
    }
    if (differ <= rows / 2) snprintf(why, why_bytes, "another seed: %u of %u differ", differ, rows);
    return differ > rows / 2;
}

static void make_seeds(kernel_case *c) {
    for (uint32_t i = OTHER_STATE; i <= OTHER_IDS; i++) {
        uint32_t like = i == OTHER_STATE ? STATE : IDS;
        c->buffer[i].bytes = c->buffer[like].bytes;
        c->buffer[i].read_back = true;
        c->buffer[i].data = malloc(c->buffer[i].bytes);
        memcpy(c->buffer[i].data, c->buffer[like].data, c->buffer[i].bytes);
    }
    ((step_state *)c->buffer[OTHER_STATE].data)->seed_hi ^= 1;
    c->buffer_count = OTHER_IDS + 1;
    c->record = record_seeds;
    c->check = check_seeds;
    snprintf(c->name, sizeof c->name, "sample seeds");
}

enum { SHAPES = sizeof shapes / sizeof *shapes, SEEDS = SHAPES, CASES };

static void make(uint32_t index, kernel_case *c) {
    const struct shape *s = &shapes[index == SEEDS ? 0 : index];
    step_state state = {
        .seed_lo = 12345 + index, .seed_hi = 678, .temperature = s->temperature,
        .top_k = s->top_k, .top_p = s->top_p, .min_p = s->min_p,
        .repetition_penalty = s->repetition, .presence_penalty = s->presence};
    struct sample_dims dims = {.vocab = s->vocab, .stride = s->stride, .tokens = 3,
                               .rows = index == SEEDS ? 100 : s->rows, .flags = s->flags};
    logits_case *l = logits_test_make(c, dims, state, s->kind, 3000 + index);
    l->distribution = index < SHAPES && s->rows == DRAWS;
    c->record = record;
    c->check = check;
    snprintf(c->name, sizeof c->name, "sample vocab %u, %u rows: %s", s->vocab, s->rows, s->name);
    if (index == SEEDS) make_seeds(c);
}

const kernel_suite suite_sample = {"sample", CASES, make};
