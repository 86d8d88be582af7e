/* sentencepiece.h - a tokenizer.model: the ModelProto of google/sentencepiece. */
#ifndef TOKENIZER_SENTENCEPIECE_H
#define TOKENIZER_SENTENCEPIECE_H

#include "tokenizer/tokenizer.h"

/* From the bytes of a tokenizer.model, which are not kept; its BOS is put before texts. Status:
 * BAD_FILE, UNSUPPORTED (other models than BPE, character maps), NO_MEMORY. Owned. */
doppler_status tokenizer_read_sentencepiece(error *e, const void *model, size_t bytes,
                                            tokenizer **out);

#endif
