/* gguf.h - reads the header of a GGUF file, version 2 or 3: metadata and where each tensor lies.
 *
 * Sans-I/O, and the header's length is written nowhere: the host hands over the file's first
 * bytes, and as long as they end inside the header it is told how many it needs at least.
 *
 *     for (need = GGUF_FIRST_BYTES; need;)
 *         read the first need bytes (at most the file's) into data;
 *         status = gguf_parse(&e, a, file, data, bytes, file_bytes, &g, &need);
 *
 * The rules are those of ggml/src/gguf.cpp (ggml-org/llama.cpp): tensors lie one behind the other
 * in the file's order, each start padded to the alignment, without holes. */
#ifndef BRIDGE_GGUF_H
#define BRIDGE_GGUF_H

#include "bridge/source.h"
#include "memory/arena.h"
#include "memory/status.h"

enum {
    GGUF_FIRST_BYTES = 1 << 20,
    GGUF_MAX_HEADER = 256 << 20,
    GGUF_MAX_DIMS = 4,
    GGUF_MAX_NAME = 64
};

/* Types of metadata values, by their numbers in files. */
typedef enum gguf_type {
    GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL, GGUF_STRING,
    GGUF_ARRAY, GGUF_U64, GGUF_I64, GGUF_F64, GGUF_TYPE_COUNT
} gguf_type;

typedef struct gguf_type_info { const char *name; uint32_t bytes; } gguf_type_info;
extern const gguf_type_info gguf_types[GGUF_TYPE_COUNT];     /* bytes 0: strings and arrays */

/* A value as it stands in the file; everything points into the host's bytes. */
typedef struct gguf_kv {
    const char *key;             /* key_bytes long, no NUL behind it */
    uint64_t key_bytes;
    gguf_type type;              /* of the value; of the elements where is_array */
    bool is_array;
    uint64_t count;              /* elements; 1 unless is_array */
    const uint8_t *data;         /* little-endian; strings: u64 length, bytes, one after another */
} gguf_kv;

/* Tensor types of ggml by their numbers in files; name NULL: none of this number. */
typedef struct ggml_type_info {
    const char *name;
    uint32_t block_weights, block_bytes;
    source_type type;            /* SOURCE_TYPE_COUNT: known by name only, not read */
} ggml_type_info;
enum { GGML_TYPES = 40 };
extern const ggml_type_info ggml_types[GGML_TYPES];

typedef struct gguf_tensor {
    const char *name;            /* NUL-terminated */
    const ggml_type_info *type;
    uint32_t dims;
    uint64_t shape[GGUF_MAX_DIMS];       /* fastest first, as in the file; 1 beyond dims */
    uint64_t offset, bytes;      /* in the file, header included */
} gguf_tensor;

typedef struct gguf {
    const char *file;            /* borrowed: its name, for messages */
    uint32_t version, alignment;
    gguf_kv *values;             /* in the file's order */
    uint64_t value_count;
    gguf_tensor *tensors;        /* in the file's order */
    uint64_t tensor_count;
    uint64_t header_bytes;       /* before the padding in front of the data */
} gguf;

/* From the first `bytes` bytes of a file of file_bytes. *need: 0 when *out is filled, else more
 * than bytes and at most file_bytes: how much of the file to come back with at least. *out lives
 * in a and points into data. Status: BAD_FILE, UNSUPPORTED (version, byte order), NO_MEMORY. */
doppler_status gguf_parse(error *e, arena *a, const char *file, const uint8_t *data, size_t bytes,
                          uint64_t file_bytes, gguf *out, uint64_t *need);

/* NULL when absent. */
const gguf_kv *gguf_find(const gguf *g, const char *key);
/* The string that *at points to, inside a value's data; *at moves behind it. */
const char *gguf_next_string(const uint8_t **at, uint64_t *bytes);

/* Typed values. found: whether the key is there; NULL: it must be. Integers of any width are
 * taken where they fit; the same for floats. Status: BAD_FILE. */
doppler_status gguf_u32(error *e, const gguf *g, const char *key, uint32_t min, uint32_t max,
                        uint32_t *out, bool *found);
doppler_status gguf_f32(error *e, const gguf *g, const char *key, float *out, bool *found);
doppler_status gguf_bool(error *e, const gguf *g, const char *key, bool *out, bool *found);
/* A copy in a, without U+0000 inside. */
doppler_status gguf_string(error *e, arena *a, const gguf *g, const char *key, const char **out,
                           bool *found);
/* An integer of any type; false when it is none or does not fit. */
bool gguf_integer(const gguf_kv *v, int64_t *out);

/* Files of a split model ("NAME-00001-of-00003.gguf"): *count is 1 for a file that is not split.
 * number: of this file, from 0. Status: BAD_FILE. */
doppler_status gguf_split(error *e, const gguf *g, uint32_t *number, uint32_t *count);
/* Whether the files, in order, are the parts of one model with the tensors that they announce. */
doppler_status gguf_split_check(error *e, arena *a, const gguf *files, uint32_t count);

#endif
