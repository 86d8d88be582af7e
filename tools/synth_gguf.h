/* synth_gguf.h - a synthetic checkpoint as the GGUF file that llama.cpp's converter makes of it. */
#ifndef TOOLS_SYNTH_GGUF_H
#define TOOLS_SYNTH_GGUF_H

#include "tools/synth.h"

/* Matrices in BF16, GPT-OSS's experts in MXFP4, vectors and routers in F32. out: a file, which must
 * not exist. Unless quiet, shows progress and tells at the end what was made. UNSUPPORTED: shapes
 * of Gemma. */
doppler_status synth_gguf(error *e, const synth *s, const char *out, bool quiet);

#endif
