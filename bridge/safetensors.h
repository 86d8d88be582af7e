/* safetensors.h - reads the header of a safetensors file and the index of a sharded folder.
 *
 * Sans-I/O: takes the header's bytes and the file's size, tells where each tensor lies. The rules
 * are those of safetensors/src/tensor.rs (huggingface/safetensors): the tensors' ranges cover the
 * data exactly, without holes or overlaps, and each range is shape x dtype. */
#ifndef BRIDGE_SAFETENSORS_H
#define BRIDGE_SAFETENSORS_H

#include "memory/arena.h"
#include "memory/status.h"

enum {
    SAFETENSORS_PREFIX = 8,              /* little-endian u64: bytes of the JSON behind it */
    SAFETENSORS_MAX_HEADER = 100000000   /* the reference reader's bound */
};

typedef enum safetensors_dtype {
    ST_F64, ST_F32, ST_F16, ST_BF16, ST_F8_E5M2, ST_F8_E4M3, ST_F8_E8M0, ST_F6_E3M2, ST_F6_E2M3,
    ST_F4, ST_I64, ST_I32, ST_I16, ST_I8, ST_U64, ST_U32, ST_U16, ST_U8, ST_BOOL, ST_C64,
    ST_DTYPE_COUNT
} safetensors_dtype;

typedef struct safetensors_dtype_info { const char *name; uint32_t bits; } safetensors_dtype_info;
extern const safetensors_dtype_info safetensors_dtypes[ST_DTYPE_COUNT];

typedef struct safetensors_tensor {
    const char *name;
    safetensors_dtype dtype;
    uint32_t dims;               /* 0: a scalar */
    const uint64_t *shape;       /* [dims], slowest first */
    uint64_t offset, bytes;      /* in the file, header included */
} safetensors_tensor;

typedef struct safetensors {
    const char *file;            /* borrowed: its name, for messages */
    safetensors_tensor *tensors; /* in the order of their data */
    uint32_t count;
} safetensors;

/* From the first SAFETENSORS_PREFIX bytes of the file: how many bytes of JSON follow them. */
doppler_status safetensors_header_bytes(error *e, const char *file, const uint8_t *prefix,
                                        size_t prefix_bytes, uint64_t file_bytes, uint64_t *bytes);
/* From that JSON. *out lives in a. Status: BAD_FILE, NO_MEMORY. */
doppler_status safetensors_parse(error *e, arena *a, const char *file, const char *header,
                                 size_t bytes, uint64_t file_bytes, safetensors *out);

/* model.safetensors.index.json: which files hold the tensors of a sharded folder. */
typedef struct safetensors_index {
    const char **files;          /* plain names, each once, sorted */
    uint32_t file_count;
    const char **names;          /* tensor i is in file file_of[i] */
    uint32_t *file_of;
    uint32_t count;
} safetensors_index;

/* *out lives in a. Status: BAD_FILE, NO_MEMORY. */
doppler_status safetensors_index_parse(error *e, arena *a, const char *file, const char *text,
                                       size_t bytes, safetensors_index *out);
/* Whether the files, parsed in the index's order, hold what the index says and nothing else. */
doppler_status safetensors_index_check(error *e, arena *a, const char *file,
                                       const safetensors_index *index, const safetensors *files);

#endif
