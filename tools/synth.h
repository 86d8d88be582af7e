/* synth.h - a checkpoint of random weights that is written nowhere: any range of its files can be
 * asked for, at any time, and is the same for the same seed. Weights are functions of the tensor's
 * name, the weight's index and the seed (a counter-based generator). */
#ifndef TOOLS_SYNTH_H
#define TOOLS_SYNTH_H

#include "bridge/safetensors.h"
#include "bridge/source.h"
#include "memory/arena.h"
#include "memory/text.h"
#include "tools/shapes.h"

enum { SYNTH_MAX_DIMS = 4 };

/* What a tensor's numbers are like. */
typedef enum synth_kind {
    SYNTH_MATRIX,                /* normal, 1 / sqrt(weights of a row): keeps sizes as they are */
    SYNTH_GAIN,                  /* about 1 */
    SYNTH_OFFSET,                /* about 0: Gemma's gains, which are 1 + w, and biases */
    SYNTH_SINK,                  /* normal, 1 */
    SYNTH_NIBBLES,               /* MXFP4: any bytes */
    SYNTH_EXPONENTS              /* MXFP4: E8M0, so that weights are as SYNTH_MATRIX's */
} synth_kind;

typedef struct synth_tensor {
    const char *name;
    synth_kind kind;
    safetensors_dtype dtype;     /* BF16, or U8 of the MXFP4 kinds */
    uint32_t dims;
    uint64_t shape[SYNTH_MAX_DIMS];      /* slowest first */
    uint64_t key;                /* of its random numbers */
    float mean, deviation;       /* of BF16 */
    uint8_t exponent;            /* SYNTH_EXPONENTS: the smaller of two */
    uint64_t offset, bytes;      /* in its file */
} synth_tensor;

typedef struct synth_file {
    const char *name;
    const synth_tensor *tensors; /* in the file's order */
    uint32_t count;
    const char *header;          /* prefix, JSON, padding */
    uint64_t header_bytes, bytes;        /* bytes: of all */
} synth_file;

typedef struct synth {
    arena memory;                /* owned; holds everything below */
    const shape *shape;
    uint32_t layers;
    synth_file *files;           /* safetensors: one, or parts of 5 GB as transformers cuts them */
    uint32_t file_count;
    uint64_t bytes;              /* of all tensors */
} synth;

/* Plans the files. layers: 0 for the shape's. synth_free whether it succeeded or not. */
doppler_status synth_open(error *e, synth *s, const shape *of, uint32_t layers, uint64_t seed);
void synth_free(synth *s);

/* A range of a file. BF16 numbers are not cut: offset and bytes are even inside data. */
void synth_read(const synth *s, uint32_t file, uint64_t offset, void *to, size_t bytes);
/* Numbers first ... first + count - 1 of a tensor, in its dtype. */
void synth_numbers(const synth_tensor *t, uint64_t first, uint64_t count, uint8_t *out);
/* NULL when there is none of this name. */
const synth_tensor *synth_find(const synth *s, const char *name);

/* The files beside the weights. Failures are remembered in out. */
void synth_config(const synth *s, text *out);
void synth_generation_config(const synth *s, text *out);
void synth_tokenizer(const synth *s, text *out);
/* Its compiled form, as packages hold it. */
doppler_status synth_tokenizer_compile(error *e, const synth *s, text *out);
void synth_tokenizer_config(const synth *s, text *out);
void synth_index(const synth *s, text *out);     /* model.safetensors.index.json */

/* What the converter makes of the folder. */
typedef struct synth_model {
    arena memory;                /* owned; holds everything below */
    model_config model;
    source_tensor *sources;      /* in package order */
    uint32_t source_count;
} synth_model;

/* synth_model_free whether it succeeded or not. */
doppler_status synth_model_read(error *e, const synth *s, synth_model *out);
void synth_model_free(synth_model *m);

/* Token `id` of synth_tokenizer: a byte, a special token, or a word that no text gives. Returns
 * whether it is special. spelled: in the byte-level alphabet of GPT-2. */
enum { SYNTH_TOKEN_BYTES = 32 };
bool synth_token(const shape *s, uint32_t id, char spelled[SYNTH_TOKEN_BYTES]);

#endif
