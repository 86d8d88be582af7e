/* parts.h - what a tokenizer consists of, whatever it was read from. Private to tokenizer/. */
#ifndef TOKENIZER_PARTS_H
#define TOKENIZER_PARTS_H

#include "memory/json.h"
#include "tokenizer/added.h"
#include "tokenizer/bpe.h"
#include "tokenizer/pretokenize.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/vocabulary.h"

/* The passes over a text in which added tokens are found: first those that are matched in the
 * text as given, then those matched in normalized text. No normalizer is known yet, but the order
 * decides between overlapping tokens. */
enum { ADDED_RAW, ADDED_NORMALIZED, ADDED_PASSES };

typedef struct token_list { uint32_t *ids, count; } token_list;

struct tokenizer {
    arena memory;                /* of all that follows */
    vocabulary pieces;           /* bytes of every id; found: those of the model */
    uint8_t *special;            /* [pieces.ids] */
    added_tokens added[ADDED_PASSES];
    pretokenize_fn next_word;
    bool byte_level;             /* words are sequences of bytes, not of characters */
    bool whole_words;            /* a word that is a piece is not merged ("ignore_merges") */
    uint32_t byte_ids[256];      /* piece of one byte or NO_TOKEN */
    bpe rules;
    token_list prefix, suffix;   /* what the post-processor puts around a text */
};

/* Fills pieces, special, added, byte_ids, rules and whole_words from a tokenizer.json. scratch
 * holds what is only needed meanwhile. */
doppler_status hf_read_model(error *e, tokenizer *t, const json *root, arena *scratch);

extern const char hf_name[];     /* "tokenizer.json", in messages */

#endif
