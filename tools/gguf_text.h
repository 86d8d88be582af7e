/* gguf_text.h - the metadata of a GGUF file, for people and as JSON. */
#ifndef TOOLS_GGUF_TEXT_H
#define TOOLS_GGUF_TEXT_H

#include "bridge/gguf.h"
#include "memory/text.h"

/* A line per value: key, type, value; long strings are cut, arrays only counted. */
void gguf_text(const gguf *g, text *out);
/* One object: scalars and strings whole, arrays as {"array": type, "count": n}. Numbers that JSON
 * has no form for are strings. */
void gguf_json(const gguf *g, text *out);

#endif
