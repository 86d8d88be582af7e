/* hf_names.c - see hf_names.h. Names as in transformers' modeling_llama.py, which
 * modeling_mistral.py shares, and modeling_gemma3.py. */
#include "bridge/hf_names.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Behind "model.layers.N." for roles of a layer. */
#define COMMON_NAMES                                            \
    [ROLE_EMBEDDING] = "model.embed_tokens.weight",             \
    [ROLE_HEAD] = "lm_head.weight",                             \
    [ROLE_FINAL_NORM] = "model.norm.weight",                    \
    [ROLE_ATTN_NORM] = "input_layernorm.weight",                \
    [ROLE_ATTN_Q] = "self_attn.q_proj.weight",                  \
    [ROLE_ATTN_K] = "self_attn.k_proj.weight",                  \
    [ROLE_ATTN_V] = "self_attn.v_proj.weight",                  \
    [ROLE_ATTN_O] = "self_attn.o_proj.weight",                  \
    [ROLE_ATTN_Q_BIAS] = "self_attn.q_proj.bias",               \
    [ROLE_ATTN_K_BIAS] = "self_attn.k_proj.bias",               \
    [ROLE_ATTN_V_BIAS] = "self_attn.v_proj.bias",               \
    [ROLE_ATTN_O_BIAS] = "self_attn.o_proj.bias",               \
    [ROLE_FFN_GATE] = "mlp.gate_proj.weight",                   \
    [ROLE_FFN_UP] = "mlp.up_proj.weight",                       \
    [ROLE_FFN_DOWN] = "mlp.down_proj.weight",                   \
    [ROLE_FFN_GATE_BIAS] = "mlp.gate_proj.bias",                \
    [ROLE_FFN_UP_BIAS] = "mlp.up_proj.bias",                    \
    [ROLE_FFN_DOWN_BIAS] = "mlp.down_proj.bias"

static const char *const llama_names[ROLE_COUNT] = {
    COMMON_NAMES,
    [ROLE_FFN_NORM] = "post_attention_layernorm.weight",
};
static const char *const gemma_names[ROLE_COUNT] = {
    COMMON_NAMES,
    [ROLE_ATTN_Q_NORM] = "self_attn.q_norm.weight",
    [ROLE_ATTN_K_NORM] = "self_attn.k_norm.weight",
    [ROLE_ATTN_POST_NORM] = "post_attention_layernorm.weight",
    [ROLE_FFN_NORM] = "pre_feedforward_layernorm.weight",
    [ROLE_FFN_POST_NORM] = "post_feedforward_layernorm.weight",
};
/* gain: what a norm adds to its weight; Gemma3RMSNorm multiplies by 1 + weight. */
static const struct family {
    const char *architecture;
    source_names names;
    float gain;
} families[] = {
    {"gemma3", {"model.layers.", gemma_names}, 1},
    {NULL, {"model.layers.", llama_names}, 0},       /* all others */
};
static const tensor_role norms[] = {
    ROLE_FINAL_NORM, ROLE_ATTN_NORM, ROLE_ATTN_Q_NORM, ROLE_ATTN_K_NORM, ROLE_ATTN_POST_NORM,
    ROLE_FFN_NORM, ROLE_FFN_POST_NORM};
/* Tables that old checkpoints saved with the weights; computed from the config instead. */
static const char *const skipped[] = {"self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"};
/* Parts of a model that sees; only its language model is read. */
static const char *const vision[] = {"vision_tower.", "multi_modal_projector.",
                                     "model.vision_tower.", "model.multi_modal_projector."};
/* Where such a model keeps its language model, in two writers' spelling, and where others do. */
static const struct { const char *prefix, *meant; } prefixes[] = {
    {"language_model.", ""}, {"model.language_model.", "model."}};

static const struct family *find_family(const char *architecture) {
    const struct family *f = families;
    while (f->architecture && strcmp(f->architecture, architecture)) f++;
    return f;
}

static bool starts(const char *name, const char *prefix) {
    return !strncmp(name, prefix, strlen(prefix));
}

hf_name hf_name_role(const char *architecture, const char *name, tensor_role *role,
                     uint32_t *layer) {
    char plain[128];
    for (size_t i = 0; i < sizeof vision / sizeof *vision; i++)
        if (starts(name, vision[i])) return HF_NAME_VISION;
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (starts(name, prefixes[i].prefix)) {
            snprintf(plain, sizeof plain, "%s%s", prefixes[i].meant,
                     name + strlen(prefixes[i].prefix));
            name = plain;
            break;
        }
    const char *rest;
    if (source_role(&find_family(architecture)->names, name, role, layer, &rest))
        return HF_NAME_ROLE;
    for (size_t i = 0; i < sizeof skipped / sizeof *skipped; i++)
        if (!strcmp(skipped[i], rest)) return HF_NAME_SKIPPED;
    return HF_NAME_UNKNOWN;
}

static bool float_type(safetensors_dtype dtype, source_type *type) {
    static const struct { safetensors_dtype dtype; source_type type; } map[] = {
        {ST_F32, SOURCE_F32}, {ST_F16, SOURCE_F16}, {ST_BF16, SOURCE_BF16}};
    for (size_t i = 0; i < sizeof map / sizeof *map; i++)
        if (map[i].dtype == dtype) {
            *type = map[i].type;
            return true;
        }
    return false;
}

static doppler_status resolve(error *e, const model_config *m, const safetensors *file,
                              const safetensors_tensor *t, source_tensor *s) {
    bool exists = model_role_shape(m, s->role, &s->rows, &s->cols);
    if (!exists || s->layer >= m->layers)
        return fail(e, DOPPLER_BAD_FILE, "%s: tensor \"%.80s\" does not belong to a model of %u "
                    "layers with this config", file->file, t->name, m->layers);
    if (!float_type(t->dtype, &s->type))
        return fail(e, DOPPLER_UNSUPPORTED, "%s: tensor \"%.80s\" is %s; f32, f16 and bf16 are "
                    "read", file->file, t->name, safetensors_dtypes[t->dtype].name);
    bool matrix = roles[s->role].matrix;
    uint64_t rows = matrix && t->dims == 2 ? t->shape[0] : 1;
    uint64_t cols = t->dims ? t->shape[t->dims - 1] : 0;
    if (t->dims != (matrix ? 2 : 1) || rows != s->rows || cols != s->cols)
        return fail(e, DOPPLER_BAD_FILE, "%s: tensor \"%.80s\" has %u dimensions, [%" PRIu64 ", %"
                    PRIu64 "]; the config says [%u, %u]", file->file, t->name, t->dims, rows, cols,
                    s->rows, s->cols);
    s->name = t->name;
    s->offset = t->offset;
    s->bytes = t->bytes;
    s->add = 0;
    for (size_t i = 0; i < sizeof norms / sizeof *norms; i++)
        if (norms[i] == s->role) s->add = find_family(m->architecture)->gain;
    return DOPPLER_OK;
}

doppler_status hf_sources(error *e, arena *a, const model_config *m, const safetensors *files,
                          uint32_t file_count, source_tensor **out, uint32_t *count,
                          uint32_t *vision_count) {
    size_t total = 0;
    for (uint32_t f = 0; f < file_count; f++) total += files[f].count;
    source_tensor *sources = arena_array(a, total, sizeof *sources);
    if (total && !sources) return fail(e, DOPPLER_NO_MEMORY, "%zu tensors", total);
    *out = sources;
    *count = *vision_count = 0;
    for (uint32_t f = 0; f < file_count; f++)
        for (uint32_t i = 0; i < files[f].count; i++) {
            const safetensors_tensor *t = &files[f].tensors[i];
            source_tensor *s = &sources[*count];
            s->file = f;
            hf_name kind = hf_name_role(m->architecture, t->name, &s->role,
                                        &s->layer);
            if (kind == HF_NAME_UNKNOWN)
                return fail(e, DOPPLER_UNSUPPORTED, "%s: tensor \"%.80s\" is not known",
                            files[f].file, t->name);
            *vision_count += kind == HF_NAME_VISION;
            if (kind != HF_NAME_ROLE || (s->role == ROLE_HEAD && m->tied_head)) continue;
            doppler_status status = resolve(e, m, &files[f], t, s);
            if (status) return status;
            ++*count;
        }
    return source_complete(e, &find_family(m->architecture)->names, m, sources, *count);
}
