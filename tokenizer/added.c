/* added.c - children of a trie node are a list: tokens are few and mostly share their prefixes. */
#include "tokenizer/added.h"
#include "memory/utf8.h"
#include "tokenizer/unicode.h"

#include <assert.h>
#include <string.h>

bool added_init(added_tokens *t, arena *a, uint32_t count, size_t bytes) {
    *t = (added_tokens){.node_count = 1};
    if (bytes >= UINT32_MAX) return false;
    t->tokens = arena_array(a, count, sizeof *t->tokens);
    t->nodes = arena_array(a, bytes + 1, sizeof *t->nodes);
    return t->tokens && t->nodes;
}

static uint32_t find_child(const added_tokens *t, uint32_t first, unsigned char byte) {
    while (first && t->nodes[first].byte < byte) first = t->nodes[first].sibling;
    return first && t->nodes[first].byte == byte ? first : 0;
}

/* The child of a node for a byte, made where there is none. */
static uint32_t make_child(added_tokens *t, uint32_t parent, unsigned char byte) {
    uint32_t *link = &t->nodes[parent].child;
    while (*link && t->nodes[*link].byte < byte) link = &t->nodes[*link].sibling;
    if (*link && t->nodes[*link].byte == byte) return *link;
    uint32_t node = t->node_count++;
    t->nodes[node] = (added_node){.sibling = *link, .byte = byte};
    *link = node;
    return node;
}

bool added_add(added_tokens *t, const char *text, size_t bytes, added_token token) {
    assert(bytes > 0 && bytes <= ADDED_MAX_BYTES);
    const unsigned char *b = (const unsigned char *)text;
    uint32_t node = 0;
    for (size_t i = 0; i < bytes; i++) {
        node = make_child(t, node, b[i]);
        if (i == 0) t->first[b[0]] = node;
    }
    if (t->nodes[node].token_plus_1) return false;
    t->tokens[t->count++] = token;
    t->special_count += token.flags & ADDED_SPECIAL;
    t->nodes[node].token_plus_1 = t->count;
    return true;
}

bool added_index(added_tokens *t, uint32_t ids) {
    t->special_count = 0;
    memset(t->first, 0, sizeof t->first);
    for (uint32_t i = 0; i < t->count; i++) {
        if (t->tokens[i].id >= ids || t->tokens[i].flags >= 2 * ADDED_RSTRIP) return false;
        t->special_count += t->tokens[i].flags & ADDED_SPECIAL;
    }
    for (uint32_t i = 0; i < t->node_count; i++) {
        const added_node *n = &t->nodes[i];
        if (n->child && (n->child <= i || n->child >= t->node_count)) return false;
        if (n->sibling && (n->sibling >= t->node_count || !i ||
                           t->nodes[n->sibling].byte <= n->byte))
            return false;
        if (n->token_plus_1 > t->count || n->byte > 255 || (!i && n->token_plus_1)) return false;
    }
    if (!t->node_count) return t->count == 0;
    for (uint32_t i = t->nodes[0].child; i; i = t->nodes[i].sibling) t->first[t->nodes[i].byte] = i;
    return true;
}

/* What a text begins with. */
typedef struct longest_match {
    const added_token *token;    /* NULL: nothing */
    size_t end;
    bool marked;                 /* there are marks before its last character */
} longest_match;

/* The longest token, read over single marks in a marked text. */
static longest_match longest(const added_tokens *t, const char *text, size_t bytes, bool marks) {
    const unsigned char *b = (const unsigned char *)text;
    longest_match found = {0};
    bool marked = false;
    uint32_t node = 0;
    for (size_t i = 0; i < bytes && i < 2 * ADDED_MAX_BYTES; i++) {
        if (marks && b[i] == ADDED_MARK && !(i && b[i - 1] == ADDED_MARK)) {
            marked = true;
            continue;
        }
        node = node ? find_child(t, t->nodes[node].child, b[i]) : t->first[b[i]];
        if (!node) break;
        if (t->nodes[node].token_plus_1)
            found = (longest_match){&t->tokens[t->nodes[node].token_plus_1 - 1], i + 1, marked};
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

static bool touches_word(const char *text, size_t bytes, size_t from, size_t to, bool marks) {
    size_t step;
    if (marks && to < bytes && (unsigned char)text[to] == ADDED_MARK) to++;
    return (classes_before(text, from, &step) | classes_at(text, bytes, to, &step)) & UNICODE_WORD;
}

bool added_next(const added_tokens *t, const char *text, size_t bytes, added_special special,
                size_t done, added_match *match) {
    if (t->count == 0 || (!special && t->special_count == t->count)) return false;
    bool marks = special == SPECIAL_UNMARKED;
    size_t step;
    for (size_t at = match->next; at < bytes; at++) {
        unsigned char byte = (unsigned char)text[at];
        if (!t->first[byte] && !(marks && byte == ADDED_MARK)) continue;
        longest_match found = longest(t, text + at, bytes - at, marks);
        const added_token *token = found.token;
        if (!token) continue;
        size_t from = at, to = at + found.end;
        at = to - 1;                     /* also a token that does not count hides others */
        if (token->flags & ADDED_SPECIAL && (!special || found.marked)) continue;
        if (token->flags & ADDED_SINGLE_WORD && touches_word(text, bytes, from, to, marks))
            continue;
        match->next = to;
        if (token->flags & ADDED_LSTRIP)
            while (from > done && classes_before(text, from, &step) & UNICODE_SPACE) from -= step;
        if (token->flags & ADDED_RSTRIP)
            while (classes_at(text, bytes, to, &step) & UNICODE_SPACE) to += step;
        match->from = from;
        match->to = to;
        match->id = token->id;
        return true;
    }
    return false;
}
