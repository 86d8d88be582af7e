/* test_gguf.c - GGUF files made here byte by byte, and the public malformed ones where ../shared
 * is: what a hostile header may do, and what model a good one describes. */
#include "bridge/gguf_model.h"
#include "bridge/gguf_tokenizer.h"
#include "memory/json.h"
#include "memory/text.h"
#include "storage/files.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

enum { F32 = 0, Q4_0 = 2, IQ4_XS = 23, MXFP4 = 39 };

/* ---- writing */

/* A file: tensors lie one behind the other in 32-byte steps. */
typedef struct maker {
    text values, infos;
    uint64_t value_count, tensor_count, data_bytes;
    text file;                   /* the whole, by finish() */
} maker;

static void number(text *t, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) text_add(t, (char[]){(char)(value >> 8 * i)}, 1);
}

static void string(text *t, const char *from) {
    number(t, strlen(from), 8);
    text_add(t, from, strlen(from));
}

static void key(maker *m, const char *name, gguf_type type) {
    string(&m->values, name);
    number(&m->values, type, 4);
    m->value_count++;
}

static void add_u32(maker *m, const char *name, uint32_t value) {
    key(m, name, GGUF_U32);
    number(&m->values, value, 4);
}

static void add_f32(maker *m, const char *name, float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    key(m, name, GGUF_F32);
    number(&m->values, bits, 4);
}

static void add_string(maker *m, const char *name, const char *value) {
    key(m, name, GGUF_STRING);
    string(&m->values, value);
}

static void add_array(maker *m, const char *name, gguf_type type, uint64_t count) {
    key(m, name, GGUF_ARRAY);
    number(&m->values, type, 4);
    number(&m->values, count, 8);
}

/* cols fastest; rows 0: a vector. */
static void add_tensor(maker *m, const char *name, uint32_t type, uint64_t cols, uint64_t rows) {
    string(&m->infos, name);
    number(&m->infos, rows ? 2 : 1, 4);
    number(&m->infos, cols, 8);
    if (rows) number(&m->infos, rows, 8);
    number(&m->infos, type, 4);
    number(&m->infos, m->data_bytes, 8);
    uint64_t blocks = cols / ggml_types[type].block_weights * (rows ? rows : 1);
    m->data_bytes += (blocks * ggml_types[type].block_bytes + 31) / 32 * 32;
    m->tensor_count++;
}

/* The same of several experts, in one tensor. */
static void add_experts(maker *m, const char *name, uint32_t type, uint64_t cols, uint64_t rows,
                        uint32_t experts) {
    if (experts == 1) {
        add_tensor(m, name, type, cols, rows);
        return;
    }
    string(&m->infos, name);
    number(&m->infos, 3, 4);
    number(&m->infos, cols, 8);
    number(&m->infos, rows, 8);
    number(&m->infos, experts, 8);
    number(&m->infos, type, 4);
    number(&m->infos, m->data_bytes, 8);
    uint64_t blocks = cols / ggml_types[type].block_weights * rows * experts;
    m->data_bytes += (blocks * ggml_types[type].block_bytes + 31) / 32 * 32;
    m->tensor_count++;
}

static void finish(maker *m) {
    text_add(&m->file, "GGUF", 4);
    number(&m->file, 3, 4);
    number(&m->file, m->tensor_count, 8);
    number(&m->file, m->value_count, 8);
    text_add(&m->file, m->values.data, m->values.bytes);
    text_add(&m->file, m->infos.data, m->infos.bytes);
    while (m->file.bytes % 32) number(&m->file, 0, 1);
    for (uint64_t i = 0; i < m->data_bytes; i++) number(&m->file, i, 1);
}

static void drop(maker *m) {
    text_free(&m->values);
    text_free(&m->infos);
    text_free(&m->file);
}

/* A model of one layer: dim 64, 2 heads of 32 over 1. */
static void small_model(maker *m, bool tied, uint32_t type) {
    *m = (maker){0};
    add_string(m, "general.architecture", "llama");
    add_u32(m, "llama.block_count", 1);
    add_u32(m, "llama.context_length", 128);
    add_u32(m, "llama.embedding_length", 64);
    add_u32(m, "llama.feed_forward_length", 96);
    add_u32(m, "llama.attention.head_count", 2);
    add_u32(m, "llama.attention.head_count_kv", 1);
    add_f32(m, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    add_f32(m, "llama.rope.freq_base", 20000);
    add_u32(m, "tokenizer.ggml.bos_token_id", 1);
    add_u32(m, "tokenizer.ggml.eos_token_id", 2);
    add_u32(m, "tokenizer.ggml.padding_token_id", UINT32_MAX);
    if (!tied) add_tensor(m, "output.weight", type, 64, 10);
    add_tensor(m, "token_embd.weight", type, 64, 10);
    add_tensor(m, "blk.0.attn_q.weight", type, 64, 64);
    add_tensor(m, "blk.0.attn_k.weight", type, 64, 32);
    add_tensor(m, "blk.0.attn_v.weight", type, 64, 32);
    add_tensor(m, "blk.0.attn_output.weight", type, 64, 64);
    add_tensor(m, "blk.0.attn_norm.weight", F32, 64, 0);
    add_tensor(m, "blk.0.ffn_norm.weight", F32, 64, 0);
    add_tensor(m, "blk.0.ffn_gate.weight", type, 64, 96);
    add_tensor(m, "blk.0.ffn_up.weight", type, 64, 96);
    add_tensor(m, "blk.0.ffn_down.weight", type, 96, 64);
    add_tensor(m, "output_norm.weight", F32, 64, 0);
}

/* ---- reading */

/* Feeds a copy of exactly as many bytes as asked for, starting with `first`. */
static doppler_status parse(error *e, arena *a, const char *data, size_t bytes, size_t first,
                            gguf *g) {
    uint64_t need = first < bytes ? first : bytes, had = 0;
    *e = (error){0};
    doppler_status status;
    do {
        if (had) assert_in_range(need, had + 1, bytes);
        had = need;
        char *copy = arena_alloc(a, (size_t)need + 1);
        char *exact = malloc((size_t)need ? (size_t)need : 1);   /* ASan sees what is beyond */
        memcpy(exact, data, (size_t)need);
        gguf ignored;
        uint64_t again;
        arena scratch = {0};
        gguf_parse(e, &scratch, "f", (uint8_t *)exact, (size_t)need, bytes, &ignored, &again);
        arena_free(&scratch);
        free(exact);
        memcpy(copy, data, (size_t)need);
        *e = (error){0};
        status = gguf_parse(e, a, "f", (uint8_t *)copy, (size_t)need, bytes, g, &need);
    } while (!status && need);
    assert_int_equal(status, e->status);
    return status;
}

static void parse_good(arena *a, const maker *m, gguf *g) {
    error e;
    if (parse(&e, a, m->file.data, m->file.bytes, 24, g)) fail_msg("%s", e.message);
}

static doppler_status model_of(error *e, arena *a, maker *m, model_config *c,
                               source_tensor **sources, uint32_t *count) {
    gguf g;
    uint32_t file;
    finish(m);
    parse_good(a, m, &g);
    const gguf_tensor *factors = gguf_rope_factors(&g, 1, &file);
    *e = (error){0};
    doppler_status status = gguf_model(
        e, a, &g, 1, factors ? (uint8_t *)m->file.data + factors->offset : NULL, c, sources, count);
    drop(m);
    return status;
}

/* ---- the container */

static void values_of_every_type_are_read(void **state) {
    (void)state;
    static const uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    maker m = {0};
    for (uint32_t type = 0; type < GGUF_TYPE_COUNT; type++) {
        char name[40];
        if (type == GGUF_ARRAY) continue;
        snprintf(name, sizeof name, "one.%s", gguf_types[type].name);
        key(&m, name, (gguf_type)type);
        if (type == GGUF_STRING) string(&m.values, "a\nb");
        else number(&m.values, type == GGUF_BOOL ? 1 : UINT64_MAX, sizes[type]);
        snprintf(name, sizeof name, "many.%s", gguf_types[type].name);
        add_array(&m, name, (gguf_type)type, 3);
        for (int i = 0; i < 3; i++) {
            if (type == GGUF_STRING) string(&m.values, i ? "" : "xyz");
            else number(&m.values, 0, sizes[type]);
        }
    }
    finish(&m);
    arena a = {0};
    gguf g;
    parse_good(&a, &m, &g);
    assert_int_equal(g.value_count, 24);
    int64_t value;
    assert_true(gguf_integer(gguf_find(&g, "one.int8"), &value) && value == -1);
    assert_true(gguf_integer(gguf_find(&g, "one.uint16"), &value) && value == 65535);
    assert_true(gguf_integer(gguf_find(&g, "one.int32"), &value) && value == -1);
    assert_true(gguf_integer(gguf_find(&g, "one.uint32"), &value) && value == UINT32_MAX);
    assert_true(gguf_integer(gguf_find(&g, "one.int64"), &value) && value == -1);
    assert_false(gguf_integer(gguf_find(&g, "one.uint64"), &value));
    assert_false(gguf_integer(gguf_find(&g, "one.float32"), &value));
    assert_false(gguf_integer(gguf_find(&g, "many.uint32"), &value));
    const gguf_kv *texts = gguf_find(&g, "many.string");
    const uint8_t *at = texts->data;
    uint64_t bytes;
    assert_memory_equal(gguf_next_string(&at, &bytes), "xyz", 3);
    gguf_next_string(&at, &bytes);
    assert_int_equal(bytes, 0);
    assert_int_equal(gguf_find(&g, "many.float64")->count, 3);
    arena_free(&a);
    drop(&m);
}

static void chat_templates_are_in_the_metadata(void **state) {
    (void)state;
    static const char joined[] = "{% if tools is defined and tools is not none %}\nb{{ '' }}"
                                 "{% else %}\n{{ a }}{{ '' }}{% endif %}";
    static const char *const wanted[] = {"", "{{ a }}", joined};
    for (int templates = 0; templates < 3; templates++) {
        maker m;
        arena a = {0};
        gguf g;
        error e = {0};
        const char *found;
        small_model(&m, false, F32);
        if (templates > 0) add_string(&m, "tokenizer.chat_template", "{{ a }}");
        if (templates > 1) add_string(&m, "tokenizer.chat_template.tool_use", "b\n");
        finish(&m);
        parse_good(&a, &m, &g);
        assert_int_equal(gguf_chat_template(&e, &a, &g, &found), DOPPLER_OK);
        assert_string_equal(found, wanted[templates]);
        arena_free(&a);
        drop(&m);
    }
}

static void any_prefix_of_the_header_asks_for_more(void **state) {
    (void)state;
    maker m;
    small_model(&m, false, Q4_0);
    add_array(&m, "list", GGUF_STRING, 2);
    string(&m.values, "one");
    string(&m.values, "two");
    finish(&m);
    for (size_t first = 0; first < m.file.bytes - m.data_bytes; first++) {
        arena a = {0};
        gguf g;
        error e;
        if (parse(&e, &a, m.file.data, m.file.bytes, first, &g)) fail_msg("%s", e.message);
        assert_int_equal(g.tensor_count, 12);
        arena_free(&a);
    }
    drop(&m);
}

static void a_file_cut_anywhere_is_refused(void **state) {
    (void)state;
    maker m;
    small_model(&m, true, F32);
    finish(&m);
    size_t header = m.file.bytes - (size_t)m.data_bytes;
    for (size_t cut = 0; cut < m.file.bytes; cut += cut > header + 100 ? 97 : 1) {
        arena a = {0};
        gguf g;
        error e;
        assert_int_equal(parse(&e, &a, m.file.data, cut, cut, &g), DOPPLER_BAD_FILE);
        assert_null(strchr(e.message, '\n'));
        arena_free(&a);
    }
    drop(&m);
}

static void any_byte_may_change_without_a_crash(void **state) {
    (void)state;
    maker m;
    small_model(&m, true, Q4_0);
    finish(&m);
    size_t header = m.file.bytes - (size_t)m.data_bytes;
    for (size_t i = 0; i < header; i++)
        for (int bit = 0; bit < 8; bit += 7) {
            arena a = {0};
            gguf g;
            error e;
            m.file.data[i] = (char)(m.file.data[i] ^ 1 << bit);
            parse(&e, &a, m.file.data, m.file.bytes, 64, &g);
            m.file.data[i] = (char)(m.file.data[i] ^ 1 << bit);
            arena_free(&a);
        }
    drop(&m);
}

static void parts_of_a_split_model_must_fit(void **state) {
    (void)state;
    static const struct { uint32_t number[2], count[2], announced; const char *says; } cases[] = {
        {{0, 1}, {2, 2}, 2, ""},
        {{0, 0}, {2, 2}, 2, "part 1 of 2, wanted 2 of 2"},
        {{0, 1}, {2, 3}, 2, "part 2 of 3, wanted 2 of 2"},
        {{0, 1}, {2, 2}, 3, "announces 3 tensors, its 2 parts hold 2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int same_name = 0; same_name < 2; same_name++) {
            maker m[2] = {{0}};
            gguf g[2];
            arena a = {0};
            error e = {0};
            for (int part = 0; part < 2; part++) {
                add_u32(&m[part], "split.count", cases[i].count[part]);
                add_u32(&m[part], "split.no", cases[i].number[part]);
                if (!part) add_u32(&m[part], "split.tensors.count", cases[i].announced);
                add_tensor(&m[part], part && !same_name ? "b" : "a", F32, 32, 2);
                finish(&m[part]);
                parse_good(&a, &m[part], &g[part]);
                drop(&m[part]);
            }
            doppler_status status = gguf_split_check(&e, &a, g, 2);
            const char *says = cases[i].says[0] ? cases[i].says
                               : same_name ? "two parts hold tensor \"a\"" : "";
            assert_int_equal(status, says[0] ? DOPPLER_BAD_FILE : DOPPLER_OK);
            assert_non_null(strstr(e.message, says));
            arena_free(&a);
        }
}

/* ---- the model */

static void metadata_describe_the_model(void **state) {
    (void)state;
    for (int tied = 0; tied < 2; tied++) {
        maker m;
        arena a = {0};
        error e;
        model_config c;
        source_tensor *s;
        uint32_t count;
        small_model(&m, tied, Q4_0);
        if (model_of(&e, &a, &m, &c, &s, &count)) fail_msg("%s", e.message);
        assert_string_equal(c.architecture, "llama");
        assert_int_equal(c.layers, 1);
        assert_int_equal(c.dim, 64);
        assert_int_equal(c.hidden, 96);
        assert_int_equal(c.heads, 2);
        assert_int_equal(c.kv_heads, 1);
        assert_int_equal(c.head_dim, 32);
        assert_int_equal(c.vocab, 10);
        assert_int_equal(c.context, 128);
        assert_int_equal(c.tied_head, tied);
        assert_true(c.norm_eps == 1e-5f && c.rope[LAYER_FULL].theta == 20000);
        assert_int_equal(c.rope[LAYER_FULL].type, ROPE_DEFAULT);
        assert_true(c.has_bos && c.bos == 1 && c.stop_count == 1 && c.stops[0] == 2);
        assert_int_equal(count, tied ? 11 : 12);
        assert_int_equal(s[0].role, ROLE_EMBEDDING);
        assert_int_equal(s[count - 1].role, tied ? ROLE_FINAL_NORM : ROLE_HEAD);
        for (uint32_t i = 0; i < count; i++) {
            bool rotated = s[i].role == ROLE_ATTN_Q || s[i].role == ROLE_ATTN_K;
            assert_int_equal(s[i].interleaved_head, rotated ? 32 : 0);
        }
        arena_free(&a);
    }
}

static void rope_freqs_become_the_ropes_factors(void **state) {
    (void)state;
    maker m;
    arena a = {0};
    error e;
    model_config c;
    source_tensor *s;
    uint32_t count, file;
    gguf g;
    small_model(&m, true, F32);
    add_tensor(&m, "rope_freqs.weight", F32, 16, 0);
    finish(&m);
    parse_good(&a, &m, &g);
    float factors[16];
    for (int i = 0; i < 16; i++) factors[i] = 1 + 0.37f * (float)i;
    assert_string_equal(gguf_rope_factors(&g, 1, &file)->name, "rope_freqs.weight");
    e = (error){0};
    if (gguf_model(&e, &a, &g, 1, (uint8_t *)factors, &c, &s, &count)) fail_msg("%s", e.message);
    assert_int_equal(c.rope[LAYER_FULL].type, ROPE_FACTORS);
    assert_memory_equal(c.rope[LAYER_FULL].factors, factors, sizeof factors);
    factors[3] = 0;
    assert_int_equal(gguf_model(&e, &a, &g, 1, (uint8_t *)factors, &c, &s, &count),
                     DOPPLER_BAD_FILE);
    assert_non_null(strstr(e.message, "rope factors[3] is 0"));
    arena_free(&a);
    drop(&m);
}

typedef void (*change_fn)(maker *m);
static void no_change(maker *m) { (void)m; }
static void experts(maker *m) { add_u32(m, "llama.expert_count", 8); }
static void shared_expert(maker *m) { add_u32(m, "llama.expert_shared_count", 1); }
static void sigmoid_router(maker *m) {
    experts(m);
    add_u32(m, "llama.expert_used_count", 2);
    add_u32(m, "llama.expert_gating_func", 2);
}
static void stacked_but_dense(maker *m) {
    add_tensor(m, "blk.0.ffn_up_exps.weight", F32, 64, 96);
}
static void yarn(maker *m) { add_string(m, "llama.rope.scaling.type", "yarn"); }
static void partly_rotated(maker *m) { add_u32(m, "llama.rope.dimension_count", 16); }
static void unknown_tensor(maker *m) { add_tensor(m, "blk.0.attn_qkv.weight", F32, 32, 2); }
static void iq_tensor(maker *m) { add_tensor(m, "blk.0.extra.weight", IQ4_XS, 256, 2); }
static void second_layer(maker *m) { add_tensor(m, "blk.1.ffn_norm.weight", F32, 64, 0); }
static void wide_eot(maker *m) { add_u32(m, "tokenizer.ggml.eot_token_id", 10); }
static void short_factors(maker *m) { add_tensor(m, "rope_freqs.weight", F32, 8, 0); }

static void what_is_not_known_is_refused_by_name(void **state) {
    (void)state;
    static const struct { change_fn change; doppler_status status; const char *says; } cases[] = {
        {no_change, DOPPLER_OK, ""},
        {experts, DOPPLER_BAD_FILE, "llama.expert_used_count"},
        {shared_expert, DOPPLER_UNSUPPORTED, "llama.expert_shared_count is 1"},
        {sigmoid_router, DOPPLER_UNSUPPORTED, "llama.expert_gating_func is 2"},
        {stacked_but_dense, DOPPLER_BAD_FILE, "\"blk.0.ffn_up_exps.weight\" does not belong"},
        {yarn, DOPPLER_UNSUPPORTED, "llama.rope.scaling.type is \"yarn\""},
        {partly_rotated, DOPPLER_UNSUPPORTED, "16 of them rotated"},
        {unknown_tensor, DOPPLER_UNSUPPORTED, "tensor \"blk.0.attn_qkv.weight\" is not known"},
        {iq_tensor, DOPPLER_UNSUPPORTED, "tensor \"blk.0.extra.weight\" is IQ4_XS"},
        {second_layer, DOPPLER_BAD_FILE, "tensor \"blk.1.ffn_norm.weight\" does not belong"},
        {wide_eot, DOPPLER_BAD_FILE, "tokenizer.ggml.eot_token_id is no id below 10"},
        {short_factors, DOPPLER_BAD_FILE, "\"rope_freqs.weight\" has 8 weights"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        maker m;
        arena a = {0};
        error e;
        model_config c;
        source_tensor *s;
        uint32_t count;
        small_model(&m, true, F32);
        cases[i].change(&m);
        assert_int_equal(model_of(&e, &a, &m, &c, &s, &count), cases[i].status);
        if (!strstr(e.message, cases[i].says)) fail_msg("%s", e.message);
        arena_free(&a);
    }
}

/* Mixtral of one layer, its experts stacked or, as in older files, each a tensor. */
static void small_mixtral(maker *m, bool stacked) {
    static const struct { const char *name; uint32_t cols, rows; } matrices[] = {
        {"gate", 64, 96}, {"up", 64, 96}, {"down", 96, 64}};
    char name[64];
    small_model(m, true, Q4_0);
    text_free(&m->infos);                /* its metadata; tensors of its own */
    m->data_bytes = 0;
    m->tensor_count = 0;
    add_u32(m, "llama.expert_count", 4);
    add_u32(m, "llama.expert_used_count", 2);
    add_tensor(m, "token_embd.weight", Q4_0, 64, 10);
    add_tensor(m, "blk.0.attn_q.weight", Q4_0, 64, 64);
    add_tensor(m, "blk.0.attn_k.weight", Q4_0, 64, 32);
    add_tensor(m, "blk.0.attn_v.weight", Q4_0, 64, 32);
    add_tensor(m, "blk.0.attn_output.weight", Q4_0, 64, 64);
    add_tensor(m, "blk.0.attn_norm.weight", F32, 64, 0);
    add_tensor(m, "blk.0.ffn_norm.weight", F32, 64, 0);
    add_tensor(m, "blk.0.ffn_gate_inp.weight", F32, 64, 4);
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++)
        for (uint32_t x = 0; x < (stacked ? 1 : 4); x++) {
            if (stacked) snprintf(name, sizeof name, "blk.0.ffn_%s_exps.weight", matrices[i].name);
            else snprintf(name, sizeof name, "blk.0.ffn_%s.%u.weight", matrices[i].name, x);
            add_experts(m, name, Q4_0, matrices[i].cols, matrices[i].rows, stacked ? 4 : 1);
        }
    add_tensor(m, "output_norm.weight", F32, 64, 0);
}

/* Both forms are the same tensors, in groups of an expert; their bytes follow each other. */
static void experts_are_read_stacked_and_apart(void **state) {
    (void)state;
    for (int stacked = 0; stacked < 2; stacked++) {
        maker m;
        arena a = {0};
        error e;
        model_config c;
        source_tensor *s;
        uint32_t count;
        small_mixtral(&m, stacked);
        if (model_of(&e, &a, &m, &c, &s, &count)) fail_msg("%s", e.message);
        assert_string_equal(c.architecture, "mixtral");
        assert_int_equal(c.experts, 4);
        assert_int_equal(c.experts_used, 2);
        assert_int_equal(count, 1 + 7 + 12 + 1);
        uint32_t first = 0;
        while (s[first].role != ROLE_FFN_GATE) first++;
        assert_int_equal(s[first - 1].role, ROLE_ROUTER);
        for (uint32_t i = 0; i < 12; i++) {
            const source_tensor *t = &s[first + i];
            assert_int_equal(t->role, ROLE_FFN_GATE + i % 3);
            assert_int_equal(t->expert, i / 3);
            assert_int_equal(t->bytes, 96 * 64 / 32 * 18);
            assert_int_equal(t->offset, s[first + i % 3].offset + i / 3 * t->bytes);
        }
        for (uint32_t i = 0; i < count; i++)
            assert_int_equal(s[i].interleaved_head,
                             s[i].role == ROLE_ATTN_Q || s[i].role == ROLE_ATTN_K ? 32 : 0);
        arena_free(&a);
    }
}

/* What files of GPT-OSS leave out, and names that they have for other things than others. */
static void gpt_oss_is_more_than_its_metadata(void **state) {
    (void)state;
    static const struct { const char *name; uint32_t type, cols, rows, experts; } tensors[] = {
        {"token_embd.weight", F32, 64, 10, 1},           {"output_norm.weight", F32, 64, 0, 1},
        {"blk.0.attn_norm.weight", F32, 64, 0, 1},       {"blk.0.attn_q.weight", F32, 64, 64, 1},
        {"blk.0.attn_k.weight", F32, 64, 32, 1},         {"blk.0.attn_v.weight", F32, 64, 32, 1},
        {"blk.0.attn_output.weight", F32, 64, 64, 1},    {"blk.0.attn_q.bias", F32, 64, 0, 1},
        {"blk.0.attn_k.bias", F32, 32, 0, 1},            {"blk.0.attn_v.bias", F32, 32, 0, 1},
        {"blk.0.attn_output.bias", F32, 64, 0, 1},       {"blk.0.attn_sinks.weight", F32, 2, 0, 1},
        {"blk.0.post_attention_norm.weight", F32, 64, 0, 1},
        {"blk.0.ffn_gate_inp.weight", F32, 64, 4, 1},    {"blk.0.ffn_gate_inp.bias", F32, 4, 0, 1},
        {"blk.0.ffn_gate_exps.weight", MXFP4, 64, 96, 4},
        {"blk.0.ffn_up_exps.weight", MXFP4, 64, 96, 4},
        {"blk.0.ffn_down_exps.weight", MXFP4, 96, 64, 4},
        {"blk.0.ffn_gate_exps.bias", F32, 96, 4, 1},     {"blk.0.ffn_up_exps.bias", F32, 96, 4, 1},
        {"blk.0.ffn_down_exps.bias", F32, 64, 4, 1}};
    maker m = {0};
    arena a = {0};
    error e;
    model_config c;
    source_tensor *s;
    uint32_t count;
    add_string(&m, "general.architecture", "gpt-oss");
    static const struct { const char *key; uint32_t value; } numbers[] = {
        {"gpt-oss.block_count", 1}, {"gpt-oss.context_length", 128},
        {"gpt-oss.embedding_length", 64}, {"gpt-oss.feed_forward_length", 192},
        {"gpt-oss.expert_feed_forward_length", 96}, {"gpt-oss.attention.head_count", 2},
        {"gpt-oss.attention.head_count_kv", 1}, {"gpt-oss.attention.sliding_window", 16},
        {"gpt-oss.expert_count", 4}, {"gpt-oss.expert_used_count", 2},
        {"gpt-oss.rope.scaling.original_context_length", 4}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        add_u32(&m, numbers[i].key, numbers[i].value);
    add_f32(&m, "gpt-oss.attention.layer_norm_rms_epsilon", 1e-5f);
    add_f32(&m, "gpt-oss.rope.freq_base", 150000);
    add_string(&m, "gpt-oss.rope.scaling.type", "yarn");
    add_f32(&m, "gpt-oss.rope.scaling.factor", 32);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
        add_experts(&m, tensors[i].name, tensors[i].type, tensors[i].cols, tensors[i].rows,
                    tensors[i].experts);
    if (model_of(&e, &a, &m, &c, &s, &count)) fail_msg("%s", e.message);
    const rope_config *r = &c.rope[LAYER_SLIDING];
    assert_string_equal(c.architecture, "gpt-oss");
    assert_true(c.hidden == 96 && c.window == 16 && c.layer_kinds[0] == LAYER_SLIDING);
    assert_true(c.activation == ACTIVATION_SWIGLU_CLAMPED && c.activation_limit == 7);
    assert_true(c.attention_sinks && c.router_bias && c.mlp_bias && c.attention_out_bias);
    assert_true(r->type == ROPE_YARN && !r->truncate && r->original_context == 4);
    assert_true(r->beta_fast == 32 && r->beta_slow == 1 && r->theta == 150000);
    assert_true(fabsf(r->attention_factor - 1.3465736f) < 1e-6f);
    assert_int_equal(count, 12 + 3 + 3 * 4 + 3);
    for (uint32_t i = 0; i < count; i++) {
        if (s[i].role == ROLE_FFN_NORM)
            assert_string_equal(s[i].name, "blk.0.post_attention_norm.weight");
        assert_int_equal(s[i].interleaved_head, 0);
    }
    arena_free(&a);
}

/* A window in a file of LLaMA's kind, which has no pattern, is of all layers. */
static void a_window_without_a_pattern_slides_all_layers(void **state) {
    (void)state;
    maker m;
    arena a = {0};
    error e;
    model_config c;
    source_tensor *s;
    uint32_t count;
    small_model(&m, true, F32);
    add_u32(&m, "llama.attention.sliding_window", 48);
    if (model_of(&e, &a, &m, &c, &s, &count)) fail_msg("%s", e.message);
    assert_int_equal(c.window, 48);
    assert_int_equal(c.layer_kinds[0], LAYER_SLIDING);
    assert_true(c.rope[LAYER_SLIDING].theta == 20000);
    arena_free(&a);
}

static void a_file_without_a_model_is_refused(void **state) {
    (void)state;
    maker m = {0};
    arena a = {0};
    error e;
    model_config c;
    source_tensor *s;
    uint32_t count;
    add_string(&m, "general.architecture", "llama");
    assert_int_equal(model_of(&e, &a, &m, &c, &s, &count), DOPPLER_BAD_FILE);
    assert_non_null(strstr(e.message, "llama.block_count"));
    m = (maker){0};
    add_string(&m, "general.architecture", "mamba");
    assert_int_equal(model_of(&e, &a, &m, &c, &s, &count), DOPPLER_UNSUPPORTED);
    assert_non_null(strstr(e.message, "\"mamba\""));
    arena_free(&a);
}

/* ---- public files */

static char *read_file(const char *folder, const char *name, size_t *bytes) {
    storage_file f = {0};
    error e = {0};
    if (storage_open(&e, &f, folder, name)) fail_msg("%s", e.message);
    *bytes = (size_t)f.bytes;
    char *data = malloc(*bytes + 1);
    if (storage_read(&e, &f, 0, data, *bytes)) fail_msg("%s", e.message);
    storage_close(&f);
    return data;
}

/* What the level says must decide: the container, or the tokenizer of one. */
static doppler_status judge(error *e, const char *data, size_t bytes, bool model) {
    arena a = {0};
    gguf g;
    tokenizer *t = NULL;
    const char *architecture;
    doppler_status status = parse(e, &a, data, bytes, 24, &g);
    if (!status && model)
        status = gguf_string(e, &a, &g, "general.architecture", &architecture, NULL);
    if (!status && model) status = gguf_tokenizer(e, &g, &t);
    tokenizer_close(t);
    arena_free(&a);
    return status;
}

static void public_malformed_files_are_judged_right(void **state) {
    (void)state;
    static const char folder[] = "../shared/vectors/malformed";
    if (!storage_exists(folder, "manifest.json")) {
        print_message("skipped: %s is absent\n", folder);
        skip();
    }
    arena tree = {0};
    error e = {0};
    size_t bytes;
    json *root;
    uint32_t judged = 0;
    char *text = read_file(folder, "manifest.json", &bytes);
    assert_int_equal(json_parse(&e, &tree, "manifest", text, bytes, &root), DOPPLER_OK);
    for (const json *node = json_get(root, "files")->first; node; node = node->next) {
        const char *name = json_get(node, "file")->text;
        if (strncmp(name, "gguf/", 5)) continue;
        char *data = read_file(folder, name, &bytes);
        bool model = json_is(json_get(node, "level"), "model");
        doppler_status status = judge(&e, data, bytes, model);
        bool accept = json_is(json_get(node, "expect"), "accept");
        bool reject = json_is(json_get(node, "expect"), "reject");
        if ((accept && status) || (reject && !status))
            fail_msg("%s: %s", name, status ? e.message : "accepted");
        assert_null(strchr(e.message, '\n'));
        free(data);
        judged++;
    }
    assert_int_equal(judged, 113);
    free(text);
    arena_free(&tree);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_every_type_are_read),
        cmocka_unit_test(chat_templates_are_in_the_metadata),
        cmocka_unit_test(any_prefix_of_the_header_asks_for_more),
        cmocka_unit_test(a_file_cut_anywhere_is_refused),
        cmocka_unit_test(any_byte_may_change_without_a_crash),
        cmocka_unit_test(parts_of_a_split_model_must_fit),
        cmocka_unit_test(metadata_describe_the_model),
        cmocka_unit_test(rope_freqs_become_the_ropes_factors),
        cmocka_unit_test(what_is_not_known_is_refused_by_name),
        cmocka_unit_test(experts_are_read_stacked_and_apart),
        cmocka_unit_test(gpt_oss_is_more_than_its_metadata),
        cmocka_unit_test(a_window_without_a_pattern_slides_all_layers),
        cmocka_unit_test(a_file_without_a_model_is_refused),
        cmocka_unit_test(public_malformed_files_are_judged_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
