/* gguf_model.h - what model a GGUF file holds: metadata to a model_config, tensor names to roles.
 * What changes the model's results and is not known is refused by name. */
#ifndef BRIDGE_GGUF_MODEL_H
#define BRIDGE_GGUF_MODEL_H

#include "bridge/gguf.h"

/* "blk.3.attn_q.weight" -> ATTN_Q of layer 3; false when the name has no role. */
bool gguf_name_role(const char *name, tensor_role *role, uint32_t *layer);
/* The way back: "attn_q.weight", which stands behind "blk.3." of a layer. NULL: no such. */
const char *gguf_role_name(tensor_role role);

/* rope_freqs.weight: LLaMA 3.1's rope scaling, f32 factors by which the inverse frequencies are
 * divided. NULL when no file has it; *file: index of the one that has. */
const gguf_tensor *gguf_rope_factors(const gguf *files, uint32_t count, uint32_t *file);

/* *out and the tensors in package order from the parts of a model; metadata are the first part's.
 * rope_factors: the bytes of gguf_rope_factors()'s tensor, NULL when there is none. *sources live
 * in a. The first tensor of a type that is not read (IQ2_XXS ...) is refused by name. Status:
 * BAD_FILE, UNSUPPORTED, NO_MEMORY. */
doppler_status gguf_model(error *e, arena *a, const gguf *files, uint32_t count,
                          const uint8_t *rope_factors, model_config *out,
                          source_tensor **sources, uint32_t *source_count);

/* The template in the metadata, joined with the one for tools; "" when there is none. *out lives in
 * a. */
doppler_status gguf_chat_template(error *e, arena *a, const gguf *g, const char **out);

#endif
