/* kernel.h - the table of kernels: WGSL source, CPU twin, bindings, formats. Tests walk it. */
#ifndef GPU_KERNEL_H
#define GPU_KERNEL_H

#include "gpu/dims.h"
#include "gpu/gpu.h"
#include "memory/format.h"

typedef enum kernel_id {
    KERNEL_GATHER, KERNEL_RMSNORM, KERNEL_MATVEC, KERNEL_MATMUL, KERNEL_ROPE_KV,
    KERNEL_ATTENTION, KERNEL_ATTENTION_MERGE, KERNEL_ACT_MUL, KERNEL_ROUTE, KERNEL_EXPERT_TILES,
    KERNEL_COMBINE, KERNEL_ARGMAX, KERNEL_SAMPLE, KERNEL_NLL, KERNEL_ATTENTION_TOKEN,
    KERNEL_ATTENTION_LANES, KERNEL_ATTENTION_WHOLE, KERNEL_ATTENTION_TILE_64,
    KERNEL_ATTENTION_TILE_128, KERNEL_ATTENTION_TILE_256, KERNEL_FORM, KERNEL_NORM_FORM,
    KERNEL_NORM_FORM_WIDE, KERNEL_GATHER_FORM, KERNEL_GATHER_DIGITS, KERNEL_GATHER_PACKED,
    KERNEL_LINEAR, KERNEL_LINEAR_WIDE, KERNEL_LINEAR_DIGITS, KERNEL_LINEAR_DIGITS_WIDE,
    KERNEL_LINEAR_PACKED, KERNEL_LINEAR_PACKED_WIDE, KERNEL_LINEAR_PACKED_LONG,
    KERNEL_LINEAR_EXPERTS, KERNEL_LINEAR_EXPERTS_WIDE, KERNEL_LINEAR_EXPERTS_DIGITS,
    KERNEL_LINEAR_EXPERTS_DIGITS_WIDE, KERNEL_LINEAR_EXPERTS_PACKED,
    KERNEL_LINEAR_EXPERTS_PACKED_WIDE, KERNEL_ROUTER,
    KERNEL_MATMUL_LARGE, KERNEL_MATMUL_FEW, KERNEL_MATMUL_PACKED, KERNEL_MATMUL_PACKED_LARGE,
    KERNEL_MATMUL_FEW_PACKED, KERNEL_MATMUL_MATRIX,
    KERNEL_COUNT
} kernel_id;

typedef enum kv_format { KV_F16, KV_F32, KV_Q8_0, KV_COUNT } kv_format;

/* Shapes that the WGSL and the grids of op.c must agree on. */
enum {
    GATHER_THREADS = 64,         /* runs of 32 weights of a workgroup */
    MATVEC_THREADS = 64, MATVEC_ROWS = 4,        /* of a workgroup; of a team of its threads */
    MATMUL_ROWS = 64, MATMUL_TOKENS = 32,        /* tile of a workgroup */
    MATMUL_LARGE_THREADS = 256, MATMUL_LARGE_TOKENS = 128, MATMUL_PACKED_TOKENS = 64,
    MATMUL_FEW_ROWS = 32, MATMUL_FEW_PACKED_ROWS = 16, MATMUL_FEW_TOKENS = 4,
    MATMUL_MATRIX_THREADS = 256, MATMUL_MATRIX_RUNS = 2,
    MATMUL_MATRIX_TILE = 8,      /* products each way */
    ACT_MUL_THREADS = 64, COMBINE_THREADS = 64,  /* vec4s of a workgroup */
    LINEAR_ROWS = 32,            /* of a workgroup */
    LINEAR_WIDE_THREADS = 512, LINEAR_LONG_THREADS = 1024,
    LINEAR_LONG_BYTES = 24 * 1024,       /* workgroup memory where subgroups do not add up */
    ATTENTION_TILE_ROWS = 64,    /* queries of a workgroup, tokens times heads of a KV head; */
    ATTENTION_TILE_256_ROWS = 32,        /* of the kernel for larger heads */
    FORM_RUNS = 8                /* of a workgroup */
};

/* What a kernel is linked with beside its own text: a weight format (LINK_PROJECT: and part.wgsl,
 * LINK_TILES: and tile_store.wgsl, LINK_PROJECT_PACKED: and the format as bytes,
 * LINK_PROJECT_MATRIX: and a shape of the device's subgroup matrices, LINK_GATHER_...: and a form's
 * store), a KV format, logits.wgsl, choice.wgsl, activation.wgsl, a form's store,
 * one_token.wgsl, one_token.wgsl and a text of wgsl/lanes/ (LINK_LANES_FORM: and a form's store), or
 * all that a linear program is made of, of one matrix or of experts'. */
typedef enum kernel_link {
    LINK_NOTHING, LINK_WEIGHTS, LINK_GATHER_FORM, LINK_GATHER_DIGITS, LINK_GATHER_PACKED,
    LINK_PROJECT, LINK_TILES, LINK_PROJECT_PACKED, LINK_PROJECT_MATRIX, LINK_KV, LINK_LOGITS,
    LINK_CHOICE, LINK_ACTIVATION, LINK_FORM, LINK_TOKEN, LINK_LANES, LINK_LANES_FORM, LINK_LINEAR,
    LINK_LINEAR_DIGITS, LINK_LINEAR_PACKED, LINK_EXPERTS, LINK_EXPERTS_DIGITS, LINK_EXPERTS_PACKED,
    LINK_COUNT
} kernel_link;

typedef struct kernel {
    const char *name, *source, *access;
    kernel_link link;
    gpu_twin_fn twin;
} kernel;

extern const kernel kernels[KERNEL_COUNT];
extern const char *const kv_names[KV_COUNT];              /* "f16", "f32", "q8_0" */

/* Bytes of a row of the cache: head_dim elements and their scales. */
uint64_t kv_row_bytes(kv_format format, uint32_t head_dim);
/* Of those, the scales'. They lie behind the elements of all rows. */
uint64_t kv_scale_bytes(kv_format format, uint32_t head_dim);
/* Elements that share a scale: head_dim is a multiple of as many. */
uint32_t kv_run(kv_format format);

/* Formats the kernel is linked with: FORMAT_COUNT, KV_COUNT, X_FORMS, those of lanes_format() or
 * 1. */
uint32_t kernel_formats(kernel_id id);
/* How a kind of linear has its x; X_PLAIN: other kernels. */
x_form kernel_form(kernel_id id);
/* Whether it is a kind of linear for experts' matrices. */
bool kernel_has_experts(kernel_id id);
/* Whether there is such a program on a device: packed x and digits are for weights of at most 8
 * bits and need GPU_PACKED_DOT, wide ones workgroups of LINEAR_WIDE_THREADS, long ones and those of
 * experts LINEAR_LONG_THREADS and GPU_SUBGROUPS (long ones: or LINEAR_LONG_BYTES); lanes need
 * GPU_SUBGROUPS, matrix ones a shape of subgroup matrices that there are kernels for. */
bool kernel_exists(kernel_id id, uint32_t format, const gpu_limits *device);
/* The format of a program of attention_whole, of which there is one for each form but plain and
 * each head_dim: 64, 128, 256. Of attention_lanes, which knows no form: that of X_F32. */
enum { LANES_WIDTHS = 3 };
static inline uint32_t lanes_format(uint32_t head_dim, x_form form) {
    return LANES_WIDTHS * (uint32_t)(form - X_F32) + (head_dim > 64) + (head_dim > 128);
}
/* The kernel that id is a variant of, for the same work with the same dims and bindings: itself for
 * one that is not. */
kernel_id kernel_base(kernel_id id);
/* The product of subgroup matrices that they use, [m, k] by [k, n]; NULL: there is none. */
typedef struct kernel_matrix { uint32_t m, n, k; } kernel_matrix;
const kernel_matrix *kernel_matrix_of(const gpu_limits *device);
/* Description of one program, which exists. format: weight_format, kv_format, x_form, that of
 * lanes_format() or 0, by the kernel's link. A variant that uses the device's features, where there
 * is one. */
gpu_program_desc kernel_program(kernel_id id, uint32_t format, const gpu_limits *device);

#endif
