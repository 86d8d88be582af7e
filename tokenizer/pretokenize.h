/* pretokenize.h - cuts text into the words that BPE works on, as a tokenizer's regex would. */
#ifndef TOKENIZER_PRETOKENIZE_H
#define TOKENIZER_PRETOKENIZE_H

#include <stddef.h>

/* Bytes of the first word of text: well-formed UTF-8, at least one byte. Never 0. */
typedef size_t (*pretokenize_fn)(const char *text, size_t bytes);

/* The matcher written for a regex of Hugging Face's Split pre-tokenizer; NULL: none was. */
pretokenize_fn pretokenize_by_regex(const char *regex);

#endif
