/* hf_config.c - see hf_config.h. Defaults are those of transformers' LlamaConfig; configs come in
 * two spellings: rope_theta + rope_scaling (released checkpoints) and rope_parameters (newer
 * writers). */
#include "bridge/hf_config.h"
#include "memory/json.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char config_json[] = "config.json";
static const char generation_json[] = "generation_config.json";

/* Fields that change what the model computes, unless they have the value that we compute with. */
static const struct { const char *key, *known; } only_known[] = {
    {"sliding_window", NULL},
    {"quantization_config", NULL},
    {"partial_rotary_factor", "1"},
};

static const json *said(const json *object, const char *key) {
    const json *node = json_get(object, key);
    return node && node->type != JSON_NULL ? node : NULL;
}

static void describe(const json *node, char *out, size_t bytes) {
    static const char *const words[] = {"null", "a boolean", "", "", "a list", "an object"};
    if (node->type == JSON_NUMBER) snprintf(out, bytes, "%.9g", node->number);
    else if (node->type == JSON_STRING) snprintf(out, bytes, "\"%.60s\"", node->text);
    else if (node->type == JSON_BOOL) snprintf(out, bytes, "%s", node->boolean ? "true" : "false");
    else snprintf(out, bytes, "%s", words[node->type]);
}

static doppler_status unsupported(error *e, const char *key, const json *node) {
    char value[80];
    describe(node, value, sizeof value);
    return fail(e, DOPPLER_UNSUPPORTED, "%s: %s %s is not supported", config_json, key, value);
}

static doppler_status check_known(error *e, const json *root) {
    for (size_t i = 0; i < sizeof only_known / sizeof *only_known; i++) {
        const json *node = said(root, only_known[i].key);
        if (!node) continue;
        char value[80];
        describe(node, value, sizeof value);
        if (!only_known[i].known || strcmp(value, only_known[i].known))
            return unsupported(e, only_known[i].key, node);
    }
    return DOPPLER_OK;
}

/* architectures must name LlamaForCausalLM first, or be absent with model_type llama. */
static doppler_status read_architecture(error *e, const json *root, model_config *c) {
    const json *list = said(root, "architectures");
    const json *first = list && list->type == JSON_ARRAY ? list->first : list;
    const json *type = said(root, "model_type");
    if (first && !json_is(first, "LlamaForCausalLM")) return unsupported(e, "architecture", first);
    if (type && !json_is(type, "llama")) return unsupported(e, "model_type", type);
    if (!first && !type)
        return fail(e, DOPPLER_BAD_FILE, "%s: neither \"architectures\" nor \"model_type\"",
                    config_json);
    snprintf(c->architecture, sizeof c->architecture, "llama");
    const json *act = said(root, "hidden_act");
    if (!act) return DOPPLER_OK;
    c->activation = act->type == JSON_STRING ? activation_by_name(act->text) : ACTIVATION_COUNT;
    return c->activation == ACTIVATION_COUNT ? unsupported(e, "hidden_act", act) : DOPPLER_OK;
}

static doppler_status read_sizes(error *e, const json *root, model_config *c) {
    const struct { const char *key; uint32_t max, *out; } sizes[] = {
        {"num_hidden_layers", MODEL_MAX_LAYERS, &c->layers},
        {"hidden_size", MODEL_MAX_DIM, &c->dim},
        {"intermediate_size", MODEL_MAX_HIDDEN, &c->hidden},
        {"num_attention_heads", MODEL_MAX_HEADS, &c->heads},
        {"vocab_size", MODEL_MAX_VOCAB, &c->vocab},
        {"max_position_embeddings", MODEL_MAX_CONTEXT, &c->context},
    };
    doppler_status status;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if ((status = json_u32(e, config_json, root, sizes[i].key, 1, sizes[i].max, sizes[i].out)))
            return status;
    if ((status = json_u32_or(e, config_json, root, "num_key_value_heads", 1, MODEL_MAX_HEADS,
                              c->heads, &c->kv_heads)))
        return status;
    if (!said(root, "head_dim") && c->dim % c->heads)
        return fail(e, DOPPLER_BAD_FILE, "%s: hidden_size %u is no multiple of %u heads, and "
                    "head_dim is not given", config_json, c->dim, c->heads);
    return json_u32_or(e, config_json, root, "head_dim", 1, MODEL_MAX_HEAD_DIM, c->dim / c->heads,
                       &c->head_dim);
}

/* The rope's type is "rope_type", or "type" in older files; "dynamic" and others are refused. */
static doppler_status read_rope(error *e, const json *root, rope_config *rope) {
    const json *scaling = said(root, "rope_parameters");
    const char *where = scaling ? "config.json: rope_parameters" : "config.json: rope_scaling";
    if (!scaling) scaling = said(root, "rope_scaling");
    if (scaling && scaling->type != JSON_OBJECT)
        return fail(e, DOPPLER_BAD_FILE, "%s is not an object", where);
    for (const json *m = scaling ? scaling->first : NULL; m; m = m->next)
        if (m->type == JSON_OBJECT)
            return fail(e, DOPPLER_UNSUPPORTED, "%s of \"%.60s\" alone is not supported", where,
                        m->key);
    float theta;
    doppler_status status = json_f32_or(e, config_json, root, "rope_theta", 10000, &theta);
    if (status || (status = json_f32_or(e, where, scaling, "rope_theta", theta, &rope->theta)))
        return status;
    const json *type = said(scaling, "rope_type");
    if (!type) type = said(scaling, "type");
    if (type) rope->type = type->type == JSON_STRING ? rope_by_name(type->text) : ROPE_COUNT;
    if (rope->type == ROPE_COUNT || rope->type == ROPE_FACTORS)    /* which no config.json has */
        return unsupported(e, "rope type", type);
    if (scaling && !type && said(scaling, "factor"))
        return fail(e, DOPPLER_BAD_FILE, "%s: \"rope_type\" is missing", where);
    if (rope->type == ROPE_DEFAULT) return DOPPLER_OK;
    if ((status = json_f32(e, where, scaling, "factor", &rope->factor))) return status;
    if (rope->type == ROPE_LINEAR) return DOPPLER_OK;
    if ((status = json_f32(e, where, scaling, "low_freq_factor", &rope->low_freq_factor)) ||
        (status = json_f32(e, where, scaling, "high_freq_factor", &rope->high_freq_factor)))
        return status;
    return json_u32(e, where, scaling, "original_max_position_embeddings", 1, MODEL_MAX_CONTEXT,
                    &rope->original_context);
}

/* ---- token ids */

static doppler_status token_id(error *e, const char *file, const char *key, const json *node,
                               uint32_t vocab, uint32_t *out) {
    if (node->type != JSON_NUMBER || !node->is_integer || node->integer < 0 ||
        node->integer >= vocab) {
        char value[80];
        describe(node, value, sizeof value);
        return fail(e, DOPPLER_BAD_FILE, "%s: %s %s is no id below vocab_size %u", file, key,
                    value, vocab);
    }
    *out = (uint32_t)node->integer;
    return DOPPLER_OK;
}

/* generation_config.json's value where it says one, else config.json's; *file says which. */
static const json *token_field(const json *root, const json *generation, const char *key,
                               const char **file) {
    const json *node = said(generation, key);
    *file = node ? generation_json : config_json;
    return node ? node : said(root, key);
}

static doppler_status read_tokens(error *e, const json *root, const json *generation,
                                  model_config *c) {
    const char *file;
    doppler_status status = DOPPLER_OK;
    const json *bos = token_field(root, generation, "bos_token_id", &file);
    if (bos) status = token_id(e, file, "bos_token_id", bos, c->vocab, &c->bos);
    if (status) return status;
    c->has_bos = bos != NULL;
    const json *eos = token_field(root, generation, "eos_token_id", &file);
    if (!eos) return DOPPLER_OK;
    if (eos->type != JSON_ARRAY) {
        c->stop_count = 1;
        return token_id(e, file, "eos_token_id", eos, c->vocab, &c->stops[0]);
    }
    if (eos->count > MODEL_MAX_STOPS)
        return fail(e, DOPPLER_BAD_FILE, "%s: %u eos_token_id, at most %u", file, eos->count,
                    MODEL_MAX_STOPS);
    for (const json *id = eos->first; id; id = id->next)
        if ((status = token_id(e, file, "eos_token_id", id, c->vocab, &c->stops[c->stop_count++])))
            return status;
    return DOPPLER_OK;
}

static doppler_status read_config(error *e, const json *root, const json *generation,
                                  model_config *c) {
    if (root->type != JSON_OBJECT)
        return fail(e, DOPPLER_BAD_FILE, "%s is not an object", config_json);
    if (generation && generation->type != JSON_OBJECT)
        return fail(e, DOPPLER_BAD_FILE, "%s is not an object", generation_json);
    doppler_status status = read_architecture(e, root, c);
    if (status || (status = check_known(e, root)) || (status = read_sizes(e, root, c)) ||
        (status = read_rope(e, root, &c->rope)))
        return status;
    if ((status = json_f32_or(e, config_json, root, "rms_norm_eps", 1e-6f, &c->norm_eps)) ||
        (status = json_bool_or(e, config_json, root, "tie_word_embeddings", false,
                               &c->tied_head)) ||
        (status = json_bool_or(e, config_json, root, "attention_bias", false,
                               &c->attention_bias)) ||
        (status = json_bool_or(e, config_json, root, "mlp_bias", false, &c->mlp_bias)))
        return status;
    c->attention_out_bias = c->attention_bias;
    c->attention_scale = (float)(1 / sqrt(c->head_dim));
    if ((status = read_tokens(e, root, generation, c))) return status;
    return model_check(e, config_json, c);
}

doppler_status hf_config_parse(error *e, hf_text config, hf_text generation, model_config *out) {
    *out = (model_config){0};
    arena tree = {0};
    json *root, *generation_root = NULL;
    doppler_status status = json_parse(e, &tree, config_json, config.data, config.bytes, &root);
    if (!status && generation.data)
        status = json_parse(e, &tree, generation_json, generation.data, generation.bytes,
                            &generation_root);
    if (!status) status = read_config(e, root, generation_root, out);
    arena_free(&tree);
    return status;
}

/* ---- chat template */

doppler_status hf_chat_template(error *e, arena *a, hf_text tokenizer_config, const char **out) {
    static const char file[] = "tokenizer_config.json";
    arena tree = {0};
    json *root;
    doppler_status status = json_parse(e, &tree, file, tokenizer_config.data,
                                       tokenizer_config.bytes, &root);
    const json *found = status ? NULL : said(root, "chat_template");
    if (found && found->type == JSON_ARRAY) {
        const json *named = found->first;
        while (named && !json_is(json_get(named, "name"), "default")) named = named->next;
        found = said(named, "template");
    }
    if (found && (found->type != JSON_STRING || strlen(found->text) != found->text_bytes))
        status = fail(e, DOPPLER_BAD_FILE, "%s: \"chat_template\" is no text", file);
    if (!status) {
        *out = arena_text(a, found ? found->text : "", found ? found->text_bytes : 0);
        if (!*out) status = fail(e, DOPPLER_NO_MEMORY, "%s: no memory", file);
    }
    arena_free(&tree);
    return status;
}
