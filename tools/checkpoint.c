/* checkpoint.c - see checkpoint.h. */
#include "tools/checkpoint.h"
#include "bridge/hf_config.h"
#include "tools/file.h"
#include <inttypes.h>
#include <string.h>

enum { MAX_CONFIG_BYTES = 16 << 20, MAX_INDEX_BYTES = 64 << 20 };
static const char single_file[] = "model.safetensors";
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
        if (!split_path(c, parent, &ignored, &c->name)) return no_memory(e, c);
        return open_all(e, c, &last, 1);
    }
    c->name = last;
    if (storage_exists(path, index_file)) return open_sharded(e, c);
    if (!storage_exists(path, single_file))
        return fail(e, DOPPLER_IO, "%s: holds neither %s nor %s", path, single_file, index_file);
    const char *name = single_file;
    return open_all(e, c, &name, 1);
}

doppler_status checkpoint_describe(error *e, checkpoint *c) {
    hf_text config = {0}, generation = {0};
    doppler_status status = checkpoint_text(e, c, "config.json", MAX_CONFIG_BYTES, &config.data,
                                            &config.bytes);
    if (!status && storage_exists(c->folder, "generation_config.json"))
        status = checkpoint_text(e, c, "generation_config.json", MAX_CONFIG_BYTES,
                                 &generation.data, &generation.bytes);
    if (status || (status = hf_config_parse(e, config, generation, &c->model))) return status;
    return hf_sources(e, &c->memory, &c->model, c->files, c->file_count, &c->sources,
                      &c->source_count);
}

doppler_status checkpoint_chat_template(error *e, checkpoint *c, const char **out) {
    static const char jinja[] = "chat_template.jinja", config[] = "tokenizer_config.json";
    hf_text text = {0};
    *out = "";
    if (storage_exists(c->folder, jinja)) {
        doppler_status status = checkpoint_text(e, c, jinja, MAX_CONFIG_BYTES, out, &text.bytes);
        if (!status && strlen(*out) != text.bytes)
            status = fail(e, DOPPLER_BAD_FILE, "%s: holds U+0000", jinja);
        return status;
    }
    if (!storage_exists(c->folder, config)) return DOPPLER_OK;
    doppler_status status = checkpoint_text(e, c, config, MAX_CONFIG_BYTES, &text.data,
                                            &text.bytes);
    return status ? status : hf_chat_template(e, &c->memory, text, out);
}

void checkpoint_free(checkpoint *c) {
    for (uint32_t i = 0; i < c->file_count; i++) storage_close(&c->data[i]);
    arena_free(&c->memory);
    *c = (checkpoint){0};
}
