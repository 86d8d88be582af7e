/* words.h - from a word to ids: pieces of its bytes or characters, merged.
 *
 * SentencePiece's words are whole texts, so two shortcuts do most of the work, both exact: a text
 * is cut where no rule could ever merge across (joins), and a word that is a piece which merging
 * would give (TOKEN_REACHED) is not merged. */
#ifndef TOKENIZER_WORDS_H
#define TOKENIZER_WORDS_H

#include "tokenizer/parts.h"

/* A bit for every pair of bytes (last of a left piece, first of a right one) that a rule merges. */
enum { JOINS_BYTES = 256 * 256 / 8 };

typedef struct word_encoder {
    const tokenizer *t;
    uint32_t *ids;               /* owned: of the word at hand */
    size_t capacity, count;
    bpe_work work;
} word_encoder;

void word_encoder_free(word_encoder *x);
/* Bytes of text, which is not empty, that can be encoded apart from what follows them. */
size_t word_cut(const tokenizer *t, const char *text, size_t bytes);
/* Ids of a word into x->ids, x->count of them; false when out of memory. */
bool word_encode(word_encoder *x, const char *text, size_t bytes);

/* Fills joins and TOKEN_REACHED of a tokenizer that is complete but for them; false when out of
 * memory. */
bool words_prepare(tokenizer *t);

#endif
