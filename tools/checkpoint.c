/* checkpoint.c - see checkpoint.h. */
#include "tools/checkpoint.h"
#include "bridge/chat_template.h"
#include "bridge/hf_config.h"
#include "loader/manifest.h"
#include "tools/doppler_gpu_read.h"
#include "tools/file.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MAX_CONFIG_BYTES = 16 << 20, MAX_INDEX_BYTES = 64 << 20 };
static const char single_file[] = "model.safetensors";
static const char gguf_suffix[] = ".gguf";
static const char index_file[] = "model.safetensors.index.json";

static doppler_status no_memory(error *e, const checkpoint *c) {
    return fail(e, DOPPLER_NO_MEMORY, "%s: no memory", c->folder);
}

doppler_status checkpoint_text(error *e, checkpoint *c, const char *name, uint64_t max_bytes,
                               const char **data, size_t *bytes) {
    storage_file f = {0};
    doppler_status status = storage_open(e, &f, c->folder, name);
    if (!status && f.bytes > max_bytes)
        status = fail(e, DOPPLER_BAD_FILE, "%s: %" PRIu64 " bytes, at most %" PRIu64, f.path,
                      f.bytes, max_bytes);
    if (!status) {
        char *text = arena_alloc(&c->memory, (size_t)f.bytes + 1);
        status = text ? storage_read(e, &f, 0, text, (size_t)f.bytes) : no_memory(e, c);
        *data = text;
        *bytes = (size_t)f.bytes;
    }
    storage_close(&f);
    return status;
}

static doppler_status open_data(error *e, checkpoint *c, uint32_t i, const char *name) {
    storage_file *f = &c->data[i];
    doppler_status status = storage_open(e, f, c->folder, name);
    if (status) return status;
    uint8_t prefix[SAFETENSORS_PREFIX];
    uint64_t bytes;
    size_t prefix_bytes = f->bytes < sizeof prefix ? (size_t)f->bytes : sizeof prefix;
    if ((status = storage_read(e, f, 0, prefix, prefix_bytes)) ||
        (status = safetensors_header_bytes(e, name, prefix, prefix_bytes, f->bytes, &bytes)))
        return status;
    arena text = {0};
    char *header = arena_alloc(&text, (size_t)bytes + 1);
    status = header ? storage_read(e, f, sizeof prefix, header, (size_t)bytes) : no_memory(e, c);
    if (!status)
        status = safetensors_parse(e, &c->memory, name, header, (size_t)bytes, f->bytes,
                                   &c->files[i]);
    arena_free(&text);
    return status;
}

/* ---- GGUF */

static bool ends_in(const char *name, const char *suffix) {
    size_t bytes = strlen(name), suffix_bytes = strlen(suffix);
    return bytes >= suffix_bytes && !strcmp(name + bytes - suffix_bytes, suffix);
}

static doppler_status open_gguf(error *e, checkpoint *c, uint32_t i, const char *name) {
    storage_file *f = &c->data[i];
    doppler_status status = storage_open(e, f, c->folder, name);
    uint64_t need = f->bytes < GGUF_FIRST_BYTES ? f->bytes : GGUF_FIRST_BYTES;
    do {
        uint8_t *header = status ? NULL : arena_alloc(&c->memory, (size_t)need + 1);
        if (!status && !header) status = no_memory(e, c);
        size_t bytes = (size_t)need;
        if (!status) status = storage_read(e, f, 0, header, bytes);
        if (!status)
            status = gguf_parse(e, &c->memory, name, header, bytes, f->bytes, &c->ggufs[i],
                                &need);
    } while (!status && need);
    return status;
}

/* "NAME-00002-of-00003.gguf" -> that of another part; false when the name is no such. */
static bool part_name(checkpoint *c, const char *name, uint32_t number, uint32_t count,
                      const char **out) {
    char suffix[40];
    snprintf(suffix, sizeof suffix, "-of-%05" PRIu32 ".gguf", count);
    size_t bytes = strlen(name), tail = strlen(suffix) + 6;
    if (!ends_in(name, suffix) || bytes <= tail) return false;
    snprintf(suffix, sizeof suffix, "-%05" PRIu32 "-of-%05" PRIu32 ".gguf", number + 1, count);
    char *made = arena_alloc(&c->memory, bytes + sizeof suffix);
    if (!made) return false;
    memcpy(made, name, bytes - tail);
    strcpy(made + bytes - tail, suffix);
    *out = made;
    return true;
}

/* The file, and the others when it is a part of several. */
static doppler_status open_ggufs(error *e, checkpoint *c, const char *name) {
    gguf one;
    uint32_t number, count;
    c->ggufs = &one;
    c->data = arena_array(&c->memory, 1, sizeof *c->data);
    if (!c->data) return no_memory(e, c);
    c->file_count = 1;
    doppler_status status = open_gguf(e, c, 0, name);
    c->ggufs = NULL;
    if (status || (status = gguf_split(e, &one, &number, &count))) return status;
    storage_file first = c->data[0];
    c->ggufs = arena_array(&c->memory, count, sizeof *c->ggufs);
    c->data = arena_array(&c->memory, count, sizeof *c->data);
    if (!c->ggufs || !c->data) {
        c->file_count = 0;
        storage_close(&first);
        return no_memory(e, c);
    }
    c->file_count = count;
    c->ggufs[number] = one;
    c->data[number] = first;
    for (uint32_t i = 0; i < count && !status; i++) {
        const char *part = name;
        if (i == number) continue;
        if (!part_name(c, name, i, count, &part))
            return fail(e, DOPPLER_BAD_FILE, "%s: part %" PRIu32 " of %" PRIu32 ", but not named "
                        "\"...-%05" PRIu32 "-of-%05" PRIu32 ".gguf\"", name, number + 1, count,
                        number + 1, count);
        status = open_gguf(e, c, i, part);
    }
    return status ? status : gguf_split_check(e, &c->memory, c->ggufs, count);
}

/* By name, or by what the file begins with. */
static bool is_gguf(const checkpoint *c, const char *name) {
    char magic[4];
    error ignored = {0};
    storage_file f = {0};
    if (ends_in(name, gguf_suffix)) return true;
    bool found = !storage_open(&ignored, &f, c->folder, name) && f.bytes >= sizeof magic &&
                 !storage_read(&ignored, &f, 0, magic, sizeof magic) && !memcmp(magic, "GGUF", 4);
    storage_close(&f);
    return found;
}

static doppler_status describe_gguf(error *e, checkpoint *c) {
    uint32_t file;
    const gguf_tensor *t = gguf_rope_factors(c->ggufs, c->file_count, &file);
    uint8_t *factors = NULL;
    if (t && t->bytes <= MODEL_MAX_HEAD_DIM * sizeof(float)) {
        factors = arena_alloc(&c->memory, (size_t)t->bytes);
        if (!factors) return no_memory(e, c);
        doppler_status status = storage_read(e, &c->data[file], t->offset, factors,
                                             (size_t)t->bytes);
        if (status) return status;
    }
    return gguf_model(e, &c->memory, c->ggufs, c->file_count, factors, &c->model, &c->sources,
                      &c->source_count);
}

/* ---- packages of doppler-gpu */

bool checkpoint_is_doppler_gpu(const char *folder) {
    checkpoint c = {.folder = folder};
    error ignored = {0};
    const char *text;
    size_t bytes;
    bool is = storage_exists(folder, RDRR_MANIFEST) &&
              !checkpoint_text(&ignored, &c, RDRR_MANIFEST, MAX_INDEX_BYTES, &text, &bytes) &&
              doppler_gpu_is(text, bytes);
    checkpoint_free(&c);
    return is;
}

static doppler_status open_package(error *e, checkpoint *c) {
    const char *text;
    size_t bytes;
    doppler_status status = checkpoint_text(e, c, RDRR_MANIFEST, MAX_INDEX_BYTES, &text, &bytes);
    if (status) return status;
    doppler_gpu *p = c->package = arena_alloc(&c->memory, sizeof *p);
    if (!p) return no_memory(e, c);
    if ((status = doppler_gpu_parse(e, &c->memory, text, bytes, p))) return status;
    if (p->tensors_file) {
        status = checkpoint_text(e, c, p->tensors_file, MAX_INDEX_BYTES, &text, &bytes);
        if (!status) status = doppler_gpu_parse_tensors(e, &c->memory, text, bytes, p);
        if (status) return status;
    }
    c->name = p->name;
    c->data = arena_array(&c->memory, p->shard_count, sizeof *c->data);
    if (!c->data) return no_memory(e, c);
    c->file_count = p->shard_count;
    return doppler_gpu_open(e, p, c->folder, c->data);
}

static doppler_status describe_package(error *e, checkpoint *c) {
    static const char config_file[] = "config.json";
    hf_text config = {0};
    doppler_status status = DOPPLER_OK;
    if (storage_exists(c->folder, config_file))
        status = checkpoint_text(e, c, config_file, MAX_CONFIG_BYTES, &config.data, &config.bytes);
    return status ? status : doppler_gpu_model(e, &c->memory, c->package, config, &c->model,
                                               &c->sources, &c->source_count);
}

/* ---- */

static doppler_status open_all(error *e, checkpoint *c, const char *const *names, uint32_t count) {
    c->files = arena_array(&c->memory, count, sizeof *c->files);
    c->data = arena_array(&c->memory, count, sizeof *c->data);
    if (!c->files || !c->data) return no_memory(e, c);
    for (; c->file_count < count; c->file_count++) {
        doppler_status status = open_data(e, c, c->file_count, names[c->file_count]);
        if (status) {
            c->file_count++;     /* checkpoint_free closes it */
            return status;
        }
    }
    return DOPPLER_OK;
}

static doppler_status open_sharded(error *e, checkpoint *c) {
    const char *text;
    size_t bytes;
    safetensors_index index;
    doppler_status status = checkpoint_text(e, c, index_file, MAX_INDEX_BYTES, &text, &bytes);
    if (status ||
        (status = safetensors_index_parse(e, &c->memory, index_file, text, bytes, &index)) ||
        (status = open_all(e, c, index.files, index.file_count)))
        return status;
    return safetensors_index_check(e, &c->memory, index_file, &index, c->files);
}

/* "a/b/" -> "a" and "b"; "b" -> "." and "b". Both live in c->memory. */
static bool split_path(checkpoint *c, const char *path, const char **folder, const char **last) {
    size_t bytes = strlen(path);
    while (bytes > 1 && path[bytes - 1] == '/') bytes--;
    size_t start = bytes;
    while (start && path[start - 1] != '/') start--;
    *last = arena_text(&c->memory, path + start, bytes - start);
    *folder = start > 1 ? arena_text(&c->memory, path, start - 1) : start ? "/" : ".";
    return *folder && *last;
}

doppler_status checkpoint_open(error *e, checkpoint *c, const char *path) {
    *c = (checkpoint){.folder = path};
    const char *parent, *last, *ignored;
    if (!split_path(c, path, &parent, &last)) return no_memory(e, c);
    if (!file_is_folder(path)) {
        c->folder = parent;
        if (!is_gguf(c, last)) {
            if (!split_path(c, parent, &ignored, &c->name)) return no_memory(e, c);
            return open_all(e, c, &last, 1);
        }
        size_t bytes = strlen(last) - (ends_in(last, gguf_suffix) ? sizeof gguf_suffix - 1 : 0);
        c->name = arena_text(&c->memory, last, bytes);
        return c->name ? open_ggufs(e, c, last) : no_memory(e, c);
    }
    c->name = last;
    if (checkpoint_is_doppler_gpu(path)) return open_package(e, c);
    if (storage_exists(path, index_file)) return open_sharded(e, c);
    if (!storage_exists(path, single_file))
        return fail(e, DOPPLER_IO, "%s: holds neither %s nor %s", path, single_file, index_file);
    const char *name = single_file;
    return open_all(e, c, &name, 1);
}

doppler_status checkpoint_describe(error *e, checkpoint *c) {
    if (c->ggufs) return describe_gguf(e, c);
    if (c->package) return describe_package(e, c);
    hf_text config = {0}, generation = {0};
    doppler_status status = checkpoint_text(e, c, "config.json", MAX_CONFIG_BYTES, &config.data,
                                            &config.bytes);
    if (!status && storage_exists(c->folder, "generation_config.json"))
        status = checkpoint_text(e, c, "generation_config.json", MAX_CONFIG_BYTES,
                                 &generation.data, &generation.bytes);
    if (status || (status = hf_config_parse(e, config, generation, &c->model))) return status;
    return hf_sources(e, &c->memory, &c->model, c->files, c->file_count, &c->sources,
                      &c->source_count, &c->vision_count);
}

/* A template in a file of its own; "" where there is none. */
static doppler_status template_file(error *e, checkpoint *c, const char *name, const char **out) {
    size_t bytes;
    *out = "";
    if (!storage_exists(c->folder, name)) return DOPPLER_OK;
    doppler_status status = checkpoint_text(e, c, name, MAX_CONFIG_BYTES, out, &bytes);
    if (!status && strlen(*out) != bytes)
        status = fail(e, DOPPLER_BAD_FILE, "%s: holds U+0000", name);
    return status;
}

doppler_status checkpoint_chat_template(error *e, checkpoint *c, const char **out) {
    static const char *const files[] = {"tokenizer_config.json", "chat_template.json"};
    const char *tool_use;
    *out = "";
    if (c->ggufs) return gguf_chat_template(e, &c->memory, &c->ggufs[0], out);
    doppler_status status = template_file(e, c, "chat_template.jinja", out);
    if (!status && **out) {
        status = template_file(e, c, "additional_chat_templates/tool_use.jinja", &tool_use);
        if (status) return status;
        *out = chat_template_join(&c->memory, *out, tool_use);
        return *out ? DOPPLER_OK : fail(e, DOPPLER_NO_MEMORY, "%s: no memory", c->folder);
    }
    for (size_t i = 0; !status && !**out && i < sizeof files / sizeof *files; i++) {
        hf_text text = {0};
        if (!storage_exists(c->folder, files[i])) continue;
        status = checkpoint_text(e, c, files[i], MAX_CONFIG_BYTES, &text.data, &text.bytes);
        if (!status) status = hf_chat_template(e, &c->memory, files[i], text, out);
    }
    return status;
}

doppler_status checkpoint_read(error *e, const checkpoint *c, uint32_t source_file,
                               uint64_t offset, void *to, size_t bytes) {
    if (c->package)
        return doppler_gpu_read(e, c->package, c->data, source_file, offset, to, bytes);
    return storage_read(e, &c->data[source_file], offset, to, bytes);
}

void checkpoint_free(checkpoint *c) {
    for (uint32_t i = 0; i < c->file_count; i++) storage_close(&c->data[i]);
    arena_free(&c->memory);
    *c = (checkpoint){0};
}
