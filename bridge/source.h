/* source.h - tensors of a foreign checkpoint by the roles they play, whatever its file format. */
#ifndef BRIDGE_SOURCE_H
#define BRIDGE_SOURCE_H

#include "memory/model.h"

/* How checkpoints store numbers, little-endian: X(type, name, weights of a block, its bytes).
 * Blocks as in ggml-common.h (ggml-org/llama.cpp); loader/repack.c knows what is in them.
 * Q4_K_LOOSE: floats decoded from Q4_K blocks that rows are not made of. */
#define SOURCE_TYPES(X)     \
    X(F32,   "F32",   1, 4) \
    X(F16,   "F16",   1, 2) \
    X(BF16,  "BF16",  1, 2) \
    X(Q4_0,  "Q4_0",  32, 18) \
    X(Q4_1,  "Q4_1",  32, 20) \
    X(Q5_0,  "Q5_0",  32, 22) \
    X(Q5_1,  "Q5_1",  32, 24) \
    X(Q8_0,  "Q8_0",  32, 34) \
    X(Q2_K,  "Q2_K",  256, 84) \
    X(Q3_K,  "Q3_K",  256, 110) \
    X(Q4_K,  "Q4_K",  256, 144) \
    X(Q5_K,  "Q5_K",  256, 176) \
    X(Q6_K,  "Q6_K",  256, 210) \
    X(MXFP4, "MXFP4", 32, 17) \
    X(Q4_K_LOOSE, "Q4_K", 32, 128)

typedef enum source_type {
#define X(type, name, weights, bytes) SOURCE_##type,
    SOURCE_TYPES(X)
#undef X
    SOURCE_TYPE_COUNT
} source_type;

typedef struct source_type_info {
    const char *name;
    uint32_t block_weights, block_bytes;
} source_type_info;
extern const source_type_info source_types[SOURCE_TYPE_COUNT];

/* rows of cols numbers, row-major, without padding, in one range of one file. */
typedef struct source_tensor {
    const char *name;            /* in the checkpoint */
    tensor_role role;
    uint32_t layer;              /* 0 for roles outside layers */
    source_type type;
    uint32_t rows, cols;         /* [rows, cols]; vectors [1, n] */
    uint32_t file;               /* index into the checkpoint's files */
    uint64_t offset, bytes;      /* in that file */
    /* Not 0: in every head of this many rows (of numbers, where it is a vector) the two halves
     * that rotate together are interleaved: source 2i + j is ours j * head / 2 + i, j 0 or 1. */
    uint32_t interleaved_head;
    float add;                   /* to each number: 1 where a norm multiplies by 1 + weight */
} source_tensor;

/* Names of roles in one family of checkpoints: names[role] stands behind PREFIX and the layer's
 * number and a dot where the role belongs to a layer. */
typedef struct source_names {
    const char *layer_prefix;            /* "model.layers." */
    const char *const *names;            /* [ROLE_COUNT] */
} source_names;

/* The role and layer of a name; false when it has none. *rest: the name behind the layer. */
bool source_role(const source_names *n, const char *name, tensor_role *role, uint32_t *layer,
                 const char **rest);
/* Sorts tensors into package order (embedding, layers, final norm, head); every role of the model
 * must be there once. Status: BAD_FILE. */
doppler_status source_complete(error *e, const source_names *n, const model_config *m,
                               source_tensor *s, uint32_t count);

#endif
