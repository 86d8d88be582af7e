/* source.h - tensors of a foreign checkpoint by the roles they play, whatever its file format. */
#ifndef BRIDGE_SOURCE_H
#define BRIDGE_SOURCE_H

#include "memory/model.h"

/* rows * cols numbers, row-major, without padding, in one range of one file. */
typedef struct source_tensor {
    const char *name;            /* in the checkpoint */
    tensor_role role;
    uint32_t layer;              /* 0 for roles outside layers */
    weight_format format;        /* f32, f16 or bf16 */
    uint32_t rows, cols;         /* [rows, cols]; vectors [1, n] */
    uint32_t file;               /* index into the checkpoint's files */
    uint64_t offset, bytes;      /* in that file */
} source_tensor;

#endif
