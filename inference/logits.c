/* logits.c - every position's logits, or only the likelihood of the token that follows: the
 * tools' and tests' view of a model. Chunk by chunk from an empty timeline; the logits of a chunk
 * come back in slices of as many rows as the session's logits buffer holds. */
#include "inference/engine.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct logits_pass {
    doppler_session *s;
    uint32_t count, chunk_first, chunk_tokens;     /* chunk_first: position of the chunk */
    uint32_t slice_first, slice_tokens;            /* within the chunk */
    float *rows;                                   /* [logit_rows, vocab] or [logit_rows], owned */
    float *logits, *nll;                           /* the caller's; logits NULL: nll is wanted */
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
    if (p->cancelled && (!status || status == DOPPLER_CANCELLED)) status = DOPPLER_CANCELLED;
    else if (status) fail(&d->error, status, "%s", gpu_message(d->g));
    if (status) finish(p, status);
    return status != DOPPLER_OK;
}

static void take_slice(struct logits_pass *p) {
    uint32_t first = p->chunk_first + p->slice_first;
    if (p->logits) {
        uint32_t vocab = p->s->model->manifest.model.vocab;
        memcpy(p->logits + (size_t)first * vocab, p->rows,
               (size_t)p->slice_tokens * vocab * sizeof *p->rows);
        return;
    }
    for (uint32_t t = 0; t < p->slice_tokens && first + t + 1 < p->count; t++)
        p->nll[first + t] = p->rows[t];
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
    uint32_t vocab = s->model->manifest.model.vocab;
    gpu_record_begin(g);
    forward_head(s, p->slice_first, p->slice_tokens);
    if (!p->logits)
        op_nll(session_ops(s), s->buffers.nll, s->buffers.logits, s->buffers.targets,
               (struct nll_dims){vocab, p->slice_tokens, p->slice_first});
    p->head = gpu_record_end(g);
    gpu_readback rows = {s->buffers.logits, 0,
                         (size_t)p->slice_tokens * vocab * sizeof *p->rows, p->rows};
    gpu_readback nll = {s->buffers.nll, p->slice_first * sizeof *p->rows,
                        p->slice_tokens * sizeof *p->rows, p->rows};
    gpu_submit(g, p->head, 1, p->logits ? &rows : &nll, slice_done, p);
}

/* The token behind each of the chunk's; the last of all has none, and its score is dropped. */
static void write_targets(struct logits_pass *p) {
    const doppler_session *s = p->s;
    uint32_t left = p->count - p->chunk_first - 1;
    uint32_t known = p->chunk_tokens < left ? p->chunk_tokens : left, none = 0;
    gpu *g = s->model->d->g;
    if (known)
        gpu_write(g, s->buffers.targets, 0, s->timeline + p->chunk_first + 1,
                  known * sizeof *s->timeline);
    if (known < p->chunk_tokens)
        gpu_write(g, s->buffers.targets, known * sizeof none, &none, sizeof none);
}

static void chunk_done(doppler_status status, void *user) {
    if (!failed(user, status)) next_slice(user);
}

static void next_chunk(struct logits_pass *p) {
    doppler_session *s = p->s;
    uint32_t left = p->count - p->chunk_first;
    p->chunk_tokens = left < s->chunk ? left : s->chunk;
    p->slice_first = 0;
    const step_state state = {.position = p->chunk_first};
    session_write_step(s, &state, s->timeline + p->chunk_first, p->chunk_tokens);
    kv_written(s, p->chunk_first + p->chunk_tokens);
    if (!p->logits) write_targets(p);
    gpu_list list = session_step(s, &s->chunk_list, p->chunk_tokens, p->chunk_tokens == 1, -1,
                                 false);
    pace_submit(s, list, p->chunk_tokens, NULL, chunk_done, p);
}

static void programs_done(doppler_status status, void *user) {
    struct logits_pass *p = user;
    if (status || p->cancelled) finish(p, status ? status : DOPPLER_CANCELLED);
    else next_chunk(p);
}

/* row: numbers that a token leaves in rows. */
static doppler_status start(doppler_session *s, const uint32_t *ids, size_t count, uint32_t row,
                            struct logits_pass wanted) {
    doppler *d = s->model->d;
    doppler_status status = session_check(s, ids, count);
    if (status) return status;
    struct logits_pass *p = malloc(sizeof *p);
    float *rows = malloc((size_t)s->logit_rows * row * sizeof *rows);
    if (!p || !rows) {
        free(p);
        free(rows);
        return fail(&d->error, DOPPLER_NO_MEMORY, "logits of %" PRIu32 " tokens", s->logit_rows);
    }
    *p = wanted;
    p->s = s;
    p->count = (uint32_t)count;
    p->rows = rows;
    memcpy(s->timeline, ids, count * sizeof *ids);
    kv_reuse(s, 0, 0);
    s->logits_pass = p;
    if (p->logits) {
        next_chunk(p);
        return DOPPLER_OK;
    }
    const program_want nll = {KERNEL_NLL, 0};
    status = programs_compile(d, &nll, 1, programs_done, p);
    if (!status) return DOPPLER_OK;
    s->logits_pass = NULL;
    free(rows);
    free(p);
    return status;
}

doppler_status doppler_logits(doppler_session *s, const uint32_t *ids, size_t count, float *out,
                              doppler_done_fn done, void *user) {
    return start(s, ids, count, s->model->manifest.model.vocab,
                 (struct logits_pass){.logits = out, .done = done, .user = user});
}

doppler_status doppler_score(doppler_session *s, const uint32_t *ids, size_t count, float *nll,
                             doppler_done_fn done, void *user) {
    return start(s, ids, count, 1, (struct logits_pass){.nll = nll, .done = done, .user = user});
}

bool logits_cancel(doppler_session *s) {
    if (!s->logits_pass) return false;
    s->logits_pass->cancelled = true;
    pace_cancel(s);
    return true;
}
