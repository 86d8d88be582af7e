/* added.h - added tokens: texts that become one id wherever they stand, before any regex or
 * merge. Semantics of Hugging Face tokenizers' added_vocabulary.rs. */
#ifndef TOKENIZER_ADDED_H
#define TOKENIZER_ADDED_H

#include "memory/arena.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    ADDED_SPECIAL = 1,           /* recognised only when the caller asks for special tokens */
    ADDED_SINGLE_WORD = 2,       /* not when a word character touches it */
    ADDED_LSTRIP = 4,            /* takes the white space before it along */
    ADDED_RSTRIP = 8             /* behind it */
};

enum {
    ADDED_MAX_BYTES = 1024,      /* longer texts are not taken: a search takes linear time */
    ADDED_MARK = 0xFF            /* in a marked text: no special token holds the next character */
};

/* Which special tokens of a text count. */
typedef enum added_special { SPECIAL_NONE, SPECIAL_ALL, SPECIAL_UNMARKED } added_special;

/* As in compiled tokenizers. */
typedef struct added_token { uint32_t id, flags; } added_token;

/* Node 0 is the root. A node's child comes after it; siblings have ascending bytes. */
typedef struct added_node {
    uint32_t child, sibling;     /* 0: none */
    uint32_t token_plus_1;       /* token that ends here; 0: none */
    uint32_t byte;
} added_node;

/* A trie over the bytes of the tokens' texts. Zero-initialised: no tokens. */
typedef struct added_tokens {
    added_token *tokens;
    added_node *nodes;
    uint32_t count, special_count, node_count;
    uint32_t first[256];         /* child of the root by byte; 0: none */
} added_tokens;

/* Room for count tokens whose texts have `bytes` bytes together, in a; false: out of memory. */
bool added_init(added_tokens *t, arena *a, uint32_t count, size_t bytes);
/* False when the text, of 1 to ADDED_MAX_BYTES, is already there. */
bool added_add(added_tokens *t, const char *text, size_t bytes, added_token token);
/* Fills special_count and first from tokens and nodes; false when those are no such trie, or a
 * token's id is none below ids. */
bool added_index(added_tokens *t, uint32_t ids);

typedef struct added_match {
    size_t from, to;             /* with the white space that it takes along */
    uint32_t id;
    size_t next;                 /* where the search goes on */
} added_match;

/* The next token in text at or after match->next: leftmost, then longest. done: where the token
 * before ended, which lstrip may not reach behind. SPECIAL_UNMARKED: the text is a marked one; a
 * match includes its marks. False when there is none. */
bool added_next(const added_tokens *t, const char *text, size_t bytes, added_special special,
                size_t done, added_match *match);

#endif
