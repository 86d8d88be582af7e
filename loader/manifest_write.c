/* manifest_write.c - canonical JSON of a manifest: fields in the order of docs/RDRR_FORMAT.md,
 * two spaces a level, one line per shard and per tensor, floats in the fewest digits (6 to 9)
 * that an f32 survives. So the same package has the same bytes and the same id everywhere. */
#include "loader/manifest.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add_string(text *out, const char *key, const char *value) {
    text_format(out, "\"%s\": ", key);
    text_json(out, value, strlen(value));
}

static void add_file(text *out, const rdrr_file *f) {
    char hex[RDRR_HEX_CHARS];
    rdrr_hex(f->sha256, hex);
    add_string(out, "file", f->file);
    text_format(out, ", \"bytes\": %" PRIu64 ", \"sha256\": \"%s\"", f->bytes, hex);
}

static void add_mirrors(text *out, const rdrr_mirrors *mirrors) {
    for (uint32_t i = 0; i < mirrors->count; i++) {
        text_format(out, i ? ", " : ", \"urls\": [");
        text_json(out, mirrors->urls[i], strlen(mirrors->urls[i]));
    }
    if (mirrors->count) text_format(out, "]");
}

/* The fewest digits that read back as x; nine always do. */
static void add_number(text *out, float x) {
    char digits[32];
    for (int precision = 6; precision <= 9; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, (double)x);
        if (strtof(digits, NULL) == x) break;
    }
    text_format(out, "%s", digits);
}

static void add_float(text *out, const char *key, float x) {
    text_format(out, "\"%s\": ", key);
    add_number(out, x);
}

static void add_factors(text *out, const rope_config *rope, uint32_t count) {
    text_format(out, ", \"factors\": [");
    for (uint32_t i = 0; i < count; i++) {
        if (i) text_format(out, ", ");
        add_number(out, rope->factors[i]);
    }
    text_format(out, "]");
}

static const char *boolean(bool b) { return b ? "true" : "false"; }

static void add_rope(text *out, const rope_config *rope, uint32_t head_dim) {
    text_format(out, "{\"type\": \"%s\"", rope_names[rope->type]);
    for (size_t i = 0; i < ROPE_FIELDS; i++) {
        float value;
        if (!rope_has(rope->type, &rope_fields[i])) continue;
        memcpy(&value, (const char *)rope + rope_fields[i].offset, sizeof value);
        text_format(out, ", ");
        add_float(out, rope_fields[i].name, value);
    }
    if (rope_has_context(rope->type))
        text_format(out, ", \"original_context\": %u", rope->original_context);
    if (rope->type == ROPE_YARN)
        text_format(out, ", \"truncate\": %s", boolean(rope->truncate));
    if (rope->type == ROPE_FACTORS) add_factors(out, rope, head_dim / 2);
    text_format(out, "}");
}

static void add_experts(text *out, const model_config *c) {
    if (!c->experts) return;
    text_format(out, "    \"experts\": %u,\n    \"experts_used\": %u,\n", c->experts,
                c->experts_used);
    text_format(out, "    \"router_bias\": %s,\n", boolean(c->router_bias));
}

static void add_model(text *out, const model_config *c) {
    text_format(out, "  \"model\": {\n    ");
    add_string(out, "architecture", c->architecture);
    text_format(out, ",\n    \"layers\": %u,\n    \"dim\": %u,\n    \"hidden\": %u,\n", c->layers,
                c->dim, c->hidden);
    text_format(out, "    \"heads\": %u,\n    \"kv_heads\": %u,\n    \"head_dim\": %u,\n",
                c->heads, c->kv_heads, c->head_dim);
    text_format(out, "    \"vocab\": %u,\n    \"context\": %u,\n    \"window\": %u,\n",
                c->vocab, c->context, c->window);
    text_format(out, "    ");
    add_float(out, "norm_eps", c->norm_eps);
    text_format(out, ",\n    ");
    add_float(out, "attention_scale", c->attention_scale);
    text_format(out, ",\n    ");
    add_float(out, "embedding_scale", c->embedding_scale);
    text_format(out, ",\n    \"activation\": \"%s\",\n", activation_names[c->activation]);
    if (c->activation == ACTIVATION_SWIGLU_CLAMPED) {
        text_format(out, "    ");
        add_float(out, "activation_limit", c->activation_limit);
        text_format(out, ",\n");
    }
    add_experts(out, c);
    text_format(out, "    \"tied_head\": %s,\n", boolean(c->tied_head));
    text_format(out, "    \"attention_bias\": %s,\n    \"attention_out_bias\": %s,\n",
                boolean(c->attention_bias), boolean(c->attention_out_bias));
    if (c->attention_sinks) text_format(out, "    \"attention_sinks\": true,\n");
    text_format(out, "    \"mlp_bias\": %s,\n    \"qk_norm\": %s,\n    \"post_norms\": %s,\n",
                boolean(c->mlp_bias), boolean(c->qk_norm), boolean(c->post_norms));
    assert(c->layers <= MODEL_MAX_LAYERS);
    text_format(out, "    \"layer_kinds\": [");
    for (uint32_t i = 0; i < c->layers; i++)
        text_format(out, "%s\"%s\"", i ? ", " : "", layer_kind_names[c->layer_kinds[i]]);
    text_format(out, "],\n    \"rope\": {");
    bool first = true;
    for (uint32_t kind = 0; kind < LAYER_KINDS; kind++) {
        if (!model_has_kind(c, (layer_kind)kind)) continue;
        text_format(out, "%s\n      \"%s\": ", first ? "" : ",", layer_kind_names[kind]);
        add_rope(out, &c->rope[kind], c->head_dim);
        first = false;
    }
    text_format(out, "\n    }\n  },\n");
}

static void add_tokens(text *out, const model_config *c) {
    text_format(out, "  \"tokens\": {\"bos\": ");
    if (c->has_bos) text_format(out, "%u", c->bos);
    else text_format(out, "null");
    text_format(out, ", \"stop\": [");
    for (uint32_t i = 0; i < c->stop_count; i++)
        text_format(out, "%s%u", i ? ", " : "", c->stops[i]);
    text_format(out, "]},\n");
}

static void add_tensor(text *out, const model_config *c, const rdrr_tensor *t) {
    text_format(out, "    {");
    add_string(out, "name", t->name);
    text_format(out, ", \"role\": \"%s\", \"layer\": %u, ", roles[t->role].name, t->layer);
    if (model_role_in_expert(c, t->role)) text_format(out, "\"expert\": %u, ", t->expert);
    text_format(out, "\"dtype\": \"%s\", \"layout\": \"rows\", \"shape\": [%u, %u], \"bytes\": %"
                PRIu64 ", \"spans\": [", formats[t->format].name, t->rows, t->cols, t->bytes);
    for (uint32_t i = 0; i < t->span_count; i++)
        text_format(out, "%s{\"shard\": %u, \"offset\": %" PRIu64 ", \"bytes\": %" PRIu64 "}",
                    i ? ", " : "", t->spans[i].shard, t->spans[i].offset, t->spans[i].bytes);
    text_format(out, "]}");
}

void manifest_write(const manifest *m, text *out) {
    text_format(out, "{\n  \"format\": \"rdrr\",\n  \"version\": \"1.0\",\n");
    text_format(out, "  \"features\": [],\n  ");
    add_string(out, "name", m->name);
    text_format(out, ",\n");
    add_model(out, &m->model);
    add_tokens(out, &m->model);
    text_format(out, "  \"tokenizer\": {\"kind\": \"compiled\", ");
    add_file(out, &m->tokenizer);
    text_format(out, "},\n  ");
    add_string(out, "chat_template", m->chat_template);
    text_format(out, ",\n  ");
    add_string(out, "quantization", m->quantization);
    text_format(out, ",\n  \"shards\": [");
    for (uint32_t i = 0; i < m->shard_count; i++) {
        text_format(out, "%s\n    {", i ? "," : "");
        add_file(out, &m->shards[i]);
        if (m->mirrors) add_mirrors(out, &m->mirrors[i]);
        text_format(out, "}");
    }
    text_format(out, "\n  ],\n  \"hashes\": {\"block_bytes\": %d, ", RDRR_BLOCK_BYTES);
    add_file(out, &m->hashes);
    text_format(out, "},\n  \"tensors\": [");
    for (uint32_t i = 0; i < m->tensor_count; i++) {
        text_format(out, "%s\n", i ? "," : "");
        add_tensor(out, &m->model, &m->tensors[i]);
    }
    text_format(out, "\n  ],\n  \"provenance\": {");
    add_string(out, "source", m->source);
    text_format(out, ", ");
    add_string(out, "producer", m->producer);
    text_format(out, "}\n}\n");
}
