/* hf_config.c - see hf_config.h. What a config leaves out is what transformers' configuration
 * classes put there: a table of defaults for each family. Configs come in two spellings: rope_theta
 * + rope_scaling (released checkpoints) and rope_parameters (newer writers). */
#include "bridge/hf_config.h"
#include "bridge/chat_template.h"
#include "memory/json.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char config_json[] = "config.json";
static const char generation_json[] = "generation_config.json";

/* What a model family computes beside what its config says. */
typedef struct family {
    const char *architecture, *model_type;       /* in config.json */
    const char *name;                            /* in manifests */
    const char *nested;          /* member that holds the language model's config, or NULL */
    const char *activation_key;
    const char *defaults;        /* JSON */
    bool pattern;                /* layer_types, or every n-th layer is full and others slide */
    bool sliding;                /* without a pattern: sliding_window slides all layers */
    bool gemma;                  /* its norms and scales */
    bool experts;
    bool gpt_oss;                /* its sinks, biases and activation */
} family;

/* Sources: configuration_llama.py, configuration_mistral.py, configuration_gemma3.py,
 * configuration_mixtral.py, configuration_gpt_oss.py. */
static const char llama_defaults[] = "{\"hidden_act\": \"silu\", \"rms_norm_eps\": 1e-6, "
    "\"rope_theta\": 1e4}";
static const char mistral_defaults[] = "{\"hidden_act\": \"silu\", \"rms_norm_eps\": 1e-6, "
    "\"num_key_value_heads\": 8, \"sliding_window\": 4096, \"rope_theta\": 1e4}";
static const char gemma3_defaults[] = "{\"vocab_size\": 262208, \"hidden_size\": 2304, "
    "\"intermediate_size\": 9216, \"num_hidden_layers\": 26, \"num_attention_heads\": 8, "
    "\"num_key_value_heads\": 4, \"head_dim\": 256, \"max_position_embeddings\": 131072, "
    "\"hidden_activation\": \"gelu_pytorch_tanh\", \"rms_norm_eps\": 1e-6, "
    "\"tie_word_embeddings\": true, \"rope_theta\": 1e6, \"rope_local_base_freq\": 1e4, "
    "\"query_pre_attn_scalar\": 256, \"sliding_window\": 4096, \"sliding_window_pattern\": 6}";

static const char mixtral_defaults[] = "{\"vocab_size\": 32000, \"hidden_size\": 4096, "
    "\"intermediate_size\": 14336, \"num_hidden_layers\": 32, \"num_attention_heads\": 32, "
    "\"num_key_value_heads\": 8, \"max_position_embeddings\": 131072, \"hidden_act\": \"silu\", "
    "\"rms_norm_eps\": 1e-5, \"rope_theta\": 1e6, \"num_experts_per_tok\": 2, "
    "\"num_local_experts\": 8}";
static const char gpt_oss_defaults[] = "{\"vocab_size\": 201088, \"hidden_size\": 2880, "
    "\"intermediate_size\": 2880, \"num_hidden_layers\": 36, \"num_attention_heads\": 64, "
    "\"num_key_value_heads\": 8, \"head_dim\": 64, \"max_position_embeddings\": 131072, "
    "\"hidden_act\": \"silu\", \"rms_norm_eps\": 1e-5, \"rope_theta\": 150000, "
    "\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 32, \"beta_fast\": 32, "
    "\"beta_slow\": 1, \"truncate\": false, \"original_max_position_embeddings\": 4096}, "
    "\"attention_bias\": true, \"swiglu_limit\": 7, \"num_experts_per_tok\": 4, "
    "\"num_local_experts\": 128, \"sliding_window\": 128, \"sliding_window_pattern\": 2}";

static const family families[] = {
    {.architecture = "LlamaForCausalLM", .model_type = "llama", .name = "llama",
     .activation_key = "hidden_act", .defaults = llama_defaults},
    {.architecture = "MistralForCausalLM", .model_type = "mistral", .name = "mistral",
     .activation_key = "hidden_act", .defaults = mistral_defaults, .sliding = true},
    {.architecture = "MixtralForCausalLM", .model_type = "mixtral", .name = "mixtral",
     .activation_key = "hidden_act", .defaults = mixtral_defaults, .sliding = true,
     .experts = true},
    {.architecture = "GptOssForCausalLM", .model_type = "gpt_oss", .name = "gpt-oss",
     .activation_key = "hidden_act", .defaults = gpt_oss_defaults, .pattern = true,
     .experts = true, .gpt_oss = true},
    {.architecture = "Gemma3ForCausalLM", .model_type = "gemma3_text", .name = "gemma3",
     .activation_key = "hidden_activation", .defaults = gemma3_defaults, .pattern = true,
     .gemma = true},
    {.architecture = "Gemma3ForConditionalGeneration", .model_type = "gemma3", .name = "gemma3",
     .nested = "text_config", .activation_key = "hidden_activation", .defaults = gemma3_defaults,
     .pattern = true, .gemma = true},
};

/* Fields that change what the model computes, unless they have the value that we compute with. */
static const struct { const char *key, *known; } only_known[] = {
    {"partial_rotary_factor", "1"},
    {"attn_logit_softcapping", NULL},
    {"final_logit_softcapping", NULL},
    {"use_bidirectional_attention", "false"},
};

/* One reading. */
typedef struct reading {
    error *e;
    const family *f;
    const json *root, *generation;       /* generation: NULL where the checkpoint has none */
    const json *text;                    /* the language model's config: root or a part of it */
    const json *defaults;
    model_config *c;
} reading;

static const json *said(const json *object, const char *key) {
    const json *node = json_get(object, key);
    return node && node->type != JSON_NULL ? node : NULL;
}

/* The object that says the key: the config, else the family's defaults; the config when neither
 * does, so that messages name it. */
static const json *holder(const reading *r, const char *key) {
    return !said(r->text, key) && said(r->defaults, key) ? r->defaults : r->text;
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

static doppler_status check_known(error *e, const json *object) {
    for (size_t i = 0; i < sizeof only_known / sizeof *only_known; i++) {
        const json *node = said(object, only_known[i].key);
        if (!node) continue;
        char value[80];
        describe(node, value, sizeof value);
        if (!only_known[i].known || strcmp(value, only_known[i].known))
            return unsupported(e, only_known[i].key, node);
    }
    return DOPPLER_OK;
}

/* GPT-OSS's experts come in MXFP4: what is in which format is said by tensors, too. */
static doppler_status check_quantization(const reading *r) {
    static const char key[] = "quantization_config";
    const json *config = said(r->root, key) ? said(r->root, key) : said(r->text, key);
    const json *method = json_get(config, "quant_method");
    if (!config || (r->f->gpt_oss && json_is(method, "mxfp4"))) return DOPPLER_OK;
    return unsupported(r->e, key, method ? method : config);
}

/* ---- the family */

/* The family that the first of architectures names, or model_type where there are none. */
static doppler_status find_family(reading *r) {
    const json *list = said(r->root, "architectures"), *type = said(r->root, "model_type");
    const json *first = list && list->type == JSON_ARRAY ? list->first : list;
    if (!first && !type)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: neither \"architectures\" nor \"model_type\"",
                    config_json);
    for (size_t i = 0; i < sizeof families / sizeof *families && !r->f; i++)
        if (first ? json_is(first, families[i].architecture)
                  : json_is(type, families[i].model_type))
            r->f = &families[i];
    if (!r->f)
        return unsupported(r->e, first ? "architecture" : "model_type", first ? first : type);
    if (type && !json_is(type, r->f->model_type)) return unsupported(r->e, "model_type", type);
    snprintf(r->c->architecture, sizeof r->c->architecture, "%s", r->f->name);
    r->text = r->root;
    if (!r->f->nested) return DOPPLER_OK;
    r->text = said(r->root, r->f->nested);
    if (r->text && r->text->type == JSON_OBJECT) return DOPPLER_OK;
    return fail(r->e, DOPPLER_BAD_FILE, "%s: \"%s\" is missing", config_json, r->f->nested);
}

static doppler_status read_activation(reading *r) {
    static const struct { const char *name; model_activation activation; } known[] = {
        {"silu", ACTIVATION_SILU}, {"gelu_pytorch_tanh", ACTIVATION_GELU_TANH}};
    const char *key = r->f->activation_key;
    const json *act = said(holder(r, key), key);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (json_is(act, known[i].name)) {
            r->c->activation = known[i].activation;
            if (!r->f->gpt_oss) return DOPPLER_OK;
            r->c->activation = ACTIVATION_SWIGLU_CLAMPED;
            return json_f32(r->e, config_json, holder(r, "swiglu_limit"), "swiglu_limit",
                            &r->c->activation_limit);
        }
    return unsupported(r->e, key, act);
}

static doppler_status read_experts(reading *r) {
    static const char count[] = "num_local_experts", used[] = "num_experts_per_tok";
    if (!r->f->experts) return DOPPLER_OK;
    doppler_status status = json_u32(r->e, config_json, holder(r, count), count, 1,
                                     MODEL_MAX_EXPERTS, &r->c->experts);
    if (!status)
        status = json_u32(r->e, config_json, holder(r, used), used, 1, MODEL_MAX_EXPERTS_USED,
                          &r->c->experts_used);
    return status;
}

static doppler_status read_sizes(reading *r) {
    model_config *c = r->c;
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
        if ((status = json_u32(r->e, config_json, holder(r, sizes[i].key), sizes[i].key, 1,
                               sizes[i].max, sizes[i].out)))
            return status;
    if ((status = json_u32_or(r->e, config_json, holder(r, "num_key_value_heads"),
                              "num_key_value_heads", 1, MODEL_MAX_HEADS, c->heads, &c->kv_heads)))
        return status;
    const json *head = holder(r, "head_dim");
    if (!said(head, "head_dim") && c->dim % c->heads)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: hidden_size %u is no multiple of %u heads, and "
                    "head_dim is not given", config_json, c->dim, c->heads);
    return json_u32_or(r->e, config_json, head, "head_dim", 1, MODEL_MAX_HEAD_DIM,
                       c->dim / c->heads, &c->head_dim);
}

/* ---- layers */

static doppler_status read_layer_types(reading *r, const json *types) {
    static const struct { const char *name; layer_kind kind; } known[] = {
        {"full_attention", LAYER_FULL}, {"sliding_attention", LAYER_SLIDING}};
    if (types->type != JSON_ARRAY || types->count != r->c->layers)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: layer_types is no list of %u, the layers",
                    config_json, r->c->layers);
    uint32_t layer = 0;
    for (const json *node = types->first; node; node = node->next, layer++) {
        size_t i = 0;
        while (i < sizeof known / sizeof *known && !json_is(node, known[i].name)) i++;
        if (i == sizeof known / sizeof *known) return unsupported(r->e, "layer type", node);
        r->c->layer_kinds[layer] = (uint8_t)known[i].kind;
    }
    return DOPPLER_OK;
}

static doppler_status read_pattern(reading *r) {
    const json *types = said(r->text, "layer_types");
    if (types) return read_layer_types(r, types);
    const char *key = said(r->text, "_sliding_window_pattern") ? "_sliding_window_pattern"
                                                               : "sliding_window_pattern";
    uint32_t pattern;
    doppler_status status = json_u32(r->e, config_json, holder(r, key), key, 1, MODEL_MAX_LAYERS,
                                     &pattern);
    for (uint32_t i = 0; i < r->c->layers && !status; i++)
        r->c->layer_kinds[i] = (i + 1) % pattern ? LAYER_SLIDING : LAYER_FULL;
    return status;
}

/* Which layers slide, and how far. An absent window is the family's default, null is none. */
static doppler_status read_kinds(reading *r) {
    static const char key[] = "sliding_window";
    model_config *c = r->c;
    const json *window = json_get(r->text, key);
    bool slides = window ? window->type != JSON_NULL : json_get(r->defaults, key) != NULL;
    if (r->f->pattern) {
        doppler_status status = read_pattern(r);
        if (status) return status;
    } else if (slides && !r->f->sliding) {
        return unsupported(r->e, key, window);
    } else {
        memset(c->layer_kinds, slides ? LAYER_SLIDING : LAYER_FULL, c->layers);
    }
    if (!model_has_kind(c, LAYER_SLIDING)) return DOPPLER_OK;
    return json_u32(r->e, config_json, holder(r, key), key, 1, MODEL_MAX_CONTEXT, &c->window);
}

/* ---- rope */

/* YaRN (Peng et al. 2023), its defaults as in transformers, _compute_yarn_parameters. */
static doppler_status read_yarn(reading *r, const char *where, const json *scaling,
                                rope_config *rope) {
    float mscale, mscale_all, growth;
    doppler_status status;
    if ((status = json_u32_or(r->e, where, scaling, "original_max_position_embeddings", 1,
                              MODEL_MAX_CONTEXT, r->c->context, &rope->original_context)) ||
        (status = json_f32_or(r->e, where, scaling, "factor",
                              (float)r->c->context / (float)rope->original_context,
                              &rope->factor)) ||
        (status = json_f32_or(r->e, where, scaling, "beta_fast", 32, &rope->beta_fast)) ||
        (status = json_f32_or(r->e, where, scaling, "beta_slow", 1, &rope->beta_slow)) ||
        (status = json_bool_or(r->e, where, scaling, "truncate", true, &rope->truncate)) ||
        (status = json_f32_or(r->e, where, scaling, "mscale", 0, &mscale)) ||
        (status = json_f32_or(r->e, where, scaling, "mscale_all_dim", 0, &mscale_all)))
        return status;
    growth = rope->factor > 1 ? 0.1f * logf(rope->factor) : 0;
    float factor = mscale != 0 && mscale_all != 0
                       ? (mscale * growth + 1) / (mscale_all * growth + 1) : growth + 1;
    return json_f32_or(r->e, where, scaling, "attention_factor", factor, &rope->attention_factor);
}

/* scaling: the object that says type and factors, or NULL. Its type is "rope_type", or "type" in
 * older files; "dynamic" and others are refused. */
static doppler_status read_scaling(reading *r, const char *where, const json *scaling, float theta,
                                   rope_config *rope) {
    if (scaling && scaling->type != JSON_OBJECT)
        return fail(r->e, DOPPLER_BAD_FILE, "%s is not an object", where);
    doppler_status status = check_known(r->e, scaling);
    if (status || (status = json_f32_or(r->e, where, scaling, "rope_theta", theta, &rope->theta)))
        return status;
    const json *type = said(scaling, "rope_type");
    if (!type) type = said(scaling, "type");
    if (type) rope->type = type->type == JSON_STRING ? rope_by_name(type->text) : ROPE_COUNT;
    if (rope->type == ROPE_COUNT || rope->type == ROPE_FACTORS)
        return unsupported(r->e, "rope type", type);
    if (scaling && !type && said(scaling, "factor"))
        return fail(r->e, DOPPLER_BAD_FILE, "%s: \"rope_type\" is missing", where);
    if (rope->type == ROPE_DEFAULT) return DOPPLER_OK;
    if (rope->type == ROPE_YARN) return read_yarn(r, where, scaling, rope);
    if ((status = json_f32(r->e, where, scaling, "factor", &rope->factor))) return status;
    if (rope->type == ROPE_LINEAR) return DOPPLER_OK;
    if ((status = json_f32(r->e, where, scaling, "low_freq_factor", &rope->low_freq_factor)) ||
        (status = json_f32(r->e, where, scaling, "high_freq_factor", &rope->high_freq_factor)))
        return status;
    return json_u32(r->e, where, scaling, "original_max_position_embeddings", 1, MODEL_MAX_CONTEXT,
                    &rope->original_context);
}

/* Whether rope_parameters holds an object for each type of layer. */
static bool is_per_type(const json *parameters) {
    return parameters && parameters->first && parameters->first->type == JSON_OBJECT;
}

/* The rotation of one kind of layer. Older Gemma 3 configs: theta and scaling are the full
 * layers', the sliding ones have rope_local_base_freq and no scaling. */
static doppler_status read_rope(reading *r, layer_kind kind) {
    static const char *const types[LAYER_KINDS] = {
        [LAYER_FULL] = "full_attention", [LAYER_SLIDING] = "sliding_attention"};
    const json *parameters = said(r->text, "rope_parameters");
    const json *scaling = parameters ? parameters
                                     : said(holder(r, "rope_scaling"), "rope_scaling");
    bool local = r->f->gemma && kind == LAYER_SLIDING;
    const char *theta_key = local ? "rope_local_base_freq" : "rope_theta";
    char where[64];
    snprintf(where, sizeof where, "%s: %s", config_json,
             parameters ? "rope_parameters" : "rope_scaling");
    if (is_per_type(parameters)) {
        scaling = said(parameters, types[kind]);
        if (!scaling)
            return fail(r->e, DOPPLER_BAD_FILE, "%s: \"%s\" is missing", where, types[kind]);
        snprintf(where, sizeof where, "%s: rope_parameters.%s", config_json, types[kind]);
    } else if (local) scaling = NULL;
    float theta;
    doppler_status status = json_f32(r->e, config_json, holder(r, theta_key), theta_key, &theta);
    return status ? status : read_scaling(r, where, scaling, theta, &r->c->rope[kind]);
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
static const json *token_field(const reading *r, const char *key, const char **file) {
    const json *node = said(r->generation, key);
    *file = node ? generation_json : config_json;
    if (!node) node = said(r->text, key);
    return node ? node : said(r->root, key);
}

static doppler_status read_tokens(reading *r) {
    const char *file;
    model_config *c = r->c;
    doppler_status status = DOPPLER_OK;
    const json *bos = token_field(r, "bos_token_id", &file);
    if (bos) status = token_id(r->e, file, "bos_token_id", bos, c->vocab, &c->bos);
    if (status) return status;
    c->has_bos = bos != NULL;
    const json *eos = token_field(r, "eos_token_id", &file);
    if (!eos) return DOPPLER_OK;
    if (eos->type != JSON_ARRAY) {
        c->stop_count = 1;
        return token_id(r->e, file, "eos_token_id", eos, c->vocab, &c->stops[0]);
    }
    if (eos->count > MODEL_MAX_STOPS)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: %u eos_token_id, at most %u", file, eos->count,
                    MODEL_MAX_STOPS);
    for (const json *id = eos->first; id; id = id->next)
        if ((status = token_id(r->e, file, "eos_token_id", id, c->vocab,
                               &c->stops[c->stop_count++])))
            return status;
    return DOPPLER_OK;
}

/* ---- the whole */

/* Factors, norms and biases. */
static doppler_status read_rest(reading *r) {
    model_config *c = r->c;
    float scalar = (float)c->head_dim;
    doppler_status status;
    const json *tied = said(r->text, "tie_word_embeddings") ? r->text
                       : said(r->root, "tie_word_embeddings") ? r->root : r->defaults;
    if ((status = json_f32(r->e, config_json, holder(r, "rms_norm_eps"), "rms_norm_eps",
                           &c->norm_eps)) ||
        (status = json_bool_or(r->e, config_json, tied, "tie_word_embeddings", false,
                               &c->tied_head)) ||
        (status = json_bool_or(r->e, config_json, holder(r, "attention_bias"), "attention_bias",
                               false, &c->attention_bias)) ||
        (status = json_bool_or(r->e, config_json, r->text, "mlp_bias", false, &c->mlp_bias)))
        return status;
    if (r->f->gemma &&
        (status = json_f32(r->e, config_json, holder(r, "query_pre_attn_scalar"),
                           "query_pre_attn_scalar", &scalar)))
        return status;
    if (r->f->gpt_oss) c->mlp_bias = c->router_bias = c->attention_sinks = true;
    c->attention_out_bias = c->attention_bias;
    c->attention_scale = (float)(1 / sqrt((double)scalar));
    c->embedding_scale = r->f->gemma ? (float)sqrt(c->dim) : 1;
    c->qk_norm = c->post_norms = r->f->gemma;
    return DOPPLER_OK;
}

static doppler_status read_config(reading *r, arena *tree) {
    json *defaults;
    doppler_status status;
    if (r->root->type != JSON_OBJECT)
        return fail(r->e, DOPPLER_BAD_FILE, "%s is not an object", config_json);
    if (r->generation && r->generation->type != JSON_OBJECT)
        return fail(r->e, DOPPLER_BAD_FILE, "%s is not an object", generation_json);
    if ((status = find_family(r)) ||
        (status = json_parse(r->e, tree, "defaults", r->f->defaults, strlen(r->f->defaults),
                             &defaults)))
        return status;
    r->defaults = defaults;
    if ((status = check_known(r->e, r->root)) || (status = check_known(r->e, r->text)) ||
        (status = check_quantization(r)) || (status = read_activation(r)) ||
        (status = read_sizes(r)) || (status = read_experts(r)) || (status = read_kinds(r)))
        return status;
    for (uint32_t kind = 0; kind < LAYER_KINDS && !status; kind++)
        if (model_has_kind(r->c, (layer_kind)kind)) status = read_rope(r, (layer_kind)kind);
    if (status || (status = read_rest(r)) || (status = read_tokens(r))) return status;
    return model_check(r->e, config_json, r->c);
}

doppler_status hf_config_parse(error *e, hf_text config, hf_text generation, model_config *out) {
    *out = (model_config){0};
    arena tree = {0};
    json *root, *generation_root = NULL;
    doppler_status status = json_parse(e, &tree, config_json, config.data, config.bytes, &root);
    if (!status && generation.data)
        status = json_parse(e, &tree, generation_json, generation.data, generation.bytes,
                            &generation_root);
    if (!status) {
        reading r = {.e = e, .root = root, .generation = generation_root, .c = out};
        status = read_config(&r, &tree);
    }
    arena_free(&tree);
    return status;
}

/* ---- chat template */

/* The template of this name in a list of them, or the only one. NULL: no memory. */
static const char *named_template(error *e, arena *a, const char *file, const json *found,
                                  const char *name, doppler_status *status) {
    if (found && found->type == JSON_ARRAY) {
        const json *named = found->first;
        while (named && !json_is(json_get(named, "name"), name)) named = named->next;
        found = said(named, "template");
    } else if (strcmp(name, "default")) {
        found = NULL;
    }
    if (*status || !found) return "";
    if (found->type != JSON_STRING || strlen(found->text) != found->text_bytes) {
        *status = fail(e, DOPPLER_BAD_FILE, "%s: \"chat_template\" is no text", file);
        return "";
    }
    return arena_text(a, found->text, found->text_bytes);
}

doppler_status hf_chat_template(error *e, arena *a, const char *file, hf_text json_text,
                                const char **out) {
    arena tree = {0};
    json *root;
    doppler_status status = json_parse(e, &tree, file, json_text.data, json_text.bytes, &root);
    const json *found = status ? NULL : said(root, "chat_template");
    const char *plain = named_template(e, a, file, found, "default", &status);
    const char *tool_use = named_template(e, a, file, found, "tool_use", &status);
    if (!status) {
        *out = plain && tool_use ? chat_template_join(a, plain, tool_use) : NULL;
        if (!*out) status = fail(e, DOPPLER_NO_MEMORY, "%s: no memory", file);
    }
    arena_free(&tree);
    return status;
}
