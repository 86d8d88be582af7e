/* manifest.c - reading manifest.json. Nothing is assumed: a field that is missing, unknown or out
 * of range is refused by name, and what two fields say about one thing is compared. */
#include "loader/manifest.h"
#include "memory/json.h"
#include "memory/name.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WHAT_BYTES = 64 };

/* One reading: the tree is dropped at the end, what the manifest keeps is copied. */
typedef struct reading {
    error *e;
    manifest *m;
    arena tree;                  /* owned */
    bool newer;                  /* a minor version after ours: unknown fields are passed over */
} reading;

uint64_t rdrr_block_count(uint64_t bytes) {
    return bytes / RDRR_BLOCK_BYTES + (bytes % RDRR_BLOCK_BYTES != 0);
}

void rdrr_hex(const uint8_t sha256[RDRR_HASH_BYTES], char out[RDRR_HEX_CHARS]) {
    for (uint32_t i = 0; i < RDRR_HASH_BYTES; i++) snprintf(out + 2 * i, 3, "%02x", sha256[i]);
}

uint64_t rdrr_tensor_bytes(tensor_role role, weight_format format, uint32_t rows, uint32_t cols) {
    return roles[role].matrix ? rows * format_row_bytes(format, cols) : (uint64_t)cols * 4;
}

/* ---- members */

static doppler_status no_memory(reading *r) {
    return fail(r->e, DOPPLER_NO_MEMORY, RDRR_MANIFEST ": no memory");
}

static doppler_status member(reading *r, const char *what, const json *object, const char *key,
                             json_type type, const json **out) {
    static const char *const wanted[] = {"null", "true or false", "a number", "a string",
                                         "an array", "an object"};
    *out = json_get(object, key);
    if (!*out)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: \"%s\" is missing, wanted %s", what, key,
                    wanted[type]);
    if ((*out)->type != type)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: \"%s\" is not %s", what, key, wanted[type]);
    return DOPPLER_OK;
}

static doppler_status read_bool(reading *r, const char *what, const json *object, const char *key,
                                bool *out) {
    const json *node;
    doppler_status status = member(r, what, object, key, JSON_BOOL, &node);
    if (!status) *out = node->boolean;
    return status;
}

static doppler_status read_text(reading *r, const char *what, const json *object, const char *key,
                                const char **out) {
    const char *text;
    doppler_status status = json_string(r->e, what, object, key, &text);
    if (status) return status;
    *out = arena_text(&r->m->memory, text, strlen(text));
    return *out ? DOPPLER_OK : no_memory(r);
}

/* Refuses members that names, a NULL-terminated list, does not hold. "x-" fields are free. */
static doppler_status only(reading *r, const char *what, const json *object,
                           const char *const *names) {
    if (object->type != JSON_OBJECT)
        return fail(r->e, DOPPLER_BAD_FILE, "%s is not an object", what);
    for (const json *child = object->first; child && !r->newer; child = child->next) {
        if (!strncmp(child->key, "x-", 2)) continue;
        const char *const *name = names;
        while (*name && (strlen(*name) != child->key_bytes || strcmp(*name, child->key))) name++;
        if (!*name)
            return fail(r->e, DOPPLER_BAD_FILE, "%s: unknown field \"%.60s\"", what, child->key);
    }
    return DOPPLER_OK;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static doppler_status read_hash(reading *r, const char *what, const json *object,
                                uint8_t out[RDRR_HASH_BYTES]) {
    const char *text;
    doppler_status status = json_string(r->e, what, object, "sha256", &text);
    if (status) return status;
    bool good = strlen(text) == 2 * RDRR_HASH_BYTES;
    for (uint32_t i = 0; good && i < RDRR_HASH_BYTES; i++) {
        int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        good = high >= 0 && low >= 0;
        out[i] = (uint8_t)(good ? high * 16 + low : 0);
    }
    if (good) return DOPPLER_OK;
    return fail(r->e, DOPPLER_BAD_FILE, "%s: \"sha256\" is not 64 lowercase hexadecimal digits",
                what);
}

/* file, bytes and sha256 of a file of the package. */
static doppler_status read_file(reading *r, const char *what, const json *object,
                                uint64_t max_bytes, rdrr_file *out) {
    doppler_status status = read_text(r, what, object, "file", &out->file);
    if (status) return status;
    if (!name_is_plain(out->file))
        return fail(r->e, DOPPLER_BAD_FILE, "%s: \"%.60s\" is no plain file name", what,
                    out->file);
    if ((status = json_u64(r->e, what, object, "bytes", max_bytes, &out->bytes))) return status;
    if (out->bytes == 0) return fail(r->e, DOPPLER_BAD_FILE, "%s: \"bytes\" is 0", what);
    return read_hash(r, what, object, out->sha256);
}

/* ---- the model */

static doppler_status read_factors(reading *r, const char *what, const json *object,
                                   rope_config *rope, uint32_t count) {
    const json *array;
    doppler_status status = member(r, what, object, "factors", JSON_ARRAY, &array);
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
static doppler_status only_rope(reading *r, const char *what, const json *object, rope_type type) {
    const char *names[ROPE_FIELDS + 4] = {"type"};
    uint32_t count = 1;
    for (size_t i = 0; i < ROPE_FIELDS; i++)
        if (rope_has(type, &rope_fields[i])) names[count++] = rope_fields[i].name;
    if (rope_has_context(type)) names[count++] = "original_context";
    if (type == ROPE_YARN) names[count++] = "truncate";
    if (type == ROPE_FACTORS) names[count++] = "factors";
    return only(r, what, object, names);
}

static doppler_status read_rope(reading *r, const json *ropes, layer_kind kind,
                                model_config *c) {
    rope_config *rope = &c->rope[kind];
    const char *key = layer_kind_names[kind], *type;
    char what[WHAT_BYTES];
    snprintf(what, sizeof what, RDRR_MANIFEST ": model.rope.%s", key);
    const json *object;
    doppler_status status = member(r, RDRR_MANIFEST ": model.rope", ropes, key, JSON_OBJECT,
                                   &object);
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
        return read_bool(r, what, object, "truncate", &rope->truncate);
    return rope->type == ROPE_FACTORS ? read_factors(r, what, object, rope, c->head_dim / 2)
                                      : DOPPLER_OK;
}

/* The kind of each layer, and the rope of each kind that occurs. */
static doppler_status read_kinds(reading *r, const char *what, const json *object,
                                 model_config *c) {
    const json *kinds, *ropes;
    doppler_status status = member(r, what, object, "layer_kinds", JSON_ARRAY, &kinds);
    if (status || (status = member(r, what, object, "rope", JSON_OBJECT, &ropes))) return status;
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
    if ((status = only(r, RDRR_MANIFEST ": model.rope", ropes, names))) return status;
    for (uint32_t kind = 0; kind < LAYER_KINDS && !status; kind++)
        if (model_has_kind(c, (layer_kind)kind)) status = read_rope(r, ropes, (layer_kind)kind, c);
    return status;
}

static doppler_status read_model_names(reading *r, const char *what, const json *object,
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

static doppler_status read_model(reading *r, const json *root) {
    static const char what[] = RDRR_MANIFEST ": model";
    static const char *const names[] = {
        "architecture", "layers", "dim", "hidden", "heads", "kv_heads", "head_dim", "vocab",
        "context", "window", "norm_eps", "attention_scale", "embedding_scale", "activation",
        "tied_head", "attention_bias", "attention_out_bias", "mlp_bias", "qk_norm", "post_norms",
        "layer_kinds", "rope", NULL};
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
    doppler_status status = member(r, RDRR_MANIFEST, root, "model", JSON_OBJECT, &object);
    if (status || (status = read_model_names(r, what, object, c))) return status;
    if ((status = only(r, what, object, names))) return status;
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
        if ((status = read_bool(r, what, object, flags[i].key, flags[i].out))) return status;
    if ((status = json_u32(r->e, what, object, "window", 0, MODEL_MAX_CONTEXT, &c->window)))
        return status;
    return read_kinds(r, what, object, c);
}

static doppler_status read_tokens(reading *r, const json *root) {
    static const char what[] = RDRR_MANIFEST ": tokens";
    static const char *const names[] = {"bos", "stop", NULL};
    model_config *c = &r->m->model;
    const json *object, *stop;
    doppler_status status = member(r, RDRR_MANIFEST, root, "tokens", JSON_OBJECT, &object);
    if (status || (status = only(r, what, object, names))) return status;
    const json *bos = json_get(object, "bos");
    if (!bos) return fail(r->e, DOPPLER_BAD_FILE, "%s: \"bos\" is missing", what);
    c->has_bos = bos->type != JSON_NULL;
    if (c->has_bos &&
        (status = json_u32(r->e, what, object, "bos", 0, c->vocab - 1, &c->bos)))
        return status;
    if ((status = member(r, what, object, "stop", JSON_ARRAY, &stop))) return status;
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

/* ---- files */

static doppler_status read_tokenizer(reading *r, const json *root) {
    static const char what[] = RDRR_MANIFEST ": tokenizer";
    static const char *const names[] = {"kind", "file", "bytes", "sha256", NULL};
    const json *object;
    const char *kind;
    doppler_status status = member(r, RDRR_MANIFEST, root, "tokenizer", JSON_OBJECT, &object);
    if (status || (status = json_string(r->e, what, object, "kind", &kind))) return status;
    if (strcmp(kind, "compiled"))
        return fail(r->e, DOPPLER_UNSUPPORTED, "%s: kind \"%.60s\" is not known", what, kind);
    if ((status = only(r, what, object, names))) return status;
    return read_file(r, what, object, RDRR_MAX_TOKENIZER, &r->m->tokenizer);
}

static doppler_status read_shards(reading *r, const json *root) {
    static const char *const names[] = {"file", "bytes", "sha256", NULL};
    manifest *m = r->m;
    const json *array;
    doppler_status status = member(r, RDRR_MANIFEST, root, "shards", JSON_ARRAY, &array);
    if (status) return status;
    if (!array->count) return fail(r->e, DOPPLER_BAD_FILE, RDRR_MANIFEST ": \"shards\" is empty");
    m->shards = arena_array(&m->memory, array->count, sizeof *m->shards);
    if (!m->shards) return no_memory(r);
    for (const json *node = array->first; node; node = node->next) {
        char what[WHAT_BYTES];
        snprintf(what, sizeof what, RDRR_MANIFEST ": shards[%u]", m->shard_count);
        if ((status = only(r, what, node, names)) ||
            (status = read_file(r, what, node, INT64_MAX, &m->shards[m->shard_count])))
            return status;
        m->shard_count++;
    }
    return DOPPLER_OK;
}

static doppler_status read_hashes(reading *r, const json *root) {
    static const char what[] = RDRR_MANIFEST ": hashes";
    static const char *const names[] = {"file", "block_bytes", "bytes", "sha256", NULL};
    manifest *m = r->m;
    const json *object;
    uint32_t block_bytes;
    doppler_status status = member(r, RDRR_MANIFEST, root, "hashes", JSON_OBJECT, &object);
    if (status || (status = only(r, what, object, names))) return status;
    if ((status = json_u32(r->e, what, object, "block_bytes", RDRR_BLOCK_BYTES, RDRR_BLOCK_BYTES,
                           &block_bytes)) ||
        (status = read_file(r, what, object, RDRR_MAX_HASHES, &m->hashes)))
        return status;
    uint64_t blocks = 0;
    for (uint32_t i = 0; i < m->shard_count; i++) {
        blocks += rdrr_block_count(m->shards[i].bytes);
        if (blocks > RDRR_MAX_HASHES / RDRR_HASH_BYTES) break;
    }
    if (m->hashes.bytes != blocks * RDRR_HASH_BYTES)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: %" PRIu64 " bytes, the shards have %" PRIu64
                    " blocks of %d bytes", what, m->hashes.bytes, blocks, RDRR_HASH_BYTES);
    return DOPPLER_OK;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static doppler_status check_names(reading *r) {
    manifest *m = r->m;
    uint32_t count = 0;
    const char **names = arena_array(&r->tree, (size_t)m->shard_count + 3, sizeof *names);
    if (!names) return no_memory(r);
    names[count++] = RDRR_MANIFEST;
    names[count++] = m->tokenizer.file;
    names[count++] = m->hashes.file;
    for (uint32_t i = 0; i < m->shard_count; i++) names[count++] = m->shards[i].file;
    qsort(names, count, sizeof *names, compare_names);
    for (uint32_t i = 1; i < count; i++)
        if (!strcmp(names[i - 1], names[i]))
            return fail(r->e, DOPPLER_BAD_FILE, RDRR_MANIFEST ": two files are named \"%s\"",
                        names[i]);
    return DOPPLER_OK;
}

/* ---- tensors */

static doppler_status read_span(reading *r, const char *tensor, const json *node, uint32_t index,
                                bool last, rdrr_span *out) {
    static const char *const names[] = {"shard", "offset", "bytes", NULL};
    const manifest *m = r->m;
    char what[2 * WHAT_BYTES];
    snprintf(what, sizeof what, "%s.spans[%u]", tensor, index);
    doppler_status status = only(r, what, node, names);
    if (status ||
        (status = json_u32(r->e, what, node, "shard", 0, m->shard_count - 1, &out->shard)))
        return status;
    uint64_t shard_bytes = m->shards[out->shard].bytes;
    if ((status = json_u64(r->e, what, node, "offset", shard_bytes, &out->offset)) ||
        (status = json_u64(r->e, what, node, "bytes", shard_bytes - out->offset, &out->bytes)))
        return status;
    if (out->offset % RDRR_ALIGN)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: offset %" PRIu64 " is no multiple of %d", what,
                    out->offset, RDRR_ALIGN);
    if (!out->bytes || (!last && out->bytes % RDRR_ALIGN))
        return fail(r->e, DOPPLER_BAD_FILE, "%s: %" PRIu64 " bytes, no multiple of %d, and it is "
                    "not the last", what, out->bytes, RDRR_ALIGN);
    return DOPPLER_OK;
}

static doppler_status read_spans(reading *r, const char *what, const json *node, rdrr_tensor *t) {
    const json *array;
    doppler_status status = member(r, what, node, "spans", JSON_ARRAY, &array);
    if (status) return status;
    t->spans = arena_array(&r->m->memory, array->count, sizeof *t->spans);
    if (array->count && !t->spans) return no_memory(r);
    uint64_t left = t->bytes;
    for (const json *span = array->first; span; span = span->next) {
        rdrr_span *out = &t->spans[t->span_count];
        if ((status = read_span(r, what, span, t->span_count, !span->next, out))) return status;
        if (out->bytes > left)
            return fail(r->e, DOPPLER_BAD_FILE, "%s: the spans exceed its %" PRIu64 " bytes", what,
                        t->bytes);
        left -= out->bytes;
        t->span_count++;
    }
    if (!left) return DOPPLER_OK;
    return fail(r->e, DOPPLER_BAD_FILE, "%s: the spans hold %" PRIu64 " bytes, \"bytes\" is %"
                PRIu64, what, t->bytes - left, t->bytes);
}

/* shape, dtype and bytes against the model's own shape of the role. */
static doppler_status read_storage(reading *r, const char *what, const json *node,
                                   rdrr_tensor *t) {
    const char *dtype, *layout;
    const json *shape;
    doppler_status status = json_string(r->e, what, node, "dtype", &dtype);
    if (status || (status = json_string(r->e, what, node, "layout", &layout))) return status;
    t->format = format_by_name(dtype);
    if (t->format == FORMAT_COUNT)
        return fail(r->e, DOPPLER_UNSUPPORTED, "%s: dtype \"%.60s\" is not known", what, dtype);
    if (strcmp(layout, "rows"))
        return fail(r->e, DOPPLER_UNSUPPORTED, "%s: layout \"%.60s\" is not known", what, layout);
    if (!roles[t->role].matrix && t->format != FORMAT_F32)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: a vector's dtype is f32, not %s", what, dtype);
    if ((status = member(r, what, node, "shape", JSON_ARRAY, &shape))) return status;
    const json *rows = shape->first, *cols = rows ? rows->next : NULL;
    if (shape->count != 2 || !rows->is_integer || !cols->is_integer || rows->integer != t->rows ||
        cols->integer != t->cols)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: \"shape\" is not [%u, %u], which %s has in this "
                    "model", what, t->rows, t->cols, roles[t->role].name);
    if ((status = json_u64(r->e, what, node, "bytes", INT64_MAX, &t->bytes))) return status;
    uint64_t bytes = rdrr_tensor_bytes(t->role, t->format, t->rows, t->cols);
    if (t->bytes == bytes) return DOPPLER_OK;
    return fail(r->e, DOPPLER_BAD_FILE, "%s: %" PRIu64 " bytes, [%u, %u] in %s are %" PRIu64, what,
                t->bytes, t->rows, t->cols, dtype, bytes);
}

static doppler_status read_tensor(reading *r, const char *what, const json *node, bool *seen,
                                  rdrr_tensor *t) {
    static const char *const names[] = {"name", "role", "layer", "dtype", "layout", "shape",
                                        "bytes", "spans", NULL};
    const model_config *c = &r->m->model;
    const char *role;
    doppler_status status = only(r, what, node, names);
    if (status || (status = read_text(r, what, node, "name", &t->name)) ||
        (status = json_string(r->e, what, node, "role", &role)))
        return status;
    t->role = role_by_name(role);
    if (t->role == ROLE_COUNT)
        return fail(r->e, DOPPLER_UNSUPPORTED, "%s: role \"%.60s\" is not known", what, role);
    if (!model_role_shape(c, t->role, &t->rows, &t->cols))
        return fail(r->e, DOPPLER_BAD_FILE, "%s: this model has no %s", what, role);
    uint32_t layers = roles[t->role].per_layer ? c->layers : 1;
    if ((status = json_u32(r->e, what, node, "layer", 0, layers - 1, &t->layer))) return status;
    bool *once = &seen[t->role * c->layers + t->layer];
    if (*once)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: a second %s of layer %u", what, role, t->layer);
    *once = true;
    if ((status = read_storage(r, what, node, t))) return status;
    return read_spans(r, what, node, t);
}

static doppler_status check_complete(reading *r, const bool *seen) {
    const model_config *c = &r->m->model;
    for (uint32_t role = 0; role < ROLE_COUNT; role++) {
        uint32_t rows, cols;
        if (!model_role_shape(c, (tensor_role)role, &rows, &cols)) continue;
        uint32_t layers = roles[role].per_layer ? c->layers : 1;
        for (uint32_t layer = 0; layer < layers; layer++)
            if (!seen[role * c->layers + layer])
                return fail(r->e, DOPPLER_BAD_FILE,
                            RDRR_MANIFEST ": tensor %s of layer %u is missing",
                            roles[role].name, layer);
    }
    return DOPPLER_OK;
}

static int compare_spans(const void *a, const void *b) {
    const rdrr_span *x = a, *y = b;
    if (x->shard != y->shard) return x->shard < y->shard ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static doppler_status check_overlap(reading *r) {
    const manifest *m = r->m;
    size_t total = 0, count = 0;
    for (uint32_t i = 0; i < m->tensor_count; i++) total += m->tensors[i].span_count;
    rdrr_span *spans = arena_array(&r->tree, total, sizeof *spans);
    if (!spans) return no_memory(r);
    for (uint32_t i = 0; i < m->tensor_count; i++)
        for (uint32_t s = 0; s < m->tensors[i].span_count; s++)
            spans[count++] = m->tensors[i].spans[s];
    qsort(spans, count, sizeof *spans, compare_spans);
    for (size_t i = 1; i < count; i++)
        if (spans[i].shard == spans[i - 1].shard &&
            spans[i].offset - spans[i - 1].offset < spans[i - 1].bytes)
            return fail(r->e, DOPPLER_BAD_FILE, RDRR_MANIFEST ": two spans overlap in %s at %"
                        PRIu64, m->shards[spans[i].shard].file, spans[i].offset);
    return DOPPLER_OK;
}

static doppler_status read_tensors(reading *r, const json *root) {
    manifest *m = r->m;
    const json *array;
    doppler_status status = member(r, RDRR_MANIFEST, root, "tensors", JSON_ARRAY, &array);
    if (status) return status;
    bool *seen = arena_array(&r->tree, (size_t)ROLE_COUNT * m->model.layers, sizeof *seen);
    m->tensors = arena_array(&m->memory, array->count, sizeof *m->tensors);
    if (!seen || (array->count && !m->tensors)) return no_memory(r);
    for (const json *node = array->first; node; node = node->next) {
        char what[WHAT_BYTES];
        snprintf(what, sizeof what, RDRR_MANIFEST ": tensors[%u]", m->tensor_count);
        if ((status = read_tensor(r, what, node, seen, &m->tensors[m->tensor_count])))
            return status;
        m->tensor_count++;
    }
    if ((status = check_complete(r, seen))) return status;
    return check_overlap(r);
}

/* ---- the whole */

/* format, version, and features that a reader must know. */
static doppler_status read_version(reading *r, const json *root) {
    const char *format, *version;
    const json *features;
    if (!json_get(root, "format") && json_get(root, "modelId"))
        return fail(r->e, DOPPLER_UNSUPPORTED, RDRR_MANIFEST ": a package of doppler-gpu; `doppler "
                    "convert` makes one of it that runs");
    doppler_status status = json_string(r->e, RDRR_MANIFEST, root, "format", &format);
    if (status) return status;
    if (strcmp(format, "rdrr"))
        return fail(r->e, DOPPLER_BAD_FILE, RDRR_MANIFEST ": format \"%.60s\", wanted \"rdrr\"",
                    format);
    if ((status = json_string(r->e, RDRR_MANIFEST, root, "version", &version))) return status;
    if (strncmp(version, "1.", 2) || !version[2] ||
        strspn(version + 2, "0123456789") != strlen(version + 2))
        return fail(r->e, DOPPLER_UNSUPPORTED, RDRR_MANIFEST ": version \"%.60s\", this reads 1.x",
                    version);
    r->newer = strcmp(version, "1.0");
    if ((status = member(r, RDRR_MANIFEST, root, "features", JSON_ARRAY, &features)))
        return status;
    if (features->first)
        return fail(r->e, DOPPLER_UNSUPPORTED, RDRR_MANIFEST
                    ": the package needs the feature \"%.60s\", which is not known",
                    features->first->type == JSON_STRING ? features->first->text : "?");
    return DOPPLER_OK;
}

static doppler_status read_root(reading *r, const json *root) {
    static const char *const names[] = {
        "format", "version", "features", "name", "model", "tokens", "tokenizer", "chat_template",
        "quantization", "shards", "hashes", "tensors", "provenance", NULL};
    static const char *const provenance_names[] = {"source", "producer", NULL};
    static const char what[] = RDRR_MANIFEST;
    manifest *m = r->m;
    const json *provenance;
    if (root->type != JSON_OBJECT)
        return fail(r->e, DOPPLER_BAD_FILE, RDRR_MANIFEST " is not an object");
    doppler_status status = read_version(r, root);
    if (status || (status = only(r, what, root, names)) ||
        (status = read_text(r, what, root, "name", &m->name)) ||
        (status = read_text(r, what, root, "quantization", &m->quantization)) ||
        (status = read_text(r, what, root, "chat_template", &m->chat_template)) ||
        (status = member(r, what, root, "provenance", JSON_OBJECT, &provenance)) ||
        (status = only(r, RDRR_MANIFEST ": provenance", provenance, provenance_names)) ||
        (status = read_text(r, RDRR_MANIFEST ": provenance", provenance, "source", &m->source)) ||
        (status = read_text(r, RDRR_MANIFEST ": provenance", provenance, "producer",
                            &m->producer)))
        return status;
    if ((status = read_model(r, root)) || (status = read_tokens(r, root)) ||
        (status = model_check(r->e, RDRR_MANIFEST, &m->model)))
        return status;
    if ((status = read_tokenizer(r, root)) || (status = read_shards(r, root)) ||
        (status = read_hashes(r, root)) || (status = check_names(r)))
        return status;
    return read_tensors(r, root);
}

doppler_status manifest_parse(error *e, manifest *m, const char *text, size_t bytes) {
    *m = (manifest){0};
    if (bytes > RDRR_MAX_MANIFEST)
        return fail(e, DOPPLER_BAD_FILE, RDRR_MANIFEST ": %zu bytes, at most %d", bytes,
                    RDRR_MAX_MANIFEST);
    reading r = {.e = e, .m = m};
    json *root;
    doppler_status status = json_parse(e, &r.tree, RDRR_MANIFEST, text, bytes, &root);
    if (!status) status = read_root(&r, root);
    arena_free(&r.tree);
    return status;
}

void manifest_free(manifest *m) {
    arena_free(&m->memory);
    *m = (manifest){0};
}
