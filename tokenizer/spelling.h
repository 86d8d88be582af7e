/* spelling.h - how files write pieces and merges: those of byte-level BPE in an alphabet in which
 * each byte is a printable character (Radford et al. 2019, encoder.py, bytes_to_unicode), those of
 * SentencePiece with U+2581 for a space and "<0x0A>" for a byte. */
#ifndef TOKENIZER_SPELLING_H
#define TOKENIZER_SPELLING_H

#include "tokenizer/parts.h"

enum { ALPHABET_CODES = 256 + 68 };

typedef struct alphabet {
    int16_t bytes_of[ALPHABET_CODES];    /* byte of an alphabet character or -1 */
} alphabet;

void alphabet_fill(alphabet *a);
/* Bytes that a text in the alphabet stands for, into out (at least as large); false when it has
 * another character. */
bool alphabet_bytes(const alphabet *a, const char *text, size_t bytes, char *out,
                    size_t *out_bytes);

#define SPACE_MARK "\xE2\x96\x81"               /* U+2581 */

/* Bytes of a text with spaces for marks, into out (at least as large). */
size_t unmark_spaces(const char *text, size_t bytes, char *out);
/* Bytes of text with one space for each run of spaces and none at its ends, in place. */
size_t squeeze_spaces(char *text, size_t bytes);
/* "<0x41>" -> 0x41; -1: no such. */
int spelled_byte(const char *text, size_t bytes);

typedef struct piece_text { const char *text; size_t bytes; } piece_text;

/* "left right" with one space; false when it is no such. */
bool merge_split(const char *merge, size_t bytes, piece_text side[2]);
/* Adds the rule of the next rank: the pieces are those of `texts`, buffer holds the longest two of
 * them. what: the file, in messages. */
doppler_status merge_add(error *e, const char *what, tokenizer *t, const vocabulary *texts,
                         const piece_text side[2], char *buffer);

#endif
