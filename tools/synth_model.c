/* synth_model.c - see synth.h: the files of a shape, read as the converter reads a folder. */
#include "bridge/hf_config.h"
#include "bridge/hf_names.h"
#include "tools/synth.h"

static doppler_status read_model(error *e, const synth *s, const text *config,
                                 const text *generation, synth_model *out) {
    safetensors *files = arena_array(&out->memory, s->file_count, sizeof *files);
    if (config->failed || generation->failed || !files)
        return fail(e, DOPPLER_NO_MEMORY, "%s", s->shape->name);
    doppler_status status = hf_config_parse(
        e, (hf_text){config->data, config->bytes}, (hf_text){generation->data, generation->bytes},
        &out->model);
    for (uint32_t i = 0; !status && i < s->file_count; i++) {
        const synth_file *file = &s->files[i];
        status = safetensors_parse(e, &out->memory, file->name, file->header + SAFETENSORS_PREFIX,
                                   (size_t)file->header_bytes - SAFETENSORS_PREFIX, file->bytes,
                                   &files[i]);
    }
    if (status) return status;
    uint32_t vision;
    return hf_sources(e, &out->memory, &out->model, files, s->file_count, &out->sources,
                      &out->source_count, &vision);
}

doppler_status synth_model_read(error *e, const synth *s, synth_model *out) {
    text config = {0}, generation = {0};
    *out = (synth_model){.source_count = 0};
    synth_config(s, &config);
    synth_generation_config(s, &generation);
    doppler_status status = read_model(e, s, &config, &generation, out);
    text_free(&config);
    text_free(&generation);
    return status;
}

void synth_model_free(synth_model *m) { arena_free(&m->memory); }
