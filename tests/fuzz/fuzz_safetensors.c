/* fuzz_safetensors.c - what a Hugging Face folder holds beside its numbers. The first byte says
 * which file: f a safetensors file, i an index and the headers of two files, c config.json and
 * generation_config.json, t tokenizer_config.json; parts are separated by a 0. */
#include "bridge/hf_config.h"
#include "bridge/hf_names.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

/* Every tensor inside the file, in order, without holes. */
static void check_tensors(const safetensors *s, uint64_t data, uint64_t file_bytes) {
    for (uint32_t i = 0; i < s->count; i++) {
        assert(s->tensors[i].offset == data && s->tensors[i].bytes <= file_bytes - data);
        data += s->tensors[i].bytes;
        tensor_role role;
        uint32_t layer;
        for (uint32_t m = 0; model_architectures[m]; m++)
            if (hf_name_role(model_architectures[m], s->tensors[i].name, &role, &layer) ==
                HF_NAME_ROLE)
                assert(role < ROLE_COUNT && layer < MODEL_MAX_LAYERS);
    }
    assert(data == file_bytes);
}

static void take_file(fuzz_input in) {
    arena a = {0};
    error e = {0};
    safetensors s;
    uint64_t header, bytes = (uint64_t)(in.end - in.at);
    doppler_status status = safetensors_header_bytes(&e, "f", in.at, (size_t)bytes, bytes, &header);
    if (!status)
        status = safetensors_parse(&e, &a, "f", (const char *)in.at + SAFETENSORS_PREFIX,
                                   (size_t)header, bytes, &s);
    FUZZ_CHECK_ERROR(status, e);
    if (!status) check_tensors(&s, SAFETENSORS_PREFIX + header, bytes);
    arena_free(&a);
}

/* Files of tensors without elements: header and nothing behind it. */
static void take_index(fuzz_input in) {
    arena a = {0};
    error e = {0};
    size_t bytes;
    safetensors_index index;
    const char *text = fuzz_part(&in, &bytes);
    doppler_status status = safetensors_index_parse(&e, &a, "i", text, bytes, &index);
    safetensors *files = status ? NULL : arena_array(&a, index.file_count, sizeof *files);
    for (uint32_t i = 0; !status && i < index.file_count; i++) {
        text = fuzz_part(&in, &bytes);
        status = safetensors_parse(&e, &a, index.files[i], text, bytes,
                                   SAFETENSORS_PREFIX + bytes, &files[i]);
    }
    if (!status) status = safetensors_index_check(&e, &a, "i", &index, files);
    FUZZ_CHECK_ERROR(status, e);
    arena_free(&a);
}

static void take_config(fuzz_input in) {
    hf_text config, generation;
    error e = {0};
    model_config model;
    config.data = fuzz_part(&in, &config.bytes);
    generation.data = fuzz_part(&in, &generation.bytes);
    if (!generation.bytes) generation.data = NULL;
    doppler_status status = hf_config_parse(&e, config, generation, &model);
    FUZZ_CHECK_ERROR(status, e);
    if (!status) {
        assert(model_check(&e, "again", &model) == DOPPLER_OK);
        assert(model_parameters(&model) > 0);
    }
}

static void take_template(fuzz_input in) {
    arena a = {0};
    error e = {0};
    const char *template = NULL;
    hf_text config = {(const char *)in.at, (size_t)(in.end - in.at)};
    doppler_status status = hf_chat_template(&e, &a, "tokenizer_config.json", config, &template);
    FUZZ_CHECK_ERROR(status, e);
    assert(status || template);
    arena_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static const struct { char name; void (*take)(fuzz_input in); } files[] = {
        {'f', take_file}, {'i', take_index}, {'c', take_config}, {'t', take_template}};
    fuzz_input in = {data, data + bytes};
    uint8_t name = fuzz_u8(&in);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (files[i].name == name) files[i].take(in);
    return 0;
}
