/* doppler_gpu.h - packages of the npm package doppler-gpu (github.com/clocksmith/doppler), which
 * calls its format RDRR too: manifest.json, shards, tensors inline or in tensors.json.
 *
 * Sans-I/O, like safetensors.h. Every spelling that its writers have used is read: fileName or
 * filename, shard or shardIndex, spans or storage.shardSpans, layouts row, col, flat. Sources:
 * src/formats/rdrr/{parsing,storage-descriptor,validation}.js, src/converter/{core,quantizer}.js
 * of doppler-gpu 0.5.1; src/converter/writer.ts, docs/FORMATS.md of its history. */
#ifndef BRIDGE_DOPPLER_GPU_H
#define BRIDGE_DOPPLER_GPU_H

#include "bridge/hf_config.h"
#include "bridge/source.h"
#include "memory/json.h"

typedef struct doppler_gpu_shard {
    const char *file;            /* a plain name */
    uint64_t bytes;
    bool has_sha256;             /* false: its hash is of a kind that is not checked */
    uint8_t sha256[32];
} doppler_gpu_shard;

/* Bytes of a tensor, from `start` in it, in one shard. */
typedef struct doppler_gpu_span {
    uint32_t shard;
    uint64_t start, offset, bytes;
} doppler_gpu_span;

/* How the numbers of a matrix [rows, cols] are stored. */
typedef enum doppler_gpu_layout {
    DOPPLER_GPU_ROWS,            /* row after row, each of whole blocks */
    DOPPLER_GPU_COLUMNS,         /* column after column, each of whole blocks */
    DOPPLER_GPU_FLAT             /* blocks that run on from row to row */
} doppler_gpu_layout;

typedef struct doppler_gpu_tensor {
    const char *name, *dtype;    /* dtype: as written */
    source_type type;            /* SOURCE_TYPE_COUNT: known by name only, not read */
    doppler_gpu_layout layout;
    uint32_t dims;
    const uint64_t *shape;       /* [dims] of the model, slowest first, however it is stored */
    uint64_t bytes;              /* stored */
    const doppler_gpu_span *spans;
    uint32_t span_count;
} doppler_gpu_tensor;

typedef struct doppler_gpu {
    const char *name, *quantization;
    const char *tensors_file;    /* a plain name; NULL: the manifest has the tensors */
    doppler_gpu_shard *shards;
    uint32_t shard_count, unchecked_count;   /* shards without has_sha256 */
    doppler_gpu_tensor *tensors;
    uint32_t tensor_count;
    const json *root;            /* the manifest */
} doppler_gpu;

/* Whether a manifest.json is of such a package: it says no format, but a modelId and shards. */
bool doppler_gpu_is(const char *manifest, size_t bytes);
/* *out lives in a; its tensors are there unless it says tensors_file. Status: BAD_FILE,
 * UNSUPPORTED, NO_MEMORY. */
doppler_status doppler_gpu_parse(error *e, arena *a, const char *manifest, size_t bytes,
                                 doppler_gpu *out);
/* The tensors, from that file. The same statuses. */
doppler_status doppler_gpu_parse_tensors(error *e, arena *a, const char *text, size_t bytes,
                                         doppler_gpu *p);
/* Where byte `at` of a tensor, below t->bytes, lies, and how many bytes follow it there. */
uint64_t doppler_gpu_find(const doppler_gpu_tensor *t, uint64_t at, uint32_t *shard,
                          uint64_t *offset);

/* What model it is, and its tensors in package order. config: a config.json beside the manifest,
 * which wins; otherwise the manifest's "config", or else its "architecture" and "inference",
 * where they describe a LLaMA. file of a source is the index of its tensor, and offsets count in
 * its numbers row by row, as its type says: those of COLUMNS, and of FLAT where rows do not end
 * with blocks, are put in order by the host (tools/doppler_gpu_read.h). */
doppler_status doppler_gpu_model(error *e, arena *a, const doppler_gpu *p, hf_text config,
                                 model_config *out, source_tensor **sources, uint32_t *count);
/* Whether the numbers of a tensor are stored in that order already. */
bool doppler_gpu_in_order(const doppler_gpu_tensor *t);

#endif
