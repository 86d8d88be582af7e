/* bpe.h - byte pair encoding: of all neighbours that a rule merges, the pair of lowest rank goes
 * first, the leftmost of equals (Sennrich et al. 2016; order as in Hugging Face tokenizers). */
#ifndef TOKENIZER_BPE_H
#define TOKENIZER_BPE_H

#include "memory/arena.h"
#include "tokenizer/queue.h"

#include <stdbool.h>
#include <stdint.h>

/* As in compiled tokenizers, and so is the table. */
typedef struct bpe_rule {
    uint32_t left, right;        /* ids that stand side by side */
    uint32_t merged;             /* id that replaces both */
} bpe_rule;

typedef struct bpe {
    bpe_rule *rules;             /* by rank */
    uint32_t *slots;             /* open addressing by (left, right): rank + 1, or 0: free */
    uint32_t count, slot_mask;
    bool collides;               /* a rule could not be entered: to be refused */
} bpe;

/* Room for `rules` rules, in a; false when out of memory. */
bool bpe_init(bpe *b, arena *a, uint32_t rules);
/* The rule of the next rank. A later rule for the same pair replaces the earlier. */
void bpe_add(bpe *b, bpe_rule rule);

/* Memory of bpe_merge, kept between words. Zero-initialise. */
typedef struct bpe_work {
    struct bpe_symbol *symbols;  /* owned */
    size_t symbol_capacity;
    queue queue;
} bpe_work;

void bpe_work_free(bpe_work *w);

/* Merges ids[0..count) in place. *count becomes the number left; false when out of memory.
 * Time: linear where few ranks occur, else O(count log count). */
bool bpe_merge(const bpe *b, bpe_work *w, uint32_t *ids, size_t *count);

#endif
