/* fuzz_convert.c - a checkpoint, whatever its config, header and numbers, through the whole
 * conversion.
 *
 * Input: target, shard size, then config.json, 0, the safetensors header, 0, and bytes that the
 * file's data repeats. */
#include "bridge/hf_config.h"
#include "bridge/hf_names.h"
#include "memory/json.h"
#include "tests/fuzz/conversion.h"

enum { MOST_DATA = 1 << 19 };

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    fuzz_input in = {data, data + bytes};
    convert_target target = (convert_target)(fuzz_u8(&in) % TARGET_COUNT);
    uint64_t shard_bytes = fuzz_u8(&in) * (uint64_t)RDRR_ALIGN;
    hf_text config, none = {0};
    size_t header_bytes;
    config.data = fuzz_part(&in, &config.bytes);
    const char *header = fuzz_part(&in, &header_bytes);
    fuzz_source c = {.pattern = in.at, .pattern_bytes = (size_t)(in.end - in.at),
                     .data = SAFETENSORS_PREFIX + header_bytes};
    uint64_t claimed = claimed_bytes(header, header_bytes);
    if (claimed > MOST_DATA) return 0;
    c.file_bytes = c.data + claimed;
    arena a = {0};
    error e = {0};
    model_config model;
    safetensors file;
    source_tensor *sources;
    uint32_t count, vision;
    doppler_status status = hf_config_parse(&e, config, none, &model);
    if (!status)
        status = safetensors_parse(&e, &a, "f", header, header_bytes, c.file_bytes, &file);
    if (!status) status = hf_sources(&e, &a, &model, &file, 1, &sources, &count,
                                     &vision);
    FUZZ_CHECK_ERROR(status, e);
    const convert_input input = {.model = &model, .sources = sources, .source_count = count,
                                 .tokenizer = "{}", .tokenizer_bytes = 2, .chat_template = "",
                                 .name = "fuzz", .source = "fuzz", .target = target,
                                 .shard_bytes = shard_bytes};
    if (!status) fuzz_conversion(&input, &c);
    arena_free(&a);
    return 0;
}
