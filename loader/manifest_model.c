/* manifest_model.c - what manifest.json says of the model and its tokens. */
#include "loader/manifest_read.h"
#include <stdio.h>
#include <string.h>

static doppler_status read_factors(manifest_reading *r, const char *what, const json *object,
                                   rope_config *rope, uint32_t count) {
    const json *array;
    doppler_status status = manifest_member(r, what, object, "factors", JSON_ARRAY, &array);
    if (status) return status;
    if (array->count != count)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: %u factors, wanted %u, half of head_dim", what,
                    array->count, count);
    uint32_t i = 0;
    for (const json *node = array->first; node; node = node->next) {
        if (node->type != JSON_NUMBER)
            return fail(r->e, DOPPLER_BAD_FILE, "%s: factors[%u] is no number", what, i);
        rope->factors[i++] = (float)node->number;       /* model_check wants it finite */
    }
    return DOPPLER_OK;
}

/* A rope's fields are those of its type, no others. */
static doppler_status only_rope(manifest_reading *r, const char *what, const json *object,
                                rope_type type) {
    const char *names[ROPE_FIELDS + 4] = {"type"};
    uint32_t count = 1;
    for (size_t i = 0; i < ROPE_FIELDS; i++)
        if (rope_has(type, &rope_fields[i])) names[count++] = rope_fields[i].name;
    if (rope_has_context(type)) names[count++] = "original_context";
    if (type == ROPE_YARN) names[count++] = "truncate";
    if (type == ROPE_FACTORS) names[count++] = "factors";
    return manifest_only(r, what, object, names);
}

static doppler_status read_rope(manifest_reading *r, const json *ropes, layer_kind kind,
                                model_config *c) {
    rope_config *rope = &c->rope[kind];
    const char *key = layer_kind_names[kind], *type;
    char what[WHAT_BYTES];
    snprintf(what, sizeof what, RDRR_MANIFEST ": model.rope.%s", key);
    const json *object;
    doppler_status status = manifest_member(r, RDRR_MANIFEST ": model.rope", ropes, key,
                                            JSON_OBJECT, &object);
    if (status || (status = json_string(r->e, what, object, "type", &type))) return status;
    rope->type = rope_by_name(type);
    if (rope->type == ROPE_COUNT)
        return fail(r->e, DOPPLER_UNSUPPORTED, "%s: type \"%.60s\" is not known", what, type);
    if ((status = only_rope(r, what, object, rope->type))) return status;
    for (size_t i = 0; i < ROPE_FIELDS; i++) {
        float value;
        if (!rope_has(rope->type, &rope_fields[i])) continue;
        if ((status = json_f32(r->e, what, object, rope_fields[i].name, &value))) return status;
        memcpy((char *)rope + rope_fields[i].offset, &value, sizeof value);
    }
    if (rope_has_context(rope->type) &&
        (status = json_u32(r->e, what, object, "original_context", 1, MODEL_MAX_CONTEXT,
                           &rope->original_context)))
        return status;
    if (rope->type == ROPE_YARN)
        return manifest_bool(r, what, object, "truncate", &rope->truncate);
    return rope->type == ROPE_FACTORS ? read_factors(r, what, object, rope, c->head_dim / 2)
                                      : DOPPLER_OK;
}

/* The kind of each layer, and the rope of each kind that occurs. */
static doppler_status read_kinds(manifest_reading *r, const char *what, const json *object,
                                 model_config *c) {
    const json *kinds, *ropes;
    doppler_status status = manifest_member(r, what, object, "layer_kinds", JSON_ARRAY, &kinds);
    if (status || (status = manifest_member(r, what, object, "rope", JSON_OBJECT, &ropes)))
        return status;
    if (kinds->count != c->layers)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: %u layer_kinds, the model has %u layers", what,
                    kinds->count, c->layers);
    uint32_t i = 0;
    for (const json *node = kinds->first; node; node = node->next) {
        const char *name = node->type == JSON_STRING ? node->text : "";
        layer_kind kind = layer_kind_by_name(name);
        if (kind == LAYER_KINDS)
            return fail(r->e, DOPPLER_UNSUPPORTED, "%s: layer_kinds[%u] \"%.60s\" is not known",
                        what, i, name);
        c->layer_kinds[i++] = (uint8_t)kind;
    }
    const char *names[LAYER_KINDS + 1] = {NULL};
    uint32_t count = 0;
    for (uint32_t kind = 0; kind < LAYER_KINDS; kind++)
        if (model_has_kind(c, (layer_kind)kind)) names[count++] = layer_kind_names[kind];
    if ((status = manifest_only(r, RDRR_MANIFEST ": model.rope", ropes, names))) return status;
    for (uint32_t kind = 0; kind < LAYER_KINDS && !status; kind++)
        if (model_has_kind(c, (layer_kind)kind)) status = read_rope(r, ropes, (layer_kind)kind, c);
    return status;
}

static doppler_status read_model_names(manifest_reading *r, const char *what, const json *object,
                                       model_config *c) {
    const char *architecture, *activation;
    doppler_status status = json_string(r->e, what, object, "architecture", &architecture);
    if (status) return status;
    if (!model_architecture_known(architecture))
        return fail(r->e, DOPPLER_UNSUPPORTED, "%s: architecture \"%.60s\" is not known", what,
                    architecture);
    snprintf(c->architecture, sizeof c->architecture, "%s", architecture);
    if ((status = json_string(r->e, what, object, "activation", &activation))) return status;
    c->activation = activation_by_name(activation);
    if (c->activation != ACTIVATION_COUNT) return DOPPLER_OK;
    return fail(r->e, DOPPLER_UNSUPPORTED, "%s: activation \"%.60s\" is not known", what,
                activation);
}

/* Refuses fields that no model has, and those of experts and of an activation in others. */
static doppler_status only_model(manifest_reading *r, const char *what, const json *object) {
    static const char *const always[] = {
        "architecture", "layers", "dim", "hidden", "heads", "kv_heads", "head_dim", "vocab",
        "context", "window", "norm_eps", "attention_scale", "embedding_scale", "activation",
        "tied_head", "attention_bias", "attention_out_bias", "attention_sinks", "mlp_bias",
        "qk_norm", "post_norms", "layer_kinds", "rope"};
    enum { ALWAYS = sizeof always / sizeof *always };
    const char *names[ALWAYS + 5] = {NULL};
    memcpy(names, always, sizeof always);
    uint32_t count = ALWAYS;
    if (r->m->model.activation == ACTIVATION_SWIGLU_CLAMPED) names[count++] = "activation_limit";
    if (json_get(object, "experts")) {
        names[count++] = "experts";
        names[count++] = "experts_used";
        names[count++] = "router_bias";
    }
    return manifest_only(r, what, object, names);
}

/* What dense models and those of other activations leave out. */
static doppler_status read_experts(manifest_reading *r, const char *what, const json *object,
                                   model_config *c) {
    doppler_status status = DOPPLER_OK;
    if (c->activation == ACTIVATION_SWIGLU_CLAMPED)
        status = json_f32(r->e, what, object, "activation_limit", &c->activation_limit);
    if (!status && json_get(object, "attention_sinks"))
        status = manifest_bool(r, what, object, "attention_sinks", &c->attention_sinks);
    if (status || !json_get(object, "experts")) return status;
    if ((status = json_u32(r->e, what, object, "experts", 1, MODEL_MAX_EXPERTS, &c->experts)) ||
        (status = json_u32(r->e, what, object, "experts_used", 1, MODEL_MAX_EXPERTS_USED,
                           &c->experts_used)))
        return status;
    return manifest_bool(r, what, object, "router_bias", &c->router_bias);
}

static doppler_status read_model(manifest_reading *r, const json *root) {
    static const char what[] = RDRR_MANIFEST ": model";
    model_config *c = &r->m->model;
    const struct { const char *key; uint32_t max, *out; } sizes[] = {
        {"layers", MODEL_MAX_LAYERS, &c->layers},
        {"dim", MODEL_MAX_DIM, &c->dim},
        {"hidden", MODEL_MAX_HIDDEN, &c->hidden},
        {"heads", MODEL_MAX_HEADS, &c->heads},
        {"kv_heads", MODEL_MAX_HEADS, &c->kv_heads},
        {"head_dim", MODEL_MAX_HEAD_DIM, &c->head_dim},
        {"vocab", MODEL_MAX_VOCAB, &c->vocab},
        {"context", MODEL_MAX_CONTEXT, &c->context},
    };
    const json *object;
    doppler_status status = manifest_member(r, RDRR_MANIFEST, root, "model", JSON_OBJECT, &object);
    if (status || (status = read_model_names(r, what, object, c))) return status;
    if ((status = only_model(r, what, object))) return status;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if ((status = json_u32(r->e, what, object, sizes[i].key, 1, sizes[i].max, sizes[i].out)))
            return status;
    const struct { const char *key; float *out; } reals[] = {
        {"norm_eps", &c->norm_eps}, {"attention_scale", &c->attention_scale},
        {"embedding_scale", &c->embedding_scale}};
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        if ((status = json_f32(r->e, what, object, reals[i].key, reals[i].out))) return status;
    const struct { const char *key; bool *out; } flags[] = {
        {"tied_head", &c->tied_head},   {"attention_bias", &c->attention_bias},
        {"mlp_bias", &c->mlp_bias},     {"attention_out_bias", &c->attention_out_bias},
        {"qk_norm", &c->qk_norm},       {"post_norms", &c->post_norms},
    };
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if ((status = manifest_bool(r, what, object, flags[i].key, flags[i].out))) return status;
    if ((status = json_u32(r->e, what, object, "window", 0, MODEL_MAX_CONTEXT, &c->window)) ||
        (status = read_experts(r, what, object, c)))
        return status;
    return read_kinds(r, what, object, c);
}

static doppler_status read_tokens(manifest_reading *r, const json *root) {
    static const char what[] = RDRR_MANIFEST ": tokens";
    static const char *const names[] = {"bos", "stop", NULL};
    model_config *c = &r->m->model;
    const json *object, *stop;
    doppler_status status = manifest_member(r, RDRR_MANIFEST, root, "tokens", JSON_OBJECT,
                                            &object);
    if (status || (status = manifest_only(r, what, object, names))) return status;
    const json *bos = json_get(object, "bos");
    if (!bos) return fail(r->e, DOPPLER_BAD_FILE, "%s: \"bos\" is missing", what);
    c->has_bos = bos->type != JSON_NULL;
    if (c->has_bos &&
        (status = json_u32(r->e, what, object, "bos", 0, c->vocab - 1, &c->bos)))
        return status;
    if ((status = manifest_member(r, what, object, "stop", JSON_ARRAY, &stop))) return status;
    if (stop->count > MODEL_MAX_STOPS)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: %u stop ids, at most %u", what, stop->count,
                    MODEL_MAX_STOPS);
    for (const json *id = stop->first; id; id = id->next) {
        if (id->type != JSON_NUMBER || !id->is_integer || id->integer < 0 ||
            id->integer >= c->vocab)
            return fail(r->e, DOPPLER_BAD_FILE, "%s: stop[%u] is no id below %u", what,
                        c->stop_count, c->vocab);
        c->stops[c->stop_count++] = (uint32_t)id->integer;
    }
    return DOPPLER_OK;
}

doppler_status manifest_read_model(manifest_reading *r, const json *root) {
    doppler_status status = read_model(r, root);
    if (!status) status = read_tokens(r, root);
    return status ? status : model_check(r->e, RDRR_MANIFEST, &r->m->model);
}
