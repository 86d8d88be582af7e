/* tokenizers.h - a tokenizer, wherever it is: a package, a Hugging Face folder, a tokenizer.json,
 * tokenizer.model, tokenizer.bin or GGUF file. */
#ifndef TOOLS_TOKENIZERS_H
#define TOOLS_TOKENIZERS_H

#include "tokenizer/tokenizer.h"

typedef struct loaded_tokenizer {
    tokenizer *t;                /* owned; NULL when nothing is loaded */
    char *data;                  /* owned: what t points into, or NULL */
} loaded_tokenizer;

doppler_status tokenizer_load(error *e, const char *path, loaded_tokenizer *out);
void tokenizer_unload(loaded_tokenizer *l);

#endif
