/* texts.h - what must hold of any tokenizer that could be read. */
#ifndef TESTS_FUZZ_TEXTS_H
#define TESTS_FUZZ_TEXTS_H

#include "tests/fuzz/fuzz.h"
#include "tokenizer/tokenizer.h"

/* Encodes a few texts, those of its pieces and the one given to ids of its own, and decodes ids to
 * whole characters; compiles to a tokenizer that does the same. */
void fuzz_texts(const tokenizer *t, const uint8_t *text, size_t bytes);

#endif
