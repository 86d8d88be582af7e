/* convert.h - a foreign checkpoint to an RDRR package, in bounded memory and without I/O of its
 * own: it says which bytes of the source it needs, or which bytes go into which file of the
 * package. The host reads, writes and hashes; the same code runs natively and in a page.
 *
 * A package is blocks and a few files behind them. Every block is a function of the sources alone,
 * so parts of the package may be made in any order, or at once by threads of the host:
 *
 *     convert_part_create(&e, c, &part);
 *     convert_part_begin(part, 0, convert_blocks(c));                 all, or any range
 *     while (!(status = convert_part_next(&e, part, &step)) && step.action != CONVERT_DONE)
 *         if (step.action == CONVERT_READ) read step.bytes at step.offset into step.to;
 *         else { write step.from to step.file; store the SHA-256s that step asks for; }
 *
 * and then the same with convert_next(&e, c, &step), which only writes. The package depends on
 * nothing but the input: the same input gives the same package id. */
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
    const weight_format *embeddings;     /* of that one matrix; NULL: what the target says */
    const weight_format *head;           /* likewise; not of a tied head, which is the embedding */
    uint64_t shard_bytes;                /* multiple of RDRR_ALIGN; 0: RDRR_SHARD_BYTES */
    const char *const *mirrors;          /* URLs of folders that will hold the shards, too */
    uint32_t mirror_count;               /* at most RDRR_MAX_MIRRORS */
} convert_input;

typedef enum convert_action { CONVERT_READ, CONVERT_WRITE, CONVERT_DONE } convert_action;

/* Valid until the next call. */
typedef struct convert_step {
    convert_action action;
    uint64_t offset;                     /* in the file; READ: whole rows of one tensor, and
                                          * what lies between them */
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

/* The plan; hashes are filled in as they come. Tensor i is made of source i. */
const manifest *convert_manifest(const convert *c);
/* The plan with all that blocks depend on, but for the numbers in the sources: where two plans
 * have the same text and the sources are the same, so is every block. */
void convert_describe(const convert *c, text *out);

/* ---- blocks: those of shard 0, then of shard 1, and so on */

uint64_t convert_blocks(const convert *c);
/* The step that writes a block, without the bytes. */
convert_step convert_block(const convert *c, uint64_t index);
/* Bytes of source tensors that the blocks before index are made of, roughly. */
uint64_t convert_source_bytes(const convert *c, uint64_t index);

/* Makes a range of blocks at a time. Each has memory of its own, and while c is not destroyed they
 * may be used from different threads. */
typedef struct convert_part convert_part;

/* Memory that one takes. */
uint64_t convert_part_bytes(const convert *c);
doppler_status convert_part_create(error *e, const convert *c, convert_part **out);
void convert_part_destroy(convert_part *p);          /* NULL is allowed */
/* Turns to blocks first to end - 1. */
void convert_part_begin(convert_part *p, uint64_t first, uint64_t end);
/* Exchanges the memory that the next block is made in, [RDRR_BLOCK_BYTES], for other memory of that
 * size: so what was written may stay where it is. Only after a WRITE; what is given is the host's
 * and must outlive the part, what is returned lives as long as its owner does. */
uint8_t *convert_part_swap(convert_part *p, uint8_t *bytes);
/* The next step, blocks being written in order. Fails with BAD_FILE where a source holds what the
 * target cannot. */
doppler_status convert_part_next(error *e, convert_part *p, convert_step *step);

/* ---- the other files, when all hashes of blocks and shards are stored */

doppler_status convert_next(error *e, convert *c, convert_step *step);
/* SHA-256 of the manifest, after CONVERT_DONE. */
const uint8_t *convert_package_id(const convert *c);

#endif
