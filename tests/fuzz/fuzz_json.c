/* fuzz_json.c - a document that is taken survives being written and read again. */
#include "memory/json.h"
#include "memory/text.h"
#include "memory/utf8.h"
#include "tests/fuzz/fuzz.h"
#include <math.h>
#include <string.h>

static void check_text(const char *text, size_t bytes) {
    assert(text[bytes] == 0);
    for (size_t at = 0; at < bytes;) {
        uint32_t code;
        at += utf8_decode(text + at, bytes - at, &code);
        assert(code != UTF8_ILL_FORMED);
    }
}

static void write_node(const json *node, text *out) {
    static const char *const brackets[] = {[JSON_ARRAY] = "[]", [JSON_OBJECT] = "{}"};
    if (node->key) {
        check_text(node->key, node->key_bytes);
        text_json(out, node->key, node->key_bytes);
        text_add(out, ":", 1);
    }
    switch (node->type) {
    case JSON_NULL: text_add(out, "null", 4); return;
    case JSON_BOOL: text_format(out, "%s", node->boolean ? "true" : "false"); return;
    case JSON_STRING:
        check_text(node->text, node->text_bytes);
        text_json(out, node->text, node->text_bytes);
        return;
    case JSON_NUMBER:
        assert(isfinite(node->number));
        if (node->is_integer) text_format(out, "%lld", (long long)node->integer);
        else text_format(out, "%.17e", node->number);
        return;
    case JSON_ARRAY:
    case JSON_OBJECT: break;
    }
    const char *pair = brackets[node->type];
    uint32_t count = 0;
    text_add(out, pair, 1);
    for (const json *child = node->first; child; child = child->next) {
        assert(!child->key == (node->type == JSON_ARRAY));
        if (count++) text_add(out, ",", 1);
        write_node(child, out);
    }
    assert(count == node->count);
    text_add(out, pair + 1, 1);
}

static bool same_text(const char *a, size_t a_bytes, const char *b, size_t b_bytes) {
    return a_bytes == b_bytes && (!a_bytes || memcmp(a, b, a_bytes) == 0);
}

static void check_same(const json *a, const json *b) {
    assert(a->type == b->type && a->count == b->count && !a->key == !b->key);
    assert(same_text(a->key, a->key_bytes, b->key, b->key_bytes));
    assert(same_text(a->text, a->text_bytes, b->text, b->text_bytes));
    assert(a->boolean == b->boolean && a->is_integer == b->is_integer);
    assert(a->integer == b->integer && a->number == b->number);
    const json *x = a->first, *y = b->first;
    for (; x && y; x = x->next, y = y->next) check_same(x, y);
    assert(!x && !y);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    arena a = {0};
    error e = {0};
    json *root, *again;
    doppler_status status = json_parse(&e, &a, "fuzz", (const char *)data, bytes, &root);
    FUZZ_CHECK_ERROR(status, e);
    if (!status) {
        text out = {0};
        write_node(root, &out);
        assert(!out.failed);
        assert(json_parse(&e, &a, "again", out.data, out.bytes, &again) == DOPPLER_OK);
        check_same(root, again);
        text_free(&out);
    }
    arena_free(&a);
    return 0;
}
