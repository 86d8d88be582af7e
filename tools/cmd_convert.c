/* cmd_convert.c - `doppler convert`: a GGUF file or Hugging Face folder to an RDRR package.
 * What is in them becomes a plan; tools/package_write.h carries it out. */
#include "bridge/gguf_tokenizer.h"
#include "loader/repack.h"
#include "tokenizer/sentencepiece.h"
#include "tools/checkpoint.h"
#include "tools/cmd.h"
#include "tools/options.h"
#include "tools/package_write.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { MAX_TOKENIZER = 256 << 20 };

typedef struct job {
    const char *in, *out, *name;
    uint32_t target;
    uint64_t shard_bytes;
    bool quiet;
    checkpoint source;
    text tokenizer;              /* compiled */
    convert *c;
} job;

/* That of tokenizer.json beside the data, or else of tokenizer.model. */
static doppler_status read_tokenizer(error *e, checkpoint *s, tokenizer **out) {
    static const char json[] = "tokenizer.json", model[] = "tokenizer.model";
    bool is_model = !storage_exists(s->folder, json) && storage_exists(s->folder, model);
    const char *data;
    size_t bytes;
    doppler_status status = checkpoint_text(e, s, is_model ? model : json, MAX_TOKENIZER, &data,
                                            &bytes);
    if (status) return status;
    return is_model ? tokenizer_read_sentencepiece(e, data, bytes, out)
                    : tokenizer_read_json(e, data, bytes, out);
}

/* The metadata's tokenizer, or that beside the data, compiled. */
static doppler_status compile_tokenizer(error *e, job *j) {
    checkpoint *s = &j->source;
    tokenizer *t = NULL;
    doppler_status status = s->ggufs ? gguf_tokenizer(e, &s->ggufs[0], &t)
                                     : read_tokenizer(e, s, &t);
    if (status) return status;
    uint32_t tokens = tokenizer_vocab(t);
    tokenizer_compile(t, &j->tokenizer);
    tokenizer_close(t);
    if (j->tokenizer.failed)
        return fail(e, DOPPLER_NO_MEMORY, "a tokenizer of %" PRIu32 " tokens", tokens);
    if (tokens > s->model.vocab && !j->quiet)
        fprintf(stderr, "%s: the tokenizer has %" PRIu32 " tokens, the model only %" PRIu32 "\n",
                s->name, tokens, s->model.vocab);
    return DOPPLER_OK;
}

static doppler_status prepare(error *e, job *j) {
    convert_input input = {.target = (convert_target)j->target, .shard_bytes = j->shard_bytes};
    checkpoint *s = &j->source;
    doppler_status status = checkpoint_open(e, s, j->in);
    if (status || (status = checkpoint_describe(e, s)) ||
        (status = checkpoint_chat_template(e, s, &input.chat_template)) ||
        (status = compile_tokenizer(e, j)))
        return status;
    input.tokenizer = j->tokenizer.data;
    input.tokenizer_bytes = j->tokenizer.bytes;
    input.model = &s->model;
    input.sources = s->sources;
    input.source_count = s->source_count;
    input.name = j->name ? j->name : s->name;
    input.source = s->name;
    return convert_create(e, &input, &j->c);
}

/* What is left out, and each tensor that `keep` stores in another type. */
static void tell_changes(const job *j) {
    const manifest *m = convert_manifest(j->c);
    if (j->source.vision_count && !j->quiet)
        fprintf(stderr, "%s: %" PRIu32 " tensors of its vision part are left out\n",
                j->source.name, j->source.vision_count);
    for (uint32_t i = 0; i < m->tensor_count && !j->quiet; i++) {
        const rdrr_tensor *t = &m->tensors[i];
        source_type type = j->source.sources[i].type;
        if (j->target == TARGET_KEEP && source_types[type].block_weights > 1 &&
            strcasecmp(source_types[type].name, formats[t->format].name))
            fprintf(stderr, "%s: %s -> %s%s\n", t->name, source_types[type].name,
                    formats[t->format].name, repack_is_exact(type) ? ", the same values" : "");
    }
}

static doppler_status read_source(error *e, void *user, const convert_step *step) {
    const job *j = user;
    return storage_read(e, &j->source.data[step->source], step->offset, step->to, step->bytes);
}

int cmd_convert(int argc, char **argv) {
    job j = {.target = TARGET_KEEP};
    const argument arguments[] = {
        {"IN", &j.in, "a GGUF file, a Hugging Face folder, or its safetensors file", false},
        {"OUT", &j.out, "the package's folder, which must not exist", false}};
    const option options[] = {
        {"input", 'i', OPTION_TEXT, &j.in, "IN", "the same as the argument", 0, 0},
        {"output", 'o', OPTION_TEXT, &j.out, "OUT", "the same as the argument", 0, 0},
        {"quantize", 'q', OPTION_CHOICE, &j.target, "keep|f32|f16|bf16|q8_0|q4_k_m|mxfp4",
         "format of the matrices; default keep: as they are, where kernels read that", 0, 0},
        {"shard-size", 0, OPTION_SIZE, &j.shard_bytes, "BYTES",
         "largest shard, a multiple of 4KiB; default 64MiB", RDRR_ALIGN, 9e18},
        {"name", 0, OPTION_TEXT, &j.name, "NAME", "the model's name; default: its folder's", 0, 0},
        {"quiet", 0, OPTION_FLAG, &j.quiet, NULL, "print nothing but failures", 0, 0}};
    const command c = {"convert", "Converts a checkpoint to an RDRR package.", arguments, 2,
                       options, sizeof options / sizeof *options};
    int code = options_parse(&c, argc, argv);
    if (code >= 0) return code;
    error e = {0};
    doppler_status status = prepare(&e, &j);
    if (!status) {
        tell_changes(&j);
        status = package_write(&e, j.c, j.out, read_source, &j, j.quiet);
    }
    convert_destroy(j.c);
    text_free(&j.tokenizer);
    checkpoint_free(&j.source);
    return status ? command_failed(&c, &e) : 0;
}
