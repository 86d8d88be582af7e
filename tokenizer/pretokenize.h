/* pretokenize.h - cuts text into the words that BPE works on, as a tokenizer's regex would. */
#ifndef TOKENIZER_PRETOKENIZE_H
#define TOKENIZER_PRETOKENIZE_H

#include <stddef.h>

/* Bytes of the first word of text: well-formed UTF-8, at least one byte. Never 0. */
typedef size_t (*pretokenize_fn)(const char *text, size_t bytes);

/* Ways of cutting, by their numbers in compiled tokenizers. */
typedef enum splitter {
    SPLIT_NONE,                  /* a text is one word */
    SPLIT_LLAMA3,
    SPLIT_GPT2,
    SPLIT_O200K,                 /* GPT-4o, GPT-OSS */
    SPLIT_TEKKEN,                /* Mistral Nemo and later */
    SPLIT_SPACES,                /* before every space (Metaspace with split) */
    SPLIT_COUNT
} splitter;

pretokenize_fn splitter_match(splitter s);
/* By the regex of Hugging Face's Split pre-tokenizer; SPLIT_COUNT: not known. */
splitter splitter_by_regex(const char *regex);

#endif
