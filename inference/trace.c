/* trace.c - a prompt's intermediate tensors, one after another: runs the lists that the graph's
 * marks cut it into, and reads each tensor before the next list starts. */
#include "inference/engine.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct trace_pass {
    doppler_session *s;
    trace t;
    uint32_t at, tokens;
    float *data;                 /* the tensor that was read; owned */
    bool cancelled;
    doppler_tensor_fn tensor;
    doppler_done_fn done;
    void *user;
};

static void finish(struct trace_pass *p, doppler_status status) {
    doppler_session *s = p->s;
    s->cached_tokens = status ? 0 : p->tokens;
    s->timeline_tokens = s->cached_tokens;
    s->trace_pass = NULL;
    trace_free(&p->t);
    p->done(status, p->user);
    free(p->data);
    free(p);
}

static void next(struct trace_pass *p);

/* Small integers are handed out as floats, exactly. */
static void to_floats(float *data, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint32_t number;
        memcpy(&number, &data[i], sizeof number);
        data[i] = (float)number;
    }
}

static void was_read(doppler_status status, void *user) {
    struct trace_pass *p = user;
    doppler *d = p->s->model->d;
    const trace_tensor *t = &p->t.tensors[p->at++];
    if (!status && t->is_u32) to_floats(p->data, (size_t)t->rows * t->cols);
    const doppler_tensor seen = {t->name, t->layer, t->first, t->rows, t->cols, p->data};
    if (status) fail(&d->error, status, "%s", gpu_message(d->g));
    else if (p->cancelled || !p->tensor(&seen, p->user)) status = DOPPLER_CANCELLED;
    if (status || p->at == p->t.count) finish(p, status);
    else next(p);
}

static void next(struct trace_pass *p) {
    const trace_tensor *t = &p->t.tensors[p->at];
    gpu_readback data = {t->buffer, 0, (size_t)t->rows * t->cols * sizeof(float), p->data};
    gpu_submit(p->s->model->d->g, t->list, 1, &data, was_read, p);
}

/* The whole graph in one step, the head in slices as for logits. */
static bool record(struct trace_pass *p) {
    doppler_session *s = p->s;
    trace_begin(&p->t, s->model->d->g);
    s->trace = &p->t;
    forward_layers(s, p->tokens);
    for (uint32_t first = 0; first < p->tokens; first += s->logit_rows) {
        uint32_t left = p->tokens - first;
        forward_head(s, first, left < s->logit_rows ? left : s->logit_rows);
    }
    s->trace = NULL;
    if (!trace_end(&p->t)) return false;
    p->data = malloc((size_t)p->t.largest_bytes);
    return p->data != NULL;
}

doppler_status doppler_trace(doppler_session *s, const uint32_t *ids, size_t count,
                             doppler_tensor_fn tensor, doppler_done_fn done, void *user) {
    error *e = &s->model->d->error;
    doppler_status status = session_check(s, ids, count);
    if (status) return status;
    if (count > s->chunk)
        return fail(e, DOPPLER_BAD_ARGUMENT, "a trace of %zu tokens, one step takes %" PRIu32,
                    count, s->chunk);
    struct trace_pass *p = calloc(1, sizeof *p);
    if (!p) return fail(e, DOPPLER_NO_MEMORY, "trace");
    *p = (struct trace_pass){.s = s, .tokens = (uint32_t)count, .tensor = tensor, .done = done,
                             .user = user};
    if (!record(p)) {
        trace_free(&p->t);
        free(p);
        return fail(e, DOPPLER_NO_MEMORY, "trace of %zu tokens", count);
    }
    memcpy(s->timeline, ids, count * sizeof *ids);
    kv_reuse(s, 0, 0);
    kv_written(s, p->tokens);
    s->trace_pass = p;
    const step_state state = {.position = 0};
    session_write_step(s, &state, s->timeline, p->tokens);
    next(p);
    return DOPPLER_OK;
}

bool trace_cancel(doppler_session *s) {
    if (!s->trace_pass) return false;
    s->trace_pass->cancelled = true;
    return true;
}
