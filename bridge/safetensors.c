/* safetensors.c - see safetensors.h. A file is
 *
 *   8 bytes     n, little-endian
 *   n bytes     JSON: {"name": {"dtype": "BF16", "shape": [512, 64], "data_offsets": [0, 65536]},
 *               ..., "__metadata__": {"key": "text"}}, white space allowed around it
 *   the rest    data; offsets count from here */
#include "bridge/safetensors.h"
#include "memory/json.h"
#include "memory/name.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const safetensors_dtype_info safetensors_dtypes[ST_DTYPE_COUNT] = {
    [ST_F64] = {"F64", 64}, [ST_F32] = {"F32", 32}, [ST_F16] = {"F16", 16},
    [ST_BF16] = {"BF16", 16}, [ST_F8_E5M2] = {"F8_E5M2", 8}, [ST_F8_E4M3] = {"F8_E4M3", 8},
    [ST_F8_E8M0] = {"F8_E8M0", 8}, [ST_F6_E3M2] = {"F6_E3M2", 6}, [ST_F6_E2M3] = {"F6_E2M3", 6},
    [ST_F4] = {"F4", 4}, [ST_I64] = {"I64", 64}, [ST_I32] = {"I32", 32}, [ST_I16] = {"I16", 16},
    [ST_I8] = {"I8", 8}, [ST_U64] = {"U64", 64}, [ST_U32] = {"U32", 32}, [ST_U16] = {"U16", 16},
    [ST_U8] = {"U8", 8}, [ST_BOOL] = {"BOOL", 8}, [ST_C64] = {"C64", 64},
};

doppler_status safetensors_header_bytes(error *e, const char *file, const uint8_t *prefix,
                                        size_t prefix_bytes, uint64_t file_bytes,
                                        uint64_t *bytes) {
    if (prefix_bytes < SAFETENSORS_PREFIX || file_bytes < SAFETENSORS_PREFIX)
        return fail(e, DOPPLER_BAD_FILE, "%s: %" PRIu64 " bytes are too few for safetensors", file,
                    file_bytes);
    *bytes = 0;
    for (uint32_t i = 0; i < SAFETENSORS_PREFIX; i++) *bytes |= (uint64_t)prefix[i] << 8 * i;
    if (*bytes > SAFETENSORS_MAX_HEADER)
        return fail(e, DOPPLER_BAD_FILE, "%s: a header of %" PRIu64 " bytes, at most %d: not "
                    "safetensors", file, *bytes, SAFETENSORS_MAX_HEADER);
    if (*bytes > file_bytes - SAFETENSORS_PREFIX)
        return fail(e, DOPPLER_BAD_FILE, "%s: a header of %" PRIu64 " bytes, %" PRIu64
                    " are left in the file", file, *bytes, file_bytes - SAFETENSORS_PREFIX);
    return DOPPLER_OK;
}

static doppler_status bad(error *e, const char *file, const json *node, const char *why) {
    return fail(e, DOPPLER_BAD_FILE, "%s: tensor \"%.80s\": %s", file, node->key, why);
}

static bool is_size(const json *node) {
    return node->type == JSON_NUMBER && node->is_integer && node->integer >= 0;
}

/* Bytes of the shape in the dtype, with every product checked. */
static doppler_status read_shape(error *e, arena *a, const char *file, const json *node,
                                 safetensors_tensor *t, uint64_t *bytes) {
    const json *shape = json_get(node, "shape");
    if (!shape || shape->type != JSON_ARRAY) return bad(e, file, node, "\"shape\" is no array");
    uint64_t *sizes = arena_array(a, shape->count, sizeof *sizes), elements = 1;
    if (shape->count && !sizes) return fail(e, DOPPLER_NO_MEMORY, "%s: no memory", file);
    for (const json *size = shape->first; size; size = size->next) {
        if (!is_size(size)) return bad(e, file, node, "a dimension is no size");
        uint64_t n = (uint64_t)size->integer;
        if (n && elements > UINT64_MAX / n) return bad(e, file, node, "\"shape\" overflows");
        elements *= n;
        sizes[t->dims++] = n;
    }
    t->shape = sizes;
    uint32_t bits = safetensors_dtypes[t->dtype].bits;
    if (elements > UINT64_MAX / bits) return bad(e, file, node, "\"shape\" overflows");
    if (elements * bits % 8) return bad(e, file, node, "\"shape\" is no whole number of bytes");
    *bytes = elements * bits / 8;
    return DOPPLER_OK;
}

/* One member of the header; data: where the file's data starts. */
static doppler_status read_tensor(error *e, arena *a, const char *file, const json *node,
                                  uint64_t data, uint64_t data_bytes, safetensors_tensor *t) {
    if (node->type != JSON_OBJECT) return bad(e, file, node, "no object");
    if (strlen(node->key) != node->key_bytes) return bad(e, file, node, "U+0000 in the name");
    for (const json *m = node->first; m; m = m->next)
        if (strcmp(m->key, "dtype") && strcmp(m->key, "shape") && strcmp(m->key, "data_offsets"))
            return fail(e, DOPPLER_BAD_FILE, "%s: tensor \"%.80s\": unknown field \"%.60s\"", file,
                        node->key, m->key);
    const json *dtype = json_get(node, "dtype");
    while (t->dtype < ST_DTYPE_COUNT && !json_is(dtype, safetensors_dtypes[t->dtype].name))
        t->dtype++;
    if (t->dtype == ST_DTYPE_COUNT)
        return fail(e, DOPPLER_BAD_FILE, "%s: tensor \"%.80s\": dtype \"%.40s\" is not known", file,
                    node->key, dtype && dtype->type == JSON_STRING ? dtype->text : "");
    uint64_t bytes;
    doppler_status status = read_shape(e, a, file, node, t, &bytes);
    if (status) return status;
    const json *range = json_get(node, "data_offsets");
    if (!range || range->type != JSON_ARRAY || range->count != 2 || !is_size(range->first) ||
        !is_size(range->first->next))
        return bad(e, file, node, "\"data_offsets\" are not two sizes");
    uint64_t start = (uint64_t)range->first->integer, end = (uint64_t)range->first->next->integer;
    if (start > end || end > data_bytes)
        return fail(e, DOPPLER_BAD_FILE, "%s: tensor \"%.80s\": bytes %" PRIu64 " to %" PRIu64
                    " of %" PRIu64, file, node->key, start, end, data_bytes);
    if (end - start != bytes)
        return fail(e, DOPPLER_BAD_FILE, "%s: tensor \"%.80s\": %" PRIu64 " bytes, its shape in %s "
                    "is %" PRIu64, file, node->key, end - start,
                    safetensors_dtypes[t->dtype].name, bytes);
    t->offset = data + start;
    t->bytes = bytes;
    t->name = arena_text(a, node->key, node->key_bytes);
    return t->name ? DOPPLER_OK : fail(e, DOPPLER_NO_MEMORY, "%s: no memory", file);
}

static doppler_status read_metadata(error *e, const char *file, const json *node) {
    if (node->type != JSON_OBJECT) return bad(e, file, node, "no object");
    for (const json *m = node->first; m; m = m->next)
        if (m->type != JSON_STRING) return bad(e, file, node, "a value is no string");
    return DOPPLER_OK;
}

static int compare_offsets(const void *a, const void *b) {
    const safetensors_tensor *x = a, *y = b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* Sorted ranges must follow each other from the start of the data to its end. */
static doppler_status check_ranges(error *e, const safetensors *s, uint64_t at, uint64_t end) {
    for (uint32_t i = 0; i < s->count; i++) {
        const safetensors_tensor *t = &s->tensors[i];
        if (t->offset != at)
            return fail(e, DOPPLER_BAD_FILE, "%s: tensor \"%.80s\" starts at byte %" PRIu64
                        ", the one before ends at %" PRIu64, s->file, t->name, t->offset, at);
        at += t->bytes;
    }
    if (at == end) return DOPPLER_OK;
    return fail(e, DOPPLER_BAD_FILE, "%s: the tensors end at byte %" PRIu64 ", the file at %"
                PRIu64, s->file, at, end);
}

doppler_status safetensors_parse(error *e, arena *a, const char *file, const char *header,
                                 size_t bytes, uint64_t file_bytes, safetensors *out) {
    *out = (safetensors){.file = file};
    if (file_bytes < SAFETENSORS_PREFIX || bytes > file_bytes - SAFETENSORS_PREFIX)
        return fail(e, DOPPLER_BAD_FILE, "%s: a header of %zu bytes in %" PRIu64, file, bytes,
                    file_bytes);
    uint64_t data = SAFETENSORS_PREFIX + bytes;
    arena tree = {0};
    json *root;
    doppler_status status = json_parse(e, &tree, file, header, bytes, &root);
    if (!status && root->type != JSON_OBJECT)
        status = fail(e, DOPPLER_BAD_FILE, "%s: the header is no object", file);
    if (!status && root->count) {
        out->tensors = arena_array(a, root->count, sizeof *out->tensors);
        if (!out->tensors) status = fail(e, DOPPLER_NO_MEMORY, "%s: no memory", file);
    }
    for (const json *node = status ? NULL : root->first; node && !status; node = node->next) {
        if (!strcmp(node->key, "__metadata__")) status = read_metadata(e, file, node);
        else status = read_tensor(e, a, file, node, data, file_bytes - data,
                                  &out->tensors[out->count++]);
    }
    arena_free(&tree);
    if (status) return status;
    if (out->count) qsort(out->tensors, out->count, sizeof *out->tensors, compare_offsets);
    return check_ranges(e, out, data, file_bytes);
}

/* ---- sharded folders */

static int compare_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static doppler_status index_files(error *e, arena *a, const char *file, const json *map,
                                  safetensors_index *out) {
    out->names = arena_array(a, map->count, sizeof *out->names);
    out->files = arena_array(a, map->count, sizeof *out->files);
    out->file_of = arena_array(a, map->count, sizeof *out->file_of);
    if (!out->names || !out->files || !out->file_of)
        return fail(e, DOPPLER_NO_MEMORY, "%s: no memory", file);
    for (const json *node = map->first; node; node = node->next) {
        if (node->type != JSON_STRING || strlen(node->text) != node->text_bytes ||
            !name_is_plain(node->text))
            return bad(e, file, node, "its file has no plain file name");
        out->files[out->count] = arena_text(a, node->text, node->text_bytes);
        out->names[out->count] = arena_text(a, node->key, node->key_bytes);
        if (!out->files[out->count] || !out->names[out->count])
            return fail(e, DOPPLER_NO_MEMORY, "%s: no memory", file);
        out->count++;
    }
    qsort(out->files, out->count, sizeof *out->files, compare_text);
    for (uint32_t i = 0; i < out->count; i++)
        if (!i || strcmp(out->files[i], out->files[i - 1]))
            out->files[out->file_count++] = out->files[i];
    uint32_t i = 0;
    for (const json *node = map->first; node; node = node->next) {
        const char *name = node->text;
        const char **found = bsearch(&name, out->files, out->file_count, sizeof *out->files,
                                     compare_text);
        out->file_of[i++] = (uint32_t)(found - out->files);
    }
    return DOPPLER_OK;
}

doppler_status safetensors_index_parse(error *e, arena *a, const char *file, const char *text,
                                       size_t bytes, safetensors_index *out) {
    *out = (safetensors_index){0};
    arena tree = {0};
    json *root;
    doppler_status status = json_parse(e, &tree, file, text, bytes, &root);
    if (!status) {
        const json *map = json_get(root, "weight_map");
        if (!map || map->type != JSON_OBJECT || !map->count)
            status = fail(e, DOPPLER_BAD_FILE, "%s: \"weight_map\" is missing or empty", file);
        else status = index_files(e, a, file, map, out);
    }
    arena_free(&tree);
    return status;
}

/* A tensor and the file it is said to be in, or is in. */
typedef struct place { const char *name; uint32_t file; } place;

static int compare_places(const void *a, const void *b) {
    const place *x = a, *y = b;
    return strcmp(x->name, y->name);
}

doppler_status safetensors_index_check(error *e, arena *a, const char *file,
                                       const safetensors_index *index, const safetensors *files) {
    size_t total = 0, count = 0;
    for (uint32_t f = 0; f < index->file_count; f++) total += files[f].count;
    place *said = arena_array(a, index->count, sizeof *said);
    place *held = arena_array(a, total, sizeof *held);
    if (!said || (total && !held)) return fail(e, DOPPLER_NO_MEMORY, "%s: no memory", file);
    for (uint32_t i = 0; i < index->count; i++)
        said[i] = (place){index->names[i], index->file_of[i]};
    for (uint32_t f = 0; f < index->file_count; f++)
        for (uint32_t i = 0; i < files[f].count; i++)
            held[count++] = (place){files[f].tensors[i].name, f};
    qsort(said, index->count, sizeof *said, compare_places);
    if (total) qsort(held, total, sizeof *held, compare_places);
    for (size_t i = 0; i < index->count || i < total; i++) {
        int order = i == total ? -1 : i == index->count ? 1 : compare_places(&said[i], &held[i]);
        if (order < 0)
            return fail(e, DOPPLER_BAD_FILE, "%s: tensor \"%.80s\" is not in %s", file,
                        said[i].name, index->files[said[i].file]);
        if (order > 0)
            return fail(e, DOPPLER_BAD_FILE, "%s: tensor \"%.80s\" of %s is not in the index, or "
                        "is in two files", file, held[i].name, index->files[held[i].file]);
        if (said[i].file != held[i].file)
            return fail(e, DOPPLER_BAD_FILE, "%s: tensor \"%.80s\" is in %s, not in %s", file,
                        said[i].name, index->files[held[i].file], index->files[said[i].file]);
    }
    return DOPPLER_OK;
}
