/* added.h - added tokens: texts that become one id wherever they stand, before any regex or
 * merge. Semantics of Hugging Face tokenizers' added_vocabulary.rs. */
#ifndef TOKENIZER_ADDED_H
#define TOKENIZER_ADDED_H

#include "memory/arena.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct added_token {
    uint32_t id;
    bool special;                /* recognised only when the caller asks for special tokens */
    bool single_word;            /* not when a word character touches it */
    bool lstrip, rstrip;         /* takes the white space before, behind it along */
} added_token;

/* A trie over the bytes of the tokens' texts. Zero-initialised: no tokens. */
typedef struct added_tokens {
    added_token *tokens;
    struct added_node *nodes;
    uint32_t count, special_count, node_count;
    uint32_t root[256];          /* node of a first byte; 0: none */
} added_tokens;

/* Room for count tokens whose texts have `bytes` bytes together, in a; false: out of memory. */
bool added_init(added_tokens *t, arena *a, uint32_t count, size_t bytes);
/* False when the text, which is not empty, is already there. */
bool added_add(added_tokens *t, const char *text, size_t bytes, added_token token);

typedef struct added_match {
    size_t from, to;             /* with the white space that it takes along */
    uint32_t id;
    size_t next;                 /* where the search goes on */
} added_match;

/* The next token in text at or after match->next: leftmost, then longest. done: where the token
 * before ended, which lstrip may not reach behind. False when there is none. */
bool added_next(const added_tokens *t, const char *text, size_t bytes, bool special, size_t done,
                added_match *match);

#endif
