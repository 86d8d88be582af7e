/* hf_names.h - tensor names of Hugging Face transformers, by role. */
#ifndef BRIDGE_HF_NAMES_H
#define BRIDGE_HF_NAMES_H

#include "bridge/safetensors.h"
#include "bridge/source.h"

typedef enum hf_name {
    HF_NAME_UNKNOWN, HF_NAME_SKIPPED, HF_NAME_VISION, HF_NAME_ROLE
} hf_name;

/* "model.layers.3.self_attn.q_proj.weight" -> ATTN_Q of layer 3. SKIPPED: a buffer that old
 * checkpoints carry and no engine reads. VISION: of the part of a model that looks at images.
 * architecture: the model_config's; names mean different roles in different families. */
hf_name hf_name_role(const char *architecture, const char *name, tensor_role *role,
                     uint32_t *layer);

/* The tensors of the model in package order: embedding, layers, final norm, head. Every role
 * exactly once, with its shape; the head of a tied model is passed over. *out lives in a, names
 * are borrowed from files. *vision: tensors of HF_NAME_VISION, which are passed over. Status:
 * BAD_FILE, UNSUPPORTED (a name or dtype), NO_MEMORY. */
doppler_status hf_sources(error *e, arena *a, const model_config *m, const safetensors *files,
                          uint32_t file_count, source_tensor **out, uint32_t *count,
                          uint32_t *vision);

#endif
