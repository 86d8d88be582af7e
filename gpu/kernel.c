/* kernel.c - the table of kernels, and a program's parts: kernel text + the text it is linked
 * with (WGSL declarations may come in any order, so linking is concatenation). */
#include "gpu/kernel.h"
#include "gpu/cpu/twins.h"

#include <assert.h>
#include <stdio.h>

/* X(id, name, text, access of its bindings, link); bindings as in gpu/dims.h */
#define KERNELS(X)                                                                   \
    X(GATHER,          gather,           gather,           "rrw",    LINK_WEIGHTS)   \
    X(RMSNORM,         rmsnorm,          rmsnorm,          "rrw",    LINK_NOTHING)   \
    X(MATVEC,          matvec,           matvec,           "rrrrw",  LINK_PROJECT)   \
    X(MATMUL,          matmul,           matmul,           "rrrrw",  LINK_TILES)     \
    X(ROPE_KV,         rope_kv,          rope_kv,          "rrrww",  LINK_KV)        \
    X(ATTENTION,       attention,        attention,        "rrrrw",  LINK_KV)        \
    X(ATTENTION_MERGE, attention_merge,  attention_merge,  "rrw",    LINK_FORM)      \
    X(ACT_MUL,         act_mul,          act_mul,          "rw",     LINK_ACTIVATION)\
    X(ROUTE,           route,            route,            "rww",    LINK_CHOICE)    \
    X(EXPERT_TILES,    expert_tiles,     expert_tiles,     "rw",     LINK_NOTHING)   \
    X(COMBINE,         combine,          combine,          "rrw",    LINK_NOTHING)   \
    X(ARGMAX,          argmax,           argmax,           "rwwwww", LINK_LOGITS)    \
    X(SAMPLE,          sample,           sample,           "rwwwww", LINK_LOGITS)    \
    X(NLL,             nll,              nll,              "rrw",    LINK_NOTHING)   \
    X(ATTENTION_TOKEN, attention_token,  attention_token,  "rrrwww", LINK_TOKEN)     \
    X(ATTENTION_LANES, attention_lanes,  attention_lanes,  "rrrwww", LINK_LANES)     \
    X(ATTENTION_WHOLE, attention_whole,  attention_lanes,  "rrrwww", LINK_LANES_FORM) \
    X(ATTENTION_TILE_64, attention_tile_64, attention_tile, "rrrrw", LINK_KV)        \
    X(ATTENTION_TILE_128, attention_tile_128, attention_tile, "rrrrw", LINK_KV)      \
    X(ATTENTION_TILE_256, attention_tile_256, attention_tile, "rrrrw", LINK_KV)      \
    X(FORM,            form,             form,             "rrw",    LINK_FORM)      \
    X(NORM_FORM,       norm_form,        norm_form,        "rrww",   LINK_FORM)      \
    X(NORM_FORM_WIDE,  norm_form_wide,   norm_form,        "rrww",   LINK_FORM)      \
    X(GATHER_FORM,     gather_form,      gather_form,      "rrrww",  LINK_GATHER_FORM) \
    X(GATHER_DIGITS,   gather_digits,    gather_form,      "rrrww",  LINK_GATHER_DIGITS) \
    X(GATHER_PACKED,   gather_packed,    gather_form,      "rrrww",  LINK_GATHER_PACKED) \
    X(LINEAR,          linear,           linear,           "rrrww",  LINK_LINEAR)    \
    X(LINEAR_WIDE,     linear_wide,      linear,           "rrrww",  LINK_LINEAR)    \
    X(LINEAR_DIGITS,   linear_digits,    linear,           "rrrww",  LINK_LINEAR_DIGITS) \
    X(LINEAR_DIGITS_WIDE, linear_digits_wide, linear,      "rrrww",  LINK_LINEAR_DIGITS) \
    X(LINEAR_PACKED,   linear_packed,    linear,           "rrrww",  LINK_LINEAR_PACKED) \
    X(LINEAR_PACKED_WIDE, linear_packed_wide, linear,      "rrrww",  LINK_LINEAR_PACKED) \
    X(LINEAR_PACKED_LONG, linear_packed_long, linear,      "rrrww",  LINK_LINEAR_PACKED) \
    X(LINEAR_EXPERTS,  linear_experts,   linear,           "rrrwwr", LINK_EXPERTS)   \
    X(LINEAR_EXPERTS_WIDE, linear_experts_wide, linear,    "rrrwwr", LINK_EXPERTS)   \
    X(LINEAR_EXPERTS_DIGITS, linear_experts_digits, linear, "rrrwwr", LINK_EXPERTS_DIGITS) \
    X(LINEAR_EXPERTS_DIGITS_WIDE, linear_experts_digits_wide, linear, "rrrwwr",      \
      LINK_EXPERTS_DIGITS)                                                           \
    X(LINEAR_EXPERTS_PACKED, linear_experts_packed, linear, "rrrwwr", LINK_EXPERTS_PACKED) \
    X(LINEAR_EXPERTS_PACKED_WIDE, linear_experts_packed_wide, linear, "rrrwwr",      \
      LINK_EXPERTS_PACKED)                                                           \
    X(ROUTER,          router,           router,           "rrrw",   LINK_WEIGHTS)   \
    X(MATMUL_LARGE,    matmul_large,     matmul,           "rrrrw",  LINK_TILES)     \
    X(MATMUL_FEW,      matmul_few,       matmul_few,       "rrrrw",  LINK_PROJECT)   \
    X(MATMUL_PACKED,   matmul_packed,    matmul_packed,    "rrrrw",  LINK_PROJECT_PACKED) \
    X(MATMUL_PACKED_LARGE, matmul_packed_large, matmul_packed, "rrrrw", LINK_PROJECT_PACKED) \
    X(MATMUL_FEW_PACKED, matmul_few_packed, matmul_few_packed, "rrrrw", LINK_PROJECT_PACKED) \
    X(MATMUL_MATRIX,   matmul_matrix,    matmul_matrix,    "rrrrw",  LINK_PROJECT_MATRIX)

/* The texts, in the generated wgsl.c. */
#define X(id, name, text, access, link) extern const char wgsl_##text[];
KERNELS(X)
#undef X
extern const char wgsl_weights_f32[], wgsl_weights_f16[], wgsl_weights_bf16[],
    wgsl_weights_q4_0[], wgsl_weights_q5_0[], wgsl_weights_q8_0[], wgsl_weights_q4_k[],
    wgsl_weights_q5_k[], wgsl_weights_q6_k[], wgsl_weights_mxfp4[];
extern const char wgsl_kv_f16[], wgsl_kv_f32[], wgsl_kv_q8_0[], wgsl_kv_unscaled[];
extern const char wgsl_half[], wgsl_one_token[];
extern const char wgsl_half_exact[], wgsl_half_unpack[];    /* one of them with every format */
extern const char wgsl_tile_64[], wgsl_tile_128[], wgsl_tile_256[];
extern const char wgsl_k_scales[];            /* linked with two */
extern const char wgsl_logits[], wgsl_key[], wgsl_choice[], wgsl_part[], wgsl_tile_store[],
    wgsl_activation[];
extern const char wgsl_linear_dense[], wgsl_linear_experts[], wgsl_forms_packed_tail[];
extern const char wgsl_forms_f32[], wgsl_forms_f32_store[], wgsl_forms_packed[],
    wgsl_forms_packed_store[], wgsl_forms_digits[], wgsl_forms_digits_store[],
    wgsl_forms_plain_store[], wgsl_forms_half_store[];
extern const char wgsl_packed_q4_0[], wgsl_packed_q5_0[], wgsl_packed_q8_0[], wgsl_packed_q4_k[],
    wgsl_packed_q5_k[], wgsl_packed_q6_k[], wgsl_packed_mxfp4[];
extern const char wgsl_bytes[], wgsl_bytes_q4_0[], wgsl_bytes_q5_0[], wgsl_bytes_q8_0[],
    wgsl_bytes_q4_k[], wgsl_bytes_q5_k[], wgsl_bytes_q6_k[], wgsl_bytes_mxfp4[];
extern const char wgsl_lanes_split[], wgsl_lanes_whole[];
extern const char wgsl_reduce_shared[], wgsl_reduce_subgroup[];

const kernel kernels[KERNEL_COUNT] = {
#define X(id, name, text, access, link) \
    [KERNEL_##id] = {#name, wgsl_##text, access, link, twin_##text},
    KERNELS(X)
#undef X
};

const char *const kv_names[KV_COUNT] = {[KV_F16] = "f16", [KV_F32] = "f32", [KV_Q8_0] = "q8_0"};

/* Of an element; elements with a scale of their own, 0: none. */
static const struct { uint32_t bytes, run; } kv_layouts[KV_COUNT] = {
    [KV_F16] = {2, 0}, [KV_F32] = {4, 0}, [KV_Q8_0] = {1, 32}};

uint32_t kv_run(kv_format format) { return kv_layouts[format].run ? kv_layouts[format].run : 1; }

uint64_t kv_scale_bytes(kv_format format, uint32_t head_dim) {
    uint32_t run = kv_layouts[format].run, scales = run ? head_dim / run : 0;
    return (scales + 1) / 2 * 4;                      /* f16, in whole words */
}

uint64_t kv_row_bytes(kv_format format, uint32_t head_dim) {
    return (uint64_t)head_dim * kv_layouts[format].bytes + kv_scale_bytes(format, head_dim);
}

/* A format's own text, and what it is linked with beside a decoder of halves, or NULL. */
static const char *const weight_sources[FORMAT_COUNT][2] = {
    [FORMAT_F32]   = {wgsl_weights_f32},
    [FORMAT_F16]   = {wgsl_weights_f16},
    [FORMAT_BF16]  = {wgsl_weights_bf16},
    [FORMAT_Q4_0]  = {wgsl_weights_q4_0},
    [FORMAT_Q5_0]  = {wgsl_weights_q5_0},
    [FORMAT_Q8_0]  = {wgsl_weights_q8_0},
    [FORMAT_Q4_K]  = {wgsl_weights_q4_k, wgsl_k_scales},
    [FORMAT_Q5_K]  = {wgsl_weights_q5_k, wgsl_k_scales},
    [FORMAT_Q6_K]  = {wgsl_weights_q6_k},
    [FORMAT_MXFP4] = {wgsl_weights_mxfp4},
};
/* Weights times packed x; NULL: those of more than 8 bits. */
static const char *const packed_sources[FORMAT_COUNT] = {
    [FORMAT_Q4_0] = wgsl_packed_q4_0, [FORMAT_Q5_0] = wgsl_packed_q5_0,
    [FORMAT_Q8_0] = wgsl_packed_q8_0, [FORMAT_Q4_K] = wgsl_packed_q4_k,
    [FORMAT_Q5_K] = wgsl_packed_q5_k, [FORMAT_Q6_K] = wgsl_packed_q6_k,
    [FORMAT_MXFP4] = wgsl_packed_mxfp4,
};
/* Weights as int8, of the same formats. */
static const char *const bytes_sources[FORMAT_COUNT] = {
    [FORMAT_Q4_0] = wgsl_bytes_q4_0, [FORMAT_Q5_0] = wgsl_bytes_q5_0,
    [FORMAT_Q8_0] = wgsl_bytes_q8_0, [FORMAT_Q4_K] = wgsl_bytes_q4_k,
    [FORMAT_Q5_K] = wgsl_bytes_q5_k, [FORMAT_Q6_K] = wgsl_bytes_q6_k,
    [FORMAT_MXFP4] = wgsl_bytes_mxfp4,
};
static const char *const kv_sources[KV_COUNT][2] = {
    [KV_F16]  = {wgsl_kv_f16, wgsl_kv_unscaled},
    [KV_F32]  = {wgsl_kv_f32, wgsl_kv_unscaled},
    [KV_Q8_0] = {wgsl_kv_q8_0},
};

/* The shapes of attention_tile, by the largest heads that they take. */
static const char *const tile_sources[KERNEL_COUNT] = {
    [KERNEL_ATTENTION_TILE_64] = wgsl_tile_64, [KERNEL_ATTENTION_TILE_128] = wgsl_tile_128,
    [KERNEL_ATTENTION_TILE_256] = wgsl_tile_256};

static const char *const form_names[X_FORMS] = {
    [X_PLAIN] = "plain", [X_F32] = "f32", [X_PACKED] = "packed", [X_DIGITS] = "digits",
    [X_HALF] = "half"};
static const char *const form_sources[X_FORMS] = {
    [X_F32] = wgsl_forms_f32, [X_PACKED] = wgsl_forms_packed, [X_DIGITS] = wgsl_forms_digits};
static const char *const form_stores[X_FORMS] = {
    [X_PLAIN] = wgsl_forms_plain_store, [X_F32] = wgsl_forms_f32_store,
    [X_PACKED] = wgsl_forms_packed_store, [X_DIGITS] = wgsl_forms_digits_store,
    [X_HALF] = wgsl_forms_half_store};

/* Directives that the texts of variants need at a program's start. */
static const char needs_packed_dot[] = "requires packed_4x8_integer_dot_product;\n";
static const char needs_subgroups[] = "enable subgroups;\ndiagnostic(off, subgroup_uniformity);\n";
static const char needs_matrices[] =
    "enable f16;\nenable subgroups;\nenable chromium_experimental_subgroup_matrix;\n"
    "diagnostic(off, chromium.subgroup_matrix_uniformity);\n";

/* Products that kernels of subgroup matrices are written for, the best first. */
#define SHAPE(M, N, K) {GPU_MATRIX_F16_F32_##M##x##N##x##K, {M, N, K}, \
    "const M: u32 = " #M "u;\nconst N: u32 = " #N "u;\nconst K: u32 = " #K "u;\n"}
static const struct matrix_text { uint32_t bit; kernel_matrix shape; const char *text; }
    matrices[] = {SHAPE(16, 16, 16), SHAPE(8, 16, 16), SHAPE(16, 8, 16), SHAPE(16, 8, 8)};
#undef SHAPE

static const struct matrix_text *matrix_of(const gpu_limits *device) {
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++)
        if (device->matrices & matrices[i].bit) return &matrices[i];
    return NULL;
}

const kernel_matrix *kernel_matrix_of(const gpu_limits *device) {
    const struct matrix_text *found = matrix_of(device);
    return found ? &found->shape : NULL;
}

/* What kernels of a link have beside a format; NULL ends it. */
static const char *const link_sources[LINK_COUNT][5] = {
    [LINK_PROJECT] = {wgsl_part},
    [LINK_TILES] = {wgsl_part, wgsl_tile_store},
    [LINK_PROJECT_PACKED] = {wgsl_part, wgsl_bytes, wgsl_tile_store, wgsl_forms_packed_tail},
    [LINK_PROJECT_MATRIX] = {wgsl_part},
    [LINK_LOGITS] = {wgsl_logits, wgsl_key},
    [LINK_CHOICE] = {wgsl_choice, wgsl_key},
    [LINK_ACTIVATION] = {wgsl_activation},
    [LINK_TOKEN] = {wgsl_one_token, wgsl_half},
    [LINK_LANES] = {wgsl_lanes_split, wgsl_one_token, wgsl_half},
    [LINK_LANES_FORM] = {wgsl_lanes_whole, wgsl_one_token, wgsl_half},
    [LINK_LINEAR] = {wgsl_linear_dense},
    [LINK_LINEAR_PACKED] = {wgsl_linear_dense, wgsl_forms_packed_tail},
    [LINK_LINEAR_DIGITS] = {wgsl_linear_dense},
    [LINK_EXPERTS] = {wgsl_linear_experts, wgsl_choice, wgsl_key},
    [LINK_EXPERTS_DIGITS] = {wgsl_linear_experts, wgsl_choice, wgsl_key},
    [LINK_EXPERTS_PACKED] = {wgsl_linear_experts, wgsl_choice, wgsl_key, wgsl_forms_packed_tail},
};

/* Of variants; KERNEL_GATHER, 0: of none. */
static const kernel_id bases[KERNEL_COUNT] = {
    [KERNEL_LINEAR_WIDE] = KERNEL_LINEAR,
    [KERNEL_LINEAR_DIGITS_WIDE] = KERNEL_LINEAR_DIGITS,
    [KERNEL_LINEAR_PACKED_WIDE] = KERNEL_LINEAR_PACKED,
    [KERNEL_LINEAR_PACKED_LONG] = KERNEL_LINEAR_PACKED,
    [KERNEL_NORM_FORM_WIDE] = KERNEL_NORM_FORM,
    [KERNEL_LINEAR_EXPERTS_WIDE] = KERNEL_LINEAR_EXPERTS,
    [KERNEL_LINEAR_EXPERTS_DIGITS_WIDE] = KERNEL_LINEAR_EXPERTS_DIGITS,
    [KERNEL_LINEAR_EXPERTS_PACKED_WIDE] = KERNEL_LINEAR_EXPERTS_PACKED,
    [KERNEL_MATMUL_LARGE] = KERNEL_MATMUL,
    [KERNEL_MATMUL_FEW] = KERNEL_MATMUL,
    [KERNEL_MATMUL_PACKED_LARGE] = KERNEL_MATMUL_PACKED,
    [KERNEL_MATMUL_FEW_PACKED] = KERNEL_MATMUL_PACKED,
};

kernel_id kernel_base(kernel_id id) { return bases[id] ? bases[id] : id; }

/* How kinds of linear have their x; whose matrices are experts'. */
static const x_form link_forms[LINK_COUNT] = {
    [LINK_LINEAR] = X_F32, [LINK_LINEAR_PACKED] = X_PACKED, [LINK_LINEAR_DIGITS] = X_DIGITS,
    [LINK_EXPERTS] = X_F32, [LINK_EXPERTS_PACKED] = X_PACKED, [LINK_EXPERTS_DIGITS] = X_DIGITS};
static const bool link_experts[LINK_COUNT] = {
    [LINK_EXPERTS] = true, [LINK_EXPERTS_PACKED] = true, [LINK_EXPERTS_DIGITS] = true};
static const gpu_twin_fn linear_twins[X_FORMS][2] = {
    [X_F32] = {twin_linear, twin_linear_experts},
    [X_PACKED] = {twin_linear_packed, twin_linear_experts_packed},
    [X_DIGITS] = {twin_linear_digits, twin_linear_experts_digits}};

/* How kinds of gather_form leave theirs. */
static const x_form gather_forms[LINK_COUNT] = {
    [LINK_GATHER_FORM] = X_F32, [LINK_GATHER_PACKED] = X_PACKED, [LINK_GATHER_DIGITS] = X_DIGITS};
static const gpu_twin_fn gather_twins[X_FORMS] = {
    [X_F32] = twin_gather_form, [X_PACKED] = twin_gather_packed, [X_DIGITS] = twin_gather_digits};

x_form kernel_form(kernel_id id) { return link_forms[kernels[id].link]; }

/* Whether kernels of a link multiply int8. */
static bool is_packed(kernel_link link) {
    return link == LINK_PROJECT_PACKED || link_forms[link] == X_PACKED ||
           link_forms[link] == X_DIGITS;
}

static bool is_lanes(kernel_link link) {
    return link == LINK_LANES || link == LINK_LANES_FORM;
}

bool kernel_has_experts(kernel_id id) { return link_experts[kernels[id].link]; }

static bool reads_weights(kernel_link link) {
    return link == LINK_WEIGHTS || link == LINK_PROJECT || link == LINK_TILES ||
           link == LINK_PROJECT_PACKED || link == LINK_PROJECT_MATRIX || link_forms[link] ||
           gather_forms[link];
}

enum { LANES_FORMATS = LANES_WIDTHS * X_DIGITS };        /* the last form that it knows */
_Static_assert(LANES_FORMATS <= FORMAT_COUNT, "a program for each format");

uint32_t kernel_formats(kernel_id id) {
    kernel_link link = kernels[id].link;
    return reads_weights(link) ? FORMAT_COUNT : link == LINK_KV ? KV_COUNT
         : link == LINK_FORM ? X_FORMS : link == LINK_LANES ? LANES_WIDTHS
         : link == LINK_LANES_FORM ? LANES_FORMATS : 1;
}

static bool decodes_halves(kernel_link link) {
    return reads_weights(link) || link == LINK_KV || link == LINK_TOKEN || is_lanes(link);
}

/* Of a workgroup, where they are not those of the text. */
static const uint32_t threads[KERNEL_COUNT] = {
    [KERNEL_LINEAR_WIDE] = LINEAR_WIDE_THREADS,
    [KERNEL_LINEAR_DIGITS_WIDE] = LINEAR_WIDE_THREADS,
    [KERNEL_LINEAR_PACKED_WIDE] = LINEAR_WIDE_THREADS,
    [KERNEL_LINEAR_PACKED_LONG] = LINEAR_LONG_THREADS,
    [KERNEL_NORM_FORM_WIDE] = LINEAR_WIDE_THREADS,
    [KERNEL_LINEAR_EXPERTS_WIDE] = LINEAR_LONG_THREADS,
    [KERNEL_LINEAR_EXPERTS_DIGITS_WIDE] = LINEAR_LONG_THREADS,
    [KERNEL_LINEAR_EXPERTS_PACKED_WIDE] = LINEAR_LONG_THREADS,
    [KERNEL_MATMUL_LARGE] = MATMUL_LARGE_THREADS,
    [KERNEL_MATMUL_PACKED_LARGE] = MATMUL_LARGE_THREADS,
};

/* Whether the threads and tiles of matmul_matrix fit. */
static bool has_room(const kernel_matrix *m, const gpu_limits *device) {
    uint32_t row_bytes = (MATMUL_MATRIX_RUNS * 4 + 1) * 16;
    return m && device->workgroup_threads >= MATMUL_MATRIX_THREADS &&
           (m->m + m->n) * MATMUL_MATRIX_TILE * row_bytes <= device->workgroup_bytes;
}

bool kernel_exists(kernel_id id, uint32_t format, const gpu_limits *device) {
    if (device->workgroup_threads < threads[id]) return false;
    kernel_link link = kernels[id].link;
    bool long_alone = threads[id] == LINEAR_LONG_THREADS && !(device->features & GPU_SUBGROUPS);
    if (long_alone && (kernel_has_experts(id) || device->workgroup_bytes < LINEAR_LONG_BYTES))
        return false;
    if (is_lanes(link)) return device->features & GPU_SUBGROUPS;
    if (link == LINK_FORM && format == X_HALF) return id == KERNEL_FORM;
    if (id == KERNEL_FORM || kernel_base(id) == KERNEL_NORM_FORM) return format != X_PLAIN;
    if (link == LINK_PROJECT_MATRIX)
        return packed_sources[format] && has_room(kernel_matrix_of(device), device);
    if (!is_packed(link)) return true;
    return packed_sources[format] && device->features & GPU_PACKED_DOT;
}

/* The texts of a program, one behind the other. */
typedef struct text_list { gpu_program_desc *desc; size_t count; } text_list;

static void add(text_list *t, const char *source) {
    if (!source) return;
    assert(t->count < GPU_MAX_SOURCES);
    t->desc->sources[t->count++] = source;
}

static void link_weights(text_list *t, uint32_t format) {
    add(t, weight_sources[format][0]);
    add(t, weight_sources[format][1]);
}

static void link_linear(text_list *t, uint32_t format, x_form form, uint32_t features) {
    link_weights(t, format);
    add(t, form == X_F32 ? NULL : packed_sources[format]);
    add(t, form_sources[form]);
    add(t, form_stores[form]);
    add(t, features & GPU_SUBGROUPS ? wgsl_reduce_subgroup : wgsl_reduce_shared);
    add(t, wgsl_activation);
}

gpu_program_desc kernel_program(kernel_id id, uint32_t format, const gpu_limits *device) {
    assert(id < KERNEL_COUNT && format < kernel_formats(id));
    assert(kernel_exists(id, format, device));
    uint32_t features = device->features;
    x_form form = kernel_form(id);
    const kernel *k = &kernels[id];
    gpu_program_desc desc = {.access = k->access, .twin = k->twin, .format = format};
    text_list t = {&desc, 0};
    if ((form && features & GPU_SUBGROUPS) || is_lanes(k->link)) add(&t, needs_subgroups);
    if (is_packed(k->link)) add(&t, needs_packed_dot);
    if (k->link == LINK_PROJECT_MATRIX) add(&t, needs_matrices);
    if (form) desc.twin = linear_twins[form][kernel_has_experts(id)];
    if (gather_forms[k->link]) desc.twin = gather_twins[gather_forms[k->link]];
    if (k->link == LINK_LANES_FORM) desc.twin = twin_attention_whole;
    add(&t, k->source);
    for (uint32_t i = 0; link_sources[k->link][i]; i++) add(&t, link_sources[k->link][i]);
    const char *linked = "";
    if (form) {
        link_linear(&t, format, form, features);
        linked = formats[format].name;
    } else if (reads_weights(k->link)) {
        link_weights(&t, format);
        if (k->link == LINK_PROJECT_PACKED) add(&t, bytes_sources[format]);
        if (gather_forms[k->link]) add(&t, form_stores[gather_forms[k->link]]);
        if (k->link == LINK_PROJECT_MATRIX) add(&t, matrix_of(device)->text);
        linked = formats[format].name;
    } else if (k->link == LINK_KV) {
        add(&t, tile_sources[id]);
        add(&t, kv_sources[format][0]);
        add(&t, kv_sources[format][1]);
        add(&t, wgsl_half);
        linked = kv_names[format];
    } else if (k->link == LINK_FORM || k->link == LINK_LANES_FORM) {
        uint32_t out = k->link == LINK_FORM ? format : X_F32 + format / LANES_WIDTHS;
        add(&t, form_stores[out]);
        if (out == X_HALF) add(&t, wgsl_half);
        linked = form_names[out];
    }
    if (decodes_halves(k->link))
        add(&t, features & GPU_EXACT_HALF ? wgsl_half_unpack : wgsl_half_exact);
    if (threads[id]) desc.constants[0] = (gpu_constant){"WG", threads[id]};
    if (is_lanes(k->link))
        desc.constants[0] = (gpu_constant){"LANE_BITS", 3 + format % LANES_WIDTHS};
    snprintf(desc.label, sizeof desc.label, "%s%s%s", k->name, *linked ? " " : "", linked);
    return desc;
}
