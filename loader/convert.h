/* convert.h - a foreign checkpoint to an RDRR package, in bounded memory and without I/O of its
 * own: convert_next says which bytes of the source it needs, or which bytes go into which file of
 * the package. The host reads, writes and hashes; the same code runs natively and in a page.
 *
 *     while (!(status = convert_next(&e, c, &step)) && step.action != CONVERT_DONE)
 *         if (step.action == CONVERT_READ) read step.bytes at step.offset into step.to;
 *         else { write step.from to step.file; store the SHA-256s that step asks for; }
 *
 * Pieces of one file come in order and without gaps, so that the host may hash as it goes. The
 * package depends on nothing but the input: the same input gives the same package id. */
#ifndef LOADER_CONVERT_H
#define LOADER_CONVERT_H

#include "bridge/source.h"
#include "loader/manifest.h"

typedef enum convert_target {
    TARGET_KEEP,                 /* every matrix with the source's numbers: see loader/repack.h */
    TARGET_F32, TARGET_F16, TARGET_BF16, TARGET_Q8_0,
    TARGET_Q4_K_M,               /* llama.cpp's mixture: see wanted_format */
    TARGET_MXFP4,                /* but for embedding and head, as in Q4_K_M */
    TARGET_COUNT
} convert_target;

extern const char *const convert_targets[TARGET_COUNT];

/* Everything is borrowed until convert_destroy. */
typedef struct convert_input {
    const model_config *model;
    const source_tensor *sources;        /* each role of the model once, in package order */
    uint32_t source_count;
    const char *tokenizer;               /* its compiled form */
    size_t tokenizer_bytes;
    const char *chat_template;           /* "" when there is none */
    const char *name, *source;           /* of the model; where it came from */
    convert_target target;
    uint64_t shard_bytes;                /* multiple of RDRR_ALIGN; 0: RDRR_SHARD_BYTES */
} convert_input;

typedef enum convert_action { CONVERT_READ, CONVERT_WRITE, CONVERT_DONE } convert_action;

/* Valid until the next call. */
typedef struct convert_step {
    convert_action action;
    uint64_t offset;                     /* in the file */
    uint32_t bytes;
    uint32_t source;                     /* READ: index of the source file */
    uint8_t *to;                         /* READ: filled by the host */
    const char *file;                    /* WRITE: name in the package */
    const uint8_t *from;                 /* WRITE */
    uint8_t *block_sha256;               /* WRITE: takes the hash of from; NULL: not asked for */
    uint8_t *file_sha256;                /* WRITE, the last of its file: takes the file's hash */
} convert_step;

typedef struct convert convert;

/* Plans the package. Status: BAD_ARGUMENT, NO_MEMORY. */
doppler_status convert_create(error *e, const convert_input *input, convert **out);
void convert_destroy(convert *c);        /* NULL is allowed */

/* The next step. Fails with BAD_FILE where a source holds what the target cannot. */
doppler_status convert_next(error *e, convert *c, convert_step *step);

/* The plan; hashes are filled in as they come. Tensor i is made of source i. */
const manifest *convert_manifest(const convert *c);
/* SHA-256 of the manifest, after CONVERT_DONE. */
const uint8_t *convert_package_id(const convert *c);
/* Bytes of source tensors read, and of all. */
void convert_progress(const convert *c, uint64_t *done, uint64_t *total);

#endif
