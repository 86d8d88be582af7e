/* convert.c - loader/checkpoint.h and loader/convert.h as flat functions for browser/convert.js.
 *
 * JavaScript cannot be waited for, so opening a checkpoint is tried again and again: it fails at
 * the first bytes that are not here, JavaScript brings them, and it begins anew. What it reads is
 * headers and texts, the same each time. The conversion itself then says step by step what it
 * reads and writes. */
#include "browser/flat.h"
#include "loader/checkpoint.h"
#include "loader/quantize.h"
#include <stdlib.h>
#include <string.h>

/* What browser/convert.js knows. */
_Static_assert(DOPPLER_OK == 0 && CONVERT_READ == 0 && CONVERT_WRITE == 1 && CONVERT_DONE == 2 &&
                   RDRR_SHARD_BYTES == 64 << 20,
               "browser/convert.js");

typedef struct file { const char *name; uint64_t bytes; } file;

/* Bytes of a file that JavaScript has brought. */
typedef struct chunk {
    struct chunk *next;
    const file *of;
    uint64_t offset, bytes;
    uint8_t *data;               /* owned */
} chunk;

typedef struct conversion {
    arena memory;                /* owned; of the next three */
    file *files;                 /* [room] */
    uint32_t count, room;
    const char *mirrors[RDRR_MAX_MIRRORS];
    uint32_t mirror_count;
    weight_format embeddings, head;
    chunk *chunks;               /* owned */
    chunk wanted;                /* of is NULL: nothing is */

    error e;
    checkpoint source;
    text tokenizer, notes;
    convert *c;
    convert_part *part;
    uint32_t *file_of;           /* owned: [source.data_count] index into files */
    convert_step step;
    uint64_t done_bytes;
} conversion;

/* ---- the checkpoint's host */

static const file *find(const conversion *v, const char *name) {
    for (uint32_t i = 0; i < v->count; i++)
        if (!strcmp(v->files[i].name, name)) return &v->files[i];
    return NULL;
}

static bool host_exists(void *user, const char *name) { return find(user, name) != NULL; }

static doppler_status host_size(error *e, void *user, const char *name, uint64_t *bytes) {
    const file *f = find(user, name);
    if (!f) return fail(e, DOPPLER_IO, "%s: No such file", name);
    *bytes = f->bytes;
    return DOPPLER_OK;
}

static doppler_status host_read(error *e, void *user, const char *name, uint64_t offset, void *to,
                                size_t bytes) {
    conversion *v = user;
    const file *f = find(v, name);
    if (offset > f->bytes || bytes > f->bytes - offset)
        return fail(e, DOPPLER_IO, "%s: ends at byte %llu, wanted %llu", name,
                    (unsigned long long)f->bytes, (unsigned long long)offset + bytes);
    for (const chunk *c = v->chunks; c; c = c->next) {
        if (c->of != f || offset < c->offset || offset + bytes > c->offset + c->bytes) continue;
        memcpy(to, c->data + (offset - c->offset), bytes);
        return DOPPLER_OK;
    }
    if (!v->wanted.of) v->wanted = (chunk){.of = f, .offset = offset, .bytes = bytes};
    return fail(e, DOPPLER_BUSY, "%s: not here yet", name);
}

/* ---- a conversion's life */

EXPORT(conversion *, convert_page_create, uint32_t files) {
    conversion *v = calloc(1, sizeof *v);
    if (!v) return NULL;
    v->room = files;
    v->files = arena_array(&v->memory, files, sizeof *v->files);
    if (v->files) return v;
    free(v);
    return NULL;
}

static void drop_chunks(conversion *v) {
    for (chunk *c; (c = v->chunks); free(c)) {
        v->chunks = c->next;
        free(c->data);
    }
}

static void drop_checkpoint(conversion *v) {
    convert_part_destroy(v->part);
    convert_destroy(v->c);
    checkpoint_free(&v->source);
    text_free(&v->tokenizer);
    text_free(&v->notes);
    v->part = NULL;
    v->c = NULL;
}

EXPORT(void, convert_page_destroy, conversion *v) {
    drop_checkpoint(v);
    drop_chunks(v);
    free(v->file_of);
    arena_free(&v->memory);
    free(v);
}

EXPORT(const char *, convert_page_status_name, uint32_t status) {
    return doppler_status_name(status);
}

EXPORT(const char *, convert_page_message, const conversion *v) { return v->e.message; }

static const char *keep_text(conversion *v, const char *text) {
    return arena_text(&v->memory, text, strlen(text));
}

/* A file of the checkpoint; false when out of memory. */
EXPORT(uint32_t, convert_page_file, conversion *v, const char *name, double bytes) {
    file *f = &v->files[v->count++];
    *f = (file){keep_text(v, name), (uint64_t)bytes};
    return f->name != NULL;
}

EXPORT(uint32_t, convert_page_mirror, conversion *v, const char *url) {
    if (v->mirror_count == RDRR_MAX_MIRRORS)
        return fail(&v->e, DOPPLER_BAD_ARGUMENT, "more than %d mirrors", RDRR_MAX_MIRRORS);
    const char *kept = keep_text(v, url);
    if (!kept) return fail(&v->e, DOPPLER_NO_MEMORY, "mirrors");
    v->mirrors[v->mirror_count++] = kept;
    return DOPPLER_OK;
}

/* ---- opening */

static doppler_status target_by_name(error *e, const char *name, convert_target *out) {
    for (uint32_t t = 0; t < TARGET_COUNT; t++)
        if (!strcmp(name, convert_targets[t])) {
            *out = (convert_target)t;
            return DOPPLER_OK;
        }
    return fail(e, DOPPLER_BAD_ARGUMENT, "quantize is %.40s, allowed are keep, f32, f16, bf16, "
                "q8_0, q4_k_m, mxfp4", name);
}

/* *out is NULL where name is "". */
static doppler_status matrix_format(error *e, const char *what, const char *name,
                                    weight_format *room, const weight_format **out) {
    *out = NULL;
    if (!*name) return DOPPLER_OK;
    *room = format_by_name(name);
    if (*room == FORMAT_COUNT || !quantize_makes(*room))
        return fail(e, DOPPLER_BAD_ARGUMENT, "%s is %.40s, which is no format that weights are "
                    "converted to", what, name);
    *out = room;
    return DOPPLER_OK;
}

/* Data files by their indices in v->files. */
static doppler_status index_data(conversion *v) {
    v->file_of = calloc(v->source.data_count, sizeof *v->file_of);
    if (!v->file_of) return fail(&v->e, DOPPLER_NO_MEMORY, "%u files", v->source.data_count);
    for (uint32_t i = 0; i < v->source.data_count; i++)
        v->file_of[i] = (uint32_t)(find(v, v->source.data[i].file) - v->files);
    return DOPPLER_OK;
}

static doppler_status open_source(conversion *v, const char *folder, const char *name,
                                  convert_input *in) {
    const checkpoint_host host = {host_exists, host_size, host_read, v};
    checkpoint *s = &v->source;
    error *e = &v->e;
    uint32_t tokens;
    doppler_status status = checkpoint_open(e, s, host, folder, folder, *name ? name : NULL);
    if (!status && s->package)
        status = fail(e, DOPPLER_UNSUPPORTED, "%.100s: packages of doppler-gpu are converted by "
                      "the command line only", s->name);
    if (status || (status = checkpoint_describe(e, s)) ||
        (status = checkpoint_chat_template(e, s, &in->chat_template)) ||
        (status = checkpoint_tokenizer(e, s, &v->tokenizer, &tokens)))
        return status;
    in->model = &s->model;
    in->sources = s->sources;
    in->source_count = s->source_count;
    in->tokenizer = v->tokenizer.data;
    in->tokenizer_bytes = v->tokenizer.bytes;
    in->source = s->name;
    if (!in->name) in->name = s->name;
    if ((status = convert_create(e, in, &v->c)) || (status = index_data(v)) ||
        (status = convert_part_create(e, v->c, &v->part)))
        return status;
    checkpoint_notes(s, v->c, tokens, &v->notes);
    convert_part_begin(v->part, 0, convert_blocks(v->c));
    return DOPPLER_OK;
}

/* BUSY: bring what is wanted and call again with the same arguments. file, name, embeddings, head:
 * "" for none; folder and file as checkpoint_open has them; name: of the model. */
EXPORT(uint32_t, convert_page_open, conversion *v, const char *folder, const char *file,
       const char *name, const char *target, const char *embeddings, const char *head,
       double shard_bytes) {
    convert_input in = {.shard_bytes = (uint64_t)shard_bytes, .mirrors = v->mirrors,
                        .mirror_count = v->mirror_count, .name = *name ? keep_text(v, name) : NULL};
    v->e = (error){0};
    v->wanted.of = NULL;
    drop_checkpoint(v);
    doppler_status status = target_by_name(&v->e, target, &in.target);
    if (!status)
        status = matrix_format(&v->e, "embeddings", embeddings, &v->embeddings, &in.embeddings);
    if (!status) status = matrix_format(&v->e, "head", head, &v->head, &in.head);
    if (!status) status = open_source(v, keep_text(v, folder), file, &in);
    if (v->wanted.of) return DOPPLER_BUSY;
    drop_chunks(v);
    return status;
}

/* Index of the file that bytes are wanted of; -1: none. */
EXPORT(int32_t, convert_page_wanted, const conversion *v) {
    return v->wanted.of ? (int32_t)(v->wanted.of - v->files) : -1;
}

EXPORT(double, convert_page_wanted_offset, const conversion *v) {
    return (double)v->wanted.offset;
}

EXPORT(double, convert_page_wanted_bytes, const conversion *v) { return (double)v->wanted.bytes; }

/* The bytes from the wanted offset on, at least those wanted; malloc'ed, taken over. False when
 * out of memory. */
EXPORT(uint32_t, convert_page_bring, conversion *v, uint8_t *data, double bytes) {
    chunk *c = calloc(1, sizeof *c);
    if (!c) return 0;
    *c = (chunk){v->chunks, v->wanted.of, v->wanted.offset, (uint64_t)bytes, data};
    v->chunks = c;
    return 1;
}

/* ---- what it is */

EXPORT(const char *, convert_page_notes, const conversion *v) {
    return v->notes.bytes ? v->notes.data : "";
}

EXPORT(double, convert_page_shard_bytes, const conversion *v) {
    return (double)convert_manifest(v->c)->shards[0].bytes;
}

EXPORT(double, convert_page_total, const conversion *v) {
    return (double)convert_source_bytes(v->c, convert_blocks(v->c));
}

EXPORT(double, convert_page_made, const conversion *v) { return (double)v->done_bytes; }

EXPORT(const uint8_t *, convert_page_id, const conversion *v) { return convert_package_id(v->c); }

/* ---- steps */

/* Of the blocks. Addresses of hashes stay good behind the step. */
EXPORT(uint32_t, convert_page_block, conversion *v) {
    doppler_status status = convert_part_next(&v->e, v->part, &v->step);
    if (status || v->step.action != CONVERT_WRITE) return status;
    uint64_t index = (uint64_t)(v->step.block_sha256 - convert_block(v->c, 0).block_sha256) /
                     RDRR_HASH_BYTES;
    v->done_bytes = convert_source_bytes(v->c, index + 1);
    return DOPPLER_OK;
}

/* Of the other files, when all hashes are stored. */
EXPORT(uint32_t, convert_page_rest, conversion *v) {
    return convert_next(&v->e, v->c, &v->step);
}

EXPORT(uint32_t, convert_page_step_action, const conversion *v) {
    return v->step.action;
}

EXPORT(uint32_t, convert_page_step_source, const conversion *v) {
    return v->file_of[v->step.source];
}

EXPORT(double, convert_page_step_offset, const conversion *v) {
    return (double)v->step.offset;
}

EXPORT(uint32_t, convert_page_step_bytes, const conversion *v) {
    return v->step.bytes;
}

EXPORT(uint8_t *, convert_page_step_to, const conversion *v) {
    return v->step.to;
}

EXPORT(const char *, convert_page_step_file, const conversion *v) {
    return v->step.file;
}

EXPORT(const uint8_t *, convert_page_step_from, const conversion *v) {
    return v->step.from;
}

EXPORT(uint8_t *, convert_page_step_block_sha256, const conversion *v) {
    return v->step.block_sha256;
}

EXPORT(uint8_t *, convert_page_step_file_sha256, const conversion *v) {
    return v->step.file_sha256;
}
