/* bpe.c - a doubly linked list of symbols and a queue of the merges that are possible.
 *
 * A merge changes two neighbourhoods, so it adds at most two entries. Entries that an earlier
 * merge made impossible stay in the queue and are recognised when they come up: the symbols at
 * their place are no longer the pair they were made for. An entry is one number, rank << 32 | index
 * of the left symbol: the smallest goes first. */
#include "tokenizer/bpe.h"
#include "memory/hash.h"
#include "tokenizer/vocabulary.h"

#include <stdlib.h>

#define NONE UINT32_MAX

/* More than all that a merge needs for a symbol. */
enum { MOST_BYTES_EACH = 64 };

struct bpe_symbol {
    uint32_t id;                 /* NO_TOKEN: merged into its left neighbour */
    uint32_t left, right;        /* neighbours' indices or NONE */
};

bool bpe_init(bpe *b, arena *a, uint32_t rules) {
    size_t slots = hash_slots(rules);
    *b = (bpe){0};
    if (slots > UINT32_MAX) return false;
    b->rules = arena_array(a, rules, sizeof *b->rules);
    b->slots = arena_array(a, slots, sizeof *b->slots);
    b->slot_mask = (uint32_t)(slots - 1);
    return b->rules && b->slots;
}

/* The slot of the pair's rule, or the free one where it would go; NULL when it is too far. */
static uint32_t *find_slot(const bpe *b, uint32_t left, uint32_t right) {
    uint32_t slot = (uint32_t)hash_u64((uint64_t)left << 32 | right) & b->slot_mask;
    for (uint32_t step = 0; step < HASH_MAX_STEPS; step++, slot = (slot + 1) & b->slot_mask) {
        uint32_t rank_plus_1 = b->slots[slot];
        if (!rank_plus_1) return &b->slots[slot];
        const bpe_rule *rule = &b->rules[rank_plus_1 - 1];
        if (rule->left == left && rule->right == right) return &b->slots[slot];
    }
    return NULL;
}

void bpe_add(bpe *b, bpe_rule rule) {
    b->rules[b->count++] = rule;
    uint32_t *slot = b->collides ? NULL : find_slot(b, rule.left, rule.right);
    if (slot) *slot = b->count;
    else b->collides = true;
}

void bpe_work_free(bpe_work *w) {
    free(w->symbols);
    queue_free(&w->queue);
    *w = (bpe_work){0};
}

/* Of count symbols: at most count - 1 entries at first, and one more per merge (two appear, one
 * is taken), of which there are at most count - 1. */
static bool reserve(bpe_work *w, size_t count) {
    if (count > UINT32_MAX / 2 || count > SIZE_MAX / MOST_BYTES_EACH) return false;
    if (count > w->symbol_capacity) {
        free(w->symbols);
        w->symbol_capacity = count + 64;
        w->symbols = malloc(w->symbol_capacity * sizeof *w->symbols);
    }
    if (w->symbols && queue_reset(&w->queue, 2 * count)) return true;
    bpe_work_free(w);
    return false;
}

/* Enters the merge of a symbol with its right neighbour, if there is a rule. */
static void consider(const bpe *b, bpe_work *w, uint32_t at) {
    const struct bpe_symbol *s = &w->symbols[at];
    if (s->right == NONE) return;
    const uint32_t *slot = find_slot(b, s->id, w->symbols[s->right].id);
    if (slot && *slot) queue_push(&w->queue, (uint64_t)(*slot - 1) << 32 | at);
}

bool bpe_merge(const bpe *b, bpe_work *w, uint32_t *ids, size_t *count) {
    if (*count < 2) return true;
    if (!reserve(w, *count)) return false;
    uint32_t n = (uint32_t)*count;
    struct bpe_symbol *s = w->symbols;
    for (uint32_t i = 0; i < n; i++)
        s[i] = (struct bpe_symbol){ids[i], i ? i - 1 : NONE, i + 1 < n ? i + 1 : NONE};
    for (uint32_t i = 0; i + 1 < n; i++) consider(b, w, i);
    for (uint64_t top; queue_pop(&w->queue, &top);) {
        const bpe_rule *rule = &b->rules[top >> 32];
        uint32_t at = (uint32_t)top, right = s[at].right;
        if (s[at].id != rule->left || right == NONE || s[right].id != rule->right) continue;
        s[at].id = rule->merged;
        s[right].id = NO_TOKEN;
        s[at].right = s[right].right;
        if (s[at].right != NONE) s[s[at].right].left = at;
        if (s[at].left != NONE) consider(b, w, s[at].left);
        consider(b, w, at);
    }
    *count = 0;
    for (uint32_t i = 0; i != NONE; i = s[i].right) ids[(*count)++] = s[i].id;
    return true;
}
