/* compiled.c - a tokenizer as one block of bytes: a head of 140 bytes and the arrays that a
 * tokenizer consists of, as they lie in memory. Opening checks every index once and points into
 * them. docs/RDRR_FORMAT.md, "tokenizer.bin", is the specification. */
#include "tokenizer/words.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION = 1, ALIGNMENT = 16, BYTES = 256 };

typedef struct section { uint32_t offset, count; } section;

/* Sections in the order of the file, and the bytes of an element. */
#define SECTIONS(X)                                  \
    X(PIECES, sizeof(vocabulary_entry))              \
    X(TEXT, 1)                                       \
    X(MARKS, 1)                                      \
    X(SLOTS, sizeof(uint32_t))                       \
    X(BYTE_IDS, sizeof(uint32_t))                    \
    X(RULES, sizeof(bpe_rule))                       \
    X(RULE_SLOTS, sizeof(uint32_t))                  \
    X(JOINS, 1)                                      \
    X(RAW_TOKENS, sizeof(added_token))               \
    X(RAW_NODES, sizeof(added_node))                 \
    X(NORMALIZED_TOKENS, sizeof(added_token))        \
    X(NORMALIZED_NODES, sizeof(added_node))          \
    X(PREFIX, sizeof(uint32_t))                      \
    X(SUFFIX, sizeof(uint32_t))

enum {
#define X(name, bytes) SECTION_##name,
    SECTIONS(X)
#undef X
    SECTION_COUNT
};

typedef struct head {
    char magic[4];               /* "DTOK" */
    uint32_t version, bytes;     /* of the whole */
    uint32_t words, split, flags, unknown;
    section sections[SECTION_COUNT];
} head;

static const uint32_t element_bytes[SECTION_COUNT] = {
#define X(name, bytes) bytes,
    SECTIONS(X)
#undef X
};

static_assert(sizeof(vocabulary_entry) == 8 && sizeof(bpe_rule) == 12 && sizeof(added_token) == 8 &&
              sizeof(added_node) == 16 && sizeof(head) == 140, "as the specification says");

/* ---- writing */

/* What a section holds; counts are elements. */
static const void *part(const tokenizer *t, int which, uint32_t *count) {
    const added_tokens *raw = &t->added[ADDED_RAW], *normalized = &t->added[ADDED_NORMALIZED];
    const struct { const void *data; uint32_t count; } parts[SECTION_COUNT] = {
        [SECTION_PIECES] = {t->pieces.pieces, t->pieces.ids},
        [SECTION_TEXT] = {t->pieces.bytes, t->pieces.used_bytes},
        [SECTION_MARKS] = {t->marks, t->pieces.ids},
        [SECTION_SLOTS] = {t->pieces.slots, t->pieces.slot_mask + 1},
        [SECTION_BYTE_IDS] = {t->byte_ids, BYTES},
        [SECTION_RULES] = {t->rules.rules, t->rules.count},
        [SECTION_RULE_SLOTS] = {t->rules.slots, t->rules.slot_mask + 1},
        [SECTION_JOINS] = {t->joins, t->joins ? JOINS_BYTES : 0},
        [SECTION_RAW_TOKENS] = {raw->tokens, raw->count},
        [SECTION_RAW_NODES] = {raw->nodes, raw->node_count},
        [SECTION_NORMALIZED_TOKENS] = {normalized->tokens, normalized->count},
        [SECTION_NORMALIZED_NODES] = {normalized->nodes, normalized->node_count},
        [SECTION_PREFIX] = {t->prefix.ids, t->prefix.count},
        [SECTION_SUFFIX] = {t->suffix.ids, t->suffix.count},
    };
    *count = parts[which].count;
    return parts[which].data;
}

static size_t aligned(size_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

void tokenizer_compile(const tokenizer *t, text *out) {
    static const char zeros[ALIGNMENT];
    head h = {.magic = "DTOK", .version = VERSION, .words = t->words, .split = t->split,
              .flags = t->flags, .unknown = t->unknown};
    size_t at = sizeof h;
    for (int i = 0; i < SECTION_COUNT; i++) {
        part(t, i, &h.sections[i].count);
        h.sections[i].offset = (uint32_t)aligned(at);
        at = aligned(at) + (size_t)h.sections[i].count * element_bytes[i];
    }
    h.bytes = (uint32_t)at;
    if (at > UINT32_MAX) out->failed = true;
    text_add(out, (const char *)&h, sizeof h);
    for (int i = 0; i < SECTION_COUNT; i++) {
        uint32_t count;
        const void *data = part(t, i, &count);
        text_add(out, zeros, h.sections[i].offset - out->bytes);
        if (count) text_add(out, data, (size_t)count * element_bytes[i]);
    }
}

/* ---- opening */

static const char file[] = "tokenizer";          /* in messages */

static doppler_status check_head(error *e, const head *h, size_t bytes) {
    if (bytes < sizeof *h || memcmp(h->magic, "DTOK", 4))
        return fail(e, DOPPLER_BAD_FILE, "%s: %zu bytes that are no compiled tokenizer", file,
                    bytes);
    if (h->version != VERSION)
        return fail(e, DOPPLER_UNSUPPORTED, "%s: version %u, this reads %d", file, h->version,
                    VERSION);
    if (h->bytes != bytes)
        return fail(e, DOPPLER_BAD_FILE, "%s: %zu bytes, its head says %u", file, bytes, h->bytes);
    if (h->words >= WORDS_COUNT || h->split >= SPLIT_COUNT || h->flags > TOKENIZER_FLAGS)
        return fail(e, DOPPLER_UNSUPPORTED, "%s: words %u, cut %u, flags %u are not known", file,
                    h->words, h->split, h->flags);
    uint64_t end = sizeof *h;
    for (int i = 0; i < SECTION_COUNT; i++) {
        section s = h->sections[i];
        if (s.offset < end || s.offset % ALIGNMENT || s.offset > bytes ||
            s.count > (bytes - s.offset) / element_bytes[i])
            return fail(e, DOPPLER_BAD_FILE, "%s: section %d: %u elements at %u of %zu bytes",
                        file, i, s.count, s.offset, bytes);
        end = s.offset + (uint64_t)s.count * element_bytes[i];
    }
    return DOPPLER_OK;
}

/* Only ids with a piece are found. */
static bool pieces_are_there(const vocabulary *v) {
    for (uint32_t i = 0; i <= v->slot_mask; i++)
        if (v->slots[i] && !vocabulary_has(v, v->slots[i] - 1)) return false;
    return true;
}

/* A hash table of numbers up to count + 1 in a power of two of slots, one of them free. */
static bool table_is_good(const uint32_t *slots, uint32_t slot_count, uint32_t count) {
    bool free_slot = false;
    if (!slot_count || slot_count & (slot_count - 1)) return false;
    for (uint32_t i = 0; i < slot_count; i++) {
        if (slots[i] > count) return false;
        free_slot |= !slots[i];
    }
    return free_slot;
}

static bool vocabulary_is_good(vocabulary *v, const uint8_t *marks) {
    for (uint32_t id = 0; id < v->ids; id++) {
        vocabulary_entry p = v->pieces[id];
        if (marks[id] > (TOKEN_SPECIAL | TOKEN_REACHED)) return false;
        if (p.offset == NO_TOKEN) continue;
        /* with a NUL behind it */
        if (p.offset >= v->used_bytes || p.bytes >= v->used_bytes - p.offset ||
            v->bytes[p.offset + p.bytes])
            return false;
        if (p.bytes > v->longest_bytes) v->longest_bytes = p.bytes;
    }
    return true;
}

static bool rules_are_good(const bpe *b, uint32_t ids) {
    for (uint32_t i = 0; i < b->count; i++) {
        bpe_rule r = b->rules[i];
        if (r.left >= ids || r.right >= ids || r.merged >= ids) return false;
    }
    return true;
}

static bool ids_are_good(const uint32_t *list, uint32_t count, uint32_t ids, bool may_lack) {
    for (uint32_t i = 0; i < count; i++)
        if (list[i] >= ids && !(may_lack && list[i] == NO_TOKEN)) return false;
    return true;
}

/* Points t into the sections. */
static void bind(tokenizer *t, const head *h) {
    const section *s = h->sections;
#define AT(name) (void *)((uintptr_t)h + s[SECTION_##name].offset)
#define COUNT(name) s[SECTION_##name].count
    t->words = (word_kind)h->words;
    t->split = (splitter)h->split;
    t->flags = h->flags;
    t->unknown = h->unknown;
    t->pieces = (vocabulary){.pieces = AT(PIECES), .bytes = AT(TEXT), .slots = AT(SLOTS),
                             .ids = COUNT(PIECES), .used_bytes = COUNT(TEXT),
                             .slot_mask = COUNT(SLOTS) - 1};
    t->marks = AT(MARKS);
    t->joins = COUNT(JOINS) ? AT(JOINS) : NULL;
    t->byte_ids = AT(BYTE_IDS);
    t->rules = (bpe){AT(RULES), AT(RULE_SLOTS), COUNT(RULES), COUNT(RULE_SLOTS) - 1,
                     false};
    t->added[ADDED_RAW] = (added_tokens){.tokens = AT(RAW_TOKENS), .nodes = AT(RAW_NODES),
                                         .count = COUNT(RAW_TOKENS),
                                         .node_count = COUNT(RAW_NODES)};
    t->added[ADDED_NORMALIZED] = (added_tokens){
        .tokens = AT(NORMALIZED_TOKENS), .nodes = AT(NORMALIZED_NODES),
        .count = COUNT(NORMALIZED_TOKENS), .node_count = COUNT(NORMALIZED_NODES)};
    t->prefix = (token_list){AT(PREFIX), COUNT(PREFIX)};
    t->suffix = (token_list){AT(SUFFIX), COUNT(SUFFIX)};
#undef AT
#undef COUNT
}

/* The name of the first part that is not what it must be; NULL: none. */
static const char *find_bad(tokenizer *t, const head *h) {
    uint32_t ids = t->pieces.ids;
    const section *s = h->sections;
    const struct { const char *name; bool good; } sizes[] = {
        {"marks", s[SECTION_MARKS].count == ids},
        {"joins", s[SECTION_JOINS].count == 0 || s[SECTION_JOINS].count == JOINS_BYTES},
        {"bytes", s[SECTION_BYTE_IDS].count == BYTES},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (!sizes[i].good) return sizes[i].name;
    if (!vocabulary_is_good(&t->pieces, t->marks)) return "pieces";
    if (!table_is_good(t->pieces.slots, s[SECTION_SLOTS].count, ids) ||
        !pieces_are_there(&t->pieces))
        return "slots";
    if (!rules_are_good(&t->rules, ids)) return "rules";
    if (!table_is_good(t->rules.slots, s[SECTION_RULE_SLOTS].count, t->rules.count))
        return "rule slots";
    if (!ids_are_good(t->byte_ids, BYTES, ids, true)) return "bytes";
    if (!ids_are_good(&t->unknown, 1, ids, true)) return "unknown id";
    for (int pass = 0; pass < ADDED_PASSES; pass++)
        if (!added_index(&t->added[pass], ids)) return "added tokens";
    if (!ids_are_good(t->prefix.ids, t->prefix.count, ids, false)) return "prefix";
    return ids_are_good(t->suffix.ids, t->suffix.count, ids, false) ? NULL : "suffix";
}

doppler_status tokenizer_open(error *e, const void *compiled, size_t bytes, tokenizer **out) {
    *out = NULL;
    assert((uintptr_t)compiled % sizeof(uint32_t) == 0);
    const head *h = compiled;
    doppler_status status = check_head(e, h, bytes);
    if (status) return status;
    tokenizer *t = calloc(1, sizeof *t);
    if (!t) return fail(e, DOPPLER_NO_MEMORY, "%s: out of memory", file);
    bind(t, h);
    const char *bad = find_bad(t, h);
    if (bad) {
        tokenizer_close(t);
        return fail(e, DOPPLER_BAD_FILE, "%s: its %s are not what they must be", file, bad);
    }
    *out = t;
    return DOPPLER_OK;
}
