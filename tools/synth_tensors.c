/* synth_tensors.c - which tensors a shape has, under the names of Hugging Face checkpoints, where
 * they lie in safetensors files, and their numbers. Names and shapes: modeling_*.py of
 * transformers and the released checkpoints. */
#include "memory/hash.h"
#include "tools/synth.h"
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 128, HEADER_ALIGN = 8, LARGEST_EXPERT = 1 << 10 };
static const uint64_t file_bytes = 5000000000;       /* max_shard_size of save_pretrained */

/* ---- tables */

/* Sizes of a dimension; SIZE_END ends a shape. */
typedef enum size {
    SIZE_END, SIZE_VOCAB, SIZE_DIM, SIZE_HIDDEN, SIZE_Q, SIZE_KV, SIZE_HEADS, SIZE_HEAD_DIM,
    SIZE_EXPERTS, SIZE_GATE_UP, SIZE_DIM_BLOCKS, SIZE_HIDDEN_BLOCKS, SIZE_BLOCK_BYTES,
    SIZE_VISION, SIZE_VISION_HIDDEN, SIZE_COLORS, SIZE_PATCH, SIZE_PATCHES, SIZE_COUNT
} size;

/* SigLIP's, the tower of Gemma 3 4B and larger. */
enum { VISION_DIM = 1152, VISION_HIDDEN = 4304, VISION_PATCH = 14, VISION_PATCHES = 64 * 64 };

typedef enum when { ALWAYS, UNTIED } when;

/* # in a name: the layer; @: the expert. */
typedef struct row {
    const char *name;
    synth_kind kind;
    size shape[SYNTH_MAX_DIMS];
    when when;
} row;

/* Rows that repeat together: over layers and, within, experts. */
typedef struct group { const row *rows; uint32_t count; bool vision; } group;
#define GROUP(rows) {rows, sizeof rows / sizeof *rows, false}
#define VISION_GROUP(rows) {rows, sizeof rows / sizeof *rows, true}

static const row embedding[] = {
    {"model.embed_tokens.weight", SYNTH_MATRIX, {SIZE_VOCAB, SIZE_DIM}, ALWAYS}};
static const row attention[] = {
    {"model.layers.#.self_attn.q_proj.weight", SYNTH_MATRIX, {SIZE_Q, SIZE_DIM}, ALWAYS},
    {"model.layers.#.self_attn.k_proj.weight", SYNTH_MATRIX, {SIZE_KV, SIZE_DIM}, ALWAYS},
    {"model.layers.#.self_attn.v_proj.weight", SYNTH_MATRIX, {SIZE_KV, SIZE_DIM}, ALWAYS},
    {"model.layers.#.self_attn.o_proj.weight", SYNTH_MATRIX, {SIZE_DIM, SIZE_Q}, ALWAYS}};
static const row norms[] = {
    {"model.layers.#.input_layernorm.weight", SYNTH_GAIN, {SIZE_DIM}, ALWAYS},
    {"model.layers.#.post_attention_layernorm.weight", SYNTH_GAIN, {SIZE_DIM}, ALWAYS}};
static const row mlp[] = {
    {"model.layers.#.mlp.gate_proj.weight", SYNTH_MATRIX, {SIZE_HIDDEN, SIZE_DIM}, ALWAYS},
    {"model.layers.#.mlp.up_proj.weight", SYNTH_MATRIX, {SIZE_HIDDEN, SIZE_DIM}, ALWAYS},
    {"model.layers.#.mlp.down_proj.weight", SYNTH_MATRIX, {SIZE_DIM, SIZE_HIDDEN}, ALWAYS}};
static const row last[] = {
    {"model.norm.weight", SYNTH_GAIN, {SIZE_DIM}, ALWAYS},
    {"lm_head.weight", SYNTH_MATRIX, {SIZE_VOCAB, SIZE_DIM}, UNTIED}};

static const row gemma_norms[] = {
    {"model.layers.#.input_layernorm.weight", SYNTH_OFFSET, {SIZE_DIM}, ALWAYS},
    {"model.layers.#.post_attention_layernorm.weight", SYNTH_OFFSET, {SIZE_DIM}, ALWAYS},
    {"model.layers.#.pre_feedforward_layernorm.weight", SYNTH_OFFSET, {SIZE_DIM}, ALWAYS},
    {"model.layers.#.post_feedforward_layernorm.weight", SYNTH_OFFSET, {SIZE_DIM}, ALWAYS},
    {"model.layers.#.self_attn.q_norm.weight", SYNTH_OFFSET, {SIZE_HEAD_DIM}, ALWAYS},
    {"model.layers.#.self_attn.k_norm.weight", SYNTH_OFFSET, {SIZE_HEAD_DIM}, ALWAYS}};
static const row gemma_last[] = {
    {"model.norm.weight", SYNTH_OFFSET, {SIZE_DIM}, ALWAYS}};

static const row mixtral_experts[] = {
    {"model.layers.#.block_sparse_moe.experts.@.w1.weight", SYNTH_MATRIX,
     {SIZE_HIDDEN, SIZE_DIM}, ALWAYS},
    {"model.layers.#.block_sparse_moe.experts.@.w2.weight", SYNTH_MATRIX,
     {SIZE_DIM, SIZE_HIDDEN}, ALWAYS},
    {"model.layers.#.block_sparse_moe.experts.@.w3.weight", SYNTH_MATRIX,
     {SIZE_HIDDEN, SIZE_DIM}, ALWAYS}};
static const row mixtral_router[] = {
    {"model.layers.#.block_sparse_moe.gate.weight", SYNTH_MATRIX, {SIZE_EXPERTS, SIZE_DIM},
     ALWAYS}};

static const row gpt_oss_layer[] = {
    {"model.layers.#.self_attn.q_proj.bias", SYNTH_OFFSET, {SIZE_Q}, ALWAYS},
    {"model.layers.#.self_attn.k_proj.bias", SYNTH_OFFSET, {SIZE_KV}, ALWAYS},
    {"model.layers.#.self_attn.v_proj.bias", SYNTH_OFFSET, {SIZE_KV}, ALWAYS},
    {"model.layers.#.self_attn.o_proj.bias", SYNTH_OFFSET, {SIZE_DIM}, ALWAYS},
    {"model.layers.#.self_attn.sinks", SYNTH_SINK, {SIZE_HEADS}, ALWAYS},
    {"model.layers.#.mlp.router.weight", SYNTH_MATRIX, {SIZE_EXPERTS, SIZE_DIM}, ALWAYS},
    {"model.layers.#.mlp.router.bias", SYNTH_OFFSET, {SIZE_EXPERTS}, ALWAYS},
    {"model.layers.#.mlp.experts.gate_up_proj_blocks", SYNTH_NIBBLES,
     {SIZE_EXPERTS, SIZE_GATE_UP, SIZE_DIM_BLOCKS, SIZE_BLOCK_BYTES}, ALWAYS},
    {"model.layers.#.mlp.experts.gate_up_proj_scales", SYNTH_EXPONENTS,
     {SIZE_EXPERTS, SIZE_GATE_UP, SIZE_DIM_BLOCKS}, ALWAYS},
    {"model.layers.#.mlp.experts.gate_up_proj_bias", SYNTH_OFFSET, {SIZE_EXPERTS, SIZE_GATE_UP},
     ALWAYS},
    {"model.layers.#.mlp.experts.down_proj_blocks", SYNTH_NIBBLES,
     {SIZE_EXPERTS, SIZE_DIM, SIZE_HIDDEN_BLOCKS, SIZE_BLOCK_BYTES}, ALWAYS},
    {"model.layers.#.mlp.experts.down_proj_scales", SYNTH_EXPONENTS,
     {SIZE_EXPERTS, SIZE_DIM, SIZE_HIDDEN_BLOCKS}, ALWAYS},
    {"model.layers.#.mlp.experts.down_proj_bias", SYNTH_OFFSET, {SIZE_EXPERTS, SIZE_DIM},
     ALWAYS}};

#define VISION "vision_tower.vision_model."
#define VISION_LAYER VISION "encoder.layers.#."
static const row vision_first[] = {
    {VISION "embeddings.patch_embedding.weight", SYNTH_MATRIX,
     {SIZE_VISION, SIZE_COLORS, SIZE_PATCH, SIZE_PATCH}, ALWAYS},
    {VISION "embeddings.patch_embedding.bias", SYNTH_OFFSET, {SIZE_VISION}, ALWAYS},
    {VISION "embeddings.position_embedding.weight", SYNTH_MATRIX, {SIZE_PATCHES, SIZE_VISION},
     ALWAYS},
    {VISION "post_layernorm.weight", SYNTH_GAIN, {SIZE_VISION}, ALWAYS},
    {VISION "post_layernorm.bias", SYNTH_OFFSET, {SIZE_VISION}, ALWAYS},
    {"multi_modal_projector.mm_input_projection_weight", SYNTH_MATRIX, {SIZE_VISION, SIZE_DIM},
     ALWAYS},
    {"multi_modal_projector.mm_soft_emb_norm.weight", SYNTH_OFFSET, {SIZE_VISION}, ALWAYS}};
static const row vision_layer[] = {
    {VISION_LAYER "layer_norm1.weight", SYNTH_GAIN, {SIZE_VISION}, ALWAYS},
    {VISION_LAYER "layer_norm1.bias", SYNTH_OFFSET, {SIZE_VISION}, ALWAYS},
    {VISION_LAYER "self_attn.q_proj.weight", SYNTH_MATRIX, {SIZE_VISION, SIZE_VISION}, ALWAYS},
    {VISION_LAYER "self_attn.q_proj.bias", SYNTH_OFFSET, {SIZE_VISION}, ALWAYS},
    {VISION_LAYER "self_attn.k_proj.weight", SYNTH_MATRIX, {SIZE_VISION, SIZE_VISION}, ALWAYS},
    {VISION_LAYER "self_attn.k_proj.bias", SYNTH_OFFSET, {SIZE_VISION}, ALWAYS},
    {VISION_LAYER "self_attn.v_proj.weight", SYNTH_MATRIX, {SIZE_VISION, SIZE_VISION}, ALWAYS},
    {VISION_LAYER "self_attn.v_proj.bias", SYNTH_OFFSET, {SIZE_VISION}, ALWAYS},
    {VISION_LAYER "self_attn.out_proj.weight", SYNTH_MATRIX, {SIZE_VISION, SIZE_VISION}, ALWAYS},
    {VISION_LAYER "self_attn.out_proj.bias", SYNTH_OFFSET, {SIZE_VISION}, ALWAYS},
    {VISION_LAYER "layer_norm2.weight", SYNTH_GAIN, {SIZE_VISION}, ALWAYS},
    {VISION_LAYER "layer_norm2.bias", SYNTH_OFFSET, {SIZE_VISION}, ALWAYS},
    {VISION_LAYER "mlp.fc1.weight", SYNTH_MATRIX, {SIZE_VISION_HIDDEN, SIZE_VISION}, ALWAYS},
    {VISION_LAYER "mlp.fc1.bias", SYNTH_OFFSET, {SIZE_VISION_HIDDEN}, ALWAYS},
    {VISION_LAYER "mlp.fc2.weight", SYNTH_MATRIX, {SIZE_VISION, SIZE_VISION_HIDDEN}, ALWAYS},
    {VISION_LAYER "mlp.fc2.bias", SYNTH_OFFSET, {SIZE_VISION}, ALWAYS}};

enum { MAX_GROUPS = 8 };
static const group families[FAMILY_COUNT][MAX_GROUPS] = {
    [FAMILY_LLAMA] = {GROUP(embedding), GROUP(norms), GROUP(attention), GROUP(mlp), GROUP(last)},
    [FAMILY_MISTRAL] = {GROUP(embedding), GROUP(norms), GROUP(attention), GROUP(mlp),
                        GROUP(last)},
    [FAMILY_GEMMA3] = {GROUP(embedding), GROUP(gemma_norms), GROUP(attention), GROUP(mlp),
                       GROUP(gemma_last), VISION_GROUP(vision_first), VISION_GROUP(vision_layer)},
    [FAMILY_MIXTRAL] = {GROUP(embedding), GROUP(norms), GROUP(attention), GROUP(mixtral_router),
                        GROUP(mixtral_experts), GROUP(last)},
    [FAMILY_GPT_OSS] = {GROUP(embedding), GROUP(norms), GROUP(attention), GROUP(gpt_oss_layer),
                        GROUP(last)},
};

/* ---- the plan */

typedef struct planner {
    synth *s;
    uint64_t seed;
    synth_tensor *tensors;       /* NULL while counting */
    uint32_t count;
    bool failed;
} planner;

static uint64_t size_of(const shape *s, size which) {
    const uint64_t sizes[SIZE_COUNT] = {
        [SIZE_VOCAB] = s->vocab, [SIZE_DIM] = s->dim, [SIZE_HIDDEN] = s->hidden,
        [SIZE_Q] = s->heads * s->head_dim, [SIZE_KV] = s->kv_heads * s->head_dim,
        [SIZE_HEADS] = s->heads, [SIZE_HEAD_DIM] = s->head_dim, [SIZE_EXPERTS] = s->experts,
        [SIZE_GATE_UP] = 2 * s->hidden, [SIZE_DIM_BLOCKS] = s->dim / 32,
        [SIZE_HIDDEN_BLOCKS] = s->hidden / 32, [SIZE_BLOCK_BYTES] = 16,
        [SIZE_VISION] = VISION_DIM, [SIZE_VISION_HIDDEN] = VISION_HIDDEN, [SIZE_COLORS] = 3,
        [SIZE_PATCH] = VISION_PATCH, [SIZE_PATCHES] = VISION_PATCHES};
    return sizes[which];
}

/* The row's name with its layer and expert; language models beside a tower have a prefix. */
static char *full_name(planner *p, const row *r, bool vision, uint32_t layer, uint32_t expert) {
    char name[NAME_BYTES];
    int used = snprintf(name, sizeof name, "%s",
                        p->s->shape->vision_layers && !vision ? "language_model." : "");
    for (const char *from = r->name; *from; from++) {
        if (*from == '#') used += snprintf(name + used, sizeof name - used, "%u", layer);
        else if (*from == '@') used += snprintf(name + used, sizeof name - used, "%u", expert);
        else used += snprintf(name + used, sizeof name - used, "%c", *from);
    }
    assert(used < NAME_BYTES);
    return arena_text(&p->s->memory, name, (size_t)used);
}

/* Moments. A uniform E2M1 code has an RMS of sqrt(68.5 / 8) = 2.93; exponents are one of two
 * neighbours, 1.58 times the smaller on average (RMS). */
static void set_moments(synth_tensor *t) {
    uint64_t inputs = 1;
    for (uint32_t d = 1; d < t->dims; d++) inputs *= t->shape[d];
    if (t->kind == SYNTH_EXPONENTS) inputs = t->shape[t->dims - 1] * 32;
    float wanted = 1 / sqrtf((float)inputs);
    const struct { float mean, deviation; } moments[] = {
        [SYNTH_MATRIX] = {0, wanted}, [SYNTH_GAIN] = {1, 0.1f}, [SYNTH_OFFSET] = {0, 0.1f},
        [SYNTH_SINK] = {0, 1}, [SYNTH_NIBBLES] = {0, 0}, [SYNTH_EXPONENTS] = {0, 0}};
    t->mean = moments[t->kind].mean;
    t->deviation = moments[t->kind].deviation;
    t->exponent = (uint8_t)(127 + lroundf(log2f(wanted / (2.93f * 1.58f))));
}

static void add_tensor(planner *p, const row *r, bool vision, uint32_t layer, uint32_t expert) {
    const shape *of = p->s->shape;
    if (r->when == UNTIED && of->tied_head) return;
    if (!p->tensors) {
        p->count++;
        return;
    }
    synth_tensor *t = &p->tensors[p->count++];
    bool bytes = r->kind == SYNTH_NIBBLES || r->kind == SYNTH_EXPONENTS;
    *t = (synth_tensor){.kind = r->kind, .dtype = bytes ? ST_U8 : ST_BF16, .bytes = bytes ? 1 : 2};
    t->name = full_name(p, r, vision, layer, expert);
    if (!t->name) {
        p->failed = true;
        return;
    }
    for (; t->dims < SYNTH_MAX_DIMS && r->shape[t->dims]; t->dims++) {
        t->shape[t->dims] = size_of(of, r->shape[t->dims]);
        t->bytes *= t->shape[t->dims];
    }
    t->key = hash_u64(p->seed ^ hash_bytes(t->name, strlen(t->name)));
    set_moments(t);
    p->s->bytes += t->bytes;
}

/* Groups of one layer stand together, as a model's modules do. */
static void add_all(planner *p) {
    const shape *of = p->s->shape;
    const group *groups = families[of->family];
    for (uint32_t first = 0, end; first < MAX_GROUPS && groups[first].rows; first = end) {
        const group *g = &groups[first];
        bool per_layer = strchr(g->rows[0].name, '#') != NULL;
        uint32_t layers = !per_layer ? 1 : g->vision ? of->vision_layers : p->s->layers;
        if (g->vision && !of->vision_layers) layers = 0;
        for (end = first + 1; per_layer && end < MAX_GROUPS && groups[end].rows; end++)
            if (!strchr(groups[end].rows[0].name, '#') || groups[end].vision != g->vision) break;
        for (uint32_t layer = 0; layer < layers; layer++)
            for (uint32_t i = first; i < end; i++) {
                bool per_expert = strchr(groups[i].rows[0].name, '@') != NULL;
                for (uint32_t x = 0; x < (per_expert ? of->experts : 1); x++)
                    for (uint32_t k = 0; k < groups[i].count; k++)
                        add_tensor(p, &groups[i].rows[k], g->vision, layer, x);
            }
    }
}

/* The order inside a file: large elements first, then names. serialize() of safetensors. */
static int compare_tensors(const void *a, const void *b) {
    const synth_tensor *x = a, *y = b;
    if (x->dtype != y->dtype) return x->dtype == ST_BF16 ? -1 : 1;
    return strcmp(x->name, y->name);
}

static bool make_header(synth *s, synth_file *f, synth_tensor *tensors) {
    text t = {0};
    uint64_t at = 0;
    text_add(&t, "\0\0\0\0\0\0\0\0", SAFETENSORS_PREFIX);
    text_format(&t, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (uint32_t i = 0; i < f->count; i++) {
        synth_tensor *n = &tensors[i];
        text_format(&t, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", n->name,
                    safetensors_dtypes[n->dtype].name);
        for (uint32_t d = 0; d < n->dims; d++)
            text_format(&t, "%s%llu", d ? "," : "", (unsigned long long)n->shape[d]);
        text_format(&t, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at,
                    (unsigned long long)(at + n->bytes));
        n->offset = at;
        at += n->bytes;
    }
    text_add(&t, "}", 1);
    while (t.bytes % HEADER_ALIGN && !t.failed) text_add(&t, " ", 1);
    char *header = t.failed ? NULL : arena_text(&s->memory, t.data, t.bytes);
    if (header) {
        for (uint32_t i = 0; i < SAFETENSORS_PREFIX; i++)
            header[i] = (char)((t.bytes - SAFETENSORS_PREFIX) >> 8 * i);
        for (uint32_t i = 0; i < f->count; i++) tensors[i].offset += t.bytes;
        f->header = header;
        f->header_bytes = t.bytes;
        f->bytes = t.bytes + at;
    }
    text_free(&t);
    return header != NULL;
}

/* Cuts the tensors, in the model's order, into files of at most file_bytes. */
static bool cut_files(synth *s, synth_tensor *tensors, uint32_t count) {
    for (int pass = 0; pass < 2; pass++) {
        uint64_t used = 0;
        s->file_count = 0;
        for (uint32_t i = 0, first = 0; i <= count; i++) {
            bool full = i < count && used && used + tensors[i].bytes > file_bytes;
            if (full || i == count) {
                if (pass) s->files[s->file_count] = (synth_file){.tensors = tensors + first,
                                                                 .count = i - first};
                s->file_count++;
                first = i;
                used = 0;
            }
            if (i < count) used += tensors[i].bytes;
        }
        if (!pass) s->files = arena_array(&s->memory, s->file_count, sizeof *s->files);
        if (!s->files) return false;
    }
    for (uint32_t f = 0; f < s->file_count; f++) {
        char name[NAME_BYTES];
        synth_tensor *first = tensors + (s->files[f].tensors - tensors);
        int bytes = s->file_count == 1
                        ? snprintf(name, sizeof name, "model.safetensors")
                        : snprintf(name, sizeof name, "model-%05u-of-%05u.safetensors", f + 1,
                                   s->file_count);
        qsort(first, s->files[f].count, sizeof *first, compare_tensors);
        s->files[f].name = arena_text(&s->memory, name, (size_t)bytes);
        if (!s->files[f].name || !make_header(s, &s->files[f], first)) return false;
    }
    return true;
}

doppler_status synth_open(error *e, synth *s, const shape *of, uint32_t layers, uint64_t seed) {
    *s = (synth){.shape = of, .layers = layers ? layers : of->layers};
    planner p = {.s = s, .seed = hash_u64(seed)};
    assert(of->experts < LARGEST_EXPERT);
    add_all(&p);
    p.tensors = arena_array(&s->memory, p.count, sizeof *p.tensors);
    p.failed = !p.tensors;
    p.count = 0;
    if (!p.failed) add_all(&p);
    if (p.failed || !cut_files(s, p.tensors, p.count))
        return fail(e, DOPPLER_NO_MEMORY, "%s: %u layers", of->name, s->layers);
    return DOPPLER_OK;
}

void synth_free(synth *s) {
    arena_free(&s->memory);
    *s = (synth){0};
}

/* ---- numbers */

static const uint64_t counter_step = 0x9E3779B97F4A7C15u;

/* 64 random bits: SplitMix64 (Steele, Lea, Flood 2014) at a place of its sequence. */
static uint64_t random_bits(uint64_t key, uint64_t index) {
    return hash_u64(key + (index + 1) * counter_step);
}

/* Roughly normal: four uniform 16-bit numbers added up, of the deviation sqrt((2^32 - 1) / 3). */
static uint16_t random_bf16(const synth_tensor *t, uint64_t index) {
    uint64_t r = random_bits(t->key, index);
    int32_t sum = (int32_t)((r & 0xFFFF) + (r >> 16 & 0xFFFF) + (r >> 32 & 0xFFFF) + (r >> 48));
    float x = t->mean + (float)(sum - 2 * 65535) * (t->deviation * (1 / 37837.22f));
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

void synth_numbers(const synth_tensor *t, uint64_t first, uint64_t count, uint8_t *out) {
    if (t->dtype == ST_BF16) {
        for (uint64_t i = 0; i < count; i++) {
            uint16_t bits = random_bf16(t, first + i);
            out[2 * i] = (uint8_t)bits;
            out[2 * i + 1] = (uint8_t)(bits >> 8);
        }
        return;
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t at = first + i;
        uint8_t byte = (uint8_t)(random_bits(t->key, at / 8) >> at % 8 * 8);
        out[i] = t->kind == SYNTH_NIBBLES ? byte : (uint8_t)(t->exponent + (byte & 1));
    }
}

void synth_read(const synth *s, uint32_t file, uint64_t offset, void *to, size_t bytes) {
    const synth_file *f = &s->files[file];
    uint8_t *out = to;
    assert(offset <= f->bytes && bytes <= f->bytes - offset);
    if (offset < f->header_bytes) {
        size_t part = f->header_bytes - offset < bytes ? (size_t)(f->header_bytes - offset) : bytes;
        memcpy(out, f->header + offset, part);
        out += part, offset += part, bytes -= part;
    }
    uint32_t low = 0, high = f->count;           /* the last tensor that starts at or before */
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (f->tensors[middle].offset <= offset) low = middle;
        else high = middle;
    }
    for (; bytes; low++) {
        const synth_tensor *t = &f->tensors[low];
        uint64_t in_tensor = offset - t->offset, left = t->bytes - in_tensor;
        size_t part = left < bytes ? (size_t)left : bytes;
        uint32_t each = t->dtype == ST_BF16 ? 2 : 1;
        assert(in_tensor % each == 0 && part % each == 0);
        synth_numbers(t, in_tensor / each, part / each, out);
        out += part, offset += part, bytes -= part;
    }
}

const synth_tensor *synth_find(const synth *s, const char *name) {
    for (uint32_t f = 0; f < s->file_count; f++)
        for (uint32_t i = 0; i < s->files[f].count; i++)
            if (!strcmp(s->files[f].tensors[i].name, name)) return &s->files[f].tensors[i];
    return NULL;
}

void synth_index(const synth *s, text *out) {
    text_format(out, "{\n  \"metadata\": {\n    \"total_size\": %llu\n  },\n  \"weight_map\": {",
                (unsigned long long)s->bytes);
    const char *comma = "";
    for (uint32_t f = 0; f < s->file_count; f++)
        for (uint32_t i = 0; i < s->files[f].count; i++, comma = ",")
            text_format(out, "%s\n    \"%s\": \"%s\"", comma, s->files[f].tensors[i].name,
                        s->files[f].name);
    text_format(out, "\n  }\n}\n");
}
