/* manifest.h - manifest.json of an RDRR package, read strictly and written. The specification is
 * docs/RDRR_FORMAT.md. */
#ifndef LOADER_MANIFEST_H
#define LOADER_MANIFEST_H

#include "memory/arena.h"
#include "memory/model.h"
#include "memory/status.h"
#include "memory/text.h"

enum {
    RDRR_BLOCK_BYTES = 1 << 20,           /* hashes.bin: one SHA-256 per block of a shard */
    RDRR_SHARD_BYTES = 64 << 20,          /* default size of a shard */
    RDRR_ALIGN = 4096,                    /* of a tensor's start within the shards */
    RDRR_MAX_MANIFEST = 64 << 20,
    RDRR_MAX_TOKENIZER = 256 << 20,
    RDRR_MAX_HASHES = 64 << 20,           /* of two million blocks: 2 TiB of weights */
    RDRR_MAX_MIRRORS = 16,                /* of a shard */
    RDRR_HASH_BYTES = 32,
    RDRR_HEX_CHARS = 65                   /* of a hash as text, with its NUL */
};

#define RDRR_MANIFEST "manifest.json"
#define RDRR_HASHES "hashes.bin"
#define RDRR_TOKENIZER "tokenizer.bin"

typedef struct rdrr_file {
    const char *file;                     /* a plain name inside the package's folder */
    uint64_t bytes;
    uint8_t sha256[RDRR_HASH_BYTES];
} rdrr_file;

/* URLs of a shard's bytes outside the package's folder. */
typedef struct rdrr_mirrors { const char **urls; uint32_t count; } rdrr_mirrors;

/* A contiguous part of a tensor in one shard. */
typedef struct rdrr_span { uint32_t shard; uint64_t offset, bytes; } rdrr_span;

typedef struct rdrr_tensor {
    const char *name;                     /* in the source checkpoint, for people */
    tensor_role role;
    uint32_t layer;                       /* 0 for roles outside layers */
    uint32_t expert;                      /* 0 for roles outside experts */
    weight_format format;                 /* vectors: FORMAT_F32 */
    uint32_t rows, cols;                  /* [rows, cols]; vectors [1, n] */
    uint64_t bytes;                       /* rows * format_row_bytes; vectors rows * cols * 4 */
    rdrr_span *spans;
    uint32_t span_count;
} rdrr_tensor;

typedef struct manifest {
    arena memory;                         /* holds everything below; owned */
    model_config model;
    const char *name;                     /* of the model */
    const char *quantization;             /* "q4_k_m", "keep" ... */
    const char *chat_template;            /* "" when there is none */
    const char *source, *producer;        /* provenance */
    rdrr_file tokenizer, hashes;
    rdrr_file *shards;
    rdrr_mirrors *mirrors;                /* [shard_count]; NULL: there are none */
    uint32_t shard_count;
    rdrr_tensor *tensors;
    uint32_t tensor_count;
} manifest;

/* Blocks of a shard of this many bytes; its hashes follow those of the shards before it. */
uint64_t rdrr_block_count(uint64_t bytes);
/* Lowercase hexadecimal digits. */
void rdrr_hex(const uint8_t sha256[RDRR_HASH_BYTES], char out[RDRR_HEX_CHARS]);
/* Bytes of a stored tensor: rows * format_row_bytes, or rows * cols * 4 of vectors. */
uint64_t rdrr_tensor_bytes(tensor_role role, weight_format format, uint32_t rows, uint32_t cols);

/* Where the next block of a shard starts in a stream of shards of so many bytes: at or behind. */
uint64_t rdrr_next_block(uint64_t at, uint64_t shard_bytes);
/* Bytes of an expert group: its gate, up and down, each from a multiple of RDRR_ALIGN on. A group
 * of RDRR_BLOCK_BYTES or more has blocks of its own. */
uint64_t rdrr_group_bytes(uint64_t gate, uint64_t up, uint64_t down);

/* Fills *m; manifest_free whether it succeeded or not. Checks everything that can be checked
 * without the shards: known fields, ranges, every role of the architecture present exactly once
 * with its shape, spans inside shards and not overlapping, each starting at a multiple of
 * RDRR_ALIGN, expert groups in one piece, byte counts. Status: BAD_FILE; UNSUPPORTED names a
 * version, required feature, architecture or format that this version does not know. */
doppler_status manifest_parse(error *e, manifest *m, const char *json, size_t bytes);
void manifest_free(manifest *m);
/* Canonical JSON of a manifest, ending in a newline. */
void manifest_write(const manifest *m, text *out);

#endif
