/* hf_names.c - see hf_names.h. Names as in transformers' modeling_llama.py, which
 * modeling_mistral.py shares, modeling_gemma3.py, modeling_mixtral.py and modeling_gpt_oss.py;
 * released Mixtral checkpoints keep experts apart, newer writers stack them. */
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
    [ROLE_ATTN_O_BIAS] = "self_attn.o_proj.bias"
#define DENSE_NAMES                                             \
    [ROLE_FFN_GATE] = "mlp.gate_proj.weight",                   \
    [ROLE_FFN_UP] = "mlp.up_proj.weight",                       \
    [ROLE_FFN_DOWN] = "mlp.down_proj.weight",                   \
    [ROLE_FFN_GATE_BIAS] = "mlp.gate_proj.bias",                \
    [ROLE_FFN_UP_BIAS] = "mlp.up_proj.bias",                    \
    [ROLE_FFN_DOWN_BIAS] = "mlp.down_proj.bias"

static const char *const llama_names[ROLE_COUNT] = {
    COMMON_NAMES, DENSE_NAMES,
    [ROLE_FFN_NORM] = "post_attention_layernorm.weight",
};
static const char *const mixtral_names[ROLE_COUNT] = {
    COMMON_NAMES,
    [ROLE_FFN_NORM] = "post_attention_layernorm.weight",
    [ROLE_ROUTER] = "block_sparse_moe.gate.weight",
};
static const char *const gpt_oss_names[ROLE_COUNT] = {
    COMMON_NAMES,
    [ROLE_ATTN_SINKS] = "self_attn.sinks",
    [ROLE_FFN_NORM] = "post_attention_layernorm.weight",
    [ROLE_ROUTER] = "mlp.router.weight",
    [ROLE_ROUTER_BIAS] = "mlp.router.bias",
};
static const char *const gemma_names[ROLE_COUNT] = {
    COMMON_NAMES, DENSE_NAMES,
    [ROLE_ATTN_Q_NORM] = "self_attn.q_norm.weight",
    [ROLE_ATTN_K_NORM] = "self_attn.k_norm.weight",
    [ROLE_ATTN_POST_NORM] = "post_attention_layernorm.weight",
    [ROLE_FFN_NORM] = "pre_feedforward_layernorm.weight",
    [ROLE_FFN_POST_NORM] = "post_feedforward_layernorm.weight",
};
/* What a tensor of a layer's experts holds; p: its parts, 1, or gate and up. */
typedef enum form {
    FORM_WHOLE,                  /* [rows, cols], of one expert where the name says which */
    FORM_STACKED,                /* [experts, p * rows, cols] */
    FORM_TURNED,                 /* [experts, cols, p * rows] */
    FORM_BLOCKS,                 /* [experts, p * rows, cols / 32, 16]: MXFP4's nibbles */
    FORM_SCALES,                 /* [experts, p * rows, cols / 32]: its scales */
    FORM_BIAS                    /* [experts, p * rows] */
} form;

/* name: behind the layer; # is an expert's number. alternate: rows are gate, up, gate, up ...; else
 * the gate's all stand before the up's. */
typedef struct expert_name {
    const char *name;
    form form;
    bool alternate;
    uint32_t parts;
    tensor_role roles[2];
} expert_name;

static const expert_name mixtral_experts[] = {
    {"block_sparse_moe.experts.#.w1.weight", FORM_WHOLE, false, 1, {ROLE_FFN_GATE}},
    {"block_sparse_moe.experts.#.w2.weight", FORM_WHOLE, false, 1, {ROLE_FFN_DOWN}},
    {"block_sparse_moe.experts.#.w3.weight", FORM_WHOLE, false, 1, {ROLE_FFN_UP}},
    {"mlp.gate.weight", FORM_WHOLE, false, 1, {ROLE_ROUTER}},
    {"mlp.experts.gate_up_proj", FORM_STACKED, false, 2, {ROLE_FFN_GATE, ROLE_FFN_UP}},
    {"mlp.experts.down_proj", FORM_STACKED, false, 1, {ROLE_FFN_DOWN}},
    {.name = NULL}};
static const expert_name gpt_oss_experts[] = {
    {"mlp.experts.gate_up_proj_blocks", FORM_BLOCKS, true, 2, {ROLE_FFN_GATE, ROLE_FFN_UP}},
    {"mlp.experts.gate_up_proj_scales", FORM_SCALES, true, 2, {ROLE_FFN_GATE, ROLE_FFN_UP}},
    {"mlp.experts.gate_up_proj_bias", FORM_BIAS, true, 2, {ROLE_FFN_GATE_BIAS, ROLE_FFN_UP_BIAS}},
    {"mlp.experts.gate_up_proj", FORM_TURNED, true, 2, {ROLE_FFN_GATE, ROLE_FFN_UP}},
    {"mlp.experts.down_proj_blocks", FORM_BLOCKS, false, 1, {ROLE_FFN_DOWN}},
    {"mlp.experts.down_proj_scales", FORM_SCALES, false, 1, {ROLE_FFN_DOWN}},
    {"mlp.experts.down_proj_bias", FORM_BIAS, false, 1, {ROLE_FFN_DOWN_BIAS}},
    {"mlp.experts.down_proj", FORM_TURNED, false, 1, {ROLE_FFN_DOWN}},
    {.name = NULL}};
static const expert_name no_experts[] = {{.name = NULL}};

/* gain: what a norm adds to its weight; Gemma3RMSNorm multiplies by 1 + weight. */
static const struct family {
    const char *architecture;
    source_names names;
    const expert_name *experts;
    float gain;
} families[] = {
    {"gemma3", {"model.layers.", gemma_names}, no_experts, 1},
    {"mixtral", {"model.layers.", mixtral_names}, mixtral_experts, 0},
    {"gpt-oss", {"model.layers.", gpt_oss_names}, gpt_oss_experts, 0},
    {NULL, {"model.layers.", llama_names}, no_experts, 0},       /* all others */
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

/* Whether a name is the pattern's, and which expert's. */
static bool matches(const char *pattern, const char *name, uint32_t *expert) {
    const char *mark = strchr(pattern, '#');
    *expert = 0;
    if (!mark) return !strcmp(pattern, name);
    size_t before = (size_t)(mark - pattern);
    if (strncmp(pattern, name, before)) return false;
    const char *rest = source_number(name + before, MODEL_MAX_EXPERTS, expert);
    return rest && !strcmp(rest, mark + 2);
}

/* A name understood: a role of its own, or one that a layer's experts have. */
typedef struct meaning {
    hf_name kind;
    tensor_role role;
    uint32_t layer, expert;
    const expert_name *experts;  /* NULL: the tensor is the role's, whole */
} meaning;

static meaning find_meaning(const char *architecture, const char *name) {
    const struct family *f = find_family(architecture);
    meaning m = {.kind = HF_NAME_VISION};
    char plain[128];
    for (size_t i = 0; i < sizeof vision / sizeof *vision; i++)
        if (starts(name, vision[i])) return m;
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (starts(name, prefixes[i].prefix)) {
            snprintf(plain, sizeof plain, "%s%s", prefixes[i].meant,
                     name + strlen(prefixes[i].prefix));
            name = plain;
            break;
        }
    const char *rest;
    m.kind = HF_NAME_ROLE;
    if (source_role(&f->names, name, &m.role, &m.layer, &rest)) return m;
    for (const expert_name *n = f->experts; rest != name && n->name; n++)
        if (matches(n->name, rest, &m.expert)) {
            m.role = n->roles[0];
            m.experts = n;
            return m;
        }
    m.kind = HF_NAME_UNKNOWN;
    for (size_t i = 0; i < sizeof skipped / sizeof *skipped; i++)
        if (!strcmp(skipped[i], rest)) m.kind = HF_NAME_SKIPPED;
    return m;
}

hf_name hf_name_role(const char *architecture, const char *name, tensor_role *role,
                     uint32_t *layer) {
    meaning m = find_meaning(architecture, name);
    if (m.kind == HF_NAME_ROLE) *role = m.role;
    *layer = m.layer;
    return m.kind;
}

/* ---- tensors */

/* One reading: the tensor that is looked at, and where its own tensors go. */
typedef struct reading {
    error *e;
    const safetensors *files;
    uint32_t file_count;
    uint32_t file;
    const safetensors_tensor *t;
    meaning means;
    source_list list;
} reading;

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

enum { MAX_DIMS = 4, NIBBLE_BYTES = 16, RUN = 32 };

/* The shape that the config gives a tensor. Returns its dimensions. */
static uint32_t wanted_shape(form kind, tensor_role role, uint64_t experts, uint64_t rows,
                             uint64_t cols, uint64_t parts, uint64_t shape[MAX_DIMS]) {
    const struct { uint32_t dims; uint64_t shape[MAX_DIMS]; } forms[] = {
        [FORM_WHOLE] = {2, {rows, cols}},
        [FORM_STACKED] = {3, {experts, parts * rows, cols}},
        [FORM_TURNED] = {3, {experts, cols, parts * rows}},
        [FORM_BLOCKS] = {4, {experts, parts * rows, cols / RUN, NIBBLE_BYTES}},
        [FORM_SCALES] = {3, {experts, parts * rows, cols / RUN}},
        [FORM_BIAS] = {2, {experts, parts * cols}},
    };
    memcpy(shape, forms[kind].shape, sizeof forms[kind].shape);
    if (kind != FORM_WHOLE || roles[role].matrix) return forms[kind].dims;
    shape[0] = cols;
    return 1;
}

static void shape_text(const uint64_t *shape, uint32_t dims, char out[96]) {
    int used = snprintf(out, 96, "[");
    for (uint32_t i = 0; i < dims && used < 96; i++)
        used += snprintf(out + used, 96 - (size_t)used, "%s%" PRIu64, i ? ", " : "", shape[i]);
    if (used < 96) snprintf(out + used, 96 - (size_t)used, "]");
}

/* Whether shape and dtype are what the config and the form say. */
static doppler_status check_tensor(reading *r, form kind, uint32_t rows, uint32_t cols,
                                   uint32_t parts, source_type *type) {
    const safetensors_tensor *t = r->t;
    bool is_bytes = kind == FORM_BLOCKS || kind == FORM_SCALES;
    uint64_t shape[MAX_DIMS];
    uint32_t dims = wanted_shape(kind, r->means.role, r->list.m->experts, rows, cols, parts,
                                 shape);
    if (is_bytes ? t->dtype != ST_U8 : !float_type(t->dtype, type))
        return fail(r->e, DOPPLER_UNSUPPORTED, "%s: tensor \"%.80s\" is %s; %s read",
                    r->files[r->file].file, t->name, safetensors_dtypes[t->dtype].name,
                    is_bytes ? "U8 is" : "f32, f16 and bf16 are");
    if (is_bytes) *type = SOURCE_MXFP4_PAIRS;
    if (t->dims == dims && !memcmp(t->shape, shape, dims * sizeof *shape)) return DOPPLER_OK;
    char is[96], wanted[96];
    shape_text(t->shape, t->dims, is);
    shape_text(shape, dims, wanted);
    return fail(r->e, DOPPLER_BAD_FILE, "%s: tensor \"%.80s\" is %s; the config says %s",
                r->files[r->file].file, t->name, is, wanted);
}

/* The tensor of scales beside one of blocks, in any file. */
static doppler_status find_scales(reading *r, uint32_t *file, const safetensors_tensor **out) {
    static const char blocks[] = "blocks", scales[] = "scales";
    size_t stem = strlen(r->t->name) - strlen(blocks);
    for (*file = 0; *file < r->file_count; ++*file)
        for (uint32_t i = 0; i < r->files[*file].count; i++) {
            *out = &r->files[*file].tensors[i];
            if (!strncmp((*out)->name, r->t->name, stem) && !strcmp((*out)->name + stem, scales))
                return DOPPLER_OK;
        }
    return fail(r->e, DOPPLER_BAD_FILE, "%s: tensor \"%.80s\" has no scales beside it",
                r->files[r->file].file, r->t->name);
}

/* Where part k of expert x starts in a tensor [experts, parts * rows, row_bytes], and how far its
 * rows are apart. */
static uint64_t part_offset(const expert_name *n, uint32_t x, uint32_t k, uint64_t rows,
                            uint64_t row_bytes, uint64_t *step) {
    *step = n->alternate ? n->parts * row_bytes : row_bytes;
    return ((uint64_t)x * n->parts * rows + k * (n->alternate ? 1 : rows)) * row_bytes;
}

/* Part k of expert x; of biases, of all experts. */
static doppler_status add_part(reading *r, source_tensor s, uint32_t x, uint32_t k,
                               uint32_t scales_file, const safetensors_tensor *scales) {
    const expert_name *n = r->means.experts;
    uint64_t each = source_types[s.type].block_bytes;
    s.role = n->roles[k];
    s.expert = x;
    s.bytes = s.rows * (s.cols * each / source_types[s.type].block_weights);
    switch (n->form) {
    case FORM_WHOLE: break;
    case FORM_STACKED:
        s.offset += part_offset(n, x, k, s.rows, s.cols * each, &s.row_step);
        break;
    case FORM_TURNED:                    /* a row's numbers stand parts * rows apart */
        s.col_step = n->parts * s.rows * each;
        s.offset += x * s.cols * s.col_step + part_offset(n, 0, k, s.rows, each, &s.row_step);
        break;
    case FORM_BLOCKS:
        s.offset += part_offset(n, x, k, s.rows, s.cols / 2, &s.row_step);
        s.scales_file = scales_file;
        s.scales_offset = scales->offset +
                          part_offset(n, x, k, s.rows, s.cols / RUN, &s.scales_step);
        break;
    case FORM_SCALES: return DOPPLER_OK;
    case FORM_BIAS:
        s.offset += part_offset(n, 0, k, s.cols, each, &s.col_step);
        s.row_step = n->parts * s.cols * each;
        s.expert = 0;
        break;
    }
    return source_list_add(r->e, &r->list, &s);
}

/* All tensors that one of experts holds. */
static doppler_status add_parts(reading *r, source_tensor s) {
    const expert_name *n = r->means.experts;
    const safetensors_tensor *scales = NULL;
    uint32_t scales_file = 0, first = r->means.expert, end = first + 1;
    if (n->form == FORM_BLOCKS) {
        doppler_status status = find_scales(r, &scales_file, &scales);
        if (status) return status;
    }
    if (n->form != FORM_WHOLE && n->form != FORM_BIAS) end = r->list.m->experts;
    for (uint32_t x = first; x < end; x++)
        for (uint32_t k = 0; k < n->parts; k++) {
            doppler_status status = add_part(r, s, x, k, scales_file, scales);
            if (status) return status;
        }
    return DOPPLER_OK;
}

static doppler_status resolve(reading *r) {
    const model_config *m = r->list.m;
    const expert_name *n = r->means.experts;
    source_tensor s = {.name = r->t->name, .role = r->means.role, .layer = r->means.layer,
                       .file = r->file, .offset = r->t->offset, .bytes = r->t->bytes};
    bool exists = model_role_shape(m, s.role, &s.rows, &s.cols);
    if (!exists || s.layer >= m->layers || (n && (!m->experts || r->means.expert >= m->experts)))
        return fail(r->e, DOPPLER_BAD_FILE, "%s: tensor \"%.80s\" does not belong to a model of "
                    "%u layers with this config", r->files[r->file].file, s.name, m->layers);
    doppler_status status = check_tensor(r, n ? n->form : FORM_WHOLE, s.rows, s.cols,
                                         n ? n->parts : 1, &s.type);
    if (status) return status;
    for (size_t i = 0; i < sizeof norms / sizeof *norms; i++)
        if (norms[i] == s.role) s.add = find_family(m->architecture)->gain;
    return n ? add_parts(r, s) : source_list_add(r->e, &r->list, &s);
}

doppler_status hf_sources(error *e, arena *a, const model_config *m, const safetensors *files,
                          uint32_t file_count, source_tensor **out, uint32_t *count,
                          uint32_t *vision_count) {
    reading r = {.e = e, .files = files, .file_count = file_count};
    uint64_t bytes = 0;
    for (uint32_t f = 0; f < file_count; f++)
        for (uint32_t i = 0; i < files[f].count; i++) bytes += files[f].tensors[i].bytes;
    *count = *vision_count = 0;
    doppler_status status = source_list_create(e, a, m, bytes, &r.list);
    if (status) return status;
    *out = r.list.tensors;
    for (; r.file < file_count; r.file++)
        for (uint32_t i = 0; i < files[r.file].count; i++) {
            r.t = &files[r.file].tensors[i];
            r.means = find_meaning(m->architecture, r.t->name);
            if (r.means.kind == HF_NAME_UNKNOWN)
                return fail(e, DOPPLER_UNSUPPORTED, "%s: tensor \"%.80s\" is not known",
                            files[r.file].file, r.t->name);
            *vision_count += r.means.kind == HF_NAME_VISION;
            if (r.means.kind != HF_NAME_ROLE || (r.means.role == ROLE_HEAD && m->tied_head))
                continue;
            if ((status = resolve(&r))) return status;
        }
    *count = model_tensor_count(m);
    return source_list_complete(e, &r.list, &find_family(m->architecture)->names);
}
