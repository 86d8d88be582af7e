/* conversion.c - see conversion.h. */
#include "tests/fuzz/conversion.h"
#include <string.h>

enum { MOST_FILES = 512 };

typedef struct output { const char *file; uint64_t bytes; } output;

void fuzz_read(const fuzz_source *c, uint64_t offset, uint8_t *to, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        to[i] = c->pattern_bytes ? c->pattern[(offset + i) % c->pattern_bytes] : 0;
}

static void serve(const fuzz_source *c, const convert_step *step) {
    assert(step->source == 0 && step->bytes > 0 && step->offset >= c->data);
    assert(step->bytes <= c->file_bytes && step->offset <= c->file_bytes - step->bytes);
    fuzz_read(c, step->offset, step->to, step->bytes);
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

void fuzz_conversion(const convert_input *input, const fuzz_source *c) {
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
    convert_part *part = NULL;
    if (!status) status = convert_part_create(&e, conversion, &part);
    if (!status) convert_part_begin(part, 0, convert_blocks(conversion));
    while (!status && !(status = convert_part_next(&e, part, &step)) &&
           step.action != CONVERT_DONE) {
        if (step.action == CONVERT_READ) serve(c, &step);
        else take(outputs, &count, &step);
    }
    convert_part_destroy(part);
    while (!status && !(status = convert_next(&e, conversion, &step)) &&
           step.action != CONVERT_DONE) {
        take(outputs, &count, &step);
        if (!strcmp(step.file, RDRR_MANIFEST)) check_manifest(outputs, count, &step);
    }
    FUZZ_CHECK_ERROR(status, e);
    convert_destroy(conversion);
}
