/* gguf.c - see gguf.h. The header is walked twice: once to learn whether all of it is there and
 * well-formed, without trusting a count, and once to keep it. */
#include "bridge/gguf.h"
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PREFIX_BYTES = 24, DEFAULT_ALIGNMENT = 32, MIN_VALUE_BYTES = 14, MIN_TENSOR_BYTES = 24 };
enum { MAX_SPLITS = 65535 };

const gguf_type_info gguf_types[GGUF_TYPE_COUNT] = {
    [GGUF_U8] = {"uint8", 1},      [GGUF_I8] = {"int8", 1},     [GGUF_U16] = {"uint16", 2},
    [GGUF_I16] = {"int16", 2},     [GGUF_U32] = {"uint32", 4},  [GGUF_I32] = {"int32", 4},
    [GGUF_F32] = {"float32", 4},   [GGUF_BOOL] = {"bool", 1},   [GGUF_STRING] = {"string", 0},
    [GGUF_ARRAY] = {"array", 0},   [GGUF_U64] = {"uint64", 8},  [GGUF_I64] = {"int64", 8},
    [GGUF_F64] = {"float64", 8},
};

/* enum ggml_type of ggml.h; blocks of ggml-common.h. */
const ggml_type_info ggml_types[GGML_TYPES] = {
    [0] = {"F32", 1, 4, SOURCE_F32},
    [1] = {"F16", 1, 2, SOURCE_F16},
    [2] = {"Q4_0", 32, 18, SOURCE_Q4_0},
    [3] = {"Q4_1", 32, 20, SOURCE_Q4_1},
    [6] = {"Q5_0", 32, 22, SOURCE_Q5_0},
    [7] = {"Q5_1", 32, 24, SOURCE_Q5_1},
    [8] = {"Q8_0", 32, 34, SOURCE_Q8_0},
    [9] = {"Q8_1", 32, 36, SOURCE_TYPE_COUNT},
    [10] = {"Q2_K", 256, 84, SOURCE_Q2_K},
    [11] = {"Q3_K", 256, 110, SOURCE_Q3_K},
    [12] = {"Q4_K", 256, 144, SOURCE_Q4_K},
    [13] = {"Q5_K", 256, 176, SOURCE_Q5_K},
    [14] = {"Q6_K", 256, 210, SOURCE_Q6_K},
    [15] = {"Q8_K", 256, 292, SOURCE_TYPE_COUNT},
    [16] = {"IQ2_XXS", 256, 66, SOURCE_TYPE_COUNT},
    [17] = {"IQ2_XS", 256, 74, SOURCE_TYPE_COUNT},
    [18] = {"IQ3_XXS", 256, 98, SOURCE_TYPE_COUNT},
    [19] = {"IQ1_S", 256, 50, SOURCE_TYPE_COUNT},
    [20] = {"IQ4_NL", 32, 18, SOURCE_TYPE_COUNT},
    [21] = {"IQ3_S", 256, 110, SOURCE_TYPE_COUNT},
    [22] = {"IQ2_S", 256, 82, SOURCE_TYPE_COUNT},
    [23] = {"IQ4_XS", 256, 136, SOURCE_TYPE_COUNT},
    [24] = {"I8", 1, 1, SOURCE_TYPE_COUNT},
    [25] = {"I16", 1, 2, SOURCE_TYPE_COUNT},
    [26] = {"I32", 1, 4, SOURCE_TYPE_COUNT},
    [27] = {"I64", 1, 8, SOURCE_TYPE_COUNT},
    [28] = {"F64", 1, 8, SOURCE_TYPE_COUNT},
    [29] = {"IQ1_M", 256, 56, SOURCE_TYPE_COUNT},
    [30] = {"BF16", 1, 2, SOURCE_BF16},
    [34] = {"TQ1_0", 256, 54, SOURCE_TYPE_COUNT},
    [35] = {"TQ2_0", 256, 66, SOURCE_TYPE_COUNT},
    [39] = {"MXFP4", 32, 17, SOURCE_MXFP4},
};

/* ---- bytes */

/* A walk over the header. Once `wanted` is set, the prefix has ended and the walk stops. */
typedef struct walk {
    error *e;
    const char *file;
    const uint8_t *data;
    uint64_t at, bytes, file_bytes;
    uint64_t wanted;             /* 0, or where the prefix must reach at least */
} walk;

/* Whether `bytes` more can be read: they are there; or the file has them and the host must bring
 * them (OK with w->wanted set, as callers must check); or the file ends. */
static doppler_status need(walk *w, uint64_t bytes, const char *what) {
    if (bytes <= w->bytes - w->at) return DOPPLER_OK;
    if (bytes > w->file_bytes - w->at)
        return fail(w->e, DOPPLER_BAD_FILE, "%s: %s at byte %" PRIu64 " needs %" PRIu64
                    " bytes, the file has %" PRIu64 " there", w->file, what, w->at, bytes,
                    w->file_bytes - w->at);
    if (bytes > GGUF_MAX_HEADER || w->at + bytes > GGUF_MAX_HEADER)
        return fail(w->e, DOPPLER_BAD_FILE, "%s: %s at byte %" PRIu64 " needs %" PRIu64
                    " bytes; a header may have %d", w->file, what, w->at, bytes, GGUF_MAX_HEADER);
    w->wanted = w->at + bytes;
    return DOPPLER_OK;
}

static uint64_t little(const uint8_t *at, uint32_t bytes) {
    uint64_t value = 0;
    for (uint32_t i = 0; i < bytes; i++) value |= (uint64_t)at[i] << 8 * i;
    return value;
}

/* On success with w->wanted unset, *out is the number and the walk behind it. */
static doppler_status take(walk *w, uint32_t bytes, const char *what, uint64_t *out) {
    doppler_status status = need(w, bytes, what);
    *out = 0;
    if (status || w->wanted) return status;
    *out = little(w->data + w->at, bytes);
    w->at += bytes;
    return DOPPLER_OK;
}

static doppler_status take_string(walk *w, const char *what, const char **text, uint64_t *bytes) {
    doppler_status status = take(w, 8, what, bytes);
    if (status || w->wanted || (status = need(w, *bytes, what)) || w->wanted) return status;
    *text = (const char *)w->data + w->at;
    w->at += *bytes;
    return DOPPLER_OK;
}

/* ---- metadata */

static doppler_status skip_bools(walk *w, uint64_t count, const gguf_kv *v) {
    for (uint64_t i = 0; i < count; i++)
        if (v->data[i] > 1)
            return fail(w->e, DOPPLER_BAD_FILE, "%s: \"%.*s\" holds a bool of %u", w->file,
                        (int)(v->key_bytes < 60 ? v->key_bytes : 60), v->key, v->data[i]);
    return DOPPLER_OK;
}

/* Over the value's elements. */
static doppler_status take_elements(walk *w, gguf_kv *v) {
    static const char what[] = "a metadata value";
    uint32_t each = gguf_types[v->type].bytes;
    v->data = w->data + w->at;
    if (each) {
        if (v->count > GGUF_MAX_HEADER * 8ull)   /* so that the product does not wrap */
            return fail(w->e, DOPPLER_BAD_FILE, "%s: an array of %" PRIu64 " elements", w->file,
                        v->count);
        doppler_status status = need(w, v->count * each, what);
        if (status || w->wanted) return status;
        w->at += v->count * each;
        return v->type == GGUF_BOOL ? skip_bools(w, v->count, v) : DOPPLER_OK;
    }
    if (v->count > (w->file_bytes - w->at) / 8)
        return fail(w->e, DOPPLER_BAD_FILE, "%s: an array of %" PRIu64 " strings in %" PRIu64
                    " bytes", w->file, v->count, w->file_bytes - w->at);
    for (uint64_t i = 0; i < v->count; i++) {
        const char *text;
        uint64_t bytes;
        doppler_status status = take_string(w, what, &text, &bytes);
        if (status || w->wanted) return status;
    }
    return DOPPLER_OK;
}

static doppler_status take_value(walk *w, gguf_kv *v) {
    uint64_t type;
    *v = (gguf_kv){.count = 1};
    doppler_status status = take_string(w, "a metadata key", &v->key, &v->key_bytes);
    if (status || w->wanted) return status;
    if (!v->key_bytes)
        return fail(w->e, DOPPLER_BAD_FILE, "%s: a metadata key is empty", w->file);
    if ((status = take(w, 4, "a value's type", &type)) || w->wanted) return status;
    if (type == GGUF_ARRAY) {
        v->is_array = true;
        if ((status = take(w, 4, "an array's type", &type)) || w->wanted ||
            (status = take(w, 8, "an array's length", &v->count)) || w->wanted)
            return status;
    }
    int shown = (int)(v->key_bytes < 60 ? v->key_bytes : 60);
    if (type >= GGUF_TYPE_COUNT)
        return fail(w->e, DOPPLER_BAD_FILE, "%s: \"%.*s\" has the type %" PRIu64, w->file, shown,
                    v->key, type);
    if (type == GGUF_ARRAY)
        return fail(w->e, DOPPLER_BAD_FILE, "%s: \"%.*s\" is an array of arrays", w->file, shown,
                    v->key);
    v->type = (gguf_type)type;
    return take_elements(w, v);
}

/* ---- tensors */

static doppler_status take_shape(walk *w, gguf_tensor *t, const char *name, int shown) {
    uint64_t dims, weights = 1;
    doppler_status status = take(w, 4, "a tensor's dimensions", &dims);
    if (status || w->wanted) return status;
    if (dims > GGUF_MAX_DIMS)
        return fail(w->e, DOPPLER_BAD_FILE, "%s: tensor \"%.*s\" has %" PRIu64 " dimensions, at "
                    "most %d", w->file, shown, name, dims, GGUF_MAX_DIMS);
    t->dims = (uint32_t)dims;
    for (uint32_t d = 0; d < GGUF_MAX_DIMS; d++) {
        t->shape[d] = 1;
        if (d >= dims) continue;
        if ((status = take(w, 8, "a tensor's shape", &t->shape[d])) || w->wanted) return status;
        if (t->shape[d] > INT64_MAX || (t->shape[d] && weights > INT64_MAX / t->shape[d]))
            return fail(w->e, DOPPLER_BAD_FILE, "%s: tensor \"%.*s\" has %" PRIu64 " x %" PRIu64
                        " or more weights", w->file, shown, name, weights, t->shape[d]);
        weights *= t->shape[d];
    }
    return DOPPLER_OK;
}

static doppler_status take_tensor(walk *w, gguf_tensor *t, const char **name,
                                  uint64_t *name_bytes) {
    uint64_t type;
    doppler_status status = take_string(w, "a tensor's name", name, name_bytes);
    if (status || w->wanted) return status;
    int shown = (int)(*name_bytes < GGUF_MAX_NAME ? *name_bytes : GGUF_MAX_NAME);
    if (*name_bytes > GGUF_MAX_NAME || memchr(*name, 0, (size_t)*name_bytes))
        return fail(w->e, DOPPLER_BAD_FILE, "%s: tensor \"%.*s\": a name of %" PRIu64 " bytes, at "
                    "most %d without U+0000", w->file, shown, *name, *name_bytes, GGUF_MAX_NAME);
    if ((status = take_shape(w, t, *name, shown)) || w->wanted ||
        (status = take(w, 4, "a tensor's type", &type)) || w->wanted ||
        (status = take(w, 8, "a tensor's offset", &t->offset)) || w->wanted)
        return status;
    t->type = type < GGML_TYPES ? &ggml_types[type] : NULL;
    if (!t->type || !t->type->name)
        return fail(w->e, DOPPLER_BAD_FILE, "%s: tensor \"%.*s\" has the type %" PRIu64 ", which "
                    "is not known", w->file, shown, *name, type);
    if (t->shape[0] % t->type->block_weights)
        return fail(w->e, DOPPLER_BAD_FILE, "%s: tensor \"%.*s\" is %s: its rows of %" PRIu64
                    " weights are no multiple of %u", w->file, shown, *name, t->type->name,
                    t->shape[0], t->type->block_weights);
    uint64_t blocks = t->shape[0] / t->type->block_weights * t->shape[1] * t->shape[2] *
                      t->shape[3];
    if (blocks > INT64_MAX / t->type->block_bytes)
        return fail(w->e, DOPPLER_BAD_FILE, "%s: tensor \"%.*s\" has more than 2^63 bytes",
                    w->file, shown, *name);
    t->bytes = blocks * t->type->block_bytes;
    return DOPPLER_OK;
}

/* ---- the header */

/* What people hand over instead of a GGUF file. */
static doppler_status check_magic(walk *w) {
    static const struct { const char *start, *what; } others[] = {
        {"version https://git-lfs", "a Git LFS pointer: fetch the file itself"},
        {"<", "HTML or XML: what was downloaded is a page, not the file"},
        {"GGML", "a file of GGUF's predecessors: convert it with llama.cpp first"},
        {"ggml", "a file of GGUF's predecessors: convert it with llama.cpp first"},
        {"lmgg", "a file of GGUF's predecessors: convert it with llama.cpp first"},
        {"tjgg", "a file of GGUF's predecessors: convert it with llama.cpp first"},
    };
    if (w->bytes >= 4 && !memcmp(w->data, "GGUF", 4)) return DOPPLER_OK;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        size_t n = strlen(others[i].start);
        if (w->bytes >= n && !memcmp(w->data, others[i].start, n))
            return fail(w->e, DOPPLER_BAD_FILE, "%s: no GGUF file but %s", w->file,
                        others[i].what);
    }
    return fail(w->e, DOPPLER_BAD_FILE, "%s: no GGUF file: it does not start with \"GGUF\"",
                w->file);
}

static doppler_status take_prefix(walk *w, gguf *g) {
    uint64_t version;
    doppler_status status = need(w, 4, "a GGUF header");
    if (status || w->wanted || (status = check_magic(w))) return status;
    if ((status = need(w, PREFIX_BYTES, "a GGUF header")) || w->wanted) return status;
    w->at = 4;
    take(w, 4, "", &version);
    take(w, 8, "", &g->tensor_count);
    take(w, 8, "", &g->value_count);
    if ((version & 0xFFFF) == 0 && version)
        return fail(w->e, DOPPLER_UNSUPPORTED, "%s: a big-endian GGUF file; little-endian ones are "
                    "read", w->file);
    if (version != 2 && version != 3)
        return fail(w->e, DOPPLER_UNSUPPORTED, "%s: GGUF version %" PRIu64 ", 2 and 3 are read",
                    w->file, version);
    g->version = (uint32_t)version;
    uint64_t left = w->file_bytes - w->at;
    if (g->value_count > left / MIN_VALUE_BYTES || g->tensor_count > left / MIN_TENSOR_BYTES)
        return fail(w->e, DOPPLER_BAD_FILE, "%s: %" PRIu64 " metadata values and %" PRIu64
                    " tensors in a file of %" PRIu64 " bytes", w->file, g->value_count,
                    g->tensor_count, w->file_bytes);
    return DOPPLER_OK;
}

/* Walks the whole header; where values and tensors are not NULL, keeps them. */
static doppler_status take_header(walk *w, arena *a, gguf *g, gguf_kv *values,
                                  gguf_tensor *tensors) {
    doppler_status status = take_prefix(w, g);
    for (uint64_t i = 0; i < g->value_count && !status && !w->wanted; i++) {
        gguf_kv v;
        status = take_value(w, &v);
        if (values) values[i] = v;
    }
    for (uint64_t i = 0; i < g->tensor_count && !status && !w->wanted; i++) {
        gguf_tensor t = {0};
        const char *name;
        uint64_t bytes;
        status = take_tensor(w, &t, &name, &bytes);
        if (!tensors) continue;
        t.name = arena_text(a, name, (size_t)bytes);
        if (!t.name) return fail(w->e, DOPPLER_NO_MEMORY, "%s: %" PRIu64 " tensors", w->file, i);
        tensors[i] = t;
    }
    g->header_bytes = w->at;
    return status;
}

/* ---- what the whole must fulfil */

static int compare_keys(const void *a, const void *b) {
    const gguf_kv *x = *(const gguf_kv *const *)a, *y = *(const gguf_kv *const *)b;
    uint64_t shorter = x->key_bytes < y->key_bytes ? x->key_bytes : y->key_bytes;
    int order = memcmp(x->key, y->key, (size_t)shorter);
    if (order) return order;
    return x->key_bytes < y->key_bytes ? -1 : x->key_bytes > y->key_bytes;
}

static int compare_names(const void *a, const void *b) {
    return strcmp((*(const gguf_tensor *const *)a)->name, (*(const gguf_tensor *const *)b)->name);
}

/* No key and no name twice. */
static doppler_status check_once(error *e, const gguf *g) {
    uint64_t more = g->value_count > g->tensor_count ? g->value_count : g->tensor_count;
    const void **sorted = malloc((size_t)(more ? more : 1) * sizeof *sorted);
    doppler_status status = DOPPLER_OK;
    if (!sorted) return fail(e, DOPPLER_NO_MEMORY, "%s: %" PRIu64 " names", g->file, more);
    for (uint64_t i = 0; i < g->value_count; i++) sorted[i] = &g->values[i];
    qsort(sorted, (size_t)g->value_count, sizeof *sorted, compare_keys);
    for (uint64_t i = 1; i < g->value_count && !status; i++) {
        const gguf_kv *v = sorted[i];
        if (!compare_keys(&sorted[i - 1], &sorted[i]))
            status = fail(e, DOPPLER_BAD_FILE, "%s: the metadata key \"%.*s\" is there twice",
                          g->file, (int)(v->key_bytes < 80 ? v->key_bytes : 80), v->key);
    }
    for (uint64_t i = 0; i < g->tensor_count; i++) sorted[i] = &g->tensors[i];
    qsort(sorted, (size_t)g->tensor_count, sizeof *sorted, compare_names);
    for (uint64_t i = 1; i < g->tensor_count && !status; i++)
        if (!compare_names(&sorted[i - 1], &sorted[i]))
            status = fail(e, DOPPLER_BAD_FILE, "%s: tensor \"%s\" is there twice", g->file,
                          ((const gguf_tensor *)sorted[i])->name);
    free(sorted);
    return status;
}

static doppler_status read_alignment(error *e, gguf *g) {
    const gguf_kv *v = gguf_find(g, "general.alignment");
    g->alignment = DEFAULT_ALIGNMENT;
    if (!v) return DOPPLER_OK;
    if (v->type != GGUF_U32 || v->is_array)
        return fail(e, DOPPLER_BAD_FILE, "%s: general.alignment is %s, wanted uint32", g->file,
                    gguf_types[v->is_array ? GGUF_ARRAY : v->type].name);
    g->alignment = (uint32_t)little(v->data, 4);
    if (g->alignment && !(g->alignment & (g->alignment - 1))) return DOPPLER_OK;
    return fail(e, DOPPLER_BAD_FILE, "%s: general.alignment is %u, wanted a power of two", g->file,
                g->alignment);
}

/* Each tensor starts where the padded one before it ends; offsets become the file's. */
static doppler_status place_tensors(error *e, gguf *g, uint64_t file_bytes) {
    uint64_t mask = (uint64_t)g->alignment - 1;
    uint64_t start = (g->header_bytes + mask) & ~mask, at = 0;
    for (uint64_t i = 0; i < g->tensor_count; i++) {
        gguf_tensor *t = &g->tensors[i];
        if (t->offset != at)
            return fail(e, DOPPLER_BAD_FILE, "%s: tensor \"%s\" is at %" PRIu64 " of the data, the "
                        "one before it ends at %" PRIu64, g->file, t->name, t->offset, at);
        if (start > file_bytes || at > file_bytes - start || t->bytes > file_bytes - start - at)
            return fail(e, DOPPLER_BAD_FILE, "%s: tensor \"%s\" has %" PRIu64 " bytes at %" PRIu64
                        ", the file %" PRIu64 " in all", g->file, t->name, t->bytes, start + at,
                        file_bytes);
        t->offset += start;
        at = (at + t->bytes + mask) & ~mask;
    }
    return DOPPLER_OK;
}

doppler_status gguf_parse(error *e, arena *a, const char *file, const uint8_t *data, size_t bytes,
                          uint64_t file_bytes, gguf *out, uint64_t *need_bytes) {
    *out = (gguf){.file = file};
    *need_bytes = 0;
    walk w = {.e = e, .file = file, .data = data, .bytes = bytes, .file_bytes = file_bytes};
    doppler_status status = take_header(&w, a, out, NULL, NULL);
    if (status) return status;
    if (w.wanted) {              /* twice as much at least, so that few rounds find the end */
        uint64_t twice = 2 * (uint64_t)bytes;
        if (twice > GGUF_MAX_HEADER) twice = GGUF_MAX_HEADER;
        if (twice > file_bytes) twice = file_bytes;
        *need_bytes = w.wanted > twice ? w.wanted : twice;
        return DOPPLER_OK;
    }
    out->values = arena_array(a, (size_t)out->value_count, sizeof *out->values);
    out->tensors = arena_array(a, (size_t)out->tensor_count, sizeof *out->tensors);
    if (!out->values || !out->tensors)
        return fail(e, DOPPLER_NO_MEMORY, "%s: %" PRIu64 " metadata values, %" PRIu64 " tensors",
                    file, out->value_count, out->tensor_count);
    w.at = 0;
    if ((status = take_header(&w, a, out, out->values, out->tensors)) ||
        (status = check_once(e, out)) || (status = read_alignment(e, out)))
        return status;
    return place_tensors(e, out, file_bytes);
}

/* ---- values */

const gguf_kv *gguf_find(const gguf *g, const char *key) {
    size_t bytes = strlen(key);
    for (uint64_t i = 0; i < g->value_count; i++)
        if (g->values[i].key_bytes == bytes && !memcmp(g->values[i].key, key, bytes))
            return &g->values[i];
    return NULL;
}

const char *gguf_next_string(const uint8_t **at, uint64_t *bytes) {
    *bytes = little(*at, 8);
    const char *text = (const char *)*at + 8;
    *at += 8 + *bytes;
    return text;
}

bool gguf_integer(const gguf_kv *v, int64_t *out) {
    static const uint8_t sign_bits[GGUF_TYPE_COUNT] = {
        [GGUF_I8] = 56, [GGUF_I16] = 48, [GGUF_I32] = 32};
    if (v->is_array || !gguf_types[v->type].bytes || v->type == GGUF_BOOL ||
        v->type == GGUF_F32 || v->type == GGUF_F64)
        return false;
    uint64_t bits = little(v->data, gguf_types[v->type].bytes);
    if (v->type == GGUF_U64 && bits > INT64_MAX) return false;
    uint64_t sign = 1ull << (63 - sign_bits[v->type]);
    *out = (int64_t)bits;
    if (sign_bits[v->type] && bits & sign) *out = (int64_t)bits - (int64_t)(sign << 1);
    return true;
}

/* The value of a key: where it is absent, false when found is NULL else OK with *found false. */
static doppler_status find_value(error *e, const gguf *g, const char *key, bool *found,
                                 const gguf_kv **v) {
    *v = gguf_find(g, key);
    if (found) *found = *v != NULL;
    if (*v || found) return DOPPLER_OK;
    return fail(e, DOPPLER_BAD_FILE, "%s: no metadata value \"%s\"", g->file, key);
}

static doppler_status wrong_type(error *e, const gguf *g, const char *key, const gguf_kv *v,
                                 const char *wanted) {
    return fail(e, DOPPLER_BAD_FILE, "%s: %s is %s%s, wanted %s", g->file, key,
                v->is_array ? "an array of " : "", gguf_types[v->type].name, wanted);
}

doppler_status gguf_u32(error *e, const gguf *g, const char *key, uint32_t min, uint32_t max,
                        uint32_t *out, bool *found) {
    const gguf_kv *v;
    int64_t value;
    doppler_status status = find_value(e, g, key, found, &v);
    if (status || !v) return status;
    if (!gguf_integer(v, &value)) return wrong_type(e, g, key, v, "an integer");
    if (value < min || value > max)
        return fail(e, DOPPLER_BAD_FILE, "%s: %s is %" PRId64 ", %u to %u are possible", g->file,
                    key, value, min, max);
    *out = (uint32_t)value;
    return DOPPLER_OK;
}

doppler_status gguf_f32(error *e, const gguf *g, const char *key, float *out, bool *found) {
    const gguf_kv *v;
    doppler_status status = find_value(e, g, key, found, &v);
    if (status || !v) return status;
    double value;
    float narrow;
    if (v->is_array || (v->type != GGUF_F32 && v->type != GGUF_F64))
        return wrong_type(e, g, key, v, "a float");
    memcpy(&narrow, v->data, sizeof narrow);
    value = (double)narrow;
    if (v->type == GGUF_F64) memcpy(&value, v->data, sizeof value);
    if (!(fabs(value) <= FLT_MAX))
        return fail(e, DOPPLER_BAD_FILE, "%s: %s is %g", g->file, key, value);
    *out = (float)value;
    return DOPPLER_OK;
}

doppler_status gguf_bool(error *e, const gguf *g, const char *key, bool *out, bool *found) {
    const gguf_kv *v;
    doppler_status status = find_value(e, g, key, found, &v);
    if (status || !v) return status;
    if (v->is_array || v->type != GGUF_BOOL) return wrong_type(e, g, key, v, "a bool");
    *out = *v->data;
    return DOPPLER_OK;
}

doppler_status gguf_string(error *e, arena *a, const gguf *g, const char *key, const char **out,
                           bool *found) {
    const gguf_kv *v;
    doppler_status status = find_value(e, g, key, found, &v);
    if (status || !v) return status;
    if (v->is_array || v->type != GGUF_STRING) return wrong_type(e, g, key, v, "a string");
    uint64_t bytes;
    const uint8_t *at = v->data;
    const char *text = gguf_next_string(&at, &bytes);
    if (memchr(text, 0, (size_t)bytes))
        return fail(e, DOPPLER_BAD_FILE, "%s: %s holds U+0000", g->file, key);
    *out = arena_text(a, text, (size_t)bytes);
    return *out ? DOPPLER_OK : fail(e, DOPPLER_NO_MEMORY, "%s: %s", g->file, key);
}

/* ---- split files */

doppler_status gguf_split(error *e, const gguf *g, uint32_t *number, uint32_t *count) {
    bool split, numbered;
    *number = 0;
    *count = 1;
    doppler_status status = gguf_u32(e, g, "split.count", 0, MAX_SPLITS, count, &split);
    if (status) return status;
    if (!split || *count < 2) {
        *count = 1;
        return DOPPLER_OK;
    }
    if ((status = gguf_u32(e, g, "split.no", 0, *count - 1, number, &numbered)) || numbered)
        return status;
    return fail(e, DOPPLER_BAD_FILE, "%s: split.count is %u, but split.no is missing", g->file,
                *count);
}

doppler_status gguf_split_check(error *e, arena *a, const gguf *files, uint32_t count) {
    uint64_t total = 0, n = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number, parts;
        doppler_status status = gguf_split(e, &files[i], &number, &parts);
        if (status) return status;
        if (number != i || parts != count)
            return fail(e, DOPPLER_BAD_FILE, "%s: says that it is part %u of %u, wanted %u of %u",
                        files[i].file, number + 1, parts, i + 1, count);
        total += files[i].tensor_count;
    }
    uint32_t announced;
    bool found;
    doppler_status status = gguf_u32(e, &files[0], "split.tensors.count", 0, INT32_MAX, &announced,
                                     &found);
    if (status || count == 1) return status;
    if (found && announced != total)
        return fail(e, DOPPLER_BAD_FILE, "%s: announces %u tensors, its %u parts hold %" PRIu64,
                    files[0].file, announced, count, total);
    const gguf_tensor **sorted = arena_array(a, (size_t)total, sizeof *sorted);
    if (!sorted) return fail(e, DOPPLER_NO_MEMORY, "%s: %" PRIu64 " tensors", files[0].file, total);
    for (uint32_t i = 0; i < count; i++)
        for (uint64_t k = 0; k < files[i].tensor_count; k++) sorted[n++] = &files[i].tensors[k];
    qsort(sorted, (size_t)total, sizeof *sorted, compare_names);
    for (uint64_t i = 1; i < total; i++)
        if (!compare_names(&sorted[i - 1], &sorted[i]))
            return fail(e, DOPPLER_BAD_FILE, "%s: two parts hold tensor \"%s\"", files[0].file,
                        sorted[i]->name);
    return DOPPLER_OK;
}
