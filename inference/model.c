/* model.c - loading: manifest, plan, then bytes, buffers and programs in parallel until all are
 * there. */
#include "inference/engine.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void model_free(doppler_model *m) {
    for (uint32_t i = 0; m->allocated && i < m->weights.buffer_count; i++)
        gpu_buffer_destroy(m->d->g, m->weights.buffers[i]);
    tokenizer_close(m->tokenizer);
    manifest_free(&m->manifest);
    arena_free(&m->memory);
    free(m);
}

/* A device callback has come. True when the user has gone meanwhile and m with it. */
static bool model_gone(doppler_model *m) {
    m->waiting--;
    if (!m->destroyed) return false;
    if (m->waiting == 0) model_free(m);
    return true;
}

static void buffers_done(doppler_status status, void *user) {
    doppler_model *m = user;
    if (status) m->weights.buffer_count = 0;            /* the backend has destroyed them */
    if (model_gone(m)) return;
    if (status) {
        m->stage = MODEL_FAILED;
        fail(&m->d->error, status, "%s: %" PRIu64 " bytes of weights: %s", m->manifest.name,
             m->weights.gpu_bytes, gpu_message(m->d->g));
        return;
    }
    weights_bind(&m->weights, &m->manifest.model);
    m->buffers_ready = true;
}

static void programs_done(doppler_status status, void *user) {
    doppler_model *m = user;
    if (model_gone(m)) return;
    if (status) m->stage = MODEL_FAILED;
    m->programs_ready = status == DOPPLER_OK;
}

/* Every program that the model's tensors need; those that depend on the KV format come with the
 * session. */
static doppler_status compile_model(doppler_model *m) {
    const model_config *c = &m->manifest.model;
    uint32_t routers = 0;
    for (uint32_t i = 0; i < m->manifest.tensor_count; i++) {
        const rdrr_tensor *t = &m->manifest.tensors[i];
        if (!roles[t->role].matrix) continue;
        bool apart = t->role == ROLE_ROUTER || model_role_in_expert(c, t->role) ||
                     (t->role == ROLE_EMBEDDING && !c->tied_head);
        m->formats |= 1u << t->format;
        if (t->role == ROLE_ROUTER) routers |= 1u << t->format;
        if (!apart) m->linear_formats |= 1u << t->format;
    }
    for (uint32_t i = 0; c->experts && i < c->layers; i++) {
        const layer_weights *w = &m->weights.layers[i];
        if (decode_folds_experts(m, i))
            m->expert_formats |= 1u << w->gate_up.part[0].format | 1u << w->down.part[0].format;
    }
    program_want wants[8 + 5 * FORMAT_COUNT];
    size_t count = 0;
    wants[count++] = (program_want){KERNEL_RMSNORM, 0};
    wants[count++] = (program_want){KERNEL_ACT_MUL, 0};
    wants[count++] = (program_want){KERNEL_ARGMAX, 0};
    wants[count++] = (program_want){KERNEL_SAMPLE, 0};
    wants[count++] = (program_want){KERNEL_GATHER, m->weights.embedding.format};
    for (uint32_t f = 0; f < FORMAT_COUNT; f++) {
        if (!(m->formats & 1u << f)) continue;
        wants[count++] = (program_want){KERNEL_MATVEC, f};
        wants[count++] = (program_want){KERNEL_MATMUL, f};
        wants[count++] = (program_want){KERNEL_MATMUL_LARGE, f};
        wants[count++] = (program_want){KERNEL_MATMUL_FEW, f};
        if (routers & 1u << f) wants[count++] = (program_want){KERNEL_ROUTER, f};
    }
    if (c->experts) {
        wants[count++] = (program_want){KERNEL_ROUTE, 0};
        wants[count++] = (program_want){KERNEL_EXPERT_TILES, 0};
        wants[count++] = (program_want){KERNEL_COMBINE, 0};
    }
    m->waiting++;
    doppler_status status = programs_compile(m->d, wants, count, programs_done, m);
    if (status) m->waiting--;
    return status;
}

/* What the format allows and the kernels cannot do. */
static doppler_status check_kernels(error *e, const model_config *m) {
    if (attention_fits(m->heads, m->kv_heads, m->head_dim)) return DOPPLER_OK;
    return fail(e, DOPPLER_UNSUPPORTED, "attention with %" PRIu32 " heads, %" PRIu32 " kv_heads "
                "and head_dim %" PRIu32 ": head_dim must be a multiple of 8, at most %d, and a "
                "kv_head have at most %d heads and %d elements", m->heads, m->kv_heads,
                m->head_dim, ATTENTION_MAX_HEAD_DIM, ATTENTION_MAX_HEADS, ATTENTION_MAX_GROUP);
}

static doppler_status model_init(doppler_model *m, const char *json, size_t bytes) {
    error *e = &m->d->error;
    doppler_status status = manifest_parse(e, &m->manifest, json, bytes);
    if (!status) status = check_kernels(e, &m->manifest.model);
    if (!status)
        status = weights_plan(e, &m->memory, &m->manifest, gpu_get_limits(m->d->g), &m->weights);
    if (!status)
        status = loader_init(e, &m->loader, &m->memory, &m->manifest, &m->weights, m->d->g);
    if (!status) status = compile_model(m);
    return status;
}

static void allocate(doppler_model *m) {
    m->allocated = true;
    m->waiting++;
    gpu_buffers_create(m->d->g, m->weights.descs, m->weights.buffer_count, m->weights.buffers,
                       buffers_done, m);
}

doppler_status doppler_model_create(doppler *d, const char *manifest_json, size_t bytes,
                                    doppler_model **model) {
    *model = NULL;
    doppler_model *m = calloc(1, sizeof *m);
    if (!m) return fail(&d->error, DOPPLER_NO_MEMORY, "model");
    m->d = d;
    doppler_status status = model_init(m, manifest_json, bytes);
    if (status) model_free(m);
    else *model = m;
    return status;
}

/* All bytes are there: the tokenizer's can be read. */
static doppler_next finish(doppler_model *m) {
    doppler_status status = tokenizer_open(&m->d->error, m->loader.tokenizer,
                                           (size_t)m->manifest.tokenizer.bytes, &m->tokenizer);
    if (!status && tokenizer_vocab(m->tokenizer) > m->manifest.model.vocab)
        status = fail(&m->d->error, DOPPLER_BAD_FILE,
                      "%s: %" PRIu32 " tokens, the model has %" PRIu32 " embeddings",
                      m->manifest.tokenizer.file, tokenizer_vocab(m->tokenizer),
                      m->manifest.model.vocab);
    m->stage = status ? MODEL_FAILED : MODEL_READY;
    return status ? DOPPLER_NEXT_FAILED : DOPPLER_NEXT_READY;
}

doppler_next doppler_model_next(doppler_model *m, doppler_request *request) {
    if (m->d->lost) m->stage = MODEL_FAILED;
    if (m->stage == MODEL_FAILED) return DOPPLER_NEXT_FAILED;
    if (m->stage == MODEL_READY) return DOPPLER_NEXT_READY;
    if (!m->allocated) allocate(m);
    if (loader_next(&m->loader, m->buffers_ready, request)) return DOPPLER_NEXT_REQUEST;
    if (loader_done(&m->loader) && m->programs_ready) return finish(m);
    return DOPPLER_NEXT_WAIT;
}

void doppler_model_fed(doppler_model *m, uint32_t id, doppler_status status,
                       const char *message) {
    loader_fed(&m->loader, id);
    if (status == DOPPLER_OK || m->stage == MODEL_FAILED) return;
    m->stage = MODEL_FAILED;
    fail(&m->d->error, status, "%s", message ? message : doppler_status_text(status));
}

void doppler_model_progress(const doppler_model *m, uint64_t *bytes, uint64_t *total) {
    *bytes = m->loader.fed_bytes;
    *total = m->loader.total_bytes;
}

void doppler_model_destroy(doppler_model *m) {
    if (!m) return;
    m->destroyed = true;
    if (m->waiting == 0) model_free(m);
}

size_t doppler_model_encode(const doppler_model *m, const char *text, size_t bytes, bool add_bos,
                            doppler_special special, uint32_t *ids, size_t capacity) {
    static const uint32_t specials[] = {
        [DOPPLER_SPECIAL_NONE] = 0,
        [DOPPLER_SPECIAL_ALL] = TOKENIZE_SPECIAL,
        [DOPPLER_SPECIAL_UNMARKED] = TOKENIZE_SPECIAL | TOKENIZE_MARKED};
    assert((uint32_t)special < sizeof specials / sizeof *specials);
    uint32_t flags = (add_bos ? TOKENIZE_TEMPLATE : 0) | specials[special];
    return tokenizer_encode(m->tokenizer, text, bytes, flags, ids, capacity);
}

const char *doppler_model_piece(const doppler_model *m, uint32_t id, size_t *bytes) {
    return tokenizer_piece(m->tokenizer, id, bytes);
}

bool doppler_model_is_special(const doppler_model *m, uint32_t id) {
    return tokenizer_is_special(m->tokenizer, id);
}

const char *doppler_model_chat_template(const doppler_model *m) {
    return m->manifest.chat_template;
}

/* The tokenizer knows best; configs are known to name another id. */
uint32_t doppler_model_bos(const doppler_model *m) {
    uint32_t first;
    size_t count = tokenizer_encode(m->tokenizer, "", 0, TOKENIZE_TEMPLATE, &first, 1);
    if (count && count != (size_t)-1) return first;
    return m->manifest.model.has_bos ? m->manifest.model.bos : DOPPLER_NO_TOKEN;
}

uint32_t doppler_model_stop(const doppler_model *m, uint32_t i) {
    const model_config *c = &m->manifest.model;
    return i < c->stop_count ? c->stops[i] : DOPPLER_NO_TOKEN;
}

uint32_t doppler_model_vocab(const doppler_model *m) { return m->manifest.model.vocab; }

uint32_t doppler_model_context(const doppler_model *m) { return m->manifest.model.context; }
