/* synth_gguf.c - see synth_gguf.h. Keys and order of fields: gguf-py of ggml-org/llama.cpp; names,
 * the interleaved rows of Q and K, stacked experts and MXFP4: its convert_hf_to_gguf.py, LlamaModel
 * and GptOssModel. */
#include "tools/synth_gguf.h"
#include "bridge/gguf_model.h"
#include "inference/engine.h"
#include "loader/repack.h"
#include "storage/files.h"
#include "storage/threads.h"
#include "tokenizer/ggml.h"
#include "tools/progress.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 32, VERSION = 3, FILE_TYPE_BF16 = 32, NAME_BYTES = 64, KEY_BYTES = 96 };
enum { PART_BYTES = 16 << 20, PIECE_ROWS = 64 };
enum { MXFP4_WEIGHTS = 32, MXFP4_UNIT = 16, MXFP4_BYTES = 17, MOST_COLS = 1 << 14 };

typedef struct gguf_plan {
    const synth *s;
    synth_model m;
    const char *architecture;    /* as files call it */
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

/* Keys of the architecture: "llama.block_count". */
static const char *key_of(const gguf_plan *p, const char *rest, char out[KEY_BYTES]) {
    snprintf(out, KEY_BYTES, "%s.%s", p->architecture, rest);
    return out;
}

static void add_sizes(gguf_plan *p) {
    const model_config *m = &p->m.model;
    const struct { const char *key; uint32_t value; bool always; } numbers[] = {
        {"block_count", m->layers, true}, {"context_length", m->context, true},
        {"embedding_length", m->dim, true}, {"feed_forward_length", m->hidden, true},
        {"attention.head_count", m->heads, true}, {"attention.head_count_kv", m->kv_heads, true},
        {"attention.key_length", m->head_dim, true}, {"attention.value_length", m->head_dim, true},
        {"attention.sliding_window", m->window, false}, {"expert_count", m->experts, false},
        {"expert_used_count", m->experts_used, false},
        {"rope.dimension_count", m->head_dim, true}, {"vocab_size", m->vocab, true}};
    char key[KEY_BYTES];
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].always || numbers[i].value)
            value_u32(p, key_of(p, numbers[i].key, key), numbers[i].value);
}

static void add_metadata(gguf_plan *p) {
    const model_config *m = &p->m.model;
    const rope_config *rope = &m->rope[m->layer_kinds[0]];
    char key[KEY_BYTES];
    value_string(p, "general.architecture", p->architecture);
    value_string(p, "general.name", p->s->shape->name);
    value_u32(p, "general.file_type", FILE_TYPE_BF16);
    add_sizes(p);
    value_f32(p, key_of(p, "attention.layer_norm_rms_epsilon", key), m->norm_eps);
    value_f32(p, key_of(p, "rope.freq_base", key), rope->theta);
    if (rope->type != ROPE_YARN) return;
    value_string(p, key_of(p, "rope.scaling.type", key), "yarn");
    value_f32(p, key_of(p, "rope.scaling.factor", key), rope->factor);
    value_u32(p, key_of(p, "rope.scaling.original_context_length", key), rope->original_context);
    value_f32(p, key_of(p, "rope.scaling.yarn_beta_fast", key), rope->beta_fast);
    value_f32(p, key_of(p, "rope.scaling.yarn_beta_slow", key), rope->beta_slow);
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
    uint64_t numbers = 1;
    add_string(&p->infos, name);
    add_number(&p->infos, count, 4);
    for (uint32_t d = count; d-- > 0;) {
        add_number(&p->infos, dimensions[d], 8);
        numbers *= dimensions[d];
    }
    add_number(&p->infos, type_number(type), 4);
    add_number(&p->infos, p->data_bytes, 8);
    p->data_bytes += padded(numbers / source_types[type].block_weights *
                            source_types[type].block_bytes);
    p->tensor_count++;
}

/* How a source is stored: vectors and routers in F32, MXFP4 as it is. */
static source_type type_in_file(const source_tensor *s) {
    if (s->type == SOURCE_MXFP4_PAIRS) return SOURCE_MXFP4;
    return roles[s->role].matrix && s->role != ROLE_ROUTER ? SOURCE_BF16 : SOURCE_F32;
}

/* The tensor that begins with this source: experts are stacked, so only the first begins one. */
static void add_source(gguf_plan *p, const source_tensor *s) {
    const model_config *m = &p->m.model;
    const char *role = gguf_role_name(p->architecture, s->role, m->experts != 0);
    bool in_expert = model_role_in_expert(m, s->role);
    const uint64_t shape[] = {m->experts, s->rows, s->cols};
    uint32_t skipped = in_expert ? 0 : s->rows > 1 || roles[s->role].matrix ? 1 : 2;
    char name[NAME_BYTES];
    if (s->expert) return;
    if (roles[s->role].per_layer) snprintf(name, sizeof name, "blk.%u.%s", s->layer, role);
    else snprintf(name, sizeof name, "%s", role);
    add_info(p, name, type_in_file(s), shape + skipped, 3 - skipped);
}

/* LLaMA 3.1's scaling, as what unscaled inverse frequencies are divided by. */
static bool find_rope_factors(gguf_plan *p) {
    rope_config plain = {.type = ROPE_DEFAULT, .theta = p->m.model.rope[LAYER_FULL].theta};
    uint32_t count = p->m.model.head_dim / 2;
    float *unscaled = malloc(count * sizeof *unscaled);
    p->rope_factors = malloc(count * sizeof *p->rope_factors);
    if (unscaled && p->rope_factors) {
        rope_frequencies(&plain, p->m.model.head_dim, unscaled);
        rope_frequencies(&p->m.model.rope[LAYER_FULL], p->m.model.head_dim, p->rope_factors);
        for (uint32_t i = 0; i < count; i++) p->rope_factors[i] = unscaled[i] / p->rope_factors[i];
    }
    free(unscaled);
    return unscaled && p->rope_factors;
}

static doppler_status plan(error *e, gguf_plan *p) {
    const synth *s = p->s;
    doppler_status status = synth_model_read(e, s, &p->m);
    if (status) return status;
    p->architecture = s->shape->family == FAMILY_GPT_OSS ? "gpt-oss" : "llama";
    if (p->m.model.rope[LAYER_FULL].type == ROPE_LLAMA3 && !find_rope_factors(p))
        return fail(e, DOPPLER_NO_MEMORY, "%s", s->shape->name);
    add_metadata(p);
    add_tokenizer(p);
    for (uint32_t i = 0; i < p->m.source_count; i++) add_source(p, &p->m.sources[i]);
    uint64_t factors = p->m.model.head_dim / 2;
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

/* Rows first ... of a source, in GGUF's order. */
typedef struct fill {
    const synth *s;
    const source_tensor *from;
    uint64_t first, rows, row_bytes;     /* row_bytes: in the file */
    uint32_t head;               /* rows of a head whose halves are interleaved; 0: none are */
    uint8_t *to;
} fill;

/* A row of MXFP4 as blocks of a scale and nibbles. */
static void fill_mxfp4(const fill *f, uint64_t row, uint8_t *to) {
    const source_tensor *t = f->from;
    uint32_t blocks = t->cols / MXFP4_WEIGHTS;
    uint8_t joined[MOST_COLS / MXFP4_WEIGHTS * MXFP4_BYTES], planes[MOST_COLS];
    synth_read(f->s, t->file, t->offset + row * t->row_step, joined, blocks * MXFP4_UNIT);
    synth_read(f->s, t->scales_file, t->scales_offset + row * t->scales_step,
               joined + blocks * MXFP4_UNIT, blocks);
    repack_row(t->type, joined, t->cols, planes);
    for (uint32_t b = 0; b < blocks; b++) {
        to[b * MXFP4_BYTES] = planes[blocks * MXFP4_UNIT + b];
        memcpy(to + b * MXFP4_BYTES + 1, planes + b * MXFP4_UNIT, MXFP4_UNIT);
    }
}

/* A row of bf16, as it is or widened: bf16 is the upper half of an f32. */
static void fill_floats(const fill *f, uint64_t row, uint8_t *to) {
    const source_tensor *t = f->from;
    uint64_t step = t->row_step ? t->row_step : (uint64_t)t->cols * 2;
    uint64_t at = t->offset + row * step;
    if (type_in_file(t) == SOURCE_BF16) {
        synth_read(f->s, t->file, at, to, (size_t)t->cols * 2);
        return;
    }
    for (uint32_t i = 0; i < t->cols; i++) {
        memset(to + 4 * i, 0, 2);
        synth_read(f->s, t->file, at + i * (t->col_step ? t->col_step : 2), to + 4 * i + 2, 2);
    }
}

static doppler_status fill_rows(error *e, uint64_t index, uint32_t thread, void *user) {
    const fill *f = user;
    (void)e, (void)thread;
    for (uint64_t i = index * PIECE_ROWS; i < (index + 1) * PIECE_ROWS && i < f->rows; i++) {
        uint64_t row = f->first + i, in_head = f->head ? row % f->head : 0;
        if (f->head) row += in_head % 2 * (f->head / 2) + in_head / 2 - in_head;
        if (f->from->type == SOURCE_MXFP4_PAIRS) fill_mxfp4(f, row, f->to + i * f->row_bytes);
        else fill_floats(f, row, f->to + i * f->row_bytes);
    }
    return DOPPLER_OK;
}

static doppler_status write_source(error *e, writing *w, const source_tensor *t) {
    const source_type_info *type = &source_types[type_in_file(t)];
    uint64_t row_bytes = (uint64_t)t->cols / type->block_weights * type->block_bytes;
    uint64_t step = PART_BYTES / row_bytes;
    bool rotated = (t->role == ROLE_ATTN_Q || t->role == ROLE_ATTN_K) &&
                   !strcmp(w->p->architecture, "llama");
    doppler_status status = DOPPLER_OK;
    for (uint64_t row = 0; !status && row < t->rows; row += step) {
        fill f = {w->p->s, t, row, t->rows - row < step ? t->rows - row : step, row_bytes,
                  rotated ? w->p->m.model.head_dim : 0, w->room};
        status = parallel_for(e, 0, (f.rows + PIECE_ROWS - 1) / PIECE_ROWS, fill_rows, &f);
        if (!status) status = append(e, w, w->room, (size_t)(f.rows * f.row_bytes));
        progress_show(&w->shown, w->at, w->p->data_bytes);
    }
    return status;
}

/* The tensor that begins with source i: all experts of it, one behind the other. */
static doppler_status write_tensor(error *e, writing *w, uint32_t i) {
    const source_tensor *first = &w->p->m.sources[i];
    doppler_status status = write_source(e, w, first);
    for (uint32_t j = i + 1; !status && j < w->p->m.source_count; j++) {
        const source_tensor *t = &w->p->m.sources[j];
        if (t->role == first->role && t->layer == first->layer) status = write_source(e, w, t);
    }
    return status ? status : append_padding(e, w);
}

static doppler_status write_rope_factors(error *e, writing *w) {
    text t = {0};
    for (uint32_t i = 0; i < w->p->m.model.head_dim / 2; i++) {
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
    doppler_status status = staging_open_file(e, &w->file, out);
    w->room = malloc(PART_BYTES);
    if (!status && !w->room) status = fail(e, DOPPLER_NO_MEMORY, "%d bytes", PART_BYTES);
    if (!status) status = write_header(e, w);
    for (uint32_t i = 0; !status && i < w->p->m.source_count; i++)
        if (!w->p->m.sources[i].expert) status = write_tensor(e, w, i);
    if (!status && w->p->rope_factors) status = write_rope_factors(e, w);
    return status ? status : staging_commit(e, &w->file);
}

doppler_status synth_gguf(error *e, const synth *s, const char *out, bool quiet) {
    if (s->shape->family == FAMILY_GEMMA3)
        return fail(e, DOPPLER_UNSUPPORTED, "%s: shapes of LLaMA, Mistral, Mixtral and GPT-OSS are "
                    "written as GGUF", s->shape->name);
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
    synth_model_free(&p.m);
    text_free(&p.values);
    text_free(&p.infos);
    return status;
}
