/* gguf_model.c - see gguf_model.h. Keys and names as in llama.cpp's src/llama-arch.cpp; what they
 * mean as in its src/llama-model.cpp. */
#include "bridge/gguf_model.h"
#include "bridge/chat_template.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { KEY_BYTES = 96 };

static const char *const names[ROLE_COUNT] = {
    [ROLE_EMBEDDING] = "token_embd.weight",
    [ROLE_HEAD] = "output.weight",
    [ROLE_FINAL_NORM] = "output_norm.weight",
    [ROLE_ATTN_NORM] = "attn_norm.weight",
    [ROLE_ATTN_Q] = "attn_q.weight",
    [ROLE_ATTN_K] = "attn_k.weight",
    [ROLE_ATTN_V] = "attn_v.weight",
    [ROLE_ATTN_O] = "attn_output.weight",
    [ROLE_ATTN_Q_BIAS] = "attn_q.bias",
    [ROLE_ATTN_K_BIAS] = "attn_k.bias",
    [ROLE_ATTN_V_BIAS] = "attn_v.bias",
    [ROLE_ATTN_O_BIAS] = "attn_output.bias",
    [ROLE_ATTN_Q_NORM] = "attn_q_norm.weight",
    [ROLE_ATTN_K_NORM] = "attn_k_norm.weight",
    [ROLE_ATTN_POST_NORM] = "post_attention_norm.weight",
    [ROLE_FFN_NORM] = "ffn_norm.weight",
    [ROLE_FFN_GATE] = "ffn_gate.weight",
    [ROLE_FFN_UP] = "ffn_up.weight",
    [ROLE_FFN_DOWN] = "ffn_down.weight",
    [ROLE_FFN_GATE_BIAS] = "ffn_gate.bias",
    [ROLE_FFN_UP_BIAS] = "ffn_up.bias",
    [ROLE_FFN_DOWN_BIAS] = "ffn_down.bias",
    [ROLE_FFN_POST_NORM] = "post_ffw_norm.weight",
};
static const source_names gguf_names = {"blk.", names};
static const char rope_factors_name[] = "rope_freqs.weight";

bool gguf_name_role(const char *name, tensor_role *role, uint32_t *layer) {
    const char *rest;
    return source_role(&gguf_names, name, role, layer, &rest);
}

const char *gguf_role_name(tensor_role role) {
    return names[role];
}

static const gguf_tensor *find_tensor(const gguf *files, uint32_t count, const char *name,
                                      uint32_t *file) {
    for (uint32_t f = 0; f < count; f++)
        for (uint64_t i = 0; i < files[f].tensor_count; i++)
            if (!strcmp(files[f].tensors[i].name, name)) {
                *file = f;
                return &files[f].tensors[i];
            }
    return NULL;
}

const gguf_tensor *gguf_rope_factors(const gguf *files, uint32_t count, uint32_t *file) {
    return find_tensor(files, count, rope_factors_name, file);
}

/* ---- metadata */

/* One reading of a model's metadata; failures stay, so that calls can follow each other. */
typedef struct reading {
    error *e;
    arena *a;
    const gguf *g;
    const char *architecture;
    bool gemma;
    char key[KEY_BYTES];         /* "ARCHITECTURE.rest" of the last call */
    doppler_status status;
} reading;

static const char *model_key(reading *r, const char *rest) {
    snprintf(r->key, sizeof r->key, "%s.%s", r->architecture, rest);
    return r->key;
}

static void need_u32(reading *r, const char *rest, uint32_t max, uint32_t *out) {
    if (!r->status) r->status = gguf_u32(r->e, r->g, model_key(r, rest), 1, max, out, NULL);
}

/* Keeps *out where the key is absent. */
static void may_u32(reading *r, const char *rest, uint32_t max, uint32_t *out) {
    bool found;
    if (!r->status) r->status = gguf_u32(r->e, r->g, model_key(r, rest), 0, max, out, &found);
}

static void may_f32(reading *r, const char *rest, float *out) {
    bool found;
    if (!r->status) r->status = gguf_f32(r->e, r->g, model_key(r, rest), out, &found);
}

/* Architectures of this engine's other families, and what they are called by people. */
static doppler_status check_architecture(reading *r) {
    doppler_status status = gguf_string(r->e, r->a, r->g, "general.architecture", &r->architecture,
                                        NULL);
    if (status) return status;
    r->gemma = !strcmp(r->architecture, "gemma3");
    if (r->gemma || !strcmp(r->architecture, "llama")) return DOPPLER_OK;
    return fail(r->e, DOPPLER_UNSUPPORTED, "%s: architecture \"%.60s\" is not known, \"llama\" and "
                "\"gemma3\" are", r->g->file, r->architecture);
}

/* What would change results and has no place in the graph. */
static void refuse_unknown(reading *r) {
    static const char *const counts[] = {"expert_count", "attention.shared_kv_layers",
                                         "attention.sliding_window"};      /* read of Gemma 3 */
    static const char *const scales[] = {"logit_scale", "embedding_scale", "residual_scale",
                                         "attention.clamp_kqv", "attention.max_alibi_bias",
                                         "attn_logit_softcapping", "final_logit_softcapping"};
    for (size_t i = 0; i + r->gemma < sizeof counts / sizeof *counts && !r->status; i++) {
        uint32_t value = 0;
        may_u32(r, counts[i], UINT32_MAX, &value);
        if (value && !r->status)
            r->status = fail(r->e, DOPPLER_UNSUPPORTED, "%s: %s is %u, which is not known",
                             r->g->file, r->key, value);
    }
    for (size_t i = 0; i < sizeof scales / sizeof *scales && !r->status; i++) {
        float value = 0;
        may_f32(r, scales[i], &value);
        bool one = i < 3 && value == 1;
        if (value != 0 && !one && !r->status)
            r->status = fail(r->e, DOPPLER_UNSUPPORTED, "%s: %s is %g, which is not known",
                             r->g->file, r->key, (double)value);
    }
}

static void read_heads(reading *r, model_config *m) {
    uint32_t value_length, rotated;
    need_u32(r, "attention.head_count", MODEL_MAX_HEADS, &m->heads);
    m->kv_heads = m->heads;
    may_u32(r, "attention.head_count_kv", MODEL_MAX_HEADS, &m->kv_heads);
    if (r->status) return;
    m->head_dim = m->dim / m->heads;
    may_u32(r, "attention.key_length", MODEL_MAX_HEAD_DIM, &m->head_dim);
    if (!r->status && m->head_dim > MODEL_MAX_HEAD_DIM)
        r->status = fail(r->e, DOPPLER_BAD_FILE, "%s: heads of %u, at most %d", r->g->file,
                         m->head_dim, MODEL_MAX_HEAD_DIM);
    value_length = rotated = m->head_dim;
    may_u32(r, "attention.value_length", MODEL_MAX_HEAD_DIM, &value_length);
    may_u32(r, "rope.dimension_count", MODEL_MAX_HEAD_DIM, &rotated);
    m->attention_scale = m->head_dim ? 1 / sqrtf((float)m->head_dim) : 0;
    may_f32(r, "attention.scale", &m->attention_scale);
    if (!r->status && (value_length != m->head_dim || rotated != m->head_dim))
        r->status = fail(r->e, DOPPLER_UNSUPPORTED, "%s: keys of %u, values of %u, %u of them "
                         "rotated; they must be equal", r->g->file, m->head_dim, value_length,
                         rotated);
}

/* linear_factor: the key of files before 2023-10. */
static void read_rope(reading *r, rope_config *rope) {
    const char *type = "none";
    bool found;
    rope->theta = 10000;
    rope->factor = 0;
    may_f32(r, "rope.freq_base", &rope->theta);
    may_f32(r, "rope.scale_linear", &rope->factor);
    if (!r->status)
        r->status = gguf_string(r->e, r->a, r->g, model_key(r, "rope.scaling.type"), &type,
                                &found);
    if (r->status) return;
    if (strcmp(type, "none") && strcmp(type, "linear")) {
        r->status = fail(r->e, DOPPLER_UNSUPPORTED, "%s: %s is \"%.60s\", which is not known",
                         r->g->file, r->key, type);
        return;
    }
    if (!strcmp(type, "linear")) may_f32(r, "rope.scaling.factor", &rope->factor);
    bool scaled = rope->factor != 0 && rope->factor != 1;
    rope->type = scaled ? ROPE_LINEAR : ROPE_DEFAULT;
    if (!scaled) rope->factor = 0;
}

static void read_rope_factors(reading *r, const gguf_tensor *t, const uint8_t *bytes,
                              model_config *m) {
    if (r->status || !t) return;
    rope_config *rope = &m->rope[LAYER_FULL];
    if (t->type->type != SOURCE_F32 || t->shape[0] != m->head_dim / 2 ||
        t->bytes != (uint64_t)m->head_dim / 2 * sizeof(float)) {
        r->status = fail(r->e, DOPPLER_BAD_FILE, "%s: tensor \"%s\" has %" PRIu64 " weights of "
                         "%s, wanted %u of F32", r->g->file, t->name, t->shape[0], t->type->name,
                         m->head_dim / 2);
        return;
    }
    if (rope->type != ROPE_DEFAULT) {
        r->status = fail(r->e, DOPPLER_UNSUPPORTED, "%s: rope factors and a rope scaling too",
                         r->g->file);
        return;
    }
    memcpy(rope->factors, bytes, (size_t)t->bytes);
    rope->type = ROPE_FACTORS;
}

/* What llama.cpp's src/llama-model.cpp knows of Gemma 3 and its files do not say: each sixth layer
 * is full, the others rotate by a theta of their own (a key in newer files), without scaling; the
 * 27B model, by its number of layers, scales queries by dim / heads. Norms hold 1 + weight. */
static void read_gemma(reading *r, model_config *m) {
    enum { PERIOD = 6, LAYERS_27B = 62 };
    rope_config *local = &m->rope[LAYER_SLIDING];
    local->theta = 10000;
    may_f32(r, "rope.freq_base_swa", &local->theta);
    need_u32(r, "attention.sliding_window", MODEL_MAX_CONTEXT, &m->window);
    if (r->status) return;
    for (uint32_t i = 0; i < m->layers; i++)
        m->layer_kinds[i] = (i + 1) % PERIOD ? LAYER_SLIDING : LAYER_FULL;
    m->embedding_scale = (float)sqrt(m->dim);
    m->activation = ACTIVATION_GELU_TANH;
    m->qk_norm = m->post_norms = true;
    if (m->layers == LAYERS_27B) m->attention_scale = 1 / sqrtf((float)(m->dim / m->heads));
    may_f32(r, "attention.scale", &m->attention_scale);
}

/* An id of the tokenizer's section; 0xFFFFFFFF means none. */
static bool read_token(reading *r, const char *key, uint32_t vocab, uint32_t *id) {
    int64_t value;
    const gguf_kv *v = gguf_find(r->g, key);
    if (r->status || !v) return false;
    if (!gguf_integer(v, &value) || (value >= vocab && value != UINT32_MAX) || value < -1) {
        r->status = fail(r->e, DOPPLER_BAD_FILE, "%s: %s is no id below %u", r->g->file, key,
                         vocab);
        return false;
    }
    *id = (uint32_t)value;
    return *id != UINT32_MAX;
}

static void add_stop(model_config *m, uint32_t id) {
    for (uint32_t i = 0; i < m->stop_count; i++)
        if (m->stops[i] == id) return;
    if (m->stop_count < MODEL_MAX_STOPS) m->stops[m->stop_count++] = id;
}

/* Texts that end a turn wherever a file's special tokens have them: released files name only one
 * end in their metadata. Source: llama.cpp, src/llama-vocab.cpp, special_eog_ids. */
static void find_stops(const gguf *g, model_config *m) {
    static const char *const texts[] = {"<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "</s>",
                                        "<end_of_turn>"};
    const gguf_kv *tokens = gguf_find(g, "tokenizer.ggml.tokens");
    if (!tokens || !tokens->is_array || tokens->type != GGUF_STRING) return;
    const uint8_t *at = tokens->data;
    for (uint64_t id = 0; id < tokens->count && id < m->vocab; id++) {
        uint64_t bytes;
        const char *text = gguf_next_string(&at, &bytes);
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
            if (bytes == strlen(texts[i]) && !memcmp(text, texts[i], (size_t)bytes))
                add_stop(m, (uint32_t)id);
    }
}

static void read_tokens(reading *r, model_config *m) {
    static const char *const ends[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    uint32_t id;
    m->has_bos = read_token(r, "tokenizer.ggml.bos_token_id", m->vocab, &m->bos);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (read_token(r, ends[i], m->vocab, &id)) add_stop(m, id);
    find_stops(r->g, m);
}

/* ---- tensors */

/* The first tensor that cannot be read, in the files' order. */
static doppler_status check_types(error *e, const gguf *files, uint32_t count) {
    for (uint32_t f = 0; f < count; f++)
        for (uint64_t i = 0; i < files[f].tensor_count; i++) {
            const gguf_tensor *t = &files[f].tensors[i];
            if (t->type->type == SOURCE_TYPE_COUNT)
                return fail(e, DOPPLER_UNSUPPORTED, "%s: tensor \"%s\" is %s, which is not read",
                            files[f].file, t->name, t->type->name);
        }
    return DOPPLER_OK;
}

/* vocab, and which optional tensors there are. */
static void read_tensors(reading *r, const gguf *files, uint32_t count, model_config *m) {
    uint32_t file;
    const gguf_tensor *embedding = find_tensor(files, count, names[ROLE_EMBEDDING], &file);
    if (r->status) return;
    if (!embedding || embedding->shape[1] > MODEL_MAX_VOCAB) {
        r->status = fail(r->e, DOPPLER_BAD_FILE, embedding ? "%s: tensor \"%s\" has too many rows"
                                                           : "%s: tensor \"%s\" is missing",
                         r->g->file, names[ROLE_EMBEDDING]);
        return;
    }
    m->vocab = (uint32_t)embedding->shape[1];
    m->tied_head = !find_tensor(files, count, names[ROLE_HEAD], &file);
    m->attention_bias = find_tensor(files, count, "blk.0.attn_q.bias", &file) != NULL;
    m->attention_out_bias = find_tensor(files, count, "blk.0.attn_output.bias", &file) != NULL;
    m->mlp_bias = find_tensor(files, count, "blk.0.ffn_up.bias", &file) != NULL;
}

static doppler_status resolve(error *e, const model_config *m, const gguf *file,
                              const gguf_tensor *t, source_tensor *s) {
    bool exists = model_role_shape(m, s->role, &s->rows, &s->cols);
    if (!exists || s->layer >= m->layers)
        return fail(e, DOPPLER_BAD_FILE, "%s: tensor \"%s\" does not belong to a model of %u "
                    "layers with this metadata", file->file, t->name, m->layers);
    if (t->shape[0] != s->cols || t->shape[1] != s->rows || t->shape[2] != 1 || t->shape[3] != 1)
        return fail(e, DOPPLER_BAD_FILE, "%s: tensor \"%s\" is [%" PRIu64 ", %" PRIu64 ", %" PRIu64
                    ", %" PRIu64 "], the metadata say [%u, %u]", file->file, t->name, t->shape[0],
                    t->shape[1], t->shape[2], t->shape[3], s->cols, s->rows);
    if (!roles[s->role].matrix && source_types[t->type->type].block_weights > 1)
        return fail(e, DOPPLER_UNSUPPORTED, "%s: tensor \"%s\" is a vector of %s", file->file,
                    t->name, t->type->name);
    s->name = t->name;
    s->type = t->type->type;
    s->offset = t->offset;
    s->bytes = t->bytes;
    /* LlamaModel.permute of convert_hf_to_gguf.py interleaves the rows of Q and K; others do not. */
    bool rotated = !strcmp(m->architecture, "llama") && (s->role == ROLE_ATTN_Q || s->role == ROLE_ATTN_K ||
                   s->role == ROLE_ATTN_Q_BIAS || s->role == ROLE_ATTN_K_BIAS);
    s->interleaved_head = rotated ? m->head_dim : 0;
    return DOPPLER_OK;
}

static doppler_status find_sources(error *e, arena *a, const gguf *files, uint32_t count,
                                   const model_config *m, source_tensor **out, uint32_t *found) {
    uint64_t total = 0;
    for (uint32_t f = 0; f < count; f++) total += files[f].tensor_count;
    *found = 0;
    *out = arena_array(a, (size_t)total, sizeof **out);
    if (!*out) return fail(e, DOPPLER_NO_MEMORY, "%" PRIu64 " tensors", total);
    for (uint32_t f = 0; f < count; f++)
        for (uint64_t i = 0; i < files[f].tensor_count; i++) {
            const gguf_tensor *t = &files[f].tensors[i];
            if (!strcmp(t->name, rope_factors_name)) continue;
            source_tensor *s = &(*out)[*found];
            *s = (source_tensor){.file = f};
            if (!gguf_name_role(t->name, &s->role, &s->layer))
                return fail(e, DOPPLER_UNSUPPORTED, "%s: tensor \"%s\" is not known",
                            files[f].file, t->name);
            doppler_status status = resolve(e, m, &files[f], t, s);
            if (status) return status;
            ++*found;
        }
    return source_complete(e, &gguf_names, m, *out, *found);
}

/* ---- the whole */

doppler_status gguf_model(error *e, arena *a, const gguf *files, uint32_t count,
                          const uint8_t *rope_factors, model_config *m, source_tensor **sources,
                          uint32_t *source_count) {
    reading r = {.e = e, .a = a, .g = &files[0]};
    uint32_t file;
    *m = (model_config){.embedding_scale = 1};
    doppler_status status = check_architecture(&r);
    if (status || (status = check_types(e, files, count))) return status;
    snprintf(m->architecture, sizeof m->architecture, "%s", r.architecture);
    refuse_unknown(&r);
    need_u32(&r, "block_count", MODEL_MAX_LAYERS, &m->layers);
    need_u32(&r, "context_length", MODEL_MAX_CONTEXT, &m->context);
    need_u32(&r, "embedding_length", MODEL_MAX_DIM, &m->dim);
    need_u32(&r, "feed_forward_length", MODEL_MAX_HIDDEN, &m->hidden);
    read_heads(&r, m);
    may_f32(&r, "attention.layer_norm_rms_epsilon", &m->norm_eps);
    read_rope(&r, &m->rope[LAYER_FULL]);
    if (r.gemma) read_gemma(&r, m);
    read_rope_factors(&r, gguf_rope_factors(files, count, &file), rope_factors, m);
    read_tensors(&r, files, count, m);
    read_tokens(&r, m);
    if (r.status) return r.status;
    if ((status = model_check(e, files[0].file, m))) return status;
    return find_sources(e, a, files, count, m, sources, source_count);
}

doppler_status gguf_chat_template(error *e, arena *a, const gguf *g, const char **out) {
    bool found;
    const char *tool_use = "";
    *out = "";
    doppler_status status = gguf_string(e, a, g, "tokenizer.chat_template", out, &found);
    if (!status)
        status = gguf_string(e, a, g, "tokenizer.chat_template.tool_use", &tool_use, &found);
    if (status) return status;
    *out = chat_template_join(a, *out, tool_use);
    return *out ? DOPPLER_OK : fail(e, DOPPLER_NO_MEMORY, "%s: no memory", g->file);
}
