/* doppler_gpu_model.c - what model a doppler-gpu package holds. Everything becomes the text of a
 * Hugging Face config, so that bridge/hf_config.c stays the one place that knows such models, and
 * the tensors become those of a safetensors file for bridge/hf_names.c.
 *
 * Older packages embed the checkpoint's config. Newer ones describe what their engine does, in
 * "inference", whose defaults are a LLaMA (src/config/schema/manifest.schema.js of doppler-gpu
 * 0.5.1): whatever differs from those, and is not read here, is refused by name. */
#include "bridge/doppler_gpu.h"
#include "bridge/hf_names.h"
#include "memory/text.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char manifest_json[] = "manifest.json";

static void write_json(text *t, const json *node) {
    if (node->key) {
        text_json(t, node->key, node->key_bytes);
        text_format(t, ": ");
    }
    const char *brackets = node->type == JSON_ARRAY ? "[]" : "{}";
    switch (node->type) {
    case JSON_NULL: text_format(t, "null"); break;
    case JSON_BOOL: text_format(t, node->boolean ? "true" : "false"); break;
    case JSON_STRING: text_json(t, node->text, node->text_bytes); break;
    case JSON_NUMBER:
        if (node->is_integer) text_format(t, "%" PRId64, node->integer);
        else text_format(t, "%.17g", node->number);
        break;
    default:
        text_add(t, brackets, 1);
        for (const json *child = node->first; child; child = child->next) {
            write_json(t, child);
            if (child->next) text_format(t, ", ");
        }
        text_add(t, brackets + 1, 1);
    }
}

/* ---- "inference" */

/* Members of "inference" and of its sections: NULL: read elsewhere, or without effect on the
 * results of what passes here; a text: the one value with which we compute. Unlisted ones must be
 * null or false. A name that ends in '*' stands for all that begin so. Rope for local layers
 * (ropeLocal*) is used by sliding windows only; postAttentionNorm only with a norm before or
 * behind the FFN (src/inference/pipelines/text/layer.js). */
static const struct { const char *section, *key, *value; } known[] = {
    {"attention", "queryPreAttnScalar", NULL}, {"attention", "queryKeyNormType", NULL},
    {"attention", "queryKeyNormAxis", NULL},   {"attention", "causal", "true"},
    {"attention", "attentionBias", NULL},
    {"normalization", "type", "rmsnorm"},      {"normalization", "rmsNormEps", NULL},
    {"normalization", "postAttentionNorm", NULL},
    {"ffn", "activation", "silu"},             {"ffn", "gatedActivation", "true"},
    {"ffn", "branchMode", NULL},
    {"rope", "ropeTheta", NULL},               {"rope", "ropeScalingType", NULL},
    {"rope", "ropeScalingFactor", NULL},       {"rope", "partialRotaryFactor", "1"},
    {"rope", "ropeLocal*", NULL},              {"rope", "yarn*", NULL},
    {"rope", "longrope*", NULL},
    {"output", "tieWordEmbeddings", NULL},     {"output", "embeddingVocabSize", NULL},
    {"output", "embeddingScale", "1"},         {"output", "logitInputScale", "1"},
    {"layerPattern", "type", "uniform"},       {"layerPattern", "residualBranchScale", "1"},
    {"", "attention", NULL},      {"", "normalization", NULL},    {"", "ffn", NULL},
    {"", "rope", NULL},           {"", "output", NULL},           {"", "layerPattern", NULL},
    {"", "chatTemplate", NULL},   {"", "schema", NULL},           {"", "presetId", NULL},
    {"", "supports*", NULL},      {"", "session*", NULL},         {"", "execution*", NULL},
    {"", "defaultKernelPath", NULL},
};
static const char *const sections[] = {"attention", "normalization", "ffn", "rope", "output",
                                       "layerPattern"};

static bool key_matches(const char *pattern, const char *key) {
    size_t bytes = strlen(pattern);
    return pattern[bytes - 1] == '*' ? !strncmp(pattern, key, bytes - 1) : !strcmp(pattern, key);
}

static bool value_passes(const char *section, const json *node) {
    char value[40] = "";
    if (node->type == JSON_NULL) return true;
    if (node->type == JSON_BOOL) snprintf(value, sizeof value, node->boolean ? "true" : "false");
    if (node->type == JSON_STRING) snprintf(value, sizeof value, "%s", node->text);
    if (node->type == JSON_NUMBER) snprintf(value, sizeof value, "%.9g", node->number);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i].section, section) && key_matches(known[i].key, node->key))
            return !known[i].value || !strcmp(known[i].value, value);
    return node->type == JSON_BOOL && !node->boolean;
}

static doppler_status refuse_unknown(error *e, const char *section, const json *object) {
    for (const json *m = object ? object->first : NULL; m; m = m->next)
        if (!m->key || !value_passes(section, m)) {
            text value = {0};
            write_json(&value, m);
            doppler_status status = fail(e, DOPPLER_UNSUPPORTED, "%s: inference%s%s: %.80s is not "
                                         "supported", manifest_json, *section ? "." : "", section,
                                         value.data ? value.data : "");
            text_free(&value);
            return status;
        }
    return DOPPLER_OK;
}

/* Their scale of scores is queryPreAttnScalar^-0.5; a LLaMA's is head_dim^-0.5. Early writers put
 * the root itself there. */
static doppler_status check_scale(error *e, const json *attention, uint32_t head_dim) {
    float scalar;
    doppler_status status = json_f32_or(e, "manifest.json: inference.attention", attention,
                                        "queryPreAttnScalar", (float)head_dim, &scalar);
    if (status || scalar == (float)head_dim || fabsf(scalar * scalar - (float)head_dim) < 1e-3f)
        return status;
    return fail(e, DOPPLER_UNSUPPORTED, "%s: inference.attention.queryPreAttnScalar %g with heads "
                "of %" PRIu32, manifest_json, (double)scalar, head_dim);
}

static bool has_tensor(const doppler_gpu *p, const char *name) {
    for (uint32_t i = 0; i < p->tensor_count; i++)
        if (!strcmp(p->tensors[i].name, name)) return true;
    return false;
}

static doppler_status write_sizes(error *e, const doppler_gpu *p, text *t, uint32_t *head_dim) {
    static const struct { const char *key, *hf; } sizes[] = {
        {"numLayers", "num_hidden_layers"}, {"hiddenSize", "hidden_size"},
        {"intermediateSize", "intermediate_size"}, {"numAttentionHeads", "num_attention_heads"},
        {"numKeyValueHeads", "num_key_value_heads"}, {"vocabSize", "vocab_size"},
        {"maxSeqLen", "max_position_embeddings"}, {"headDim", "head_dim"}};
    const json *architecture = json_said(p->root, "architecture");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint32_t value;
        doppler_status status = json_u32(e, "manifest.json: architecture", architecture,
                                         sizes[i].key, 1, UINT32_MAX, &value);
        if (status) return status;
        text_format(t, "\"%s\": %" PRIu32 ", ", sizes[i].hf, value);
        *head_dim = value;
    }
    return DOPPLER_OK;
}

static doppler_status write_rope(error *e, const json *rope, text *t) {
    static const char what[] = "manifest.json: inference.rope";
    const json *type = json_said(rope, "ropeScalingType");
    float theta, factor;
    doppler_status status = json_f32_or(e, what, rope, "ropeTheta", 10000, &theta);
    if (status || (status = json_f32_or(e, what, rope, "ropeScalingFactor", 1, &factor)))
        return status;
    text_format(t, "\"rope_theta\": %.9g, ", (double)theta);
    if (!type) return DOPPLER_OK;
    if (!json_is(type, "linear"))        /* of llama3's, the package has only the factor */
        return fail(e, DOPPLER_UNSUPPORTED, "%s: ropeScalingType \"%.40s\" is not described in "
                    "full; put the checkpoint's config.json beside it", what,
                    type->type == JSON_STRING ? type->text : "?");
    text_format(t, "\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": %.9g}, ",
                (double)factor);
    return DOPPLER_OK;
}

static doppler_status describe(error *e, const doppler_gpu *p, text *t) {
    static const char *const absent[] = {"moeConfig", "adapterType", "adapterConfig",
                                         "loraConfig"};
    static const char *const types[] = {"transformer", "llama", "LlamaForCausalLM"};
    const json *inference = json_said(p->root, "inference");
    const json *type = json_said(p->root, "modelType");
    if (!inference || inference->type != JSON_OBJECT)
        return fail(e, DOPPLER_UNSUPPORTED, "%s: neither \"config\" nor \"inference\" tells what "
                    "model this is; put the checkpoint's config.json beside it", manifest_json);
    bool known_type = !type;
    for (size_t i = 0; type && i < sizeof types / sizeof *types; i++)
        known_type |= json_is(type, types[i]);
    if (!known_type)
        return fail(e, DOPPLER_UNSUPPORTED, "%s: modelType \"%.40s\" is not supported",
                    manifest_json, type->type == JSON_STRING ? type->text : "?");
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
        if (json_said(p->root, absent[i]))
            return fail(e, DOPPLER_UNSUPPORTED, "%s: \"%s\" is not supported", manifest_json,
                        absent[i]);
    doppler_status status = refuse_unknown(e, "", inference);
    for (size_t i = 0; i < sizeof sections / sizeof *sections && !status; i++)
        status = refuse_unknown(e, sections[i], json_said(inference, sections[i]));
    uint32_t head_dim = 0;
    bool tied;
    float eps;
    text_format(t, "{\"architectures\": [\"LlamaForCausalLM\"], \"hidden_act\": \"silu\", ");
    if (status || (status = write_sizes(e, p, t, &head_dim)) ||
        (status = check_scale(e, json_said(inference, "attention"), head_dim)) ||
        (status = write_rope(e, json_said(inference, "rope"), t)) ||
        (status = json_bool_or(e, "manifest.json: inference.output", json_said(inference, "output"),
                               "tieWordEmbeddings", false, &tied)) ||
        (status = json_f32_or(e, "manifest.json: inference.normalization",
                              json_said(inference, "normalization"), "rmsNormEps", 1e-5f, &eps)))
        return status;
    const json *bos = json_said(json_said(p->root, "tokenizer"), "bosTokenId");
    if (bos && bos->type == JSON_NUMBER && bos->is_integer)
        text_format(t, "\"bos_token_id\": %" PRId64 ", ", bos->integer);
    text_format(t, "\"rms_norm_eps\": %.9g, \"tie_word_embeddings\": %s, \"attention_bias\": %s, "
                "\"mlp_bias\": %s}", (double)eps, tied ? "true" : "false",
                has_tensor(p, "model.layers.0.self_attn.q_proj.bias") ? "true" : "false",
                has_tensor(p, "model.layers.0.mlp.gate_proj.bias") ? "true" : "false");
    return DOPPLER_OK;
}

/* The manifest's own end tokens win over a config's, as generation_config.json's do: its writer
 * took them from there (resolveEosTokenId, src/converter/tokenizer-utils.js). */
static doppler_status read_config(error *e, const doppler_gpu *p, hf_text beside,
                                  model_config *out) {
    text config = {0}, tokens = {0};
    const json *embedded = json_said(p->root, "config"), *eos = json_said(p->root, "eos_token_id");
    doppler_status status = DOPPLER_OK;
    bool whole = json_said(embedded, "num_hidden_layers") || json_said(embedded, "text_config");
    if (beside.data) text_add(&config, beside.data, beside.bytes);
    else if (whole) {
        json root = *embedded;           /* a value of its own, no member */
        root.key = NULL;
        write_json(&config, &root);
    } else status = describe(e, p, &config);
    if (eos) {
        text_format(&tokens, "{");
        write_json(&tokens, eos);
        text_format(&tokens, "}");
    }
    if (!status && (config.failed || tokens.failed))
        status = fail(e, DOPPLER_NO_MEMORY, "%s: no memory", manifest_json);
    if (!status)
        status = hf_config_parse(e, (hf_text){config.data, config.bytes},
                                 (hf_text){tokens.data, tokens.bytes}, out);
    text_free(&config);
    text_free(&tokens);
    return status;
}

/* ---- tensors */

/* Each a file of its own, so that a source's file is its index. Q4_K stands in as the floats that
 * it decodes to. */
static safetensors *stand_ins(arena *a, const doppler_gpu *p) {
    safetensors *files = arena_array(a, p->tensor_count, sizeof *files);
    safetensors_tensor *tensors = arena_array(a, p->tensor_count, sizeof *tensors);
    if (!files || !tensors) return NULL;
    for (uint32_t i = 0; i < p->tensor_count; i++) {
        const doppler_gpu_tensor *t = &p->tensors[i];
        safetensors_dtype dtype = t->type == SOURCE_F16 ? ST_F16
                                  : t->type == SOURCE_BF16 ? ST_BF16 : ST_F32;
        tensors[i] = (safetensors_tensor){.name = t->name, .dtype = dtype, .dims = t->dims,
                                          .shape = t->shape, .bytes = t->bytes};
        files[i] = (safetensors){manifest_json, &tensors[i], 1};
    }
    return files;
}

static doppler_status set_q4_k(error *e, const doppler_gpu_tensor *t, source_tensor *s) {
    if (!roles[s->role].matrix)
        return fail(e, DOPPLER_UNSUPPORTED, "%s: tensor \"%.80s\" is a vector of %s",
                    manifest_json, t->name, t->dtype);
    bool in_order = doppler_gpu_in_order(t);
    s->type = in_order ? SOURCE_Q4_K : SOURCE_Q4_K_LOOSE;
    s->bytes = in_order ? t->bytes : (uint64_t)s->rows * s->cols * sizeof(float);
    return DOPPLER_OK;
}

doppler_status doppler_gpu_model(error *e, arena *a, const doppler_gpu *p, hf_text config,
                                 model_config *out, source_tensor **sources, uint32_t *count) {
    for (uint32_t i = 0; i < p->tensor_count; i++)
        if (p->tensors[i].type == SOURCE_TYPE_COUNT)
            return fail(e, DOPPLER_UNSUPPORTED, "%s: tensor \"%.80s\" is %.40s; F32, F16, BF16 and "
                        "Q4_K are read", manifest_json, p->tensors[i].name, p->tensors[i].dtype);
    doppler_status status = read_config(e, p, config, out);
    if (status) return status;
    if (out->experts)
        return fail(e, DOPPLER_UNSUPPORTED, "%s: a model of %u experts; of these packages, dense "
                    "ones are read", manifest_json, out->experts);
    safetensors *files = stand_ins(a, p);
    if (!files) return fail(e, DOPPLER_NO_MEMORY, "%s: no memory", manifest_json);
    uint32_t vision;
    status = hf_sources(e, a, out, files, p->tensor_count, sources, count, &vision);
    if (status) return status;
    for (uint32_t i = 0; i < *count; i++) {
        const doppler_gpu_tensor *t = &p->tensors[(*sources)[i].file];
        if (t->type == SOURCE_Q4_K && (status = set_q4_k(e, t, &(*sources)[i]))) return status;
    }
    return DOPPLER_OK;
}
