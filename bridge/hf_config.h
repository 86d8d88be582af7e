/* hf_config.h - config.json, generation_config.json and tokenizer_config.json of a Hugging Face
 * checkpoint. What changes the model's results and is not known is refused by name. */
#ifndef BRIDGE_HF_CONFIG_H
#define BRIDGE_HF_CONFIG_H

#include "memory/arena.h"
#include "memory/model.h"

/* A file's text; data NULL when the checkpoint has no such file. */
typedef struct hf_text { const char *data; size_t bytes; } hf_text;

/* *out from config.json and, where present, generation_config.json, whose token ids win (as in
 * transformers' generate). The result has passed model_check. Status: BAD_FILE, UNSUPPORTED,
 * NO_MEMORY. */
doppler_status hf_config_parse(error *e, hf_text config, hf_text generation, model_config *out);

/* The chat template of a JSON file (tokenizer_config.json, chat_template.json): a string, or those
 * named "default" and "tool_use" of a list, joined. *out lives in a, "" when there is none. */
doppler_status hf_chat_template(error *e, arena *a, const char *file, hf_text json,
                                const char **out);

#endif
