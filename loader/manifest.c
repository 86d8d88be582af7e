/* manifest.c - reading manifest.json: version and files, and what all parts of the reader need;
 * manifest_model.c and manifest_tensors.c read the rest. */
#include "loader/manifest_read.h"
#include "memory/name.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t rdrr_block_count(uint64_t bytes) {
    return bytes / RDRR_BLOCK_BYTES + (bytes % RDRR_BLOCK_BYTES != 0);
}

void rdrr_hex(const uint8_t sha256[RDRR_HASH_BYTES], char out[RDRR_HEX_CHARS]) {
    for (uint32_t i = 0; i < RDRR_HASH_BYTES; i++) snprintf(out + 2 * i, 3, "%02x", sha256[i]);
}

uint64_t rdrr_tensor_bytes(tensor_role role, weight_format format, uint32_t rows, uint32_t cols) {
    return rows * (roles[role].matrix ? format_row_bytes(format, cols) : (uint64_t)cols * 4);
}

static uint64_t round_up(uint64_t bytes, uint64_t unit) { return (bytes + unit - 1) / unit * unit; }

uint64_t rdrr_next_block(uint64_t at, uint64_t shard_bytes) {
    uint64_t offset = round_up(at % shard_bytes, RDRR_BLOCK_BYTES);
    return at - at % shard_bytes + (offset < shard_bytes ? offset : shard_bytes);
}

uint64_t rdrr_group_bytes(uint64_t gate, uint64_t up, uint64_t down) {
    return round_up(round_up(gate, RDRR_ALIGN) + up, RDRR_ALIGN) + down;
}

/* ---- members */

doppler_status manifest_no_memory(manifest_reading *r) {
    return fail(r->e, DOPPLER_NO_MEMORY, RDRR_MANIFEST ": no memory");
}

doppler_status manifest_member(manifest_reading *r, const char *what, const json *object,
                               const char *key, json_type type, const json **out) {
    static const char *const wanted[] = {"null", "true or false", "a number", "a string",
                                         "an array", "an object"};
    *out = json_get(object, key);
    if (!*out)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: \"%s\" is missing, wanted %s", what, key,
                    wanted[type]);
    if ((*out)->type != type)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: \"%s\" is not %s", what, key, wanted[type]);
    return DOPPLER_OK;
}

doppler_status manifest_bool(manifest_reading *r, const char *what, const json *object,
                             const char *key, bool *out) {
    const json *node;
    doppler_status status = manifest_member(r, what, object, key, JSON_BOOL, &node);
    if (!status) *out = node->boolean;
    return status;
}

doppler_status manifest_text(manifest_reading *r, const char *what, const json *object,
                             const char *key, const char **out) {
    const char *text;
    doppler_status status = json_string(r->e, what, object, key, &text);
    if (status) return status;
    *out = arena_text(&r->m->memory, text, strlen(text));
    return *out ? DOPPLER_OK : manifest_no_memory(r);
}

doppler_status manifest_only(manifest_reading *r, const char *what, const json *object,
                             const char *const *names) {
    if (object->type != JSON_OBJECT)
        return fail(r->e, DOPPLER_BAD_FILE, "%s is not an object", what);
    for (const json *child = object->first; child && !r->newer; child = child->next) {
        if (!strncmp(child->key, "x-", 2)) continue;
        const char *const *name = names;
        while (*name && (strlen(*name) != child->key_bytes || strcmp(*name, child->key))) name++;
        if (!*name)
            return fail(r->e, DOPPLER_BAD_FILE, "%s: unknown field \"%.60s\"", what, child->key);
    }
    return DOPPLER_OK;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static doppler_status read_hash(manifest_reading *r, const char *what, const json *object,
                                uint8_t out[RDRR_HASH_BYTES]) {
    const char *text;
    doppler_status status = json_string(r->e, what, object, "sha256", &text);
    if (status) return status;
    bool good = strlen(text) == 2 * RDRR_HASH_BYTES;
    for (uint32_t i = 0; good && i < RDRR_HASH_BYTES; i++) {
        int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        good = high >= 0 && low >= 0;
        out[i] = (uint8_t)(good ? high * 16 + low : 0);
    }
    if (good) return DOPPLER_OK;
    return fail(r->e, DOPPLER_BAD_FILE, "%s: \"sha256\" is not 64 lowercase hexadecimal digits",
                what);
}

/* file, bytes and sha256 of a file of the package. */
static doppler_status read_file(manifest_reading *r, const char *what, const json *object,
                                uint64_t max_bytes, rdrr_file *out) {
    doppler_status status = manifest_text(r, what, object, "file", &out->file);
    if (status) return status;
    if (!name_is_plain(out->file))
        return fail(r->e, DOPPLER_BAD_FILE, "%s: \"%.60s\" is no plain file name", what,
                    out->file);
    if ((status = json_u64(r->e, what, object, "bytes", max_bytes, &out->bytes))) return status;
    if (out->bytes == 0) return fail(r->e, DOPPLER_BAD_FILE, "%s: \"bytes\" is 0", what);
    return read_hash(r, what, object, out->sha256);
}

/* ---- files */

static doppler_status read_tokenizer(manifest_reading *r, const json *root) {
    static const char what[] = RDRR_MANIFEST ": tokenizer";
    static const char *const names[] = {"kind", "file", "bytes", "sha256", NULL};
    const json *object;
    const char *kind;
    doppler_status status = manifest_member(r, RDRR_MANIFEST, root, "tokenizer", JSON_OBJECT,
                                            &object);
    if (status || (status = json_string(r->e, what, object, "kind", &kind))) return status;
    if (strcmp(kind, "compiled"))
        return fail(r->e, DOPPLER_UNSUPPORTED, "%s: kind \"%.60s\" is not known", what, kind);
    if ((status = manifest_only(r, what, object, names))) return status;
    return read_file(r, what, object, RDRR_MAX_TOKENIZER, &r->m->tokenizer);
}

/* May be absent. */
static doppler_status read_mirrors(manifest_reading *r, const char *what, const json *shard,
                                   rdrr_mirrors *out) {
    const json *array;
    if (!json_get(shard, "urls")) return DOPPLER_OK;
    doppler_status status = manifest_member(r, what, shard, "urls", JSON_ARRAY, &array);
    if (status) return status;
    if (!array->count || array->count > RDRR_MAX_MIRRORS)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: %u urls, wanted 1 to %d", what, array->count,
                    RDRR_MAX_MIRRORS);
    out->urls = arena_array(&r->m->memory, array->count, sizeof *out->urls);
    if (!out->urls) return manifest_no_memory(r);
    for (const json *node = array->first; node; node = node->next) {
        bool good = node->type == JSON_STRING && strlen(node->text) == node->text_bytes &&
                    name_is_url(node->text);
        if (!good)
            return fail(r->e, DOPPLER_BAD_FILE, "%s: urls[%u] \"%.60s\" is no plain http or https "
                        "URL", what, out->count, node->type == JSON_STRING ? node->text : "");
        out->urls[out->count] = arena_text(&r->m->memory, node->text, node->text_bytes);
        if (!out->urls[out->count++]) return manifest_no_memory(r);
    }
    return DOPPLER_OK;
}

static doppler_status read_shards(manifest_reading *r, const json *root) {
    static const char *const names[] = {"file", "bytes", "sha256", "urls", NULL};
    manifest *m = r->m;
    const json *array;
    doppler_status status = manifest_member(r, RDRR_MANIFEST, root, "shards", JSON_ARRAY, &array);
    if (status) return status;
    if (!array->count) return fail(r->e, DOPPLER_BAD_FILE, RDRR_MANIFEST ": \"shards\" is empty");
    m->shards = arena_array(&m->memory, array->count, sizeof *m->shards);
    m->mirrors = arena_array(&m->memory, array->count, sizeof *m->mirrors);
    if (!m->shards || !m->mirrors) return manifest_no_memory(r);
    for (const json *node = array->first; node; node = node->next) {
        char what[WHAT_BYTES];
        snprintf(what, sizeof what, RDRR_MANIFEST ": shards[%u]", m->shard_count);
        if ((status = manifest_only(r, what, node, names)) ||
            (status = read_file(r, what, node, INT64_MAX, &m->shards[m->shard_count])) ||
            (status = read_mirrors(r, what, node, &m->mirrors[m->shard_count])))
            return status;
        m->shard_count++;
    }
    return DOPPLER_OK;
}

static doppler_status read_hashes(manifest_reading *r, const json *root) {
    static const char what[] = RDRR_MANIFEST ": hashes";
    static const char *const names[] = {"file", "block_bytes", "bytes", "sha256", NULL};
    manifest *m = r->m;
    const json *object;
    uint32_t block_bytes;
    doppler_status status = manifest_member(r, RDRR_MANIFEST, root, "hashes", JSON_OBJECT, &object);
    if (status || (status = manifest_only(r, what, object, names))) return status;
    if ((status = json_u32(r->e, what, object, "block_bytes", RDRR_BLOCK_BYTES, RDRR_BLOCK_BYTES,
                           &block_bytes)) ||
        (status = read_file(r, what, object, RDRR_MAX_HASHES, &m->hashes)))
        return status;
    uint64_t blocks = 0;
    for (uint32_t i = 0; i < m->shard_count; i++) {
        blocks += rdrr_block_count(m->shards[i].bytes);
        if (blocks > RDRR_MAX_HASHES / RDRR_HASH_BYTES) break;
    }
    if (m->hashes.bytes != blocks * RDRR_HASH_BYTES)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: %" PRIu64 " bytes, the shards have %" PRIu64
                    " blocks of %d bytes", what, m->hashes.bytes, blocks, RDRR_HASH_BYTES);
    return DOPPLER_OK;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static doppler_status check_names(manifest_reading *r) {
    manifest *m = r->m;
    uint32_t count = 0;
    const char **names = arena_array(&r->tree, (size_t)m->shard_count + 3, sizeof *names);
    if (!names) return manifest_no_memory(r);
    names[count++] = RDRR_MANIFEST;
    names[count++] = m->tokenizer.file;
    names[count++] = m->hashes.file;
    for (uint32_t i = 0; i < m->shard_count; i++) names[count++] = m->shards[i].file;
    qsort(names, count, sizeof *names, compare_names);
    for (uint32_t i = 1; i < count; i++)
        if (!strcmp(names[i - 1], names[i]))
            return fail(r->e, DOPPLER_BAD_FILE, RDRR_MANIFEST ": two files are named \"%s\"",
                        names[i]);
    return DOPPLER_OK;
}

/* ---- the whole */

/* format, version, and features that a reader must know. */
static doppler_status read_version(manifest_reading *r, const json *root) {
    const char *format, *version;
    const json *features;
    if (!json_get(root, "format") && json_get(root, "modelId"))
        return fail(r->e, DOPPLER_UNSUPPORTED, RDRR_MANIFEST ": a package of doppler-gpu; `doppler "
                    "convert` makes one of it that runs");
    doppler_status status = json_string(r->e, RDRR_MANIFEST, root, "format", &format);
    if (status) return status;
    if (strcmp(format, "rdrr"))
        return fail(r->e, DOPPLER_BAD_FILE, RDRR_MANIFEST ": format \"%.60s\", wanted \"rdrr\"",
                    format);
    if ((status = json_string(r->e, RDRR_MANIFEST, root, "version", &version))) return status;
    if (strncmp(version, "1.", 2) || !version[2] ||
        strspn(version + 2, "0123456789") != strlen(version + 2))
        return fail(r->e, DOPPLER_UNSUPPORTED, RDRR_MANIFEST ": version \"%.60s\", this reads 1.x",
                    version);
    r->newer = strcmp(version, "1.0");
    if ((status = manifest_member(r, RDRR_MANIFEST, root, "features", JSON_ARRAY, &features)))
        return status;
    if (features->first)
        return fail(r->e, DOPPLER_UNSUPPORTED, RDRR_MANIFEST
                    ": the package needs the feature \"%.60s\", which is not known",
                    features->first->type == JSON_STRING ? features->first->text : "?");
    return DOPPLER_OK;
}

static doppler_status read_root(manifest_reading *r, const json *root) {
    static const char *const names[] = {
        "format", "version", "features", "name", "model", "tokens", "tokenizer", "chat_template",
        "quantization", "shards", "hashes", "tensors", "provenance", NULL};
    static const char *const provenance_names[] = {"source", "producer", NULL};
    static const char what[] = RDRR_MANIFEST;
    manifest *m = r->m;
    const json *provenance;
    if (root->type != JSON_OBJECT)
        return fail(r->e, DOPPLER_BAD_FILE, RDRR_MANIFEST " is not an object");
    doppler_status status = read_version(r, root);
    if (status || (status = manifest_only(r, what, root, names)) ||
        (status = manifest_text(r, what, root, "name", &m->name)) ||
        (status = manifest_text(r, what, root, "quantization", &m->quantization)) ||
        (status = manifest_text(r, what, root, "chat_template", &m->chat_template)) ||
        (status = manifest_member(r, what, root, "provenance", JSON_OBJECT, &provenance)) ||
        (status = manifest_only(r, RDRR_MANIFEST ": provenance", provenance, provenance_names)) ||
        (status = manifest_text(r, RDRR_MANIFEST ": provenance", provenance, "source",
                                &m->source)) ||
        (status = manifest_text(r, RDRR_MANIFEST ": provenance", provenance, "producer",
                                &m->producer)))
        return status;
    if ((status = manifest_read_model(r, root)) || (status = read_tokenizer(r, root)) ||
        (status = read_shards(r, root)) || (status = read_hashes(r, root)) ||
        (status = check_names(r)))
        return status;
    return manifest_read_tensors(r, root);
}

doppler_status manifest_parse(error *e, manifest *m, const char *text, size_t bytes) {
    *m = (manifest){0};
    if (bytes > RDRR_MAX_MANIFEST)
        return fail(e, DOPPLER_BAD_FILE, RDRR_MANIFEST ": %zu bytes, at most %d", bytes,
                    RDRR_MAX_MANIFEST);
    manifest_reading r = {.e = e, .m = m};
    json *root;
    doppler_status status = json_parse(e, &r.tree, RDRR_MANIFEST, text, bytes, &root);
    if (!status) status = read_root(&r, root);
    arena_free(&r.tree);
    return status;
}

void manifest_free(manifest *m) {
    arena_free(&m->memory);
    *m = (manifest){0};
}
