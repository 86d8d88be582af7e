/* cmd_convert.c - `doppler convert`: a GGUF file, a Hugging Face folder or a package of doppler-gpu
 * to an RDRR package. What is in them becomes a plan; tools/package_write.h carries it out. */
#include "storage/threads.h"
#include "tools/cmd.h"
#include "tools/doppler_gpu_read.h"
#include "tools/interrupt.h"
#include "tools/local.h"
#include "tools/options.h"
#include "tools/package_write.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct job {
    const char *in, *out, *name;
    uint32_t target;
    uint32_t embeddings, head;   /* indices of matrix_formats; FORMAT_COUNT: the target's */
    uint64_t shard_bytes, memory;
    uint32_t threads;
    bool resume, quiet;
    option_list mirrors;
    checkpoint source;
    storage_file *data;          /* owned: [source.data_count] */
    text tokenizer;              /* compiled */
    text inputs;                 /* each file's size and time */
    text notes;
    convert *c;
} job;

/* The choices of --embeddings and --head. */
#define MATRIX_FORMATS "f32|f16|bf16|q8_0|q5_0|q4_k|q6_k|mxfp4"
static const weight_format matrix_formats[] = {
    FORMAT_F32, FORMAT_F16, FORMAT_BF16, FORMAT_Q8_0, FORMAT_Q5_0, FORMAT_Q4_K, FORMAT_Q6_K,
    FORMAT_MXFP4};

/* A package of doppler-gpu against its hashes, as far as they are SHA-256. */
static doppler_status check_package(error *e, const job *j) {
    const doppler_gpu *p = j->source.package;
    if (p->unchecked_count && !j->quiet)
        fprintf(stderr, "%s: of %" PRIu32 " shards %" PRIu32 " have no SHA-256 (but BLAKE3, or "
                "none) and are not checked\n", j->source.name, p->shard_count, p->unchecked_count);
    return doppler_gpu_verify(e, p, j->data, j->quiet);
}

static const weight_format *chosen(uint32_t choice) {
    return choice == FORMAT_COUNT ? NULL : &matrix_formats[choice];
}

/* A checkpoint that was written again has other times, though its shapes be the same. */
static doppler_status list_inputs(error *e, job *j) {
    for (uint32_t i = 0; i < j->source.data_count; i++)
        text_format(&j->inputs, "%" PRIu64 " bytes of %" PRId64 "\n", j->data[i].bytes,
                    j->data[i].modified_ns);
    return j->inputs.failed ? fail(e, DOPPLER_NO_MEMORY, "%s", j->in) : DOPPLER_OK;
}

static doppler_status open_data(error *e, job *j) {
    j->data = calloc(j->source.data_count, sizeof *j->data);
    if (!j->data) return fail(e, DOPPLER_NO_MEMORY, "%s", j->in);
    return local_open_data(e, &j->source, j->data);
}

static doppler_status prepare(error *e, job *j) {
    convert_input input = {.target = (convert_target)j->target, .shard_bytes = j->shard_bytes};
    checkpoint *s = &j->source;
    uint32_t tokens;
    doppler_status status = local_open(e, s, j->in);
    if (status || (status = checkpoint_describe(e, s)) ||
        (status = checkpoint_chat_template(e, s, &input.chat_template)) ||
        (status = checkpoint_tokenizer(e, s, &j->tokenizer, &tokens)) ||
        (status = open_data(e, j)) || (status = list_inputs(e, j)) ||
        (s->package && (status = check_package(e, j))))
        return status;
    input.tokenizer = j->tokenizer.data;
    input.tokenizer_bytes = j->tokenizer.bytes;
    input.model = &s->model;
    input.sources = s->sources;
    input.source_count = s->source_count;
    input.embeddings = chosen(j->embeddings);
    input.head = chosen(j->head);
    input.name = j->name ? j->name : s->name;
    input.source = s->name;
    input.mirrors = j->mirrors.items;
    input.mirror_count = j->mirrors.count;
    status = convert_create(e, &input, &j->c);
    if (!status && !j->quiet) checkpoint_notes(s, j->c, tokens, &j->notes);
    if (j->notes.bytes) fputs(j->notes.data, stderr);
    return status;
}

static doppler_status read_source(error *e, void *user, const convert_step *step) {
    const job *j = user;
    return local_read(e, &j->source, j->data, step->source, step->offset, step->to, step->bytes);
}

static int convert_job(const command *c, job *j) {
    error e = {0};
    sigset_t signals;
    doppler_status status = prepare(&e, j);
    if (!status) {
        const package_job job = {.out = j->out, .read = read_source, .user = j,
                                 .threads = j->threads, .memory = j->memory,
                                 .resume = j->resume, .inputs = j->inputs.data,
                                 .quiet = j->quiet};
        interrupts_wait(&signals);
        status = package_write(&e, j->c, &job);
        if (status) command_failed(c, &e);
        interrupts_pass(&signals);
    } else command_failed(c, &e);
    convert_destroy(j->c);
    text_free(&j->tokenizer);
    text_free(&j->inputs);
    text_free(&j->notes);
    for (uint32_t i = 0; j->data && i < j->source.data_count; i++) storage_close(&j->data[i]);
    free(j->data);
    checkpoint_free(&j->source);
    return status ? 1 : 0;
}

int cmd_convert(int argc, char **argv) {
    job j = {.target = TARGET_KEEP, .embeddings = FORMAT_COUNT, .head = FORMAT_COUNT};
    const argument arguments[] = {
        {"IN", &j.in, "a GGUF file, a Hugging Face folder or its safetensors file, a package of "
         "doppler-gpu", false},
        {"OUT", &j.out, "the package's folder, which must not exist", false}};
    const option options[] = {
        {"input", 'i', OPTION_TEXT, &j.in, "IN", "the same as the argument", 0, 0},
        {"output", 'o', OPTION_TEXT, &j.out, "OUT", "the same as the argument", 0, 0},
        {"quantize", 'q', OPTION_CHOICE, &j.target, "keep|f32|f16|bf16|q8_0|q4_k_m|mxfp4",
         "format of the matrices; default keep: as they are, where kernels read that", 0, 0},
        {"embeddings", 0, OPTION_CHOICE, &j.embeddings, MATRIX_FORMATS,
         "format of the embedding; default: what --quantize says", 0, 0},
        {"head", 0, OPTION_CHOICE, &j.head, MATRIX_FORMATS,
         "format of the head, where it is not the embedding; default likewise", 0, 0},
        {"shard-size", 0, OPTION_SIZE, &j.shard_bytes, "BYTES",
         "largest shard, a multiple of 4KiB; default 64MiB", RDRR_ALIGN, 9e18},
        {"name", 0, OPTION_TEXT, &j.name, "NAME", "the model's name; default: its folder's", 0, 0},
        {"mirror", 0, OPTION_LIST, &j.mirrors, "URL",
         "a folder that will hold the shards, too, for the manifest; may be repeated", 0, 0},
        {"threads", 0, OPTION_U32, &j.threads, "N", "default: as many as there are processors",
         1, THREADS_MAX},
        {"memory", 0, OPTION_SIZE, &j.memory, "BYTES",
         "at most for what is being made, whatever the threads; default 256MiB", 1, 9e18},
        {"resume", 0, OPTION_FLAG, &j.resume, NULL,
         "go on with OUT.partial, which an interrupted run has left", 0, 0},
        {"quiet", 0, OPTION_FLAG, &j.quiet, NULL, "print nothing but failures", 0, 0}};
    const command c = {"convert", "Converts a checkpoint to an RDRR package.", arguments, 2,
                       options, sizeof options / sizeof *options};
    int code = options_parse(&c, argc, argv);
    return code >= 0 ? code : convert_job(&c, &j);
}
