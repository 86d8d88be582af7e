/* test_argmax.c - the lowest index of the largest logit, whatever the logits. */
#include "tests/kernels/logits_test.h"

static const struct shape {
    uint32_t vocab, rows, stride;
    logits_kind kind;
    uint32_t flags;
} shapes[] = {
    {1, 1, 0, RANDOM, 0},           {255, 3, 258, RANDOM, 0},
    {257, 3, 260, RANDOM, 0},       {4096, 2, 0, RANDOM, 0},
    {262144, 1, 0, RANDOM, SAMPLE_ADVANCE},
    {257, 5, 260, TIES, 0},         {4096, 4, 4099, TIES, SAMPLE_PENALIZE},
    {300, 1, 0, FLAT, 0},           {1000, 1, 0, ONE, SAMPLE_PENALIZE},
    {1000, 3, 1003, HOLES, 0},      {1000, 3, 1003, HOLES, SAMPLE_PENALIZE},
    {1000, 1, 0, NOTHING, 0},       {1, 1, 0, NOTHING, SAMPLE_ADVANCE},
    {4096, 7, 4099, RANDOM, SAMPLE_PENALIZE},
    {4096, 1, 0, RANDOM, SAMPLE_PENALIZE | SAMPLE_ADVANCE},
    {1, 1, 0, RANDOM, SAMPLE_ADVANCE},   {10000, 1, 0, HOLES, SAMPLE_PENALIZE | SAMPLE_ADVANCE},
    {5000, 1, 0, NOTHING, 0},            {6000, 1, 0, FLAT, 0},
};

enum { SHAPES = sizeof shapes / sizeof *shapes };

static void record(op_context o, const gpu_buffer *b, const void *user) {
    const logits_case *l = user;
    op_sample(o, KERNEL_ARGMAX, b[LOGITS], b[COUNTS], b[STATE], b[IDS], b[RING], b[PARTS], l->dims);
}

static bool check(const kernel_case *c, char *why, size_t why_bytes) {
    const logits_case *l = c->user;
    for (uint32_t row = 0; row < l->dims.rows; row++) {
        const float *x = logits_test_row(c, row);
        uint32_t want = 0, got = ((const uint32_t *)c->buffer[IDS].data)[row];
        for (uint32_t i = 1; i < l->dims.vocab; i++)
            if (logits_test_penalized(l, x, i) > logits_test_penalized(l, x, want)) want = i;
        if (got == want) continue;
        snprintf(why, why_bytes, "row %u: id %u, not %u", row, got, want);
        return false;
    }
    return logits_test_advanced(c, why, why_bytes);
}

static void make(uint32_t index, kernel_case *c) {
    const struct shape *s = &shapes[index];
    logits_test_make(c, (struct sample_dims){.vocab = s->vocab, .stride = s->stride,
                                             .rows = s->rows, .tokens = 3, .flags = s->flags},
                     (step_state){.repetition_penalty = 1.5f, .presence_penalty = 0.5f}, s->kind,
                     2000 + index);
    c->record = record;
    c->check = check;
    snprintf(c->name, sizeof c->name, "argmax vocab %u, %u rows, kind %u, flags %u", s->vocab,
             s->rows, s->kind, s->flags);
}

const kernel_suite suite_argmax = {"argmax", SHAPES, make};
