/* hf_names.c - see hf_names.h. Names as in transformers' modeling_llama.py. */
#include "bridge/hf_names.h"
#include <inttypes.h>
#include <string.h>

/* Behind "model.layers.N." for roles of a layer. */
static const char *const names[ROLE_COUNT] = {
    [ROLE_EMBEDDING] = "model.embed_tokens.weight",
    [ROLE_HEAD] = "lm_head.weight",
    [ROLE_FINAL_NORM] = "model.norm.weight",
    [ROLE_ATTN_NORM] = "input_layernorm.weight",
    [ROLE_ATTN_Q] = "self_attn.q_proj.weight",
    [ROLE_ATTN_K] = "self_attn.k_proj.weight",
    [ROLE_ATTN_V] = "self_attn.v_proj.weight",
    [ROLE_ATTN_O] = "self_attn.o_proj.weight",
    [ROLE_ATTN_Q_BIAS] = "self_attn.q_proj.bias",
    [ROLE_ATTN_K_BIAS] = "self_attn.k_proj.bias",
    [ROLE_ATTN_V_BIAS] = "self_attn.v_proj.bias",
    [ROLE_ATTN_O_BIAS] = "self_attn.o_proj.bias",
    [ROLE_FFN_NORM] = "post_attention_layernorm.weight",
    [ROLE_FFN_GATE] = "mlp.gate_proj.weight",
    [ROLE_FFN_UP] = "mlp.up_proj.weight",
    [ROLE_FFN_DOWN] = "mlp.down_proj.weight",
    [ROLE_FFN_GATE_BIAS] = "mlp.gate_proj.bias",
    [ROLE_FFN_UP_BIAS] = "mlp.up_proj.bias",
    [ROLE_FFN_DOWN_BIAS] = "mlp.down_proj.bias",
};
static const source_names hf_names = {"model.layers.", names};
/* Tables that old checkpoints saved with the weights; computed from the config instead. */
static const char *const skipped[] = {"self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"};

hf_name hf_name_role(const char *name, tensor_role *role, uint32_t *layer) {
    const char *rest;
    if (source_role(&hf_names, name, role, layer, &rest)) return HF_NAME_ROLE;
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
    return DOPPLER_OK;
}

doppler_status hf_sources(error *e, arena *a, const model_config *m, const safetensors *files,
                          uint32_t file_count, source_tensor **out, uint32_t *count) {
    size_t total = 0;
    for (uint32_t f = 0; f < file_count; f++) total += files[f].count;
    source_tensor *sources = arena_array(a, total, sizeof *sources);
    if (total && !sources) return fail(e, DOPPLER_NO_MEMORY, "%zu tensors", total);
    *out = sources;
    *count = 0;
    for (uint32_t f = 0; f < file_count; f++)
        for (uint32_t i = 0; i < files[f].count; i++) {
            const safetensors_tensor *t = &files[f].tensors[i];
            source_tensor *s = &sources[*count];
            s->file = f;
            hf_name kind = hf_name_role(t->name, &s->role, &s->layer);
            if (kind == HF_NAME_UNKNOWN)
                return fail(e, DOPPLER_UNSUPPORTED, "%s: tensor \"%.80s\" is not known",
                            files[f].file, t->name);
            if (kind == HF_NAME_SKIPPED || (s->role == ROLE_HEAD && m->tied_head)) continue;
            doppler_status status = resolve(e, m, &files[f], t, s);
            if (status) return status;
            ++*count;
        }
    return source_complete(e, &hf_names, m, sources, *count);
}
