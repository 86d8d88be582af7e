/* session.c - a timeline's GPU memory, planned and allocated once, and its recorded steps. */
#include "inference/engine.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    LOGITS_BYTES = 16 << 20,     /* most logits kept at once when all are wanted */
    LEAST_SPLITS = 2,            /* what is merged is in a form */
    SPLIT_KEYS = 32,             /* fewest keys worth a workgroup of their own */
    DEFAULT_CHECKPOINTS = 4,
    SPLIT_GROUPS = 512           /* workgroups that fill a large GPU: four for each of 128 cores */
};

op_context session_ops(const doppler_session *s) {
    return (op_context){s->model->d->g, &s->model->d->programs};
}

static uint32_t min_u32(uint32_t a, uint32_t b) { return a < b ? a : b; }
static uint32_t max_u32(uint32_t a, uint32_t b) { return a > b ? a : b; }

/* ---- plan */

static uint64_t rope_bytes(const doppler_session *s, layer_kind kind) {
    const model_config *m = &s->model->manifest.model;
    return model_has_kind(m, kind) ? (uint64_t)s->rope.rows * m->head_dim * sizeof(float)
                                   : sizeof(float);
}

/* Rows of a token's feed-forward: one for each expert that it goes through. */
static uint32_t token_slots(const model_config *m) { return m->experts ? m->experts_used : 1; }

/* The largest chunk whose activations a device can bind and dispatch, at most `wanted`. */
static uint32_t fitting_chunk(const doppler_session *s, uint32_t wanted) {
    const model_config *m = &s->model->manifest.model;
    uint64_t slots = token_slots(m);
    const uint64_t widths[] = {m->dim * slots, slots * 2 * m->hidden,
                               ((uint64_t)m->heads + 2 * m->kv_heads) * m->head_dim};
    uint32_t grid = gpu_get_limits(s->model->d->g)->grid;   /* a workgroup for each row */
    wanted = min_u32(wanted, grid / (uint32_t)slots);
    uint64_t most = gpu_get_limits(s->model->d->g)->binding_bytes / sizeof(float);
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++)
        while (wanted > 1 && wanted * widths[i] > most) wanted = (wanted + 1) / 2;
    return wanted;
}

/* Workgroups over which one token's keys are spread. */
static uint32_t key_splits(const doppler_session *s, uint32_t keys) {
    if (s->model->d->is_cpu) return LEAST_SPLITS;
    uint32_t groups = SPLIT_GROUPS / s->model->manifest.model.kv_heads;
    return max_u32(LEAST_SPLITS, min_u32(groups, keys / SPLIT_KEYS));
}

/* Of one token's x in any form: which, is settled when programs have been tested. */
static uint64_t form_bytes(uint64_t k) {
    uint64_t most = 0;
    for (x_form form = 0; form < X_FORMS; form++)
        if (x_form_bytes(form, k) > most) most = x_form_bytes(form, k);
    return most;
}

/* Of a prompt's rows in the form that its projections read; a word where they read them plain. */
static uint64_t prompt_form_bytes(const doppler_session *s) {
    const model_config *m = &s->model->manifest.model;
    x_form form = session_has_matrices(s) ? X_HALF : X_PACKED;
    uint32_t k = max_u32(m->dim, m->heads * m->head_dim);
    uint64_t rows = s->chunk * x_form_bytes(form, k);
    uint64_t hidden = (uint64_t)s->chunk * token_slots(m) * x_form_bytes(form, m->hidden);
    return s->form != X_PACKED ? sizeof(float) : rows > hidden ? rows : hidden;
}

static uint32_t kv_count(const doppler_session *s) {
    const model_config *m = &s->model->manifest.model;
    uint32_t count = 0;
    for (uint32_t i = 0; i < m->layers; i++) count += s->slabs[m->layer_kinds[i]];
    return count;
}

static uint32_t checkpoint_buffer_count(const doppler_session *s) {
    return s->checkpoint_count * s->slabs[LAYER_SLIDING] *
           model_kind_layers(&s->model->manifest.model, LAYER_SLIDING);
}

static uint32_t buffer_count(const doppler_session *s) {
    return SESSION_BUFFERS + kv_count(s) + checkpoint_buffer_count(s);
}

/* One row for each buffer of the caches of layers of a kind; NULL: of all. Returns how many. */
static uint32_t plan_kv(const doppler_session *s, const layer_kind *only, const uint32_t slots[],
                        const char *label, gpu_buffer_desc *out) {
    const model_config *m = &s->model->manifest.model;
    uint32_t count = 0;
    for (uint32_t i = 0; i < m->layers; i++) {
        uint32_t kind = m->layer_kinds[i], each = s->slab_heads[kind];
        if (only && kind != *only) continue;
        for (uint32_t first = 0; first < m->kv_heads; first += each) {
            uint32_t heads = min_u32(each, m->kv_heads - first);
            out[count++] = (gpu_buffer_desc){kv_slab_bytes(m, s->kv, slots[kind], heads), label};
        }
    }
    return count;
}

/* One row per buffer of session_buffers, in its order, then the KV buffers, then checkpoints'. */
static void plan_buffers(const doppler_session *s, gpu_buffer_desc *out) {
    const model_config *m = &s->model->manifest.model;
    uint64_t f = sizeof(float), chunk = s->chunk, q_dim = (uint64_t)m->heads * m->head_dim;
    uint64_t kv_dim = (uint64_t)m->kv_heads * m->head_dim;
    uint64_t padded = ((uint64_t)m->hidden + 255) / 256 * 256;
    uint32_t splits = max_u32(s->splits[LAYER_FULL], s->splits[LAYER_SLIDING]);
    uint64_t slots = chunk * token_slots(m), routed = m->experts ? slots : 1;
    uint64_t routing = m->experts ? op_routing_words((uint32_t)slots, m->experts) : 1;
    const gpu_buffer_desc fixed[SESSION_BUFFERS] = {
        {sizeof(step_state), "state"},
        {chunk * 4, "ids"},
        {RING_TOKENS * 4, "ring"},
        {(uint64_t)m->vocab * 4, "counts"},
        {rope_bytes(s, LAYER_FULL), "rope"},
        {rope_bytes(s, LAYER_SLIDING), "rope of sliding layers"},
        {chunk * m->dim * f, "x"},
        {chunk * m->dim * f, "normed"},
        {chunk * (q_dim + 2 * kv_dim) * f, "qkv"},
        {chunk * q_dim * f, "attended"},
        {(uint64_t)splits * m->heads * (m->head_dim + 4) * f, "partial"},
        {slots * 2 * m->hidden * f, "gate_up"},
        {slots * m->hidden * f, "activated"},
        {(m->experts ? chunk * m->experts : 1) * f, "router"},
        {routed * 4, "experts"},
        {routed * f, "expert_weights"},
        {routing * 4, "routing"},
        {(m->experts ? slots * m->dim : 1) * f, "expert_out"},
        {(uint64_t)s->logit_rows * m->vocab * f, "logits"},
        {(uint64_t)sample_part_words(m->vocab) * 4, "parts"},
        {form_bytes(m->dim), "x form"},
        {form_bytes(q_dim), "attended form"},
        {form_bytes(token_slots(m) * padded), "hidden form"},
        {prompt_form_bytes(s), "prompt form"},
        {chunk * 4, "targets"},
        {chunk * f, "nll"},
    };
    memcpy(out, fixed, sizeof fixed);
    out += SESSION_BUFFERS;
    out += plan_kv(s, NULL, s->slots, "kv", out);
    const layer_kind sliding = LAYER_SLIDING;
    const uint32_t rows[LAYER_KINDS] = {[LAYER_SLIDING] = s->checkpoint_rows};
    for (uint32_t i = 0; i < s->checkpoint_count; i++)
        out += plan_kv(s, &sliding, rows, "checkpoint", out);
}

static doppler_status check_limits(doppler *d, const gpu_buffer_desc *descs, uint32_t count) {
    const gpu_limits *limits = gpu_get_limits(d->g);
    for (uint32_t i = 0; i < count; i++)
        if (descs[i].bytes > limits->binding_bytes || descs[i].bytes > limits->buffer_bytes)
            return fail(&d->error, DOPPLER_NO_MEMORY,
                        "session: %s of %" PRIu64 " bytes, this device binds at most %" PRIu64
                        "; use a smaller context", descs[i].label, descs[i].bytes,
                        limits->binding_bytes);
    return DOPPLER_OK;
}

/* ---- creation: buffers, then programs */

static void created(doppler_session *s, doppler_status status) {
    s->ready = status == DOPPLER_OK;
    s->created(status, s->created_user);
}

static void prepared(doppler_status status, void *user) { created(user, status); }

static void buffers_done(doppler_status status, void *user) {
    doppler_session *s = user;
    doppler *d = s->model->d;
    if (status) {
        memset(&s->buffers, 0, sizeof s->buffers);      /* the backend has destroyed them */
        memset(s->kv_buffers, 0, (buffer_count(s) - SESSION_BUFFERS) * sizeof *s->kv_buffers);
        fail(&d->error, status, "session of %" PRIu32 " tokens: %s", s->context,
             gpu_message(d->g));
        created(s, status);
        return;
    }
    status = session_prepare(s, prepared, s);
    if (status) created(s, status);
}

static doppler_status allocate(doppler_session *s) {
    doppler *d = s->model->d;
    const model_config *m = &s->model->manifest.model;
    uint32_t count = buffer_count(s);
    gpu_buffer_desc *descs = calloc(count, sizeof *descs);
    gpu_buffer *handles = calloc(count, sizeof *handles);
    s->kv_buffers = calloc(count - SESSION_BUFFERS, sizeof *s->kv_buffers);
    s->kv_first = calloc(m->layers, sizeof *s->kv_first);
    s->checkpoints = calloc(s->checkpoint_count + 1, sizeof *s->checkpoints);
    s->timeline = malloc(s->context * sizeof *s->timeline);
    doppler_status status = DOPPLER_OK;
    if (!descs || !handles || !s->kv_buffers || !s->kv_first || !s->checkpoints ||
        !s->timeline || !rope_table_init(s))
        status = fail(&d->error, DOPPLER_NO_MEMORY, "session of %" PRIu32 " tokens", s->context);
    if (!status) {
        plan_buffers(s, descs);
        status = check_limits(d, descs, count);
    }
    if (!status) {
        gpu_buffers_create(d->g, descs, count, handles, buffers_done, s);
        memcpy(&s->buffers, handles, sizeof s->buffers);
        memcpy(s->kv_buffers, handles + SESSION_BUFFERS,
               (count - SESSION_BUFFERS) * sizeof *handles);
        s->checkpoint_buffers = s->kv_buffers + kv_count(s);
        for (uint32_t i = 1; i < m->layers; i++)
            s->kv_first[i] = s->kv_first[i - 1] + s->slabs[m->layer_kinds[i - 1]];
    }
    free(descs);
    free(handles);
    return status;
}

static doppler_status check_options(doppler_model *m, const doppler_session_options *o) {
    error *e = &m->d->error;
    if (o->context > m->manifest.model.context)
        return fail(e, DOPPLER_BAD_ARGUMENT, "context %" PRIu32 ", the model was trained for %"
                    PRIu32, o->context, m->manifest.model.context);
    if ((unsigned)o->kv >= KV_COUNT)
        return fail(e, DOPPLER_BAD_ARGUMENT, "KV format %d is not known", (int)o->kv);
    return DOPPLER_OK;
}

/* How many KV heads share a buffer; the context where none was asked for is what the device can
 * bind. */
static doppler_status plan_cache(doppler_session *s, bool context_asked) {
    const model_config *c = &s->model->manifest.model;
    const gpu_limits *limits = gpu_get_limits(s->model->d->g);
    uint64_t most = limits->binding_bytes < limits->buffer_bytes ? limits->binding_bytes
                                                                 : limits->buffer_bytes;
    if (c->head_dim % kv_run(s->kv) != 0)
        return fail(&s->model->d->error, DOPPLER_UNSUPPORTED, "%s KV cache: head_dim %" PRIu32
                    " is not a multiple of %" PRIu32, kv_names[s->kv], c->head_dim, kv_run(s->kv));
    uint32_t fitting = kv_most_context(c, s->kv, s->context, s->chunk, most);
    if (fitting < s->context && (context_asked || fitting < s->chunk))
        return fail(&s->model->d->error, DOPPLER_NO_MEMORY, "session: keys and values of one head "
                    "in %s over %" PRIu32 " tokens exceed the %" PRIu64 " bytes that this device "
                    "binds; at most %" PRIu32 " tokens do not", kv_names[s->kv], s->context, most,
                    fitting);
    s->context = fitting;
    for (uint32_t kind = 0; kind < LAYER_KINDS; kind++) {
        s->slots[kind] = kv_slots(c, (layer_kind)kind, s->context, s->chunk);
        if (!model_has_kind(c, (layer_kind)kind)) continue;
        s->slab_heads[kind] = kv_slab_heads(c, s->kv, s->slots[kind], most);
        s->slabs[kind] = (c->kv_heads + s->slab_heads[kind] - 1) / s->slab_heads[kind];
    }
    return DOPPLER_OK;
}

/* How many turn ends are kept, and what of each. */
static doppler_status plan_checkpoints(doppler_session *s, uint32_t wanted) {
    const model_config *c = &s->model->manifest.model;
    if (wanted > DOPPLER_MAX_CHECKPOINTS && wanted != DOPPLER_NO_CHECKPOINTS)
        return fail(&s->model->d->error, DOPPLER_BAD_ARGUMENT, "%" PRIu32 " checkpoints, at most "
                    "%d are kept", wanted, DOPPLER_MAX_CHECKPOINTS);
    s->checkpoint_rows = checkpoint_rows(c, s->slots[LAYER_SLIDING], s->context);
    if (!s->checkpoint_rows || wanted == DOPPLER_NO_CHECKPOINTS) return DOPPLER_OK;
    uint64_t kv = 0, one = 0;
    for (uint32_t i = 0; i < c->layers; i++) {
        kv += kv_slab_bytes(c, s->kv, s->slots[c->layer_kinds[i]], c->kv_heads);
        if (c->layer_kinds[i] == LAYER_SLIDING)
            one += kv_slab_bytes(c, s->kv, s->checkpoint_rows, c->kv_heads);
    }
    uint64_t fitting = kv / 2 / one;
    s->checkpoint_count = wanted ? wanted
                        : fitting < DEFAULT_CHECKPOINTS ? (uint32_t)fitting : DEFAULT_CHECKPOINTS;
    return DOPPLER_OK;
}

/* Every number of a session; no memory. */
static doppler_status plan(doppler_model *m, const doppler_session_options *options,
                           doppler_session *s) {
    doppler_session_options o = options ? *options : (doppler_session_options){0};
    doppler_status status = check_options(m, &o);
    if (status) return status;
    const model_config *c = &m->manifest.model;
    s->model = m;
    s->context = o.context ? o.context : min_u32(c->context, MAX_CONTEXT_DEFAULT);
    s->chunk = fitting_chunk(s, min_u32(o.chunk ? o.chunk : DEFAULT_CHUNK, s->context));
    s->precision = o.precision;
    s->form = decode_form(m, o.precision);
    s->kv = (kv_format)o.kv;
    status = plan_cache(s, o.context > 0);
    if (!status) status = plan_checkpoints(s, o.checkpoints);
    if (status) return status;
    s->rope.rows = rope_table_rows(s->context, s->chunk);
    s->splits[LAYER_FULL] = key_splits(s, s->context);
    s->splits[LAYER_SLIDING] = key_splits(s, min_u32(s->context, c->window));
    uint64_t logits_bytes = gpu_get_limits(m->d->g)->binding_bytes;
    if (logits_bytes > LOGITS_BYTES) logits_bytes = LOGITS_BYTES;
    s->logit_rows = max_u32(1, min_u32(s->chunk, (uint32_t)(logits_bytes / 4) / c->vocab));
    return DOPPLER_OK;
}

doppler_status doppler_session_memory(doppler_model *m, const doppler_session_options *options,
                                      doppler_memory *out) {
    doppler_session s = {0};
    *out = (doppler_memory){.weights = m->weights.gpu_bytes};
    doppler_status status = plan(m, options, &s);
    if (status) return status;
    gpu_buffer_desc *descs = calloc(buffer_count(&s), sizeof *descs);
    if (!descs) return fail(&m->d->error, DOPPLER_NO_MEMORY, "plan of a session");
    plan_buffers(&s, descs);
    uint32_t checkpoints = SESSION_BUFFERS + kv_count(&s);
    for (uint32_t i = 0; i < buffer_count(&s); i++)
        *(i < SESSION_BUFFERS ? &out->work : i < checkpoints ? &out->kv : &out->checkpoints) +=
            descs[i].bytes;
    status = check_limits(m->d, descs, buffer_count(&s));
    free(descs);
    return status;
}

doppler_status doppler_session_create(doppler_model *m, const doppler_session_options *options,
                                      doppler_session **session, doppler_done_fn done,
                                      void *user) {
    *session = NULL;
    if (m->stage != MODEL_READY)
        return fail(&m->d->error, DOPPLER_BUSY, "the model is not loaded");
    doppler_session *s = calloc(1, sizeof *s);
    if (!s) return fail(&m->d->error, DOPPLER_NO_MEMORY, "session");
    doppler_status status = plan(m, options, s);
    if (status) {
        free(s);
        return status;
    }
    s->stop_token = s->stop_string = DOPPLER_NO_TOKEN;
    s->created = done;
    s->created_user = user;
    status = allocate(s);
    if (status) {
        doppler_session_destroy(s);
        return status;
    }
    *session = s;
    return DOPPLER_OK;
}

void doppler_session_destroy(doppler_session *s) {
    if (!s) return;
    assert(!s->generation && !s->logits_pass && !s->trace_pass && !s->profiling);
    gpu *g = s->model->d->g;
    const recorded *lists[] = {&s->chunk_list, &s->last_list, &s->decode_list};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        gpu_list_destroy(g, lists[i]->list);
    gpu_buffer handles[SESSION_BUFFERS];
    memcpy(handles, &s->buffers, sizeof handles);
    for (int i = 0; i < SESSION_BUFFERS; i++) gpu_buffer_destroy(g, handles[i]);
    for (uint32_t i = 0; s->kv_buffers && i < buffer_count(s) - SESSION_BUFFERS; i++)
        gpu_buffer_destroy(g, s->kv_buffers[i]);
    rope_table_free(s);
    free(s->kv_buffers);
    free(s->kv_first);
    free(s->checkpoints);
    free(s->timeline);
    free(s);
}

uint32_t doppler_session_position(const doppler_session *s) { return s->timeline_tokens; }

uint32_t doppler_session_context(const doppler_session *s) { return s->context; }

uint32_t doppler_session_stop_token(const doppler_session *s) { return s->stop_token; }

uint32_t doppler_session_stop_string(const doppler_session *s) { return s->stop_string; }

uint32_t doppler_session_reused(const doppler_session *s) { return s->reused_tokens; }

/* ---- steps */

void session_write_step(doppler_session *s, const step_state *state, const uint32_t *ids,
                        uint32_t tokens) {
    assert(tokens <= s->chunk);
    rope_table_reach(s, state->position, tokens);
    gpu_write(s->model->d->g, s->buffers.state, 0, state, sizeof *state);
    gpu_write(s->model->d->g, s->buffers.ids, 0, ids, tokens * sizeof *ids);
}

gpu_list session_step(doppler_session *s, recorded *r, uint32_t tokens, bool decode, int sampler,
                      bool penalize) {
    gpu *g = s->model->d->g;
    assert(!decode || tokens == 1);
    decode = decode && !s->plain;
    if (r->list && r->tokens == tokens && r->decode == decode && r->sampler == sampler &&
        r->penalize == penalize)
        return r->list;
    gpu_list_destroy(g, r->list);
    gpu_record_begin(g);
    if (decode) decode_layers(s);
    else forward_layers(s, tokens);
    if (sampler >= 0) {
        uint32_t vocab = s->model->manifest.model.vocab;
        uint32_t flags = SAMPLE_ADVANCE | (penalize ? SAMPLE_PENALIZE : 0);
        const session_buffers *b = &s->buffers;
        if (decode) decode_head(s);
        else forward_head(s, tokens - 1, 1);
        const struct sample_dims dims = {vocab, vocab, 1, tokens, RING_TOKENS, flags};
        op_sample(session_ops(s), (kernel_id)sampler, b->logits, b->counts, b->state, b->ids,
                  b->ring, b->parts, dims);
    }
    *r = (recorded){gpu_record_end(g), tokens, decode, sampler, penalize};
    return r->list;
}

doppler_status session_check(doppler_session *s, const uint32_t *ids, size_t count) {
    error *e = &s->model->d->error;
    uint32_t vocab = s->model->manifest.model.vocab;
    if (s->model->d->lost) return fail(e, DOPPLER_DEVICE_LOST, "the GPU device was lost");
    if (!s->ready || s->generation || s->logits_pass || s->trace_pass || s->profiling)
        return fail(e, DOPPLER_BUSY, "the session is %s", s->ready ? "running" : "not ready");
    if (count == 0) return fail(e, DOPPLER_BAD_ARGUMENT, "no tokens");
    if (count > s->context)
        return fail(e, DOPPLER_CONTEXT_FULL, "%zu tokens, the context holds %" PRIu32, count,
                    s->context);
    for (size_t i = 0; i < count; i++)
        if (ids[i] >= vocab)
            return fail(e, DOPPLER_BAD_ARGUMENT, "token %zu is %" PRIu32 ", the vocabulary has %"
                        PRIu32, i, ids[i], vocab);
    return DOPPLER_OK;
}

void doppler_cancel(doppler_session *s) {
    if (!generation_cancel(s) && !logits_cancel(s)) trace_cancel(s);
}
