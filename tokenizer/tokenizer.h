/* tokenizer.h - text to token ids and back: byte pair encoding on bytes (LLaMA 3, GPT-2) or on
 * characters (SentencePiece), from the compiled form that packages hold (docs/RDRR_FORMAT.md), or
 * read from other files, to be compiled. Immutable once opened. */
#ifndef TOKENIZER_TOKENIZER_H
#define TOKENIZER_TOKENIZER_H

#include "memory/status.h"
#include "memory/text.h"

typedef struct tokenizer tokenizer;

/* From its compiled form, 4-byte aligned, which stays borrowed: nothing is copied or built, only
 * checked. Status: BAD_FILE, UNSUPPORTED (a version, a way of cutting words), NO_MEMORY. Owned. */
doppler_status tokenizer_open(error *e, const void *compiled, size_t bytes, tokenizer **out);
/* From the bytes of a tokenizer.json, which are not kept. UNSUPPORTED names the first component
 * (normalizer, pre-tokenizer, model, decoder) that this version does not know. Owned. */
doppler_status tokenizer_read_json(error *e, const char *json, size_t bytes, tokenizer **out);
/* The compiled form of any tokenizer: the same bytes for the same tokenizer, everywhere. */
void tokenizer_compile(const tokenizer *t, text *out);
void tokenizer_close(tokenizer *t);       /* NULL is allowed */

uint32_t tokenizer_vocab(const tokenizer *t);             /* ids are below this */

enum {
    TOKENIZE_SPECIAL = 1,        /* special tokens in the text become their ids (other added
                                    tokens always do) */
    TOKENIZE_TEMPLATE = 2,       /* add what the post-processor adds around a text (BOS) */
    TOKENIZE_MARKED = 4          /* with TOKENIZE_SPECIAL: a byte TOKENIZE_MARK is no part of the
                                    text; no special token holds the character behind it */
};
enum { TOKENIZE_MARK = 0xFF };

/* ids of UTF-8 text (ill-formed sequences read as U+FFFD). Writes at most capacity ids and
 * returns how many there are; (size_t)-1 when memory ran out or bytes exceeds 2 GiB. */
size_t tokenizer_encode(const tokenizer *t, const char *text, size_t bytes, uint32_t flags,
                        uint32_t *ids, size_t capacity);

/* The bytes of one token ("" when id is out of range); special tokens have their literal text. */
const char *tokenizer_piece(const tokenizer *t, uint32_t id, size_t *bytes);
bool tokenizer_is_special(const tokenizer *t, uint32_t id);

/* Streaming decoder: holds back an incomplete UTF-8 character until the next token. */
typedef struct token_stream {
    char held[4];
    uint32_t held_bytes;
    bool started;                /* a text before this one goes on: its first space is kept */
} token_stream;

/* Text that id completes: whole characters only, ill-formed bytes as U+FFFD; special tokens give
 * nothing. out must hold tokenizer_stream_max() bytes. Returns the bytes written. */
size_t tokenizer_stream(const tokenizer *t, token_stream *s, uint32_t id, char *out);
/* What is still held, as U+FFFD; at the end of a text. */
size_t tokenizer_stream_end(token_stream *s, char *out);
size_t tokenizer_stream_max(const tokenizer *t);

#endif
