/* stop.h - stop strings in streamed text: what may be the start of one is held back until the next
 * characters decide. The result does not depend on how the text was cut into pieces. */
#ifndef TOKENIZER_STOP_H
#define TOKENIZER_STOP_H

#include "memory/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STOP_MAX_STRINGS = 64, STOP_MAX_BYTES = 1 << 16 };        /* together */

typedef struct stop_string {
    const char *text;            /* [bytes], borrowed from the scanner */
    uint32_t bytes, matched;     /* matched: of its bytes, at the end of the text so far */
    uint32_t *borders;           /* [bytes] length of the longest proper border of text[0..i] */
} stop_string;

/* Zero-initialised: no stop strings. */
typedef struct stop_scanner {
    stop_string *strings;
    uint32_t count, longest_bytes;
    void *memory;                /* of all of them; owned */
    char *held;                  /* [longest_bytes] the end of the text that was not given out */
    uint32_t held_bytes;
    uint32_t found;              /* number of the string that has ended the text, or count */
} stop_scanner;

/* texts: UTF-8 strings one after another, each ended by NUL, `bytes` of all together. Status:
 * BAD_ARGUMENT (an empty one, too many, none ended), NO_MEMORY. */
doppler_status stop_open(error *e, const char *texts, size_t bytes, stop_scanner *s);
void stop_close(stop_scanner *s);

/* Takes the next piece of the text and writes what is certain to stand before a stop string to
 * out, of longest_bytes + bytes. Returns the bytes written. *stopped: the first stop string to be
 * complete (of several that end together the longest) has ended the text; call no more. */
size_t stop_take(stop_scanner *s, const char *piece, size_t bytes, char *out, bool *stopped);
/* What is still held, at the end of the text; as stop_take. */
size_t stop_end(stop_scanner *s, char *out);

#endif
