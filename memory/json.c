/* json.c - a recursive descent over RFC 8259, one pass.
 *
 * An unescaped string with its NUL is never longer than its literal with two quotes, so all
 * strings of a document fit one buffer of the document's size; nodes come in growing slabs.
 * Typed access to the tree is in json_get.c. */
#include "memory/hash.h"
#include "memory/json.h"
#include "memory/utf8.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 64, FIRST_SLAB = 16, LARGEST_SLAB = 4096, FEW_MEMBERS = 8 };

typedef struct parser {
    error *e;
    arena *a;
    const char *what;            /* borrowed */
    const char *begin, *at, *end;/* borrowed */
    char *strings;               /* where the next string goes; in a */
    json *nodes;                 /* rest of the newest slab; in a */
    uint32_t nodes_left, slab_nodes;
    const json **slots;          /* owned: scratch of check_names */
    size_t slot_count;
} parser;

static doppler_status parse_value(parser *p, uint32_t depth, json *node);

static doppler_status bad(const parser *p, const char *why) {
    return fail(p->e, DOPPLER_BAD_FILE, "%s: byte %zu: %s", p->what, (size_t)(p->at - p->begin),
                why);
}

static doppler_status expected(const parser *p, const char *what) {
    if (p->at == p->end) return bad(p, "the text ends too early");
    return fail(p->e, DOPPLER_BAD_FILE, "%s: byte %zu: expected %s", p->what,
                (size_t)(p->at - p->begin), what);
}

static json *node_alloc(parser *p) {
    if (!p->nodes_left) {
        p->nodes = arena_array(p->a, p->slab_nodes, sizeof *p->nodes);
        if (!p->nodes) return NULL;
        p->nodes_left = p->slab_nodes;
        if (p->slab_nodes < LARGEST_SLAB) p->slab_nodes *= 2;
    }
    p->nodes_left--;
    return p->nodes++;
}

static void skip_space(parser *p) {
    while (p->at < p->end &&
           (*p->at == ' ' || *p->at == '\n' || *p->at == '\r' || *p->at == '\t'))
        p->at++;
}

static bool take(parser *p, char c) {
    if (p->at == p->end || *p->at != c) return false;
    p->at++;
    return true;
}

/* Four hexadecimal digits; -1 when they are not. */
static int32_t take_hex4(parser *p) {
    int32_t code = 0;
    for (int i = 0; i < 4; i++) {
        if (p->at == p->end) return -1;
        char c = *p->at;
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return -1;
        code = code * 16 + digit;
        p->at++;
    }
    return code;
}

/* What follows a backslash. Surrogates come in pairs (RFC 8259, section 7). */
static doppler_status parse_escape(parser *p, char **out) {
    static const char plain[][2] = {
        {'"', '"'},  {'\\', '\\'}, {'/', '/'},  {'b', '\b'},
        {'f', '\f'}, {'n', '\n'},  {'r', '\r'}, {'t', '\t'},
    };
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        if (take(p, plain[i][0])) {
            *(*out)++ = plain[i][1];
            return DOPPLER_OK;
        }
    }
    if (!take(p, 'u')) return expected(p, "an escape that JSON knows");
    int32_t code = take_hex4(p);
    if (code < 0) return expected(p, "four hexadecimal digits after \\u");
    if (code >= 0xD800 && code < 0xE000) {
        if (code >= 0xDC00 || !take(p, '\\') || !take(p, 'u')) return bad(p, "lone surrogate");
        int32_t low = take_hex4(p);
        if (low < 0xDC00 || low > 0xDFFF) return bad(p, "lone surrogate");
        code = 0x10000 + (code - 0xD800) * 0x400 + (low - 0xDC00);
    }
    *out += utf8_encode((uint32_t)code, *out);
    return DOPPLER_OK;
}

/* The literal at p->at, which begins with a quote. */
static doppler_status parse_string(parser *p, const char **text, uint32_t *bytes) {
    char *out = p->strings;
    *text = out;
    p->at++;
    for (;;) {
        while (p->at < p->end && (unsigned char)*p->at >= 0x20 && (unsigned char)*p->at < 0x80 &&
               *p->at != '"' && *p->at != '\\')
            *out++ = *p->at++;
        if (p->at == p->end) return expected(p, "a quote");
        if (take(p, '"')) break;
        if (take(p, '\\')) {
            doppler_status status = parse_escape(p, &out);
            if (status) return status;
            continue;
        }
        uint32_t code, step = utf8_decode(p->at, (size_t)(p->end - p->at), &code);
        if (code == UTF8_ILL_FORMED) return bad(p, "ill-formed UTF-8 in a string");
        if (code < 0x20) return bad(p, "control character in a string");
        memcpy(out, p->at, step);
        out += step;
        p->at += step;
    }
    *bytes = (uint32_t)(out - *text);
    *out++ = 0;
    p->strings = out;
    return DOPPLER_OK;
}

/* Digits at p->at, accumulated into *value while it stays below 2^64; returns their number. */
static size_t take_digits(parser *p, uint64_t *value, bool *overflow) {
    const char *from = p->at;
    for (; p->at < p->end && *p->at >= '0' && *p->at <= '9'; p->at++) {
        uint64_t digit = (uint64_t)(*p->at - '0');
        if (*value > (UINT64_MAX - digit) / 10) *overflow = true;
        else *value = *value * 10 + digit;
    }
    return (size_t)(p->at - from);
}

static doppler_status parse_number(parser *p, json *node) {
    const char *from = p->at;
    bool negative = take(p, '-'), overflow = false, fraction = false;
    const char *digits = p->at;
    uint64_t value = 0, unused = 0;
    size_t count = take_digits(p, &value, &overflow);
    if (count == 0) return expected(p, "a digit");
    if (count > 1 && *digits == '0') return bad(p, "number with a leading zero");
    if (take(p, '.')) {
        fraction = true;
        if (!take_digits(p, &unused, &overflow)) return expected(p, "a digit");
    }
    if (take(p, 'e') || take(p, 'E')) {
        fraction = true;
        if (!take(p, '+')) take(p, '-');
        if (!take_digits(p, &unused, &overflow)) return expected(p, "a digit");
    }
    node->type = JSON_NUMBER;
    node->is_integer = !fraction && !overflow && value <= (uint64_t)INT64_MAX + negative;
    if (node->is_integer) {
        node->integer = negative ? (int64_t)-value : (int64_t)value;
        node->number = negative ? -(double)value : (double)value;
        return DOPPLER_OK;
    }
    memcpy(p->strings, from, (size_t)(p->at - from));    /* for its NUL; not kept */
    p->strings[p->at - from] = 0;
    node->number = strtod(p->strings, NULL);
    return isfinite(node->number) ? DOPPLER_OK : bad(p, "number beyond the range of a double");
}

static doppler_status parse_word(parser *p, json *node) {
    static const struct { const char *word; json_type type; bool boolean; } words[] = {
        {"null", JSON_NULL, false}, {"true", JSON_BOOL, true}, {"false", JSON_BOOL, false},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t bytes = strlen(words[i].word);
        if ((size_t)(p->end - p->at) < bytes || memcmp(p->at, words[i].word, bytes) != 0) continue;
        p->at += bytes;
        node->type = words[i].type;
        node->boolean = words[i].boolean;
        return DOPPLER_OK;
    }
    return expected(p, "a value");
}

static bool same_name(const json *a, const json *b) {
    return a->key_bytes == b->key_bytes && memcmp(a->key, b->key, a->key_bytes) == 0;
}

static doppler_status twice(const parser *p, const json *member) {
    return fail(p->e, DOPPLER_BAD_FILE, "%s: byte %zu: name \"%.60s\" appears twice in an object",
                p->what, (size_t)(p->at - p->begin), member->key);
}

/* No two members may have one name. Large objects are hashed; a document made so that its names
 * collide is refused rather than compared for hours. */
static doppler_status check_names(parser *p, const json *object) {
    if (object->count <= FEW_MEMBERS) {
        for (const json *m = object->first; m; m = m->next)
            for (const json *other = object->first; other != m; other = other->next)
                if (same_name(m, other)) return twice(p, m);
        return DOPPLER_OK;
    }
    size_t slots = hash_slots(object->count);
    if (slots > p->slot_count) {
        free(p->slots);
        p->slots = malloc(slots * sizeof *p->slots);
        p->slot_count = p->slots ? slots : 0;
        if (!p->slots) return fail(p->e, DOPPLER_NO_MEMORY, "%s: %u names", p->what, object->count);
    }
    memset(p->slots, 0, slots * sizeof *p->slots);
    uint64_t steps_left = 64 * (uint64_t)object->count;
    for (const json *m = object->first; m; m = m->next) {
        size_t slot = hash_bytes(m->key, m->key_bytes) & (slots - 1);
        for (; p->slots[slot]; slot = (slot + 1) & (slots - 1)) {
            if (same_name(m, p->slots[slot])) return twice(p, m);
            if (steps_left-- == 0) return bad(p, "names of an object made to collide");
        }
        p->slots[slot] = m;
    }
    return DOPPLER_OK;
}

static doppler_status parse_key(parser *p, json *member) {
    skip_space(p);
    if (p->at == p->end || *p->at != '"') return expected(p, "a name in quotes");
    doppler_status status = parse_string(p, &member->key, &member->key_bytes);
    if (status) return status;
    skip_space(p);
    return take(p, ':') ? DOPPLER_OK : expected(p, "':'");
}

/* Children of an array or object, whose bracket has been taken, up to and with close. */
static doppler_status parse_children(parser *p, uint32_t depth, json *node, char close) {
    bool object = close == '}';
    node->type = object ? JSON_OBJECT : JSON_ARRAY;
    if (depth == MAX_DEPTH) return bad(p, "nested deeper than 64");
    skip_space(p);
    if (take(p, close)) return DOPPLER_OK;
    json **link = &node->first;
    do {
        json *child = node_alloc(p);
        if (!child) return fail(p->e, DOPPLER_NO_MEMORY, "%s: out of memory", p->what);
        doppler_status status = object ? parse_key(p, child) : DOPPLER_OK;
        if (!status) status = parse_value(p, depth + 1, child);
        if (status) return status;
        *link = child;
        link = &child->next;
        node->count++;
        skip_space(p);
    } while (take(p, ','));
    if (!take(p, close)) return expected(p, object ? "',' or '}'" : "',' or ']'");
    return object ? check_names(p, node) : DOPPLER_OK;
}

static doppler_status parse_value(parser *p, uint32_t depth, json *node) {
    skip_space(p);
    if (p->at == p->end) return expected(p, "a value");
    if (take(p, '{')) return parse_children(p, depth, node, '}');
    if (take(p, '[')) return parse_children(p, depth, node, ']');
    if (*p->at == '"') {
        node->type = JSON_STRING;
        return parse_string(p, &node->text, &node->text_bytes);
    }
    if (*p->at == '-' || (*p->at >= '0' && *p->at <= '9')) return parse_number(p, node);
    return parse_word(p, node);
}

doppler_status json_parse(error *e, arena *a, const char *what, const char *text, size_t bytes,
                          json **root) {
    *root = NULL;
    if (bytes >= UINT32_MAX)
        return fail(e, DOPPLER_UNSUPPORTED, "%s: %zu bytes of JSON, at most 4 GiB are read", what,
                    bytes);
    parser p = {.e = e, .a = a, .what = what, .begin = text, .at = text, .end = text + bytes,
                .slab_nodes = FIRST_SLAB};
    p.strings = arena_alloc(a, bytes + 1);
    json *node = node_alloc(&p);
    if (!p.strings || !node) return fail(e, DOPPLER_NO_MEMORY, "%s: out of memory", what);
    doppler_status status = parse_value(&p, 0, node);
    if (!status) {
        skip_space(&p);
        if (p.at < p.end) status = bad(&p, "text after the document");
    }
    free(p.slots);
    if (!status) *root = node;
    return status;
}
