/* cmd_synth.c - `doppler synth`: random weights at a real model's shape, as a Hugging Face folder,
 * an RDRR package or a GGUF file, streamed. The same seed gives the same weights in every form. */
#include "storage/files.h"
#include "storage/threads.h"
#include "tools/cmd.h"
#include "tools/options.h"
#include "tools/package_write.h"
#include "tools/progress.h"
#include "tools/synth_gguf.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE_BYTES = 256 << 10, PIECES = 64 };       /* filled by threads, written together */

typedef enum form { FORM_SAFETENSORS, FORM_RDRR, FORM_GGUF, FORM_COUNT } form;

typedef struct job {
    const char *shape, *out;
    uint32_t form, layers, target;
    uint64_t seed, shard_bytes;
    bool quiet;
    synth s;
} job;

/* ---- Hugging Face folder */

typedef struct fill { const synth *s; uint32_t file; uint64_t offset, bytes; uint8_t *to; } fill;

static doppler_status fill_piece(error *e, uint64_t index, uint32_t thread, void *user) {
    const fill *f = user;
    uint64_t at = index * PIECE_BYTES, left = f->bytes - at;
    (void)e, (void)thread;
    synth_read(f->s, f->file, f->offset + at, f->to + at,
               left < PIECE_BYTES ? (size_t)left : PIECE_BYTES);
    return DOPPLER_OK;
}

static doppler_status write_text(error *e, staging *folder, const char *name, const synth *s,
                                 void (*make)(const synth *, text *)) {
    text t = {0};
    make(s, &t);
    doppler_status status = t.failed ? fail(e, DOPPLER_NO_MEMORY, "%s", name)
                                     : staging_write(e, folder, name, 0, t.data, t.bytes);
    text_free(&t);
    return status;
}

static doppler_status write_file(error *e, staging *folder, const synth *s, uint32_t file,
                                 uint8_t *room, progress *p, uint64_t *done) {
    const synth_file *f = &s->files[file];
    doppler_status status = staging_write(e, folder, f->name, 0, f->header,
                                          (size_t)f->header_bytes);
    for (uint64_t at = f->header_bytes; !status && at < f->bytes;) {
        fill part = {s, file, at, f->bytes - at, room};
        if (part.bytes > PIECES * PIECE_BYTES) part.bytes = PIECES * PIECE_BYTES;
        status = parallel_for(e, 0, (part.bytes + PIECE_BYTES - 1) / PIECE_BYTES, fill_piece,
                              &part);
        if (!status) status = staging_write(e, folder, f->name, at, room, (size_t)part.bytes);
        at += part.bytes;
        *done += part.bytes;
        progress_show(p, *done, s->bytes);
    }
    return status;
}

static bool folder_file(const char *name) {
    static const char *const ends[] = {".json", ".safetensors"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t bytes = strlen(name), end = strlen(ends[i]);
        if (bytes > end && !strcmp(name + bytes - end, ends[i])) return true;
    }
    return false;
}

static doppler_status write_folder(error *e, staging *folder, const job *j, progress *p) {
    static const struct { const char *name; void (*make)(const synth *, text *); } texts[] = {
        {"config.json", synth_config},
        {"generation_config.json", synth_generation_config},
        {"tokenizer.json", synth_tokenizer},
        {"tokenizer_config.json", synth_tokenizer_config},
        {"model.safetensors.index.json", synth_index}};      /* last: only with several files */
    uint32_t count = sizeof texts / sizeof *texts - (j->s.file_count == 1);
    uint64_t done = 0;
    uint8_t *room = malloc(PIECES * PIECE_BYTES);
    doppler_status status = staging_open(e, folder, j->out, folder_file);
    if (!status && !room) status = fail(e, DOPPLER_NO_MEMORY, "%d bytes", PIECES * PIECE_BYTES);
    for (uint32_t i = 0; !status && i < count; i++)
        status = write_text(e, folder, texts[i].name, &j->s, texts[i].make);
    for (uint32_t f = 0; !status && f < j->s.file_count; f++)
        status = write_file(e, folder, &j->s, f, room, p, &done);
    free(room);
    return status ? status : staging_commit(e, folder);
}

static doppler_status make_safetensors(error *e, job *j) {
    staging folder = {0};
    progress p;
    progress_start(&p, "writing", j->quiet);
    doppler_status status = write_folder(e, &folder, j, &p);
    double seconds = progress_end(&p);
    staging_free(&folder);
    if (status || j->quiet) return status;
    char bytes[BYTES_TEXT], speed[BYTES_TEXT];
    uint32_t tensors = 0;
    for (uint32_t f = 0; f < j->s.file_count; f++) tensors += j->s.files[f].count;
    printf("%s: %u tensors, %s in %u safetensors file%s, %.1f s, %s/s\n", j->out, tensors,
           bytes_text((double)j->s.bytes, bytes), j->s.file_count,
           j->s.file_count == 1 ? "" : "s", seconds,
           bytes_text(seconds > 0 ? (double)j->s.bytes / seconds : 0, speed));
    return DOPPLER_OK;
}

/* ---- RDRR package: the folder as the converter would find it */

static doppler_status read_synth(error *e, void *user, const convert_step *step) {
    const job *j = user;
    (void)e;
    synth_read(&j->s, step->source, step->offset, step->to, step->bytes);
    return DOPPLER_OK;
}

static doppler_status make_rdrr(error *e, job *j) {
    synth_model m;
    text tokenizer = {0};
    convert *c = NULL;
    doppler_status status = synth_model_read(e, &j->s, &m);
    if (!status) status = synth_tokenizer_compile(e, &j->s, &tokenizer);
    if (!status) {
        convert_input input = {
            .model = &m.model, .sources = m.sources, .source_count = m.source_count,
            .tokenizer = tokenizer.data, .tokenizer_bytes = tokenizer.bytes,
            .chat_template = "", .name = j->shape, .source = "random weights",
            .target = (convert_target)j->target, .shard_bytes = j->shard_bytes};
        status = convert_create(e, &input, &c);
    }
    const package_job job = {.out = j->out, .read = read_synth, .user = j, .quiet = j->quiet};
    if (!status) status = package_write(e, c, &job);
    convert_destroy(c);
    text_free(&tokenizer);
    synth_model_free(&m);
    return status;
}

/* ---- the verb */

static doppler_status make_gguf(error *e, job *j) {
    return synth_gguf(e, &j->s, j->out, j->quiet);
}

static doppler_status make(error *e, job *j) {
    static doppler_status (*const forms[FORM_COUNT])(error *, job *) = {
        [FORM_SAFETENSORS] = make_safetensors, [FORM_RDRR] = make_rdrr,
        [FORM_GGUF] = make_gguf};
    const shape *of = shape_by_name(j->shape);
    if (!of) {
        char names[160] = "";
        for (size_t i = 0, used = 0; i < SHAPE_COUNT; i++)
            used += (size_t)snprintf(names + used, sizeof names - used, " %s", shapes[i].name);
        return fail(e, DOPPLER_BAD_ARGUMENT, "no shape \"%.40s\"; there are%s", j->shape, names);
    }
    if (j->target != TARGET_COUNT && j->form != FORM_RDRR)
        return fail(e, DOPPLER_BAD_ARGUMENT, "--quantize is for --format rdrr");
    if (j->target == TARGET_COUNT) j->target = TARGET_Q4_K_M;
    doppler_status status = synth_open(e, &j->s, of, j->layers, j->seed);
    return status ? status : forms[j->form](e, j);
}

int cmd_synth(int argc, char **argv) {
    job j = {.target = TARGET_COUNT};
    const argument arguments[] = {
        {"SHAPE", &j.shape, "stories, llama-3.2-1b, llama-3.1-8b, mistral-7b, gemma-3-1b, "
         "gemma-3-4b, mixtral-8x7b or gpt-oss-20b", false},
        {"OUT", &j.out, "the folder, or GGUF file, to write; it must not exist", false}};
    const option options[] = {
        {"format", 0, OPTION_CHOICE, &j.form, "safetensors|rdrr|gguf",
         "what to write; default safetensors, a Hugging Face folder", 0, 0},
        {"layers", 0, OPTION_U32, &j.layers, "N", "only so many layers", 1, MODEL_MAX_LAYERS},
        {"seed", 0, OPTION_U64, &j.seed, "N", "of the random weights; default 0", 0, 0},
        {"quantize", 'q', OPTION_CHOICE, &j.target, "keep|f32|f16|bf16|q8_0|q4_k_m|mxfp4",
         "of rdrr: format of the matrices; default q4_k_m", 0, 0},
        {"shard-size", 0, OPTION_SIZE, &j.shard_bytes, "BYTES",
         "of rdrr: largest shard, a multiple of 4KiB; default 64MiB", RDRR_ALIGN, 9e18},
        {"quiet", 0, OPTION_FLAG, &j.quiet, NULL, "print nothing but failures", 0, 0}};
    const command c = {"synth", "Writes random weights at a real model's shape.", arguments, 2,
                       options, sizeof options / sizeof *options};
    int code = options_parse(&c, argc, argv);
    if (code >= 0) return code;
    error e = {0};
    doppler_status status = make(&e, &j);
    synth_free(&j.s);
    return status ? command_failed(&c, &e) : 0;
}
