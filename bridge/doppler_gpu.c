/* doppler_gpu.c - see doppler_gpu.h: the manifest, shards and places of tensors. Sizes decide: a
 * tensor's bytes must be what its dtype, shape and layout make, and lie in the shards. */
#include "bridge/doppler_gpu.h"
#include "memory/name.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { MAX_SHARDS = 1 << 20, MAX_DIMS = 8, BLOCK = 256, BLOCK_BYTES = 144, HASH_DIGITS = 64 };
#define MAX_BYTES ((uint64_t)1 << 50)
static const char manifest_json[] = "manifest.json";

typedef struct reading { error *e; arena *a; doppler_gpu *p; } reading;

static doppler_status no_memory(error *e) {
    return fail(e, DOPPLER_NO_MEMORY, "%s: no memory", manifest_json);
}

/* Whichever of two spellings is there; the first when neither is. */
static const char *spelled(const json *object, const char *one, const char *other) {
    return json_said(object, one) || !json_said(object, other) ? one : other;
}

static doppler_status optional_text(error *e, const char *what, const json *object,
                                    const char *key, const char **out) {
    return json_said(object, key) ? json_string(e, what, object, key, out) : DOPPLER_OK;
}

/* ---- shards */

static int digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 :
           c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool read_hex(const char *text, uint8_t out[HASH_DIGITS / 2]) {
    if (strlen(text) != HASH_DIGITS) return false;
    for (size_t i = 0; i < HASH_DIGITS / 2; i++) {
        int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);
        if (high < 0 || low < 0) return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* "hash" is of the shard's "hashAlgorithm", or the manifest's; "blake3" says itself what it is. */
static doppler_status read_hash(reading *r, const char *what, const json *node,
                                doppler_gpu_shard *s) {
    bool only_blake3 = !json_said(node, "hash") && json_said(node, "blake3");
    const char *algorithm = only_blake3 ? "blake3" : "sha256", *hash = NULL;
    doppler_status status = optional_text(r->e, manifest_json, r->p->root, "hashAlgorithm",
                                          &algorithm);
    if (status || (status = optional_text(r->e, what, node, "hashAlgorithm", &algorithm)) ||
        (status = optional_text(r->e, what, node, "hash", &hash)))
        return status;
    bool is_sha256 = !strcasecmp(algorithm, "sha256");
    if (!is_sha256 && strcasecmp(algorithm, "blake3"))
        return fail(r->e, DOPPLER_BAD_FILE, "%s: hashAlgorithm \"%.40s\"", what, algorithm);
    s->has_sha256 = is_sha256 && hash;
    r->p->unchecked_count += !s->has_sha256;
    if (s->has_sha256 && !read_hex(hash, s->sha256))
        return fail(r->e, DOPPLER_BAD_FILE, "%s: hash \"%.80s\" is no SHA-256", what, hash);
    return DOPPLER_OK;
}

static doppler_status read_shard(reading *r, const json *node, uint32_t i) {
    doppler_gpu_shard *s = &r->p->shards[i];
    char what[48];
    snprintf(what, sizeof what, "%s: shard %" PRIu32, manifest_json, i);
    uint32_t index;
    doppler_status status = json_u32_or(r->e, what, node, "index", 0, UINT32_MAX, i, &index);
    if (status) return status;
    if (index != i) return fail(r->e, DOPPLER_BAD_FILE, "%s: index %" PRIu32, what, index);
    if ((status = json_string(r->e, what, node, spelled(node, "filename", "fileName"),
                              &s->file)) ||
        (status = json_u64(r->e, what, node, "size", MAX_BYTES, &s->bytes)))
        return status;
    if (!name_is_plain(s->file))
        return fail(r->e, DOPPLER_BAD_FILE, "%s: \"%.80s\" is no plain file name", what, s->file);
    return read_hash(r, what, node, s);
}

static doppler_status read_shards(reading *r) {
    const json *list = json_said(r->p->root, "shards");
    if (!list || list->type != JSON_ARRAY || !list->count || list->count > MAX_SHARDS)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: \"shards\" is no list of 1 to %d",
                    manifest_json, MAX_SHARDS);
    r->p->shards = arena_array(r->a, list->count, sizeof *r->p->shards);
    if (!r->p->shards) return no_memory(r->e);
    for (const json *node = list->first; node; node = node->next, r->p->shard_count++) {
        doppler_status status = read_shard(r, node, r->p->shard_count);
        if (status) return status;
    }
    return DOPPLER_OK;
}

/* ---- where a tensor lies */

typedef struct placing {
    const char *what;
    doppler_gpu_span *spans;
    uint32_t count;
    uint64_t bytes;              /* of them */
} placing;

/* Writers that stream make a span of every chunk: what runs on in the same shard is one. */
static doppler_status add_span(reading *r, placing *to, uint64_t shard, uint64_t offset,
                               uint64_t bytes) {
    if (shard >= r->p->shard_count)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: shard %" PRIu64 " of %" PRIu32, to->what, shard,
                    r->p->shard_count);
    uint64_t room = r->p->shards[shard].bytes;
    if (!bytes || offset > room || bytes > room - offset)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: %" PRIu64 " bytes at %" PRIu64 " of shard %"
                    PRIu64 ", which has %" PRIu64, to->what, bytes, offset, shard, room);
    doppler_gpu_span *last = to->count ? &to->spans[to->count - 1] : NULL;
    if (last && last->shard == shard && last->offset + last->bytes == offset)
        last->bytes += bytes;
    else
        to->spans[to->count++] = (doppler_gpu_span){(uint32_t)shard, to->bytes, offset, bytes};
    to->bytes += bytes;
    return to->bytes <= MAX_BYTES ? DOPPLER_OK
                                  : fail(r->e, DOPPLER_BAD_FILE, "%s: too large", to->what);
}

/* {shard|shardIndex, offset, size}, or {.., byteStart, byteEnd}. */
static doppler_status read_span(reading *r, placing *to, const json *node) {
    uint64_t shard, offset, end, bytes = 0;
    bool ends = json_said(node, "byteEnd");
    doppler_status status = json_u64(r->e, to->what, node, spelled(node, "shardIndex", "shard"),
                                     UINT32_MAX, &shard);
    if (status || (status = json_u64(r->e, to->what, node, spelled(node, "offset", "byteStart"),
                                     MAX_BYTES, &offset)))
        return status;
    if (!ends && (status = json_u64(r->e, to->what, node, "size", MAX_BYTES, &bytes)))
        return status;
    if (ends && (status = json_u64(r->e, to->what, node, "byteEnd", MAX_BYTES, &end)))
        return status;
    if (ends) bytes = end > offset ? end - offset : 0;
    return add_span(r, to, shard, offset, bytes);
}

static doppler_status read_spans(reading *r, const char *what, const json *node,
                                 doppler_gpu_tensor *t) {
    const json *list = json_said(json_said(node, "storage"), "shardSpans");
    if (!list) list = json_said(node, "spans");
    if (list && (list->type != JSON_ARRAY || !list->count))
        return fail(r->e, DOPPLER_BAD_FILE, "%s: \"spans\" is no list", what);
    placing to = {.what = what};
    to.spans = arena_array(r->a, list ? list->count : 1, sizeof *to.spans);
    if (!to.spans) return no_memory(r->e);
    doppler_status status = list ? DOPPLER_OK : read_span(r, &to, node);
    for (const json *span = list ? list->first : NULL; span && !status; span = span->next)
        status = read_span(r, &to, span);
    if (status) return status;
    if (to.bytes != t->bytes)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: spans of %" PRIu64 " bytes, size %" PRIu64, what,
                    to.bytes, t->bytes);
    t->spans = to.spans;
    t->span_count = to.count;
    return DOPPLER_OK;
}

/* ---- what a tensor is */

static source_type type_by_name(const char *dtype) {
    static const struct { const char *dtype; source_type type; } types[] = {
        {"f32", SOURCE_F32}, {"f16", SOURCE_F16}, {"bf16", SOURCE_BF16},
        {"q4_k_m", SOURCE_Q4_K}, {"q4_k", SOURCE_Q4_K}, {"q4k", SOURCE_Q4_K}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcasecmp(types[i].dtype, dtype)) return types[i].type;
    return SOURCE_TYPE_COUNT;
}

/* The layout that a tensor says, or else the package for its Q4_K; false: a name not known.
 * *said_it: somebody did. */
static bool stated_layout(reading *r, const json *node, bool is_q4_k, doppler_gpu_layout *out,
                          bool *said_it) {
    static const struct { const char *name; doppler_gpu_layout layout; } layouts[] = {
        {"row", DOPPLER_GPU_ROWS}, {"row_wise", DOPPLER_GPU_ROWS}, {"rowwise", DOPPLER_GPU_ROWS},
        {"col", DOPPLER_GPU_COLUMNS}, {"column", DOPPLER_GPU_COLUMNS},
        {"column_wise", DOPPLER_GPU_COLUMNS}, {"columnwise", DOPPLER_GPU_COLUMNS},
        {"flat", DOPPLER_GPU_FLAT}};
    const json *layout = json_said(node, "layout"), *root = r->p->root;
    if (!layout && is_q4_k) layout = json_said(json_said(root, "quantizationInfo"), "layout");
    if (!layout && is_q4_k)
        layout = json_said(json_said(json_said(root, "conversion"), "quantization"), "layout");
    *said_it = layout;
    if (!layout) return true;
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
        if (json_is(layout, layouts[i].name)) {
            *out = layouts[i].layout;
            return true;
        }
    return false;
}

/* Bytes of Q4_K rows x cols; both below 2^32. */
static uint64_t q4_k_bytes(doppler_gpu_layout layout, uint64_t rows, uint64_t cols) {
    uint64_t blocks = layout == DOPPLER_GPU_ROWS ? rows * ((cols + BLOCK - 1) / BLOCK)
                      : layout == DOPPLER_GPU_COLUMNS ? cols * ((rows + BLOCK - 1) / BLOCK)
                      : (rows * cols + BLOCK - 1) / BLOCK;
    return blocks > MAX_BYTES / BLOCK_BYTES ? UINT64_MAX : blocks * BLOCK_BYTES;
}

/* A shape that was stored transposed says so by originalShape, or by its layout alone (f32, f16,
 * bf16 of RDRRWriter with transposeWeights); that of Q4_K is the model's. */
static doppler_status read_shape(reading *r, const char *what, const json *node,
                                 doppler_gpu_tensor *t, uint64_t *weights) {
    const json *original = json_said(node, "originalShape");
    const json *list = original ? original : json_said(node, "shape");
    if (!list || list->type != JSON_ARRAY || list->count > MAX_DIMS)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: \"shape\" is no list of up to %d", what,
                    MAX_DIMS);
    uint64_t *shape = arena_array(r->a, list->count, sizeof *shape);
    if (!shape) return no_memory(r->e);
    *weights = 1;
    for (const json *d = list->first; d; d = d->next) {
        if (d->type != JSON_NUMBER || !d->is_integer || d->integer < 1 ||
            d->integer > UINT32_MAX || (uint64_t)d->integer > MAX_BYTES / *weights)
            return fail(r->e, DOPPLER_BAD_FILE, "%s: dimension %" PRIu32 " of its shape", what,
                        t->dims);
        shape[t->dims++] = (uint64_t)d->integer;
        *weights *= (uint64_t)d->integer;
    }
    t->shape = shape;
    bool turned = t->layout == DOPPLER_GPU_COLUMNS && !original && t->type != SOURCE_Q4_K;
    if (turned && t->dims == 2) {
        uint64_t rows = shape[1];
        shape[1] = shape[0];
        shape[0] = rows;
    }
    return DOPPLER_OK;
}

/* Q4_K by size where nobody says its layout. Blocks of rows and flat ones are the same where rows
 * are whole blocks; where they are not, sizes nearly always differ. */
static doppler_status q4_k_layout(reading *r, const char *what, doppler_gpu_tensor *t,
                                  bool stated) {
    uint64_t rows = t->dims == 2 ? t->shape[0] : 1;
    uint64_t cols = t->dims == 2 ? t->shape[1] : t->dims == 1 ? t->shape[0] : 0;
    if (!cols) return DOPPLER_OK;        /* experts: refused later, by shape */
    uint64_t by_rows = q4_k_bytes(DOPPLER_GPU_ROWS, rows, cols);
    uint64_t flat = q4_k_bytes(DOPPLER_GPU_FLAT, rows, cols);
    if (!stated && by_rows == flat && rows > 1 && cols % BLOCK)
        return fail(r->e, DOPPLER_UNSUPPORTED, "%s: neither layout nor size tells how its Q4_K "
                    "blocks lie", what);
    if (!stated) t->layout = t->bytes == by_rows ? DOPPLER_GPU_ROWS : DOPPLER_GPU_FLAT;
    uint64_t wanted = q4_k_bytes(t->layout, rows, cols);
    if (t->bytes != wanted)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: %" PRIu64 " bytes, its Q4_K blocks are %" PRIu64,
                    what, t->bytes, wanted);
    return DOPPLER_OK;
}

/* Bytes that are not simply the tensor's numbers. */
static doppler_status refuse_transforms(reading *r, const char *what, const json *node) {
    const json *storage = json_said(node, "storage"), *packing = json_said(storage, "packing");
    if (json_said(node, "sourceTransform"))
        return fail(r->e, DOPPLER_UNSUPPORTED, "%s: sourceTransform is not supported", what);
    if (json_said(storage, "companions"))
        return fail(r->e, DOPPLER_UNSUPPORTED, "%s: storage.companions is not supported", what);
    if (packing && !json_is(packing, "dense") && !json_is(packing, "q4k"))
        return fail(r->e, DOPPLER_UNSUPPORTED, "%s: storage.packing \"%.40s\" is not supported",
                    what, packing->type == JSON_STRING ? packing->text : "?");
    return DOPPLER_OK;
}

static doppler_status read_tensor(reading *r, const json *node, doppler_gpu_tensor *t) {
    char what[128];
    uint64_t weights;
    bool stated;
    snprintf(what, sizeof what, "tensor \"%.80s\"", node->key);
    if (strlen(node->key) != node->key_bytes)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: its name holds U+0000", what);
    t->name = node->key;
    doppler_status status = json_string(r->e, what, node, "dtype", &t->dtype);
    if (status || (status = json_u64(r->e, what, node, "size", MAX_BYTES, &t->bytes)) ||
        (status = refuse_transforms(r, what, node)))
        return status;
    t->type = type_by_name(t->dtype);
    if (!stated_layout(r, node, t->type == SOURCE_Q4_K, &t->layout, &stated))
        return fail(r->e, DOPPLER_UNSUPPORTED, "%s: its layout is not known", what);
    if ((status = read_shape(r, what, node, t, &weights)) ||
        (status = read_spans(r, what, node, t)))
        return status;
    if (t->type == SOURCE_TYPE_COUNT) return DOPPLER_OK;
    if (t->type == SOURCE_Q4_K) return q4_k_layout(r, what, t, stated);
    if (t->bytes != weights * source_types[t->type].block_bytes)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: %" PRIu64 " bytes, %" PRIu64 " numbers of %s are "
                    "%" PRIu64, what, t->bytes, weights, t->dtype,
                    weights * source_types[t->type].block_bytes);
    return DOPPLER_OK;
}

static doppler_status read_tensors(reading *r, const json *map, const char *file) {
    if (!map || map->type != JSON_OBJECT || !map->count)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: no tensors", file);
    r->p->tensors = arena_array(r->a, map->count, sizeof *r->p->tensors);
    if (!r->p->tensors) return no_memory(r->e);
    for (const json *node = map->first; node; node = node->next) {
        doppler_status status = read_tensor(r, node, &r->p->tensors[r->p->tensor_count]);
        if (status) return status;
        r->p->tensor_count++;
    }
    return DOPPLER_OK;
}

/* ---- the whole */

bool doppler_gpu_is(const char *manifest, size_t bytes) {
    arena scratch = {0};
    error ignored = {0};
    json *root;
    bool is = !json_parse(&ignored, &scratch, manifest_json, manifest, bytes, &root) &&
              !json_get(root, "format") && json_get(root, "modelId") && json_get(root, "shards");
    arena_free(&scratch);
    return is;
}

doppler_status doppler_gpu_parse(error *e, arena *a, const char *manifest, size_t bytes,
                                 doppler_gpu *out) {
    reading r = {e, a, out};
    json *root;
    *out = (doppler_gpu){.quantization = ""};
    doppler_status status = json_parse(e, a, manifest_json, manifest, bytes, &root);
    if (status) return status;
    out->root = root;
    if ((status = json_string(e, manifest_json, root, "modelId", &out->name)) ||
        (status = optional_text(e, manifest_json, root, "quantization", &out->quantization)) ||
        (status = optional_text(e, manifest_json, root, "tensorsFile", &out->tensors_file)))
        return status;
    if (json_said(root, "weightsRef"))
        return fail(e, DOPPLER_UNSUPPORTED, "%s: weightsRef, weights of another package, are not "
                    "supported", manifest_json);
    if (out->tensors_file && !name_is_plain(out->tensors_file))
        return fail(e, DOPPLER_BAD_FILE, "%s: tensorsFile \"%.80s\" is no plain file name",
                    manifest_json, out->tensors_file);
    if ((status = read_shards(&r)) || out->tensors_file) return status;
    return read_tensors(&r, json_said(root, "tensors"), manifest_json);
}

doppler_status doppler_gpu_parse_tensors(error *e, arena *a, const char *text, size_t bytes,
                                         doppler_gpu *p) {
    reading r = {e, a, p};
    json *root;
    doppler_status status = json_parse(e, a, p->tensors_file, text, bytes, &root);
    return status ? status : read_tensors(&r, root, p->tensors_file);
}

uint64_t doppler_gpu_find(const doppler_gpu_tensor *t, uint64_t at, uint32_t *shard,
                          uint64_t *offset) {
    uint32_t low = 0, high = t->span_count;      /* the span is in [low, high) */
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (t->spans[middle].start <= at) low = middle;
        else high = middle;
    }
    const doppler_gpu_span *s = &t->spans[low];
    *shard = s->shard;
    *offset = s->offset + (at - s->start);
    return s->bytes - (at - s->start);
}

bool doppler_gpu_in_order(const doppler_gpu_tensor *t) {
    if (t->dims != 2 || t->layout == DOPPLER_GPU_ROWS) return true;
    return t->type != SOURCE_TYPE_COUNT && t->layout == DOPPLER_GPU_FLAT &&
           t->shape[1] % source_types[t->type].block_weights == 0;
}
