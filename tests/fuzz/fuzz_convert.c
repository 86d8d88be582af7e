/* fuzz_convert.c - a checkpoint, whatever its config, header and numbers, through the whole
 * conversion: every read lies in the source, every file is written without gaps, and the manifest
 * that comes out describes what was written and is one that the loader takes.
 *
 * Input: target, shard size, then config.json, 0, the safetensors header, 0, and bytes that the
 * file's data repeats. */
#include "bridge/hf_config.h"
#include "bridge/hf_names.h"
#include "loader/convert.h"
#include "memory/json.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

enum { MOST_DATA = 1 << 19, MOST_FILES = 512 };

typedef struct output { const char *file; uint64_t bytes; } output;

typedef struct checkpoint {
    const uint8_t *pattern;
    size_t pattern_bytes;
    uint64_t data, file_bytes;   /* where the data starts; of the file */
} checkpoint;

/* The largest end that any tensor of the header claims: how long its file must be. */
static uint64_t claimed_bytes(const char *header, size_t bytes) {
    arena a = {0};
    error e = {0};
    json *root;
    uint64_t end = 0;
    if (!json_parse(&e, &a, "header", header, bytes, &root))
        for (const json *t = root->first; t; t = t->next) {
            const json *range = json_get(t, "data_offsets");
            const json *last = range && range->first ? range->first->next : NULL;
            if (last && last->is_integer && last->integer > (int64_t)end)
                end = (uint64_t)last->integer;
        }
    arena_free(&a);
    return end;
}

static void serve(const checkpoint *c, const convert_step *step) {
    assert(step->source == 0 && step->bytes > 0 && step->offset >= c->data);
    assert(step->bytes <= c->file_bytes && step->offset <= c->file_bytes - step->bytes);
    for (uint32_t i = 0; i < step->bytes; i++)
        step->to[i] = c->pattern_bytes ? c->pattern[(step->offset + i) % c->pattern_bytes] : 0;
}

/* Pieces of a file come in order; each but the last of hashes.bin and others is a block. */
static void take(output *outputs, uint32_t *count, const convert_step *step) {
    uint32_t i = 0;
    while (i < *count && strcmp(outputs[i].file, step->file)) i++;
    assert(i < MOST_FILES);
    if (i == *count) outputs[(*count)++] = (output){step->file, 0};
    assert(step->offset == outputs[i].bytes && step->bytes > 0);
    outputs[i].bytes += step->bytes;
    uint32_t sum = 0;
    for (uint32_t b = 0; b < step->bytes; b++) sum += step->from[b];
    if (step->block_sha256) memset(step->block_sha256, (int)(sum & 0xFF), RDRR_HASH_BYTES);
    if (step->file_sha256) memset(step->file_sha256, (int)(sum & 0xFF), RDRR_HASH_BYTES);
}

static uint64_t written(const output *outputs, uint32_t count, const char *file) {
    for (uint32_t i = 0; i < count; i++)
        if (!strcmp(outputs[i].file, file)) return outputs[i].bytes;
    return 0;
}

static void check_manifest(const output *outputs, uint32_t count, const convert_step *step) {
    manifest m;
    error e = {0};
    doppler_status status = manifest_parse(&e, &m, (const char *)step->from, step->bytes);
    assert(!status);
    assert(written(outputs, count, m.tokenizer.file) == m.tokenizer.bytes);
    assert(written(outputs, count, m.hashes.file) == m.hashes.bytes);
    for (uint32_t i = 0; i < m.shard_count; i++)
        assert(written(outputs, count, m.shards[i].file) == m.shards[i].bytes);
    assert(count == m.shard_count + 3);
    manifest_free(&m);
}

static void run(const convert_input *input, const checkpoint *c) {
    static output outputs[MOST_FILES];
    uint32_t count = 0;
    convert *conversion;
    convert_step step;
    error e = {0};
    doppler_status status = convert_create(&e, input, &conversion);
    if (!status && convert_manifest(conversion)->shard_count + 3 > MOST_FILES) {
        convert_destroy(conversion);
        return;
    }
    while (!status && !(status = convert_next(&e, conversion, &step)) &&
           step.action != CONVERT_DONE) {
        if (step.action == CONVERT_READ) serve(c, &step);
        else take(outputs, &count, &step);
        if (step.action == CONVERT_WRITE && !strcmp(step.file, RDRR_MANIFEST))
            check_manifest(outputs, count, &step);
    }
    FUZZ_CHECK_ERROR(status, e);
    uint64_t done = 0, total = 0;
    if (!status) convert_progress(conversion, &done, &total);
    assert(done == total);
    convert_destroy(conversion);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    fuzz_input in = {data, data + bytes};
    convert_target target = (convert_target)(fuzz_u8(&in) % TARGET_COUNT);
    uint64_t shard_bytes = fuzz_u8(&in) * (uint64_t)RDRR_ALIGN;
    hf_text config, none = {0};
    size_t header_bytes;
    config.data = fuzz_part(&in, &config.bytes);
    const char *header = fuzz_part(&in, &header_bytes);
    checkpoint c = {.pattern = in.at, .pattern_bytes = (size_t)(in.end - in.at),
                    .data = SAFETENSORS_PREFIX + header_bytes};
    uint64_t claimed = claimed_bytes(header, header_bytes);
    if (claimed > MOST_DATA) return 0;
    c.file_bytes = c.data + claimed;
    arena a = {0};
    error e = {0};
    model_config model;
    safetensors file;
    source_tensor *sources;
    uint32_t count;
    doppler_status status = hf_config_parse(&e, config, none, &model);
    if (!status)
        status = safetensors_parse(&e, &a, "f", header, header_bytes, c.file_bytes, &file);
    if (!status) status = hf_sources(&e, &a, &model, &file, 1, &sources, &count);
    FUZZ_CHECK_ERROR(status, e);
    const convert_input input = {.model = &model, .sources = sources, .source_count = count,
                                 .tokenizer = "{}", .tokenizer_bytes = 2, .chat_template = "",
                                 .name = "fuzz", .source = "fuzz", .target = target,
                                 .shard_bytes = shard_bytes};
    if (!status) run(&input, &c);
    arena_free(&a);
    return 0;
}
