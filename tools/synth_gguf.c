/* synth_gguf.c - see synth_gguf.h. Keys and order of fields: gguf-py of ggml-org/llama.cpp; names
 * and the interleaved rows of Q and K: its convert_hf_to_gguf.py, LlamaModel. */
#include "tools/synth_gguf.h"
#include "bridge/gguf_model.h"
#include "bridge/hf_names.h"
#include "inference/engine.h"
#include "storage/files.h"
#include "storage/threads.h"
#include "tokenizer/ggml.h"
#include "tools/progress.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 32, VERSION = 3, FILE_TYPE_BF16 = 32, NAME_BYTES = 64 };
enum { PART_BYTES = 16 << 20, PIECE_ROWS = 64 };

typedef struct gguf_plan {
    const synth *s;
    model_config model;
    float *rope_factors;         /* owned: [head_dim / 2]; NULL when there are none */
    text values, infos;          /* owned: encoded metadata and tensor infos */
    uint64_t value_count, tensor_count;
    uint64_t data_bytes;         /* of the tensors so far, with their padding */
} gguf_plan;

/* ---- encoding, little-endian */

static void add_number(text *t, uint64_t value, uint32_t bytes) {
    char out[8];
    for (uint32_t i = 0; i < bytes; i++) out[i] = (char)(value >> 8 * i);
    text_add(t, out, bytes);
}

static void add_string(text *t, const char *string) {
    add_number(t, strlen(string), 8);
    text_add(t, string, strlen(string));
}

static void begin_value(gguf_plan *p, const char *key, gguf_type type) {
    add_string(&p->values, key);
    add_number(&p->values, type, 4);
    p->value_count++;
}

static void value_u32(gguf_plan *p, const char *key, uint32_t value) {
    begin_value(p, key, GGUF_U32);
    add_number(&p->values, value, 4);
}

static void value_f32(gguf_plan *p, const char *key, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    begin_value(p, key, GGUF_F32);
    add_number(&p->values, bits, 4);
}

static void value_string(gguf_plan *p, const char *key, const char *value) {
    begin_value(p, key, GGUF_STRING);
    add_string(&p->values, value);
}

static void begin_array(gguf_plan *p, const char *key, gguf_type type, uint64_t count) {
    begin_value(p, key, GGUF_ARRAY);
    add_number(&p->values, type, 4);
    add_number(&p->values, count, 8);
}

/* ---- the plan */

static void add_metadata(gguf_plan *p) {
    const model_config *m = &p->model;
    value_string(p, "general.architecture", "llama");
    value_string(p, "general.name", p->s->shape->name);
    value_u32(p, "general.file_type", FILE_TYPE_BF16);
    value_u32(p, "llama.block_count", m->layers);
    value_u32(p, "llama.context_length", m->context);
    value_u32(p, "llama.embedding_length", m->dim);
    value_u32(p, "llama.feed_forward_length", m->hidden);
    value_u32(p, "llama.attention.head_count", m->heads);
    value_u32(p, "llama.attention.head_count_kv", m->kv_heads);
    value_u32(p, "llama.attention.key_length", m->head_dim);
    value_u32(p, "llama.attention.value_length", m->head_dim);
    value_f32(p, "llama.attention.layer_norm_rms_epsilon", m->norm_eps);
    value_u32(p, "llama.rope.dimension_count", m->head_dim);
    value_f32(p, "llama.rope.freq_base", m->rope[LAYER_FULL].theta);
    value_u32(p, "llama.vocab_size", m->vocab);
}

static void add_tokenizer(gguf_plan *p) {
    const shape *of = p->s->shape;
    char spelled[SYNTH_TOKEN_BYTES];
    value_string(p, "tokenizer.ggml.model", "gpt2");
    value_string(p, "tokenizer.ggml.pre", "llama-bpe");
    begin_array(p, "tokenizer.ggml.tokens", GGUF_STRING, of->vocab);
    for (uint32_t id = 0; id < of->vocab; id++) {
        synth_token(of, id, spelled);
        add_string(&p->values, spelled);
    }
    begin_array(p, "tokenizer.ggml.token_type", GGUF_I32, of->vocab);
    for (uint32_t id = 0; id < of->vocab; id++)
        add_number(&p->values, synth_token(of, id, spelled) ? GGML_TOKEN_CONTROL
                                                            : GGML_TOKEN_NORMAL, 4);
    begin_array(p, "tokenizer.ggml.merges", GGUF_STRING, 0);
    value_u32(p, "tokenizer.ggml.bos_token_id", of->bos);
    value_u32(p, "tokenizer.ggml.eos_token_id", of->stops[0]);
    if (of->stop_count > 1)
        value_u32(p, "tokenizer.ggml.eot_token_id", of->stops[of->stop_count - 1]);
}

static uint32_t type_number(source_type type) {
    uint32_t i = 0;
    while (!ggml_types[i].name || ggml_types[i].type != type) i++;
    return i;
}

static uint64_t padded(uint64_t bytes) {
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* shape: slowest first, as ours are. */
static void add_info(gguf_plan *p, const char *name, source_type type, const uint64_t *dimensions,
                     uint32_t count) {
    uint64_t bytes = source_types[type].block_bytes;
    add_string(&p->infos, name);
    add_number(&p->infos, count, 4);
    for (uint32_t d = count; d-- > 0;) {
        add_number(&p->infos, dimensions[d], 8);
        bytes *= dimensions[d];
    }
    add_number(&p->infos, type_number(type), 4);
    add_number(&p->infos, p->data_bytes, 8);
    p->data_bytes += padded(bytes);
    p->tensor_count++;
}

/* The name in GGUF and the role; every tensor of the family has one. */
static tensor_role translate(const char *name, char out[NAME_BYTES]) {
    tensor_role role = ROLE_COUNT;
    uint32_t layer = 0;
    hf_name_role("llama", name, &role, &layer);
    if (roles[role].per_layer) snprintf(out, NAME_BYTES, "blk.%u.%s", layer,
                                         gguf_role_name("llama", role, false));
    else snprintf(out, NAME_BYTES, "%s", gguf_role_name("llama", role, false));
    return role;
}

/* LLaMA 3.1's scaling, as what unscaled inverse frequencies are divided by. */
static bool find_rope_factors(gguf_plan *p) {
    rope_config plain = {.type = ROPE_DEFAULT, .theta = p->model.rope[LAYER_FULL].theta};
    uint32_t count = p->model.head_dim / 2;
    float *unscaled = malloc(count * sizeof *unscaled);
    p->rope_factors = malloc(count * sizeof *p->rope_factors);
    if (unscaled && p->rope_factors) {
        rope_frequencies(&plain, p->model.head_dim, unscaled);
        rope_frequencies(&p->model.rope[LAYER_FULL], p->model.head_dim, p->rope_factors);
        for (uint32_t i = 0; i < count; i++) p->rope_factors[i] = unscaled[i] / p->rope_factors[i];
    }
    free(unscaled);
    return unscaled && p->rope_factors;
}

/* The numbers that the metadata need, from the table: an architecture other than llama's own may
 * be one that the engine does not run. */
static void fill_model(const synth *s, model_config *m) {
    const shape *of = s->shape;
    *m = (model_config){.layers = s->layers, .dim = of->dim, .hidden = of->hidden,
                        .heads = of->heads, .kv_heads = of->kv_heads, .head_dim = of->head_dim,
                        .vocab = of->vocab, .context = of->context,
                        .norm_eps = (float)of->norm_eps,
                        .rope = {{.type = ROPE_DEFAULT, .theta = (float)of->theta}}};
    if (of->scaling != SCALING_LLAMA3) return;
    rope_config *rope = &m->rope[LAYER_FULL];
    rope->type = ROPE_LLAMA3;
    rope->factor = (float)of->factor;
    rope->low_freq_factor = (float)of->low_factor;
    rope->high_freq_factor = (float)of->high_factor;
    rope->original_context = of->original_context;
}

static doppler_status plan(error *e, gguf_plan *p) {
    const synth *s = p->s;
    fill_model(s, &p->model);
    if (p->model.rope[LAYER_FULL].type == ROPE_LLAMA3 && !find_rope_factors(p))
        return fail(e, DOPPLER_NO_MEMORY, "%s", s->shape->name);
    add_metadata(p);
    add_tokenizer(p);
    for (uint32_t f = 0; f < s->file_count; f++)
        for (uint32_t i = 0; i < s->files[f].count; i++) {
            const synth_tensor *t = &s->files[f].tensors[i];
            char name[NAME_BYTES];
            translate(t->name, name);
            add_info(p, name, t->dims == 1 ? SOURCE_F32 : SOURCE_BF16, t->shape, t->dims);
        }
    uint64_t factors = p->model.head_dim / 2;
    if (p->rope_factors) add_info(p, "rope_freqs.weight", SOURCE_F32, &factors, 1);
    if (p->values.failed || p->infos.failed)
        return fail(e, DOPPLER_NO_MEMORY, "%s: a header", s->shape->name);
    return DOPPLER_OK;
}

/* ---- writing */

typedef struct writing {
    const gguf_plan *p;
    staging file;
    progress shown;
    uint64_t at;
    uint8_t *room;               /* owned: [PART_BYTES] */
} writing;

static doppler_status append(error *e, writing *w, const void *data, size_t bytes) {
    doppler_status status = staging_write(e, &w->file, "", w->at, data, bytes);
    w->at += bytes;
    return status;
}

static doppler_status append_padding(error *e, writing *w) {
    static const char zeros[ALIGNMENT];
    return append(e, w, zeros, (size_t)(padded(w->at) - w->at));
}

static doppler_status write_header(error *e, writing *w) {
    const gguf_plan *p = w->p;
    text t = {0};
    text_add(&t, "GGUF", 4);
    add_number(&t, VERSION, 4);
    add_number(&t, p->tensor_count, 8);
    add_number(&t, p->value_count, 8);
    doppler_status status = t.failed ? fail(e, DOPPLER_NO_MEMORY, "a header")
                                     : append(e, w, t.data, t.bytes);
    text_free(&t);
    if (!status) status = append(e, w, p->values.data, p->values.bytes);
    if (!status) status = append(e, w, p->infos.data, p->infos.bytes);
    return status ? status : append_padding(e, w);
}

/* Rows first ... of a matrix, in GGUF's order. */
typedef struct fill {
    const synth_tensor *t;
    uint64_t first, rows, cols;
    uint32_t head;               /* rows of a head whose halves are interleaved; 0: none are */
    uint8_t *to;
} fill;

static doppler_status fill_rows(error *e, uint64_t index, uint32_t thread, void *user) {
    const fill *f = user;
    (void)e, (void)thread;
    for (uint64_t i = index * PIECE_ROWS; i < (index + 1) * PIECE_ROWS && i < f->rows; i++) {
        uint64_t row = f->first + i, in_head = f->head ? row % f->head : 0;
        if (f->head) row += in_head % 2 * (f->head / 2) + in_head / 2 - in_head;
        synth_numbers(f->t, row * f->cols, f->cols, f->to + i * f->cols * 2);
    }
    return DOPPLER_OK;
}

static doppler_status write_matrix(error *e, writing *w, const synth_tensor *t, uint32_t head) {
    uint64_t rows = t->shape[0], step = PART_BYTES / (t->shape[1] * 2);
    doppler_status status = DOPPLER_OK;
    for (uint64_t row = 0; !status && row < rows; row += step) {
        fill f = {t, row, rows - row < step ? rows - row : step, t->shape[1], head, w->room};
        status = parallel_for(e, 0, (f.rows + PIECE_ROWS - 1) / PIECE_ROWS, fill_rows, &f);
        if (!status) status = append(e, w, w->room, (size_t)(f.rows * f.cols * 2));
        progress_show(&w->shown, w->at, w->p->data_bytes);
    }
    return status ? status : append_padding(e, w);
}

/* bf16 is the upper half of an f32. */
static doppler_status write_vector(error *e, writing *w, const synth_tensor *t) {
    uint8_t *bf16 = w->room + PART_BYTES / 2;
    synth_numbers(t, 0, t->shape[0], bf16);
    for (uint64_t i = 0; i < t->shape[0]; i++) {
        memset(w->room + 4 * i, 0, 2);
        memcpy(w->room + 4 * i + 2, bf16 + 2 * i, 2);
    }
    doppler_status status = append(e, w, w->room, (size_t)t->shape[0] * 4);
    return status ? status : append_padding(e, w);
}

static doppler_status write_rope_factors(error *e, writing *w) {
    text t = {0};
    for (uint32_t i = 0; i < w->p->model.head_dim / 2; i++) {
        uint32_t bits;
        memcpy(&bits, &w->p->rope_factors[i], sizeof bits);
        add_number(&t, bits, 4);
    }
    doppler_status status = t.failed ? fail(e, DOPPLER_NO_MEMORY, "rope factors")
                                     : append(e, w, t.data, t.bytes);
    text_free(&t);
    return status ? status : append_padding(e, w);
}

static doppler_status write_all(error *e, writing *w, const char *out) {
    const synth *s = w->p->s;
    doppler_status status = staging_open_file(e, &w->file, out);
    w->room = malloc(PART_BYTES);
    if (!status && !w->room) status = fail(e, DOPPLER_NO_MEMORY, "%d bytes", PART_BYTES);
    if (!status) status = write_header(e, w);
    for (uint32_t f = 0; !status && f < s->file_count; f++)
        for (uint32_t i = 0; !status && i < s->files[f].count; i++) {
            const synth_tensor *t = &s->files[f].tensors[i];
            char name[NAME_BYTES];
            tensor_role role = translate(t->name, name);
            bool rotated = role == ROLE_ATTN_Q || role == ROLE_ATTN_K;
            status = t->dims == 1 ? write_vector(e, w, t)
                                  : write_matrix(e, w, t, rotated ? s->shape->head_dim : 0);
        }
    if (!status && w->p->rope_factors) status = write_rope_factors(e, w);
    return status ? status : staging_commit(e, &w->file);
}

doppler_status synth_gguf(error *e, const synth *s, const char *out, bool quiet) {
    if (s->shape->family != FAMILY_LLAMA && s->shape->family != FAMILY_MISTRAL)
        return fail(e, DOPPLER_UNSUPPORTED, "%s: shapes of LLaMA and Mistral are written as GGUF",
                    s->shape->name);
    gguf_plan p = {.s = s};
    writing w = {.p = &p};
    doppler_status status = plan(e, &p);
    progress_start(&w.shown, "writing", quiet);
    if (!status) status = write_all(e, &w, out);
    double seconds = progress_end(&w.shown);
    char bytes[BYTES_TEXT], speed[BYTES_TEXT];
    if (!status && !quiet)
        printf("%s: %llu tensors, %s of GGUF, %.1f s, %s/s\n", out,
               (unsigned long long)p.tensor_count, bytes_text((double)w.at, bytes), seconds,
               bytes_text(seconds > 0 ? (double)w.at / seconds : 0, speed));
    staging_free(&w.file);
    free(w.room);
    free(p.rope_factors);
    text_free(&p.values);
    text_free(&p.infos);
    return status;
}
