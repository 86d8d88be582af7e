/* ggml.h - the tokenizer that a GGUF file or a SentencePiece model describes: pieces with types,
 * and merges or scores. */
#ifndef TOKENIZER_GGML_H
#define TOKENIZER_GGML_H

#include "tokenizer/tokenizer.h"

/* enum llama_token_type of llama.h, which is SentencePiece's ModelProto.SentencePiece.Type */
enum {
    GGML_TOKEN_NORMAL = 1, GGML_TOKEN_UNKNOWN, GGML_TOKEN_CONTROL, GGML_TOKEN_USER,
    GGML_TOKEN_UNUSED, GGML_TOKEN_BYTE
};

typedef struct ggml_text { const char *text; uint64_t bytes; } ggml_text;

/* Everything is borrowed for the call. */
typedef struct ggml_vocabulary {
    const char *file;            /* its name, for messages */
    const char *model;           /* "gpt2": merges of bytes; "llama": SentencePiece with scores */
    const char *pre;             /* "gpt2": how words are cut; "" when not said */
    const ggml_text *tokens;     /* [count] */
    const int32_t *types;        /* [count]; NULL: all are normal */
    const float *scores;         /* [count]; NULL but for "llama" */
    uint32_t count;
    const ggml_text *merges;     /* [merge_count], "left right" */
    uint32_t merge_count;
    int add_bos, add_eos;        /* 0, 1, or -1: not said */
    bool add_space, squeeze_space;       /* SentencePiece's dummy prefix; extra spaces removed */
    uint32_t bos, eos, unknown;  /* UINT32_MAX: none */
} ggml_vocabulary;

/* Status: BAD_FILE, UNSUPPORTED (model, pre), NO_MEMORY. Owned. */
doppler_status tokenizer_read_ggml(error *e, const ggml_vocabulary *v, tokenizer **out);

#endif
