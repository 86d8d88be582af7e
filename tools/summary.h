/* summary.h - what a model is, in the few numbers that people ask for, of any family: also of those
 * that the engine does not run. Lenient: what a file does not say is 0. */
#ifndef TOOLS_SUMMARY_H
#define TOOLS_SUMMARY_H

#include "bridge/gguf.h"
#include "bridge/hf_config.h"
#include "memory/model.h"

typedef struct summary {
    char architecture[40];       /* "llama"; "" when nothing is known */
    uint32_t layers, dim, hidden, heads, kv_heads, head_dim, vocab, context;
    uint32_t experts, experts_used;      /* of a layer; 0: dense */
    uint32_t window, sliding_layers;     /* that see only the last window positions */
    bool tied_head;
} summary;

void summary_of_model(const model_config *m, summary *out);
/* config.json. */
void summary_of_config(hf_text config, summary *out);
void summary_of_gguf(const gguf *files, uint32_t count, summary *out);

/* K and V of every layer at a context, 2 bytes a number; a layer that slides keeps its window and a
 * step of tokens more. */
uint64_t summary_kv_bytes(const summary *s, uint32_t context);

#endif
