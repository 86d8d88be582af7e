/* logits.c - every position's logits, or only the likelihood of the token that follows: the
 * tools' and tests' view of a model. Chunk by chunk from an empty timeline; the logits of a chunk
 * come back in slices of as many rows as the session's logits buffer holds. */
#include "inference/engine.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct logits_pass {
    doppler_session *s;
    uint32_t count, chunk_first, chunk_tokens;     /* chunk_first: position of the chunk */
    uint32_t slice_first, slice_tokens;            /* within the chunk */
    float *rows;                                   /* [logit_rows, vocab], owned */
    float *logits, *nll;                           /* the caller's; one of them is NULL */
    gpu_list head;                                 /* of the running slice */
    bool cancelled;
    doppler_done_fn done;
    void *user;
};

static void next_chunk(struct logits_pass *p);
static void next_slice(struct logits_pass *p);

static void finish(struct logits_pass *p, doppler_status status) {
    doppler_session *s = p->s;
    s->cached_tokens = status ? 0 : p->count;
    s->timeline_tokens = s->cached_tokens;
    s->logits_pass = NULL;
    p->done(status, p->user);
    free(p->rows);
    free(p);
}

static bool failed(struct logits_pass *p, doppler_status status) {
    doppler *d = p->s->model->d;
    if (status) fail(&d->error, status, "%s", gpu_message(d->g));
    else if (p->cancelled) status = DOPPLER_CANCELLED;
    if (status) finish(p, status);
    return status != DOPPLER_OK;
}

/* -log softmax(row)[id] */
static float row_nll(const float *row, uint32_t vocab, uint32_t id) {
    float max = row[0];
    for (uint32_t i = 1; i < vocab; i++) max = row[i] > max ? row[i] : max;
    double sum = 0;
    for (uint32_t i = 0; i < vocab; i++) sum += exp((double)row[i] - max);
    return (float)(log(sum) + max - row[id]);
}

static void take_slice(struct logits_pass *p) {
    uint32_t vocab = p->s->model->manifest.model.vocab;
    uint32_t first = p->chunk_first + p->slice_first;
    if (p->logits) {
        memcpy(p->logits + (size_t)first * vocab, p->rows,
               (size_t)p->slice_tokens * vocab * sizeof *p->rows);
        return;
    }
    for (uint32_t t = 0; t < p->slice_tokens && first + t + 1 < p->count; t++)
        p->nll[first + t] = row_nll(p->rows + (size_t)t * vocab, vocab,
                                    p->s->timeline[first + t + 1]);
}

static void slice_done(doppler_status status, void *user) {
    struct logits_pass *p = user;
    gpu_list_destroy(p->s->model->d->g, p->head);
    if (failed(p, status)) return;
    take_slice(p);
    p->slice_first += p->slice_tokens;
    if (p->slice_first < p->chunk_tokens) {
        next_slice(p);
        return;
    }
    p->chunk_first += p->chunk_tokens;
    if (p->chunk_first < p->count) next_chunk(p);
    else finish(p, DOPPLER_OK);
}

static void next_slice(struct logits_pass *p) {
    doppler_session *s = p->s;
    gpu *g = s->model->d->g;
    uint32_t left = p->chunk_tokens - p->slice_first;
    p->slice_tokens = left < s->logit_rows ? left : s->logit_rows;
    gpu_record_begin(g);
    forward_head(s, p->slice_first, p->slice_tokens);
    p->head = gpu_record_end(g);
    size_t bytes = (size_t)p->slice_tokens * s->model->manifest.model.vocab * sizeof *p->rows;
    gpu_readback rows = {s->buffers.logits, 0, bytes, p->rows};
    gpu_submit(g, p->head, 1, &rows, slice_done, p);
}

static void next_chunk(struct logits_pass *p) {
    doppler_session *s = p->s;
    uint32_t left = p->count - p->chunk_first;
    p->chunk_tokens = left < s->chunk ? left : s->chunk;
    p->slice_first = 0;
    const step_state state = {.position = p->chunk_first};
    session_write_step(s, &state, s->timeline + p->chunk_first, p->chunk_tokens);
    kv_written(s, p->chunk_first + p->chunk_tokens);
    gpu_submit(s->model->d->g, session_step(s, &s->chunk_list, p->chunk_tokens, -1, false), 1,
               NULL, NULL, NULL);
    next_slice(p);
}

static doppler_status start(doppler_session *s, const uint32_t *ids, size_t count,
                            struct logits_pass wanted) {
    doppler_status status = session_check(s, ids, count);
    if (status) return status;
    struct logits_pass *p = malloc(sizeof *p);
    float *rows = malloc((size_t)s->logit_rows * s->model->manifest.model.vocab * sizeof *rows);
    if (!p || !rows) {
        free(p);
        free(rows);
        return fail(&s->model->d->error, DOPPLER_NO_MEMORY, "logits of %" PRIu32 " tokens",
                    s->logit_rows);
    }
    *p = wanted;
    p->s = s;
    p->count = (uint32_t)count;
    p->rows = rows;
    memcpy(s->timeline, ids, count * sizeof *ids);
    kv_reuse(s, 0);
    s->logits_pass = p;
    next_chunk(p);
    return DOPPLER_OK;
}

doppler_status doppler_logits(doppler_session *s, const uint32_t *ids, size_t count, float *out,
                              doppler_done_fn done, void *user) {
    return start(s, ids, count, (struct logits_pass){.logits = out, .done = done, .user = user});
}

doppler_status doppler_score(doppler_session *s, const uint32_t *ids, size_t count, float *nll,
                             doppler_done_fn done, void *user) {
    return start(s, ids, count, (struct logits_pass){.nll = nll, .done = done, .user = user});
}

bool logits_cancel(doppler_session *s) {
    if (!s->logits_pass) return false;
    s->logits_pass->cancelled = true;
    return true;
}
