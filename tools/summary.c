/* summary.c - see summary.h. Keys: transformers' configuration_*.py, llama.cpp's gguf-py
 * constants.py. */
#include "tools/summary.h"
#include "inference/engine.h"
#include "memory/json.h"
#include <stdio.h>
#include <string.h>

enum { KEY_BYTES = 96 };

/* One number and where files have it. */
typedef struct field {
    uint32_t max;
    size_t offset;               /* in summary */
    const char *hf[2], *gguf;    /* behind "ARCHITECTURE." */
} field;

#define FIELD(max, name, hf, hf2, gguf) {max, offsetof(summary, name), {hf, hf2}, gguf}
static const field fields[] = {
    FIELD(MODEL_MAX_LAYERS, layers, "num_hidden_layers", NULL, "block_count"),
    FIELD(MODEL_MAX_DIM, dim, "hidden_size", NULL, "embedding_length"),
    FIELD(MODEL_MAX_HIDDEN, hidden, "intermediate_size", NULL, "feed_forward_length"),
    FIELD(MODEL_MAX_HEADS, heads, "num_attention_heads", NULL, "attention.head_count"),
    FIELD(MODEL_MAX_HEADS, kv_heads, "num_key_value_heads", NULL, "attention.head_count_kv"),
    FIELD(MODEL_MAX_HEAD_DIM, head_dim, "head_dim", NULL, "attention.key_length"),
    FIELD(MODEL_MAX_VOCAB, vocab, "vocab_size", NULL, "vocab_size"),
    FIELD(MODEL_MAX_CONTEXT, context, "max_position_embeddings", NULL, "context_length"),
    FIELD(UINT16_MAX, experts, "num_local_experts", "num_experts", "expert_count"),
    FIELD(UINT16_MAX, experts_used, "num_experts_per_tok", "experts_per_token",
          "expert_used_count"),
    FIELD(MODEL_MAX_CONTEXT, window, "sliding_window", NULL, "attention.sliding_window"),
};
enum { FIELDS = sizeof fields / sizeof *fields };

static uint32_t *target(summary *s, const field *f) {
    return (uint32_t *)((char *)s + f->offset);
}

/* What follows from the others. period: every period-th layer is full; 0: none is. */
static void complete(summary *s, uint32_t period) {
    if (!s->kv_heads) s->kv_heads = s->heads;
    if (!s->head_dim && s->heads) s->head_dim = s->dim / s->heads;
    s->sliding_layers = s->window ? s->layers - (period ? s->layers / period : 0) : 0;
}

void summary_of_model(const model_config *m, summary *s) {
    *s = (summary){.layers = m->layers, .dim = m->dim, .hidden = m->hidden, .heads = m->heads,
                   .kv_heads = m->kv_heads, .head_dim = m->head_dim, .vocab = m->vocab,
                   .context = m->context, .window = m->window, .experts = m->experts,
                   .experts_used = m->experts_used, .tied_head = m->tied_head};
    for (uint32_t i = 0; i < m->layers; i++)
        s->sliding_layers += m->layer_kinds[i] == LAYER_SLIDING;
    snprintf(s->architecture, sizeof s->architecture, "%s", m->architecture);
}

static uint32_t number(const json *object, const char *key, uint32_t max) {
    const json *node = key ? json_get(object, key) : NULL;
    bool fits = node && node->type == JSON_NUMBER && node->is_integer && node->integer >= 0 &&
                node->integer <= max;
    return fits ? (uint32_t)node->integer : 0;
}

/* Layers of a list of kinds that slide. */
static uint32_t count_sliding(const json *kinds, uint32_t layers) {
    uint32_t count = 0, i = 0;
    for (const json *k = kinds->first; k && i < layers; k = k->next, i++)
        count += json_is(k, "sliding_attention");
    return count;
}

static bool is_bool(const json *object, const char *key, bool value) {
    const json *node = json_get(object, key);
    return node && node->type == JSON_BOOL && node->boolean == value;
}

/* Of a model with a vision tower, the language model's. */
void summary_of_config(hf_text config, summary *s) {
    arena tree = {0};
    error ignored;
    json *root;
    *s = (summary){0};
    if (!json_parse(&ignored, &tree, "config.json", config.data, config.bytes, &root)) {
        const json *model = json_get(root, "text_config") ? json_get(root, "text_config") : root;
        const json *type = json_get(model, "model_type"), *kinds = json_get(model, "layer_types");
        if (type && type->type == JSON_STRING)
            snprintf(s->architecture, sizeof s->architecture, "%.39s", type->text);
        for (size_t i = 0; i < FIELDS; i++)
            for (size_t k = 0; k < 2 && !*target(s, &fields[i]); k++)
                *target(s, &fields[i]) = number(model, fields[i].hf[k], fields[i].max);
        if (is_bool(model, "use_sliding_window", false)) s->window = 0;
        uint32_t period = number(model, "sliding_window_pattern", MODEL_MAX_LAYERS);
        if (!period) period = number(model, "_sliding_window_pattern", MODEL_MAX_LAYERS);
        complete(s, period);
        if (s->window && kinds && kinds->type == JSON_ARRAY)
            s->sliding_layers = count_sliding(kinds, s->layers);
        s->tied_head = is_bool(model, "tie_word_embeddings", true);
        if (s->dim && !strncmp(s->architecture, "gemma", 5))     /* their default is true */
            s->tied_head = !is_bool(model, "tie_word_embeddings", false);
    }
    arena_free(&tree);
}

static const gguf_tensor *find_tensor(const gguf *files, uint32_t count, const char *name) {
    for (uint32_t f = 0; f < count; f++)
        for (uint64_t i = 0; i < files[f].tensor_count; i++)
            if (!strcmp(files[f].tensors[i].name, name)) return &files[f].tensors[i];
    return NULL;
}

void summary_of_gguf(const gguf *files, uint32_t count, summary *s) {
    /* Which layers are full is not in most files, but in the program that reads them. */
    static const struct { const char *architecture; uint32_t period; } periods[] = {
        {"gemma2", 2}, {"gemma3", 6}, {"gpt-oss", 2}};
    arena scratch = {0};
    error ignored;
    const char *architecture;
    uint32_t period = 0;
    *s = (summary){0};
    if (!gguf_string(&ignored, &scratch, &files[0], "general.architecture", &architecture, NULL)) {
        snprintf(s->architecture, sizeof s->architecture, "%.39s", architecture);
        for (size_t i = 0; i < FIELDS; i++) {
            char key[KEY_BYTES];
            bool found;
            snprintf(key, sizeof key, "%s.%s", s->architecture, fields[i].gguf);
            if (gguf_u32(&ignored, &files[0], key, 0, fields[i].max, target(s, &fields[i]), &found))
                *target(s, &fields[i]) = 0;
        }
        for (size_t i = 0; i < sizeof periods / sizeof *periods; i++)
            if (!strcmp(periods[i].architecture, architecture)) period = periods[i].period;
        complete(s, period);
        const gguf_tensor *embedding = find_tensor(files, count, "token_embd.weight");
        if (embedding && embedding->shape[1] <= MODEL_MAX_VOCAB)
            s->vocab = (uint32_t)embedding->shape[1];
        s->tied_head = !find_tensor(files, count, "output.weight");
    }
    arena_free(&scratch);
}

uint64_t summary_kv_bytes(const summary *s, uint32_t context) {
    uint64_t ring = (uint64_t)s->window + DEFAULT_CHUNK;
    uint64_t positions = (uint64_t)(s->layers - s->sliding_layers) * context +
                         (uint64_t)s->sliding_layers * (ring < context ? ring : context);
    return positions * 2 * s->kv_heads * s->head_dim * 2;
}
