/* hf_names.c - see hf_names.h. Names as in transformers' modeling_llama.py. */
#include "bridge/hf_names.h"
#include <inttypes.h>
#include <stdlib.h>
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
static const char layer_prefix[] = "model.layers.";
/* Tables that old checkpoints saved with the weights; computed from the config instead. */
static const char *const skipped[] = {"self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"};

/* "model.layers.12.rest" -> layer 12, "rest"; NULL when the name is of no layer. */
static const char *cut_layer(const char *name, uint32_t *layer) {
    if (strncmp(name, layer_prefix, sizeof layer_prefix - 1)) return NULL;
    const char *digit = name + sizeof layer_prefix - 1;
    if (*digit == '0' && digit[1] != '.') return NULL;
    for (*layer = 0; *digit >= '0' && *digit <= '9'; digit++) {
        *layer = *layer * 10 + (uint32_t)(*digit - '0');
        if (*layer >= MODEL_MAX_LAYERS) return NULL;
    }
    return *digit == '.' && digit[-1] != '.' ? digit + 1 : NULL;
}

hf_name hf_name_role(const char *name, tensor_role *role, uint32_t *layer) {
    const char *rest = cut_layer(name, layer);
    bool in_layer = rest != NULL;
    if (!in_layer) {
        *layer = 0;
        rest = name;
    }
    for (uint32_t i = 0; i < ROLE_COUNT; i++)
        if (roles[i].per_layer == in_layer && !strcmp(names[i], rest)) {
            *role = (tensor_role)i;
            return HF_NAME_ROLE;
        }
    for (size_t i = 0; i < sizeof skipped / sizeof *skipped; i++)
        if (!strcmp(skipped[i], rest)) return HF_NAME_SKIPPED;
    return HF_NAME_UNKNOWN;
}

static bool float_format(safetensors_dtype dtype, weight_format *format) {
    static const struct { safetensors_dtype dtype; weight_format format; } map[] = {
        {ST_F32, FORMAT_F32}, {ST_F16, FORMAT_F16}, {ST_BF16, FORMAT_BF16}};
    for (size_t i = 0; i < sizeof map / sizeof *map; i++)
        if (map[i].dtype == dtype) {
            *format = map[i].format;
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
    if (!float_format(t->dtype, &s->format))
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

/* Embedding, then the layers, then what follows them. */
static uint64_t place(const source_tensor *s) {
    uint64_t section = roles[s->role].per_layer ? 1 + s->layer
                       : s->role == ROLE_EMBEDDING ? 0 : 1 + MODEL_MAX_LAYERS;
    bool head = s->role == ROLE_HEAD;
    return (section + head) * ROLE_COUNT + s->role;
}

static int compare_places(const void *a, const void *b) {
    uint64_t x = place(a), y = place(b);
    return x < y ? -1 : x > y;
}

/* The sorted sources against what the model must have. */
static doppler_status check_complete(error *e, const model_config *m, const safetensors *files,
                                     const source_tensor *s, uint32_t count) {
    for (uint32_t i = 1; i < count; i++)
        if (s[i].role == s[i - 1].role && s[i].layer == s[i - 1].layer)
            return fail(e, DOPPLER_BAD_FILE, "%s: tensor \"%.80s\" is there twice",
                        files[s[i].file].file, s[i].name);
    for (uint32_t role = 0; role < ROLE_COUNT; role++) {
        source_tensor wanted = {.role = (tensor_role)role};
        uint32_t layers = roles[role].per_layer ? m->layers : 1;
        if (!model_role_shape(m, wanted.role, &wanted.rows, &wanted.cols)) continue;
        for (; wanted.layer < layers; wanted.layer++) {
            if (count && bsearch(&wanted, s, count, sizeof *s, compare_places)) continue;
            if (layers == 1 && !roles[role].per_layer)
                return fail(e, DOPPLER_BAD_FILE, "tensor \"%s\" is missing", names[role]);
            return fail(e, DOPPLER_BAD_FILE, "tensor \"%s%u.%s\" is missing", layer_prefix,
                        wanted.layer, names[role]);
        }
    }
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
    if (*count) qsort(sources, *count, sizeof *sources, compare_places);
    return check_complete(e, m, files, sources, *count);
}
