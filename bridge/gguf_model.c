/* gguf_model.c - see gguf_model.h. Keys and names as in llama.cpp's src/llama-arch.cpp; what they
 * mean as in its src/llama-model.cpp. */
#include "bridge/gguf_model.h"
#include "bridge/chat_template.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { KEY_BYTES = 96 };

/* ---- metadata */

/* One reading of a model's metadata; failures stay, so that calls can follow each other. */
typedef struct reading {
    error *e;
    arena *a;
    const gguf *g;
    const char *architecture;
    bool gemma, gpt_oss;
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

/* Architectures as files call them; "llama" is LLaMA's, Mistral's and, with experts, Mixtral's. */
static doppler_status check_architecture(reading *r) {
    doppler_status status = gguf_string(r->e, r->a, r->g, "general.architecture", &r->architecture,
                                        NULL);
    if (status) return status;
    r->gemma = !strcmp(r->architecture, "gemma3");
    r->gpt_oss = !strcmp(r->architecture, "gpt-oss");
    if (r->gemma || r->gpt_oss || !strcmp(r->architecture, "llama")) return DOPPLER_OK;
    return fail(r->e, DOPPLER_UNSUPPORTED, "%s: architecture \"%.60s\" is not known, \"llama\", "
                "\"gemma3\" and \"gpt-oss\" are", r->g->file, r->architecture);
}

/* What would change results and has no place in the graph. */
static void refuse_unknown(reading *r) {
    static const char *const counts[] = {"attention.shared_kv_layers", "expert_shared_count",
                                         "expert_group_count", "leading_dense_block_count",
                                         "expert_count"};      /* the last: not of Gemma 3 */
    static const char *const scales[] = {"logit_scale", "embedding_scale", "residual_scale",
                                         "expert_weights_scale",
                                         "attention.clamp_kqv", "attention.max_alibi_bias",
                                         "attn_logit_softcapping", "final_logit_softcapping"};
    for (size_t i = 0; i + !r->gemma < sizeof counts / sizeof *counts && !r->status; i++) {
        uint32_t value = 0;
        may_u32(r, counts[i], UINT32_MAX, &value);
        if (value && !r->status)
            r->status = fail(r->e, DOPPLER_UNSUPPORTED, "%s: %s is %u, which is not known",
                             r->g->file, r->key, value);
    }
    for (size_t i = 0; i < sizeof scales / sizeof *scales && !r->status; i++) {
        float value = 0;
        may_f32(r, scales[i], &value);
        bool one = i < 4 && value == 1;
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

/* Of GPT-OSS, whose ramp is not cut to whole numbers although no key says so. Cosines and sines are
 * scaled as llama.cpp's rope_yarn does, by 1 + 0.1 ln(factor). */
static void read_yarn(reading *r, const model_config *m, rope_config *rope) {
    float scale = 1;
    rope->type = ROPE_YARN;
    rope->beta_fast = 32;
    rope->beta_slow = 1;
    rope->original_context = m->context;
    may_f32(r, "rope.scaling.factor", &rope->factor);
    may_u32(r, "rope.scaling.original_context_length", MODEL_MAX_CONTEXT, &rope->original_context);
    may_f32(r, "rope.scaling.yarn_beta_fast", &rope->beta_fast);
    may_f32(r, "rope.scaling.yarn_beta_slow", &rope->beta_slow);
    may_f32(r, "rope.scaling.attn_factor", &scale);
    rope->attention_factor = scale * (rope->factor > 1 ? 0.1f * logf(rope->factor) + 1 : 1);
}

/* linear_factor: the key of files before 2023-10. */
static void read_rope(reading *r, const model_config *m, rope_config *rope) {
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
    if (r->gpt_oss && !strcmp(type, "yarn")) {
        read_yarn(r, m, rope);
        return;
    }
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

/* A window without a pattern slides all layers. */
static void read_window(reading *r, model_config *m) {
    may_u32(r, "attention.sliding_window", MODEL_MAX_CONTEXT, &m->window);
    if (r->status || !m->window) return;
    memset(m->layer_kinds, LAYER_SLIDING, m->layers);
    m->rope[LAYER_SLIDING] = m->rope[LAYER_FULL];
}

/* What files of GPT-OSS do not say: every second layer is full, the activation and its limit. */
static void read_gpt_oss(reading *r, model_config *m) {
    need_u32(r, "attention.sliding_window", MODEL_MAX_CONTEXT, &m->window);
    if (r->status) return;
    for (uint32_t i = 0; i < m->layers; i++)
        m->layer_kinds[i] = i % 2 ? LAYER_FULL : LAYER_SLIDING;
    m->rope[LAYER_SLIDING] = m->rope[LAYER_FULL];
    m->activation = ACTIVATION_SWIGLU_CLAMPED;
    m->activation_limit = 7;
}

/* expert_gating_func: 1 softmax of all, 3 of the chosen; both weigh the chosen alike. */
static void read_experts(reading *r, model_config *m) {
    uint32_t gating = 1;
    may_u32(r, "expert_count", MODEL_MAX_EXPERTS, &m->experts);
    if (r->status || !m->experts) return;
    if (!r->gpt_oss) snprintf(m->architecture, sizeof m->architecture, "mixtral");
    need_u32(r, "expert_used_count", MODEL_MAX_EXPERTS_USED, &m->experts_used);
    may_u32(r, "expert_feed_forward_length", MODEL_MAX_HIDDEN, &m->hidden);
    may_u32(r, "expert_gating_func", UINT32_MAX, &gating);
    if (!r->status && gating != 1 && gating != 3)
        r->status = fail(r->e, DOPPLER_UNSUPPORTED, "%s: %s is %u, which is not known", r->g->file,
                         r->key, gating);
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
                                        "<end_of_turn>", "<|return|>", "<|call|>", "<|endoftext|>"};
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

/* vocab, and which optional tensors there are. */
static void read_tensors(reading *r, const gguf *files, uint32_t count, model_config *m) {
    uint32_t file;
    const char *name = gguf_role_name(r->architecture, ROLE_EMBEDDING, false);
    const gguf_tensor *embedding = gguf_find_tensor(files, count, name, &file);
    if (r->status) return;
    if (!embedding || embedding->shape[1] > MODEL_MAX_VOCAB) {
        r->status = fail(r->e, DOPPLER_BAD_FILE, embedding ? "%s: tensor \"%s\" has too many rows"
                                                           : "%s: tensor \"%s\" is missing",
                         r->g->file, name);
        return;
    }
    m->vocab = (uint32_t)embedding->shape[1];
    const struct { bool *flag; const char *name; } optional[] = {
        {&m->tied_head, "output.weight"}, {&m->attention_bias, "blk.0.attn_q.bias"},
        {&m->attention_out_bias, "blk.0.attn_output.bias"},
        {&m->mlp_bias, m->experts ? "blk.0.ffn_up_exps.bias" : "blk.0.ffn_up.bias"},
        {&m->router_bias, "blk.0.ffn_gate_inp.bias"},
        {&m->attention_sinks, "blk.0.attn_sinks.weight"}};
    for (size_t i = 0; i < sizeof optional / sizeof *optional; i++)
        *optional[i].flag = gguf_find_tensor(files, count, optional[i].name, &file) != NULL;
    m->tied_head = !m->tied_head;
}

/* ---- the whole */

doppler_status gguf_model(error *e, arena *a, const gguf *files, uint32_t count,
                          const uint8_t *rope_factors, model_config *m, source_tensor **sources,
                          uint32_t *source_count) {
    reading r = {.e = e, .a = a, .g = &files[0]};
    uint32_t file;
    *m = (model_config){.embedding_scale = 1};
    doppler_status status = check_architecture(&r);
    if (status || (status = gguf_check_types(e, files, count))) return status;
    snprintf(m->architecture, sizeof m->architecture, "%s", r.architecture);
    refuse_unknown(&r);
    need_u32(&r, "block_count", MODEL_MAX_LAYERS, &m->layers);
    need_u32(&r, "context_length", MODEL_MAX_CONTEXT, &m->context);
    need_u32(&r, "embedding_length", MODEL_MAX_DIM, &m->dim);
    need_u32(&r, "feed_forward_length", MODEL_MAX_HIDDEN, &m->hidden);
    read_heads(&r, m);
    may_f32(&r, "attention.layer_norm_rms_epsilon", &m->norm_eps);
    read_rope(&r, m, &m->rope[LAYER_FULL]);
    read_rope_factors(&r, gguf_rope_factors(files, count, &file), rope_factors, m);
    read_experts(&r, m);
    if (r.gemma) read_gemma(&r, m);
    else if (r.gpt_oss) read_gpt_oss(&r, m);
    else read_window(&r, m);
    read_tensors(&r, files, count, m);
    read_tokens(&r, m);
    if (r.status) return r.status;
    if ((status = model_check(e, files[0].file, m))) return status;
    return gguf_sources(e, a, r.architecture, files, count, m, sources, source_count);
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
