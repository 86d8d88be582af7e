/* checkpoint.h - a Hugging Face folder, a safetensors or GGUF file, or a package of doppler-gpu,
 * opened: configs read, headers parsed, data files open for reading by range. */
#ifndef TOOLS_CHECKPOINT_H
#define TOOLS_CHECKPOINT_H

#include "bridge/doppler_gpu.h"
#include "bridge/gguf_model.h"
#include "bridge/hf_names.h"
#include "storage/files.h"

typedef struct checkpoint {
    arena memory;                /* owned; holds everything below */
    const char *folder, *name;   /* name: the folder's last part; a GGUF file's without .gguf */
    safetensors *files;          /* [file_count]; NULL when it is no safetensors */
    gguf *ggufs;                 /* [file_count]; NULL when it is no GGUF */
    doppler_gpu *package;        /* of file_count shards; NULL when it is none of doppler-gpu */
    storage_file *data;          /* [file_count] */
    uint32_t file_count;
    model_config model;          /* from here on by checkpoint_describe */
    source_tensor *sources;
    uint32_t source_count;
    uint32_t vision_count;       /* tensors passed over: those that look at images */
} checkpoint;

/* path: a folder with model.safetensors or its index, one with a package of doppler-gpu, or one
 * file: safetensors, GGUF, any part of a split GGUF. checkpoint_free whether it succeeded or
 * not. */
doppler_status checkpoint_open(error *e, checkpoint *c, const char *path);
/* Reads the metadata, or config.json and generation_config.json beside the data, and finds every
 * tensor's role. */
doppler_status checkpoint_describe(error *e, checkpoint *c);
/* The metadata's; chat_template.jinja; that of tokenizer_config.json or chat_template.json; or "".
 * Where there is another one for tools (named "tool_use"), both as one. */
doppler_status checkpoint_chat_template(error *e, checkpoint *c, const char **out);
/* A whole file of the folder, in c->memory, with a NUL behind it. */
doppler_status checkpoint_text(error *e, checkpoint *c, const char *name, uint64_t max_bytes,
                               const char **data, size_t *bytes);
/* Whether a folder holds a package of doppler-gpu, not one of ours. */
bool checkpoint_is_doppler_gpu(const char *folder);
/* A range of a source's bytes. */
doppler_status checkpoint_read(error *e, const checkpoint *c, uint32_t source_file,
                               uint64_t offset, void *to, size_t bytes);
void checkpoint_free(checkpoint *c);

#endif
