/* synth_gguf.h - a synthetic checkpoint as the GGUF file that llama.cpp's converter makes of it. */
#ifndef TOOLS_SYNTH_GGUF_H
#define TOOLS_SYNTH_GGUF_H

#include "tools/synth.h"

/* Matrices in BF16, vectors in F32. out: a file, which must not exist. Unless quiet, shows progress
 * and tells at the end what was made. UNSUPPORTED: shapes that are not of GGUF's "llama". */
doppler_status synth_gguf(error *e, const synth *s, const char *out, bool quiet);

#endif
