/* gguf_names.h - tensor names of GGUF files, by role. They differ a little between architectures,
 * which are called here as in general.architecture. */
#ifndef BRIDGE_GGUF_NAMES_H
#define BRIDGE_GGUF_NAMES_H

#include "bridge/gguf.h"

/* "blk.3.attn_q.weight" -> ATTN_Q of layer 3; false when the name has no role. */
bool gguf_name_role(const char *architecture, const char *name, tensor_role *role,
                    uint32_t *layer);
/* The way back: "attn_q.weight", which stands behind "blk.3." of a layer. of_experts: the tensor
 * that holds those of all experts of the layer. NULL: no such. */
const char *gguf_role_name(const char *architecture, tensor_role role, bool of_experts);

/* NULL when no file has it; *file: index of the one that has. */
const gguf_tensor *gguf_find_tensor(const gguf *files, uint32_t count, const char *name,
                                    uint32_t *file);
/* rope_freqs.weight: LLaMA 3.1's rope scaling, f32 factors by which the inverse frequencies are
 * divided. NULL when no file has it; *file: index of the one that has. */
const gguf_tensor *gguf_rope_factors(const gguf *files, uint32_t count, uint32_t *file);

/* Refuses the first tensor of a type that is not read (IQ2_XXS ...), in the files' order. */
doppler_status gguf_check_types(error *e, const gguf *files, uint32_t count);
/* The tensors of the model in package order; *out lives in a. Rows of Q and K are interleaved in
 * files of "llama": LlamaModel.permute of convert_hf_to_gguf.py. Status: BAD_FILE, UNSUPPORTED,
 * NO_MEMORY. */
doppler_status gguf_sources(error *e, arena *a, const char *architecture, const gguf *files,
                            uint32_t count, const model_config *m, source_tensor **out,
                            uint32_t *found);

#endif
