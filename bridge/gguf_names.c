/* gguf_names.c - see gguf_names.h. Names as in llama.cpp's src/llama-arch.cpp. */
#include "bridge/gguf_names.h"
#include <inttypes.h>
#include <string.h>

#define COMMON_NAMES                                         \
    [ROLE_EMBEDDING] = "token_embd.weight",                  \
    [ROLE_HEAD] = "output.weight",                           \
    [ROLE_FINAL_NORM] = "output_norm.weight",                \
    [ROLE_ATTN_NORM] = "attn_norm.weight",                   \
    [ROLE_ATTN_Q] = "attn_q.weight",                         \
    [ROLE_ATTN_K] = "attn_k.weight",                         \
    [ROLE_ATTN_V] = "attn_v.weight",                         \
    [ROLE_ATTN_O] = "attn_output.weight",                    \
    [ROLE_ATTN_Q_BIAS] = "attn_q.bias",                      \
    [ROLE_ATTN_K_BIAS] = "attn_k.bias",                      \
    [ROLE_ATTN_V_BIAS] = "attn_v.bias",                      \
    [ROLE_ATTN_O_BIAS] = "attn_output.bias",                 \
    [ROLE_ATTN_SINKS] = "attn_sinks.weight",                 \
    [ROLE_ATTN_Q_NORM] = "attn_q_norm.weight",               \
    [ROLE_ATTN_K_NORM] = "attn_k_norm.weight",               \
    [ROLE_ROUTER] = "ffn_gate_inp.weight",                   \
    [ROLE_ROUTER_BIAS] = "ffn_gate_inp.bias",                \
    [ROLE_FFN_GATE] = "ffn_gate.weight",                     \
    [ROLE_FFN_UP] = "ffn_up.weight",                         \
    [ROLE_FFN_DOWN] = "ffn_down.weight",                     \
    [ROLE_FFN_GATE_BIAS] = "ffn_gate.bias",                  \
    [ROLE_FFN_UP_BIAS] = "ffn_up.bias",                      \
    [ROLE_FFN_DOWN_BIAS] = "ffn_down.bias"

static const char *const names[ROLE_COUNT] = {
    COMMON_NAMES,
    [ROLE_ATTN_POST_NORM] = "post_attention_norm.weight",
    [ROLE_FFN_NORM] = "ffn_norm.weight",
    [ROLE_FFN_POST_NORM] = "post_ffw_norm.weight",
};
/* The norm before the experts is called after what is before it. */
static const char *const gpt_oss_names[ROLE_COUNT] = {
    COMMON_NAMES,
    [ROLE_FFN_NORM] = "post_attention_norm.weight",
};
static const source_names gguf_names = {"blk.", names};
static const source_names gguf_gpt_oss_names = {"blk.", gpt_oss_names};
static const char rope_factors_name[] = "rope_freqs.weight";

/* Tensors of a layer's experts: of all, stacked, or in files before 2024-04 of one each, whose
 * number stands between the two halves of a name of a dense layer. */
static const struct { const char *name; tensor_role role; } stacked[] = {
    {"ffn_gate_exps.weight", ROLE_FFN_GATE},    {"ffn_gate_exps.bias", ROLE_FFN_GATE_BIAS},
    {"ffn_up_exps.weight", ROLE_FFN_UP},        {"ffn_up_exps.bias", ROLE_FFN_UP_BIAS},
    {"ffn_down_exps.weight", ROLE_FFN_DOWN},    {"ffn_down_exps.bias", ROLE_FFN_DOWN_BIAS},
};
static const struct { const char *stem; tensor_role role; } single[] = {
    {"ffn_gate.", ROLE_FFN_GATE}, {"ffn_up.", ROLE_FFN_UP}, {"ffn_down.", ROLE_FFN_DOWN}};

static const source_names *names_of(const char *architecture) {
    return strcmp(architecture, "gpt-oss") ? &gguf_names : &gguf_gpt_oss_names;
}

typedef enum name_form { NAME_WHOLE, NAME_STACKED, NAME_EXPERT } name_form;

/* false: no name of a tensor that is known. */
static bool find_meaning(const source_names *n, const char *name, source_tensor *s,
                         name_form *form) {
    const char *rest;
    *form = NAME_WHOLE;
    if (source_role(n, name, &s->role, &s->layer, &rest)) return true;
    if (rest == name) return false;
    *form = NAME_STACKED;
    for (size_t i = 0; i < sizeof stacked / sizeof *stacked; i++)
        if (!strcmp(stacked[i].name, rest)) {
            s->role = stacked[i].role;
            return true;
        }
    *form = NAME_EXPERT;
    for (size_t i = 0; i < sizeof single / sizeof *single; i++) {
        size_t stem = strlen(single[i].stem);
        const char *end = strncmp(single[i].stem, rest, stem)
                              ? NULL : source_number(rest + stem, MODEL_MAX_EXPERTS, &s->expert);
        s->role = single[i].role;
        if (end && !strcmp(end, "weight")) return true;
    }
    return false;
}

bool gguf_name_role(const char *architecture, const char *name, tensor_role *role,
                    uint32_t *layer) {
    source_tensor s = {.layer = 0};
    name_form form;
    bool found = find_meaning(names_of(architecture), name, &s, &form);
    if (found) *role = s.role;
    *layer = s.layer;
    return found;
}

const char *gguf_role_name(const char *architecture, tensor_role role, bool of_experts) {
    for (size_t i = 0; of_experts && i < sizeof stacked / sizeof *stacked; i++)
        if (stacked[i].role == role) return stacked[i].name;
    return names_of(architecture)->names[role];
}

const gguf_tensor *gguf_find_tensor(const gguf *files, uint32_t count, const char *name,
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
    return gguf_find_tensor(files, count, rope_factors_name, file);
}

/* ---- tensors */

doppler_status gguf_check_types(error *e, const gguf *files, uint32_t count) {
    for (uint32_t f = 0; f < count; f++)
        for (uint64_t i = 0; i < files[f].tensor_count; i++) {
            const gguf_tensor *t = &files[f].tensors[i];
            if (t->type->type == SOURCE_TYPE_COUNT)
                return fail(e, DOPPLER_UNSUPPORTED, "%s: tensor \"%s\" is %s, which is not read",
                            files[f].file, t->name, t->type->name);
        }
    return DOPPLER_OK;
}

/* One reading: the tensor that is looked at, and where its own tensors go. */
typedef struct reading {
    error *e;
    const gguf *file;
    const gguf_tensor *t;
    source_list list;
    bool interleaved;            /* rows of Q and K: see gguf_sources */
} reading;

static doppler_status check_shape(const reading *r, const source_tensor *s, uint64_t experts) {
    const gguf_tensor *t = r->t;
    if (t->shape[0] == s->cols && t->shape[1] == s->rows && t->shape[2] == experts &&
        t->shape[3] == 1)
        return DOPPLER_OK;
    return fail(r->e, DOPPLER_BAD_FILE, "%s: tensor \"%s\" is [%" PRIu64 ", %" PRIu64 ", %" PRIu64
                ", %" PRIu64 "], the metadata say [%u, %u, %" PRIu64 "]", r->file->file, t->name,
                t->shape[0], t->shape[1], t->shape[2], t->shape[3], s->cols, s->rows, experts);
}

static doppler_status resolve(reading *r, source_tensor s, name_form form) {
    const model_config *m = r->list.m;
    const gguf_tensor *t = r->t;
    bool exists = model_role_shape(m, s.role, &s.rows, &s.cols);
    bool in_expert = model_role_in_expert(m, s.role), matrix = roles[s.role].matrix;
    bool fits = form == NAME_WHOLE ? !in_expert : m->experts && s.expert < m->experts;
    if (!exists || !fits || s.layer >= m->layers)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: tensor \"%s\" does not belong to a model of %u "
                    "layers with this metadata", r->file->file, t->name, m->layers);
    uint32_t parts = form == NAME_STACKED && in_expert ? m->experts : 1;
    doppler_status status = check_shape(r, &s, parts);
    if (status) return status;
    if (!matrix && source_types[t->type->type].block_weights > 1)
        return fail(r->e, DOPPLER_UNSUPPORTED, "%s: tensor \"%s\" is a vector of %s",
                    r->file->file, t->name, t->type->name);
    s.name = t->name;
    s.type = t->type->type;
    s.bytes = t->bytes / parts;
    bool rotated = s.role == ROLE_ATTN_Q || s.role == ROLE_ATTN_K || s.role == ROLE_ATTN_Q_BIAS ||
                   s.role == ROLE_ATTN_K_BIAS;
    s.interleaved_head = rotated && r->interleaved ? m->head_dim : 0;
    for (uint32_t x = 0; x < parts && !status; x++) {
        s.offset = t->offset + x * s.bytes;
        if (parts > 1) s.expert = x;
        status = source_list_add(r->e, &r->list, &s);
    }
    return status;
}

doppler_status gguf_sources(error *e, arena *a, const char *architecture, const gguf *files,
                            uint32_t count, const model_config *m, source_tensor **out,
                            uint32_t *found) {
    const source_names *n = names_of(architecture);
    reading r = {.e = e, .interleaved = !strcmp(architecture, "llama")};
    uint64_t bytes = 0;
    for (uint32_t f = 0; f < count; f++)
        for (uint64_t i = 0; i < files[f].tensor_count; i++) bytes += files[f].tensors[i].bytes;
    doppler_status status = source_list_create(e, a, m, bytes, &r.list);
    if (status) return status;
    for (uint32_t f = 0; f < count; f++)
        for (uint64_t i = 0; i < files[f].tensor_count; i++) {
            source_tensor s = {.file = f};
            name_form form;
            r.file = &files[f];
            r.t = &files[f].tensors[i];
            if (!strcmp(r.t->name, rope_factors_name)) continue;
            if (!find_meaning(n, r.t->name, &s, &form))
                return fail(e, DOPPLER_UNSUPPORTED, "%s: tensor \"%s\" is not known",
                            files[f].file, r.t->name);
            if ((status = resolve(&r, s, form))) return status;
        }
    *out = r.list.tensors;
    *found = model_tensor_count(m);
    return source_list_complete(e, &r.list, n);
}
