/* shapes.c - see shapes.h. Numbers: config.json and generation_config.json of the models named,
 * as released on huggingface.co. */
#include "tools/shapes.h"
#include <stddef.h>
#include <string.h>

const shape shapes[SHAPE_COUNT] = {
    {.name = "stories", .like = "models/stories of this project", .family = FAMILY_LLAMA,
     .layers = 8, .dim = 512, .hidden = 1536, .heads = 8, .kv_heads = 4, .head_dim = 64,
     .vocab = 4096, .context = 2048, .norm_eps = 1e-5, .theta = 10000, .tied_head = true,
     .bos = 4091, .pad = SHAPE_NO_TOKEN, .stops = {4092}, .stop_count = 1},
    {.name = "llama-3.2-1b", .like = "meta-llama/Llama-3.2-1B-Instruct", .family = FAMILY_LLAMA,
     .layers = 16, .dim = 2048, .hidden = 8192, .heads = 32, .kv_heads = 8, .head_dim = 64,
     .vocab = 128256, .context = 131072, .norm_eps = 1e-5, .theta = 500000, .tied_head = true,
     .scaling = SCALING_LLAMA3, .factor = 32, .low_factor = 1, .high_factor = 4,
     .original_context = 8192, .bos = 128000, .pad = SHAPE_NO_TOKEN,
     .stops = {128001, 128008, 128009}, .stop_count = 3},
    {.name = "llama-3.1-8b", .like = "meta-llama/Llama-3.1-8B-Instruct", .family = FAMILY_LLAMA,
     .layers = 32, .dim = 4096, .hidden = 14336, .heads = 32, .kv_heads = 8, .head_dim = 128,
     .vocab = 128256, .context = 131072, .norm_eps = 1e-5, .theta = 500000,
     .scaling = SCALING_LLAMA3, .factor = 8, .low_factor = 1, .high_factor = 4,
     .original_context = 8192, .bos = 128000, .pad = SHAPE_NO_TOKEN,
     .stops = {128001, 128008, 128009}, .stop_count = 3},
    {.name = "mistral-7b", .like = "mistralai/Mistral-7B-v0.1", .family = FAMILY_MISTRAL,
     .layers = 32, .dim = 4096, .hidden = 14336, .heads = 32, .kv_heads = 8, .head_dim = 128,
     .vocab = 32000, .context = 32768, .norm_eps = 1e-5, .theta = 10000, .window = 4096,
     .bos = 1, .pad = SHAPE_NO_TOKEN, .stops = {2}, .stop_count = 1},
    {.name = "gemma-3-1b", .like = "google/gemma-3-1b-it", .family = FAMILY_GEMMA3,
     .layers = 26, .dim = 1152, .hidden = 6912, .heads = 4, .kv_heads = 1, .head_dim = 256,
     .vocab = 262144, .context = 32768, .norm_eps = 1e-6, .theta = 1000000, .tied_head = true,
     .window = 512, .period = 6, .sliding_theta = 10000, .bos = 2, .pad = 0, .stops = {1, 106},
     .stop_count = 2},
    {.name = "gemma-3-4b", .like = "google/gemma-3-4b-it", .family = FAMILY_GEMMA3,
     .layers = 34, .dim = 2560, .hidden = 10240, .heads = 8, .kv_heads = 4, .head_dim = 256,
     .vocab = 262208, .context = 131072, .norm_eps = 1e-6, .theta = 1000000, .tied_head = true,
     .window = 1024, .period = 6, .sliding_theta = 10000, .scaling = SCALING_LINEAR, .factor = 8,
     .bos = 2, .pad = 0, .stops = {1, 106}, .stop_count = 2, .vision_layers = 27},
    {.name = "mixtral-8x7b", .like = "mistralai/Mixtral-8x7B-v0.1", .family = FAMILY_MIXTRAL,
     .layers = 32, .dim = 4096, .hidden = 14336, .heads = 32, .kv_heads = 8, .head_dim = 128,
     .vocab = 32000, .context = 32768, .norm_eps = 1e-5, .theta = 1000000, .experts = 8,
     .experts_used = 2, .bos = 1, .pad = SHAPE_NO_TOKEN, .stops = {2}, .stop_count = 1},
    {.name = "gpt-oss-20b", .like = "openai/gpt-oss-20b", .family = FAMILY_GPT_OSS,
     .layers = 24, .dim = 2880, .hidden = 2880, .heads = 64, .kv_heads = 8, .head_dim = 64,
     .vocab = 201088, .context = 131072, .norm_eps = 1e-5, .theta = 150000, .experts = 32,
     .experts_used = 4, .window = 128, .period = 2, .scaling = SCALING_YARN, .factor = 32,
     .low_factor = 1, .high_factor = 32, .original_context = 4096, .bos = 199998, .pad = 199999,
     .stops = {200002, 199999, 200012}, .stop_count = 3},
};

const shape *shape_by_name(const char *name) {
    for (size_t i = 0; i < SHAPE_COUNT; i++)
        if (!strcmp(shapes[i].name, name)) return &shapes[i];
    return NULL;
}

bool shape_layer_is_full(const shape *s, uint32_t layer) {
    return !s->window || (s->period && (layer + 1) % s->period == 0);
}
