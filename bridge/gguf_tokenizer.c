/* gguf_tokenizer.c - the keys "tokenizer.ggml.*", each of the type and length that it must have. */
#include "bridge/gguf_tokenizer.h"
#include "tokenizer/ggml.h"
#include <inttypes.h>
#include <string.h>

#define KEY "tokenizer.ggml."

/* An array under a key; NULL when absent. length: what it must have, or UINT32_MAX. */
static doppler_status find_array(error *e, const gguf *g, const char *key, gguf_type type,
                                 uint32_t length, const gguf_kv **out) {
    const gguf_kv *v = *out = gguf_find(g, key);
    if (!v) return DOPPLER_OK;
    if (!v->is_array || v->type != type)
        return fail(e, DOPPLER_BAD_FILE, "%s: %s is %s%s, wanted an array of %s", g->file, key,
                    v->is_array ? "an array of " : "", gguf_types[v->type].name,
                    gguf_types[type].name);
    if (length != UINT32_MAX && v->count != length)
        return fail(e, DOPPLER_BAD_FILE, "%s: %s has %" PRIu64 " elements, there are %u tokens",
                    g->file, key, v->count, length);
    return DOPPLER_OK;
}

static doppler_status read_texts(error *e, arena *a, const gguf *g, const char *key,
                                 const ggml_text **out, uint32_t *count) {
    const gguf_kv *v;
    doppler_status status = find_array(e, g, key, GGUF_STRING, UINT32_MAX, &v);
    if (status || !v) return status;
    if (v->count > INT32_MAX)
        return fail(e, DOPPLER_BAD_FILE, "%s: %s has %" PRIu64 " elements", g->file, key, v->count);
    ggml_text *texts = arena_array(a, (size_t)v->count, sizeof *texts);
    if (!texts) return fail(e, DOPPLER_NO_MEMORY, "%s: %s", g->file, key);
    const uint8_t *at = v->data;
    for (uint64_t i = 0; i < v->count; i++) texts[i].text = gguf_next_string(&at, &texts[i].bytes);
    *out = texts;
    *count = (uint32_t)v->count;
    return DOPPLER_OK;
}

/* An array of `count` 4-byte numbers, aligned; NULL when absent. */
static doppler_status read_numbers(error *e, arena *a, const gguf *g, const char *key,
                                   gguf_type type, uint32_t count, const void **out) {
    const gguf_kv *v;
    doppler_status status = find_array(e, g, key, type, count, &v);
    if (status || !v) return status;
    void *copy = arena_array(a, count, 4);
    if (!copy) return fail(e, DOPPLER_NO_MEMORY, "%s: %s", g->file, key);
    memcpy(copy, v->data, (size_t)count * 4);
    *out = copy;
    return DOPPLER_OK;
}

static doppler_status read_said(error *e, const gguf *g, const char *key, int *said) {
    bool value, found;
    doppler_status status = gguf_bool(e, g, key, &value, &found);
    if (!status && found) *said = value;
    return status;
}

/* Token ids; UINT32_MAX and -1 mean none. */
static doppler_status read_ids(error *e, const gguf *g, ggml_vocabulary *v) {
    const struct { const char *key; uint32_t *id; } ids[] = {
        {KEY "bos_token_id", &v->bos}, {KEY "eos_token_id", &v->eos},
        {KEY "unknown_token_id", &v->unknown}};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        const gguf_kv *kv = gguf_find(g, ids[i].key);
        int64_t value;
        if (!kv) continue;
        if (!gguf_integer(kv, &value) || value < -1 || value > UINT32_MAX)
            return fail(e, DOPPLER_BAD_FILE, "%s: %s is no token id", g->file, ids[i].key);
        *ids[i].id = (uint32_t)value;
    }
    return DOPPLER_OK;
}

static doppler_status read(error *e, arena *a, const gguf *g, tokenizer **out) {
    const void *types = NULL, *scores = NULL;
    ggml_vocabulary v = {.file = g->file, .pre = "", .add_bos = -1, .add_eos = -1,
                         .add_space = true, .bos = UINT32_MAX, .eos = UINT32_MAX,
                         .unknown = UINT32_MAX};
    bool found;
    doppler_status status = gguf_string(e, a, g, KEY "model", &v.model, NULL);
    if (status) return status;
    if ((status = gguf_string(e, a, g, KEY "pre", &v.pre, &found)) ||
        (status = read_texts(e, a, g, KEY "tokens", &v.tokens, &v.count)) ||
        (status = read_texts(e, a, g, KEY "merges", &v.merges, &v.merge_count)) ||
        (status = read_numbers(e, a, g, KEY "token_type", GGUF_I32, v.count, &types)) ||
        (status = read_numbers(e, a, g, KEY "scores", GGUF_F32, v.count, &scores)) ||
        (status = read_said(e, g, KEY "add_bos_token", &v.add_bos)) ||
        (status = read_said(e, g, KEY "add_eos_token", &v.add_eos)) ||
        (status = gguf_bool(e, g, KEY "add_space_prefix", &v.add_space, &found)) ||
        (status = gguf_bool(e, g, KEY "remove_extra_whitespaces", &v.squeeze_space, &found)) ||
        (status = read_ids(e, g, &v)))
        return status;
    if (!v.count) return fail(e, DOPPLER_BAD_FILE, "%s: no " KEY "tokens", g->file);
    v.types = types;
    v.scores = scores;
    return tokenizer_read_ggml(e, &v, out);
}

doppler_status gguf_tokenizer(error *e, const gguf *g, tokenizer **out) {
    arena scratch = {0};
    *out = NULL;
    doppler_status status = read(e, &scratch, g, out);
    arena_free(&scratch);
    return status;
}
