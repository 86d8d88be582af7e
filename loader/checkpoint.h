/* checkpoint.h - a Hugging Face folder, a safetensors or GGUF file, or a package of doppler-gpu:
 * configs read, headers parsed, each tensor's role found. The host has the files, natively those
 * of a folder, in a page those that a user picked; bulk data are read by what converts. */
#ifndef LOADER_CHECKPOINT_H
#define LOADER_CHECKPOINT_H

#include "bridge/doppler_gpu.h"
#include "bridge/gguf_model.h"
#include "bridge/hf_names.h"
#include "loader/convert.h"
#include "memory/text.h"

/* Files beside each other, by name. A failure of size or read ends what asked, with its status:
 * a host that must fetch the bytes first fails, and begins again when it has them. */
typedef struct checkpoint_host {
    bool (*exists)(void *user, const char *name);
    doppler_status (*size)(error *e, void *user, const char *name, uint64_t *bytes);
    doppler_status (*read)(error *e, void *user, const char *name, uint64_t offset, void *to,
                           size_t bytes);
    void *user;
} checkpoint_host;

/* One file of tensors. */
typedef struct checkpoint_data { const char *file; uint64_t bytes; } checkpoint_data;

typedef struct checkpoint {
    arena memory;                /* owned; holds everything below */
    checkpoint_host host;
    const char *folder, *name;   /* as it was opened; of the model: the folder's last part, or a
                                  * GGUF file's without .gguf */
    safetensors *files;          /* [data_count]; NULL when it is no safetensors */
    gguf *ggufs;                 /* [data_count]; NULL when it is no GGUF */
    doppler_gpu *package;        /* of data_count shards; NULL when it is none of doppler-gpu */
    checkpoint_data *data;       /* [data_count] */
    uint32_t data_count;
    model_config model;          /* from here on by checkpoint_describe */
    source_tensor *sources;
    uint32_t source_count;
    uint32_t vision_count;       /* tensors passed over: those that look at images */
} checkpoint;

/* *c is zeroed but for memory. folder: for messages; last: its last part. file: safetensors, GGUF,
 * any part of a split GGUF; NULL: the folder, which holds model.safetensors or its index or a
 * package of doppler-gpu. checkpoint_free whether it succeeded or not. */
doppler_status checkpoint_open(error *e, checkpoint *c, checkpoint_host host, const char *folder,
                               const char *last, const char *file);
void checkpoint_free(checkpoint *c);
/* Reads the metadata, or config.json and generation_config.json beside the data, and finds every
 * tensor's role. */
doppler_status checkpoint_describe(error *e, checkpoint *c);
/* The metadata's; chat_template.jinja; that of tokenizer_config.json or chat_template.json; or "".
 * Where there is another one for tools (named "tool_use"), both as one. */
doppler_status checkpoint_chat_template(error *e, checkpoint *c, const char **out);
/* The metadata's tokenizer, or that of tokenizer.json, or else of tokenizer.model, compiled. */
doppler_status checkpoint_tokenizer(error *e, checkpoint *c, text *out, uint32_t *tokens);

/* Lines for people: what a conversion of it leaves out, and each tensor that `keep` stores in
 * another type. tokens: the tokenizer's. */
void checkpoint_notes(const checkpoint *c, const convert *conversion, uint32_t tokens, text *out);

/* A whole file, in c->memory, with a NUL behind it. */
doppler_status checkpoint_text(error *e, checkpoint *c, const char *name, uint64_t max_bytes,
                               const char **data, size_t *bytes);
bool checkpoint_has(const checkpoint *c, const char *name);
/* Whether the host's folder holds a package of doppler-gpu, not one of ours. */
bool checkpoint_is_doppler_gpu(checkpoint_host host);

#endif
