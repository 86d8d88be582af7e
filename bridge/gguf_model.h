/* gguf_model.h - what model a GGUF file holds: metadata to a model_config, and its tensors.
 * What changes the model's results and is not known is refused by name. */
#ifndef BRIDGE_GGUF_MODEL_H
#define BRIDGE_GGUF_MODEL_H

#include "bridge/gguf_names.h"

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
