/* source.h - tensors of a foreign checkpoint by the roles they play, whatever its file format. */
#ifndef BRIDGE_SOURCE_H
#define BRIDGE_SOURCE_H

#include "memory/arena.h"
#include "memory/model.h"

/* How checkpoints store numbers, little-endian: X(type, name, weights of a block, its bytes, those
 * of them that are scales in a range of their own, behind or apart from the others).
 * Blocks as in ggml-common.h (ggml-org/llama.cpp); loader/repack.c knows what is in them.
 * MXFP4_PAIRS: neighbouring weights share a byte, as in GPT-OSS's safetensors. Q4_K_LOOSE: floats
 * decoded from Q4_K blocks that rows are not made of. */
#define SOURCE_TYPES(X)        \
    X(F32,   "F32",   1, 4, 0) \
    X(F16,   "F16",   1, 2, 0) \
    X(BF16,  "BF16",  1, 2, 0) \
    X(Q4_0,  "Q4_0",  32, 18, 0) \
    X(Q4_1,  "Q4_1",  32, 20, 0) \
    X(Q5_0,  "Q5_0",  32, 22, 0) \
    X(Q5_1,  "Q5_1",  32, 24, 0) \
    X(Q8_0,  "Q8_0",  32, 34, 0) \
    X(Q2_K,  "Q2_K",  256, 84, 0) \
    X(Q3_K,  "Q3_K",  256, 110, 0) \
    X(Q4_K,  "Q4_K",  256, 144, 0) \
    X(Q5_K,  "Q5_K",  256, 176, 0) \
    X(Q6_K,  "Q6_K",  256, 210, 0) \
    X(MXFP4, "MXFP4", 32, 17, 0) \
    X(MXFP4_PAIRS, "MXFP4", 32, 17, 1) \
    X(Q4_K_LOOSE, "Q4_K", 32, 128, 0)

typedef enum source_type {
#define X(type, name, weights, bytes, scales) SOURCE_##type,
    SOURCE_TYPES(X)
#undef X
    SOURCE_TYPE_COUNT
} source_type;

typedef struct source_type_info {
    const char *name;
    uint32_t block_weights, block_bytes, scale_bytes;
} source_type_info;
extern const source_type_info source_types[SOURCE_TYPE_COUNT];

/* rows of cols numbers, row-major, in one range of one file, or at equal distances in it: a part of
 * a tensor that holds more than this one. */
typedef struct source_tensor {
    const char *name;            /* in the checkpoint */
    tensor_role role;
    uint32_t layer;              /* 0 for roles outside layers */
    uint32_t expert;             /* 0 for roles outside experts */
    source_type type;
    uint32_t rows, cols;         /* [rows, cols]; vectors [1, n], biases of experts [experts, n] */
    uint32_t file;               /* index into the checkpoint's files */
    uint64_t offset;             /* of the first row in that file */
    uint64_t bytes;              /* of rows * cols numbers, whatever lies between them */
    uint64_t row_step;           /* bytes from a row to the next; 0: they stand close */
    uint64_t col_step;           /* of plain numbers: from one to the next; 0: they stand close */
    uint32_t scales_file;        /* of types with scales apart: where they are */
    uint64_t scales_offset, scales_step;
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
/* "12.rest" -> 12 and "rest", for numbers below limit; NULL when text does not begin so. */
const char *source_number(const char *text, uint32_t limit, uint32_t *number);

/* A model's tensors as they are found: each has its place. */
typedef struct source_list {
    const model_config *m;
    source_tensor *tensors;      /* [model_tensor_count]; name NULL: not found yet */
} source_list;

/* Room in a for all of them; bytes: of the files, of which every tensor needs some. Status:
 * BAD_FILE, NO_MEMORY. */
doppler_status source_list_create(error *e, arena *a, const model_config *m, uint64_t bytes,
                                  source_list *out);
/* Status: BAD_FILE where its place is taken. */
doppler_status source_list_add(error *e, source_list *l, const source_tensor *s);
/* Sorts them into package order (embedding, layers, final norm, head; in a layer its experts, one
 * by one); every one must be there. Status: BAD_FILE; UNSUPPORTED where experts of a layer differ
 * in type. */
doppler_status source_list_complete(error *e, source_list *l, const source_names *n);

#endif
