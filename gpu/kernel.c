/* kernel.c - the table of kernels, and a program's parts: kernel text + the text it is linked
 * with (WGSL declarations may come in any order, so linking is concatenation). */
#include "gpu/kernel.h"
#include "gpu/cpu/twins.h"

#include <assert.h>
#include <stdio.h>

/* X(id, name, access of its bindings, link); bindings as in gpu/dims.h */
#define KERNELS(X)                                              \
    X(GATHER,          gather,          "rrw",   LINK_WEIGHTS)  \
    X(RMSNORM,         rmsnorm,         "rrw",   LINK_NOTHING)  \
    X(MATVEC,          matvec,          "rrrrw", LINK_PROJECT)  \
    X(MATMUL,          matmul,          "rrrrw", LINK_PROJECT)  \
    X(ROPE_KV,         rope_kv,         "rrrww", LINK_KV)       \
    X(ATTENTION,       attention,       "rrrrw", LINK_KV)       \
    X(ATTENTION_MERGE, attention_merge, "rw",    LINK_NOTHING)  \
    X(ACT_MUL,         act_mul,         "rw",    LINK_NOTHING)  \
    X(ROUTE,           route,           "rww",   LINK_KEYS)     \
    X(EXPERT_TILES,    expert_tiles,    "rw",    LINK_NOTHING)  \
    X(COMBINE,         combine,         "rrw",   LINK_NOTHING)  \
    X(ARGMAX,          argmax,          "rwwww", LINK_LOGITS)   \
    X(SAMPLE,          sample,          "rwwww", LINK_LOGITS)   \
    X(NLL,             nll,             "rrw",   LINK_NOTHING)

/* The texts, in the generated wgsl.c. */
#define X(id, name, access, link) extern const char wgsl_##name[];
KERNELS(X)
#undef X
extern const char wgsl_weights_f32[], wgsl_weights_f16[], wgsl_weights_bf16[],
    wgsl_weights_q4_0[], wgsl_weights_q5_0[], wgsl_weights_q8_0[], wgsl_weights_q4_k[],
    wgsl_weights_q5_k[], wgsl_weights_q6_k[], wgsl_weights_mxfp4[];
extern const char wgsl_kv_f16[], wgsl_kv_f32[], wgsl_kv_q8_0[], wgsl_kv_unscaled[];
extern const char wgsl_half[];                /* linked with every format */
extern const char wgsl_k_scales[];            /* linked with two */
extern const char wgsl_logits[], wgsl_key[], wgsl_part[];

const kernel kernels[KERNEL_COUNT] = {
#define X(id, name, access, link) [KERNEL_##id] = {#name, wgsl_##name, access, link, twin_##name},
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

/* A format's own text, and what it is linked with beside half.wgsl, or NULL. */
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
static const char *const kv_sources[KV_COUNT][2] = {
    [KV_F16]  = {wgsl_kv_f16, wgsl_kv_unscaled},
    [KV_F32]  = {wgsl_kv_f32, wgsl_kv_unscaled},
    [KV_Q8_0] = {wgsl_kv_q8_0},
};

/* What kernels of a link have beside a format; NULL ends it. */
static const char *const link_sources[LINK_COUNT][3] = {
    [LINK_PROJECT] = {wgsl_part},
    [LINK_LOGITS] = {wgsl_logits, wgsl_key},
    [LINK_KEYS] = {wgsl_key},
};

static bool reads_weights(kernel_link link) {
    return link == LINK_WEIGHTS || link == LINK_PROJECT;
}

uint32_t kernel_formats(kernel_id id) {
    kernel_link link = kernels[id].link;
    return reads_weights(link) ? FORMAT_COUNT : link == LINK_KV ? KV_COUNT : 1;
}

/* Appends a text, if it is one. */
static void link_source(gpu_program_desc *desc, const char *source) {
    if (!source) return;
    uint32_t count = 0;
    while (desc->sources[count]) count++;
    assert(count < GPU_MAX_SOURCES);
    desc->sources[count] = source;
}

gpu_program_desc kernel_program(kernel_id id, uint32_t format) {
    assert(id < KERNEL_COUNT && format < kernel_formats(id));
    const kernel *k = &kernels[id];
    gpu_program_desc desc = {.sources = {k->source}, .access = k->access, .twin = k->twin,
                             .format = format};
    for (uint32_t i = 0; link_sources[k->link][i]; i++)
        link_source(&desc, link_sources[k->link][i]);
    const char *linked = "";
    if (reads_weights(k->link)) {
        link_source(&desc, weight_sources[format][0]);
        link_source(&desc, weight_sources[format][1]);
        linked = formats[format].name;
    } else if (k->link == LINK_KV) {
        link_source(&desc, kv_sources[format][0]);
        link_source(&desc, kv_sources[format][1]);
        linked = kv_names[format];
    }
    if (*linked) link_source(&desc, wgsl_half);
    snprintf(desc.label, sizeof desc.label, "%s%s%s", k->name, *linked ? " " : "", linked);
    return desc;
}
