/* added.c - children of a trie node are a list: tokens are few and mostly share their prefixes. */
#include "tokenizer/added.h"
#include "memory/utf8.h"
#include "tokenizer/unicode.h"

#include <assert.h>

struct added_node {
    uint32_t child, sibling;     /* 0: none; node 0 is unused */
    uint32_t token_plus_1;       /* token that ends here; 0: none */
    unsigned char byte;
};

bool added_init(added_tokens *t, arena *a, uint32_t count, size_t bytes) {
    *t = (added_tokens){.node_count = 1};
    if (bytes >= UINT32_MAX) return false;
    t->tokens = arena_array(a, count, sizeof *t->tokens);
    t->nodes = arena_array(a, bytes + 1, sizeof *t->nodes);
    return t->tokens && t->nodes;
}

static uint32_t find_child(const added_tokens *t, uint32_t first, unsigned char byte) {
    while (first && t->nodes[first].byte != byte) first = t->nodes[first].sibling;
    return first;
}

bool added_add(added_tokens *t, const char *text, size_t bytes, added_token token) {
    assert(bytes > 0);
    const unsigned char *b = (const unsigned char *)text;
    uint32_t *first = &t->root[b[0]], node = 0;
    for (size_t i = 0; i < bytes; i++) {
        node = find_child(t, *first, b[i]);
        if (!node) {
            node = t->node_count++;
            t->nodes[node] = (struct added_node){.sibling = *first, .byte = b[i]};
            *first = node;
        }
        first = &t->nodes[node].child;
    }
    if (t->nodes[node].token_plus_1) return false;
    t->tokens[t->count++] = token;
    t->special_count += token.special;
    t->nodes[node].token_plus_1 = t->count;
    return true;
}

/* The longest token that text begins with and its end; NULL when there is none. */
static const added_token *longest(const added_tokens *t, const char *text, size_t bytes,
                                  size_t *end) {
    const unsigned char *b = (const unsigned char *)text;
    const added_token *found = NULL;
    uint32_t node = t->root[b[0]];
    for (size_t i = 0; node;) {
        if (t->nodes[node].token_plus_1) {
            found = &t->tokens[t->nodes[node].token_plus_1 - 1];
            *end = i + 1;
        }
        if (++i == bytes) break;
        node = find_child(t, t->nodes[node].child, b[i]);
    }
    return found;
}

/* Classes of the character before or at `at`, and its bytes; 0 at the ends of the text. */
static uint32_t classes_before(const char *text, size_t at, size_t *step) {
    *step = 0;
    if (at == 0) return 0;
    do ++*step;
    while (*step < at && (text[at - *step] & 0xC0) == 0x80);
    uint32_t code;
    utf8_decode(text + at - *step, *step, &code);
    return unicode_classes(code);
}

static uint32_t classes_at(const char *text, size_t bytes, size_t at, size_t *step) {
    *step = 0;
    if (at == bytes) return 0;
    uint32_t code;
    *step = utf8_decode(text + at, bytes - at, &code);
    return unicode_classes(code);
}

static bool touches_word(const char *text, size_t bytes, size_t from, size_t to) {
    size_t step;
    return (classes_before(text, from, &step) | classes_at(text, bytes, to, &step)) & UNICODE_WORD;
}

bool added_next(const added_tokens *t, const char *text, size_t bytes, bool special, size_t done,
                added_match *match) {
    if (t->count == 0 || (!special && t->special_count == t->count)) return false;
    size_t end = 0, step;
    for (size_t at = match->next; at < bytes; at++) {
        if (!t->root[(unsigned char)text[at]]) continue;
        const added_token *token = longest(t, text + at, bytes - at, &end);
        if (!token) continue;
        size_t from = at, to = at + end;
        at = to - 1;                     /* also a token that does not count hides others */
        if (token->special && !special) continue;
        if (token->single_word && touches_word(text, bytes, from, to)) continue;
        match->next = to;
        if (token->lstrip)
            while (from > done && classes_before(text, from, &step) & UNICODE_SPACE) from -= step;
        if (token->rstrip)
            while (classes_at(text, bytes, to, &step) & UNICODE_SPACE) to += step;
        match->from = from;
        match->to = to;
        match->id = token->id;
        return true;
    }
    return false;
}
