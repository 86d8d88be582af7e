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
 * text as given, then those matched in normalized text, as TOKENIZER_NORMALIZED says. */
enum { ADDED_RAW, ADDED_NORMALIZED, ADDED_PASSES };

/* By their numbers in compiled tokenizers, as are the flags. */
typedef enum word_kind {
    WORDS_BYTES,                 /* words are sequences of bytes (byte-level BPE) */
    WORDS_CHARACTERS,            /* of characters (SentencePiece-style BPE) */
    WORDS_COUNT
} word_kind;

enum {
    TOKENIZER_WHOLE_WORDS = 1,   /* a word that is a piece is not merged ("ignore_merges") */
    TOKENIZER_BYTE_FALLBACK = 2, /* characters without a piece become their bytes' pieces */
    TOKENIZER_FUSE_UNKNOWN = 4,  /* neighbouring unknown characters become one unknown token */
    TOKENIZER_MARKED_SPACE = 8,  /* U+2581 in a text is a space, as it is in the pieces */
    TOKENIZER_PREFIX_SPACE = 16, /* a space is put before every text between added tokens */
    TOKENIZER_STRIP_SPACE = 32,  /* decoding drops one space from the start of a text */
    TOKENIZER_JOIN_SPACE = 64,   /* decoding puts a space between tokens */
    TOKENIZER_NORMALIZED = 128,  /* marks and prefixes come before the second pass, else after it */
    TOKENIZER_PREFIX_MISSING = 256,      /* no prefix where a text begins with a space */
    TOKENIZER_PREFIX_FIRST = 512,        /* nor behind an added token */
    TOKENIZER_SQUEEZE_SPACE = 1024,      /* runs of spaces are one, none at a text's ends */
    TOKENIZER_STRIP_TOKEN = 2048,        /* decoding drops all spaces from the first token */
    TOKENIZER_FLAGS = 4095
};

/* Of an id, as stored. */
enum {
    TOKEN_SPECIAL = 1,
    TOKEN_REACHED = 2            /* merging the piece's bytes or characters gives the id again */
};

typedef struct token_list { uint32_t *ids, count; } token_list;

struct tokenizer {
    arena memory;                /* of all that follows, unless it was opened compiled */
    vocabulary pieces;           /* bytes of every id; found: those of the model */
    uint8_t *marks;              /* [pieces.ids] TOKEN_... */
    added_tokens added[ADDED_PASSES];
    splitter split;
    word_kind words;
    uint32_t flags;
    uint32_t unknown;            /* id of a character without a piece, or NO_TOKEN: left out */
    uint32_t *byte_ids;          /* [256] piece of one byte or NO_TOKEN */
    bpe rules;
    uint8_t *joins;              /* [JOINS_BYTES] see words.h; NULL: not known */
    token_list prefix, suffix;   /* what is put around a text */
};

/* No tokens, words not known yet; NULL when out of memory. */
tokenizer *tokenizer_new(void);
/* Fills pieces, marks, added, byte_ids and rules from a tokenizer.json, whose words and flags are
 * known. scratch holds what is only needed meanwhile. */
doppler_status hf_read_model(error *e, tokenizer *t, const json *root, arena *scratch);

/* Whether a file's decoder has one of a type, in front of one of another type if that is there. */
bool hf_decodes(const json *root, const char *type, const char *before);

extern const char hf_name[];     /* "tokenizer.json", in messages */

#endif
