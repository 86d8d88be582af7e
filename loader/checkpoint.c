/* checkpoint.c - see checkpoint.h. */
#include "loader/checkpoint.h"
#include "bridge/chat_template.h"
#include "bridge/gguf_tokenizer.h"
#include "bridge/hf_config.h"
#include "loader/repack.h"
#include "tokenizer/sentencepiece.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { MAX_CONFIG_BYTES = 16 << 20, MAX_INDEX_BYTES = 64 << 20, MAX_TOKENIZER_BYTES = 256 << 20 };
static const char single_file[] = "model.safetensors";
static const char gguf_suffix[] = ".gguf";
static const char index_file[] = "model.safetensors.index.json";

static doppler_status no_memory(error *e, const checkpoint *c) {
    return fail(e, DOPPLER_NO_MEMORY, "%s: no memory", c->folder);
}

bool checkpoint_has(const checkpoint *c, const char *name) {
    return c->host.exists(c->host.user, name);
}

static doppler_status read_data(error *e, const checkpoint *c, const char *name, uint64_t offset,
                                void *to, size_t bytes) {
    return c->host.read(e, c->host.user, name, offset, to, bytes);
}

doppler_status checkpoint_text(error *e, checkpoint *c, const char *name, uint64_t max_bytes,
                               const char **data, size_t *bytes) {
    uint64_t size;
    doppler_status status = c->host.size(e, c->host.user, name, &size);
    if (status) return status;
    if (size > max_bytes)
        return fail(e, DOPPLER_BAD_FILE, "%s: %" PRIu64 " bytes, at most %" PRIu64, name, size,
                    max_bytes);
    char *text = arena_alloc(&c->memory, (size_t)size + 1);
    *data = text;
    *bytes = (size_t)size;
    return text ? read_data(e, c, name, 0, text, (size_t)size) : no_memory(e, c);
}

static doppler_status open_data(error *e, checkpoint *c, uint32_t i, const char *name) {
    checkpoint_data *f = &c->data[i];
    f->file = name;
    doppler_status status = c->host.size(e, c->host.user, name, &f->bytes);
    if (status) return status;
    uint8_t prefix[SAFETENSORS_PREFIX];
    uint64_t bytes;
    size_t prefix_bytes = f->bytes < sizeof prefix ? (size_t)f->bytes : sizeof prefix;
    if ((status = read_data(e, c, name, 0, prefix, prefix_bytes)) ||
        (status = safetensors_header_bytes(e, name, prefix, prefix_bytes, f->bytes, &bytes)))
        return status;
    arena text = {0};
    char *header = arena_alloc(&text, (size_t)bytes + 1);
    status = header ? read_data(e, c, name, sizeof prefix, header, (size_t)bytes)
                    : no_memory(e, c);
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
    checkpoint_data *f = &c->data[i];
    f->file = name;
    doppler_status status = c->host.size(e, c->host.user, name, &f->bytes);
    uint64_t need = f->bytes < GGUF_FIRST_BYTES ? f->bytes : GGUF_FIRST_BYTES;
    do {
        uint8_t *header = status ? NULL : arena_alloc(&c->memory, (size_t)need + 1);
        if (!status && !header) status = no_memory(e, c);
        size_t bytes = (size_t)need;
        if (!status) status = read_data(e, c, name, 0, header, bytes);
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
    c->data_count = 1;
    doppler_status status = open_gguf(e, c, 0, name);
    c->ggufs = NULL;
    if (status || (status = gguf_split(e, &one, &number, &count))) return status;
    checkpoint_data first = c->data[0];
    c->ggufs = arena_array(&c->memory, count, sizeof *c->ggufs);
    c->data = arena_array(&c->memory, count, sizeof *c->data);
    if (!c->ggufs || !c->data) return no_memory(e, c);
    c->data_count = count;
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
    uint64_t bytes;
    error ignored = {0};
    return ends_in(name, gguf_suffix) ||
           (!c->host.size(&ignored, c->host.user, name, &bytes) && bytes >= sizeof magic &&
            !read_data(&ignored, c, name, 0, magic, sizeof magic) && !memcmp(magic, "GGUF", 4));
}

static doppler_status describe_gguf(error *e, checkpoint *c) {
    uint32_t file;
    const gguf_tensor *t = gguf_rope_factors(c->ggufs, c->data_count, &file);
    uint8_t *factors = NULL;
    if (t && t->bytes <= MODEL_MAX_HEAD_DIM * sizeof(float)) {
        factors = arena_alloc(&c->memory, (size_t)t->bytes);
        if (!factors) return no_memory(e, c);
        doppler_status status = read_data(e, c, c->data[file].file, t->offset, factors,
                                          (size_t)t->bytes);
        if (status) return status;
    }
    return gguf_model(e, &c->memory, c->ggufs, c->data_count, factors, &c->model, &c->sources,
                      &c->source_count);
}

/* ---- packages of doppler-gpu */

bool checkpoint_is_doppler_gpu(checkpoint_host host) {
    checkpoint c = {.host = host};
    error ignored = {0};
    const char *text;
    size_t bytes;
    bool is = checkpoint_has(&c, RDRR_MANIFEST) &&
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
    for (; c->data_count < p->shard_count; c->data_count++) {
        const doppler_gpu_shard *s = &p->shards[c->data_count];
        checkpoint_data *f = &c->data[c->data_count];
        f->file = s->file;
        if ((status = c->host.size(e, c->host.user, s->file, &f->bytes))) return status;
        if (f->bytes != s->bytes)
            return fail(e, DOPPLER_BAD_FILE, "%s: %" PRIu64 " bytes, manifest says %" PRIu64,
                        s->file, f->bytes, s->bytes);
    }
    return DOPPLER_OK;
}

static doppler_status describe_package(error *e, checkpoint *c) {
    static const char config_file[] = "config.json";
    hf_text config = {0};
    doppler_status status = DOPPLER_OK;
    if (checkpoint_has(c, config_file))
        status = checkpoint_text(e, c, config_file, MAX_CONFIG_BYTES, &config.data, &config.bytes);
    return status ? status : doppler_gpu_model(e, &c->memory, c->package, config, &c->model,
                                               &c->sources, &c->source_count);
}

/* ---- */

static doppler_status open_all(error *e, checkpoint *c, const char *const *names, uint32_t count) {
    c->files = arena_array(&c->memory, count, sizeof *c->files);
    c->data = arena_array(&c->memory, count, sizeof *c->data);
    if (!c->files || !c->data) return no_memory(e, c);
    doppler_status status = DOPPLER_OK;
    for (; !status && c->data_count < count; c->data_count++)
        status = open_data(e, c, c->data_count, names[c->data_count]);
    return status;
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

doppler_status checkpoint_open(error *e, checkpoint *c, checkpoint_host host, const char *folder,
                               const char *last, const char *file) {
    *c = (checkpoint){.memory = c->memory, .host = host, .folder = folder, .name = last};
    if (!file && checkpoint_is_doppler_gpu(host)) return open_package(e, c);
    if (!file && checkpoint_has(c, index_file)) return open_sharded(e, c);
    if (!file && !checkpoint_has(c, single_file))
        return fail(e, DOPPLER_IO, "%s: holds neither %s nor %s", folder, single_file, index_file);
    if (!file) file = single_file;
    if (!is_gguf(c, file)) return open_all(e, c, &file, 1);
    size_t bytes = strlen(file) - (ends_in(file, gguf_suffix) ? sizeof gguf_suffix - 1 : 0);
    c->name = arena_text(&c->memory, file, bytes);
    return c->name ? open_ggufs(e, c, file) : no_memory(e, c);
}

doppler_status checkpoint_describe(error *e, checkpoint *c) {
    if (c->ggufs) return describe_gguf(e, c);
    if (c->package) return describe_package(e, c);
    hf_text config = {0}, generation = {0};
    doppler_status status = checkpoint_text(e, c, "config.json", MAX_CONFIG_BYTES, &config.data,
                                            &config.bytes);
    if (!status && checkpoint_has(c, "generation_config.json"))
        status = checkpoint_text(e, c, "generation_config.json", MAX_CONFIG_BYTES,
                                 &generation.data, &generation.bytes);
    if (status || (status = hf_config_parse(e, config, generation, &c->model))) return status;
    return hf_sources(e, &c->memory, &c->model, c->files, c->data_count, &c->sources,
                      &c->source_count, &c->vision_count);
}

/* A template in a file of its own; "" where there is none. */
static doppler_status template_file(error *e, checkpoint *c, const char *name, const char **out) {
    size_t bytes;
    *out = "";
    if (!checkpoint_has(c, name)) return DOPPLER_OK;
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
        if (!checkpoint_has(c, files[i])) continue;
        status = checkpoint_text(e, c, files[i], MAX_CONFIG_BYTES, &text.data, &text.bytes);
        if (!status) status = hf_chat_template(e, &c->memory, files[i], text, out);
    }
    return status;
}

static doppler_status read_tokenizer(error *e, checkpoint *c, tokenizer **out) {
    static const char json[] = "tokenizer.json", model[] = "tokenizer.model";
    bool is_model = !checkpoint_has(c, json) && checkpoint_has(c, model);
    const char *data;
    size_t bytes;
    if (c->ggufs) return gguf_tokenizer(e, &c->ggufs[0], out);
    doppler_status status = checkpoint_text(e, c, is_model ? model : json, MAX_TOKENIZER_BYTES,
                                            &data, &bytes);
    if (status) return status;
    return is_model ? tokenizer_read_sentencepiece(e, data, bytes, out)
                    : tokenizer_read_json(e, data, bytes, out);
}

doppler_status checkpoint_tokenizer(error *e, checkpoint *c, text *out, uint32_t *tokens) {
    tokenizer *t = NULL;
    doppler_status status = read_tokenizer(e, c, &t);
    if (status) return status;
    *tokens = tokenizer_vocab(t);
    tokenizer_compile(t, out);
    tokenizer_close(t);
    return out->failed ? fail(e, DOPPLER_NO_MEMORY, "a tokenizer of %" PRIu32 " tokens", *tokens)
                       : DOPPLER_OK;
}

void checkpoint_notes(const checkpoint *c, const convert *conversion, uint32_t tokens, text *out) {
    const manifest *m = convert_manifest(conversion);
    bool kept = !strcmp(m->quantization, convert_targets[TARGET_KEEP]);
    if (tokens > c->model.vocab)
        text_format(out, "%s: the tokenizer has %" PRIu32 " tokens, the model only %" PRIu32 "\n",
                    c->name, tokens, c->model.vocab);
    if (c->vision_count)
        text_format(out, "%s: %" PRIu32 " tensors of its vision part are left out\n", c->name,
                    c->vision_count);
    for (uint32_t i = 0; i < m->tensor_count && kept; i++) {
        const rdrr_tensor *t = &m->tensors[i];
        source_type type = c->sources[i].type;
        bool same = repack_is_exact(type) && repack_format(type) == t->format;
        if (source_types[type].block_weights > 1 &&
            strcasecmp(source_types[type].name, formats[t->format].name))
            text_format(out, "%s: %s -> %s%s\n", t->name, source_types[type].name,
                        formats[t->format].name, same ? ", the same values" : "");
    }
}

void checkpoint_free(checkpoint *c) {
    arena_free(&c->memory);
    *c = (checkpoint){0};
}
