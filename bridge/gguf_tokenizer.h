/* gguf_tokenizer.h - the tokenizer in a GGUF file's metadata. */
#ifndef BRIDGE_GGUF_TOKENIZER_H
#define BRIDGE_GGUF_TOKENIZER_H

#include "bridge/gguf.h"
#include "tokenizer/tokenizer.h"

/* Status: BAD_FILE, UNSUPPORTED, NO_MEMORY. Owned. */
doppler_status gguf_tokenizer(error *e, const gguf *g, tokenizer **out);

#endif
