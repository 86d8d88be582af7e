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
    X(MATVEC,          matvec,          "rrrw",  LINK_WEIGHTS)  \
    X(MATMUL,          matmul,          "rrrw",  LINK_WEIGHTS)  \
    X(ROPE_KV,         rope_kv,         "rrrww", LINK_KV)       \
    X(ATTENTION,       attention,       "rrrrw", LINK_KV)       \
    X(ATTENTION_MERGE, attention_merge, "rw",    LINK_NOTHING)  \
    X(ACT_MUL,         act_mul,         "rw",    LINK_NOTHING)  \
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
extern const char wgsl_logits[];

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

uint32_t kernel_formats(kernel_id id) {
    static const uint32_t counts[] = {
        [LINK_NOTHING] = 1, [LINK_WEIGHTS] = FORMAT_COUNT, [LINK_KV] = KV_COUNT,
        [LINK_LOGITS] = 1};
    return counts[kernels[id].link];
}

gpu_program_desc kernel_program(kernel_id id, uint32_t format) {
    assert(id < KERNEL_COUNT && format < kernel_formats(id));
    const kernel *k = &kernels[id];
    gpu_program_desc desc = {.sources = {k->source}, .access = k->access, .twin = k->twin,
                             .format = format};
    const char *linked = "";
    if (k->link == LINK_WEIGHTS) {
        desc.sources[1] = weight_sources[format][0];
        desc.sources[3] = weight_sources[format][1];
        linked = formats[format].name;
    } else if (k->link == LINK_KV) {
        desc.sources[1] = kv_sources[format][0];
        desc.sources[3] = kv_sources[format][1];
        linked = kv_names[format];
    } else if (k->link == LINK_LOGITS) {
        desc.sources[1] = wgsl_logits;
    }
    if (*linked) desc.sources[2] = wgsl_half;
    snprintf(desc.label, sizeof desc.label, "%s%s%s", k->name, *linked ? " " : "", linked);
    return desc;
}
