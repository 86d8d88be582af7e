/* test_experts.c - mixtures of experts in configs, manifests, plans of packages and of buffers. */
#include "bridge/hf_config.h"
#include "bridge/hf_names.h"
#include "gpu/op.h"
#include "loader/convert.h"
#include "loader/weights.h"
#include "tests/package.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

enum { EXPERTS = 4, LAYERS = 2 };

/* Everything that a mixture may have. One expert in f32 is 3 * hidden * dim * 4 bytes. */
static model_config mixture(uint32_t dim, uint32_t hidden) {
    return (model_config){
        .architecture = "gpt-oss", .layers = LAYERS, .dim = dim, .hidden = hidden, .heads = 4,
        .kv_heads = 2, .head_dim = 32, .vocab = 64, .context = 64, .norm_eps = 1e-5f,
        .attention_scale = 0.25f, .embedding_scale = 1, .activation = ACTIVATION_SWIGLU_CLAMPED,
        .activation_limit = 7, .experts = EXPERTS, .experts_used = 2, .router_bias = true,
        .attention_sinks = true, .mlp_bias = true, .tied_head = true,
        .rope = {{.type = ROPE_DEFAULT, .theta = 10000}}};
}

/* ---- manifests */

static doppler_status parse(error *e, const text *t, manifest *m) {
    *e = (error){0};
    doppler_status status = manifest_parse(e, m, t->data, t->bytes);
    assert_int_equal(status, e->status);
    assert_null(strchr(e->message, '\n'));
    return status;
}

static void check_refused(const text *t, doppler_status wanted, const char *part) {
    manifest m;
    error e;
    assert_int_equal(parse(&e, t, &m), wanted);
    if (!strstr(e.message, part)) fail_msg("\"%s\" does not hold \"%s\"", e.message, part);
    manifest_free(&m);
}

static void a_mixtures_manifest_survives(void **state) {
    (void)state;
    model_config model = mixture(64, 96);
    manifest m, again;
    text t = {0}, second = {0};
    error e;
    assert_true(package_describe(&model, FORMAT_Q8_0, 64 << 10, &m));
    manifest_write(&m, &t);
    if (parse(&e, &t, &again)) fail_msg("%s", e.message);
    assert_memory_equal(&again.model, &model, sizeof model);
    assert_int_equal(again.tensor_count, model_tensor_count(&model));
    for (uint32_t i = 0; i < m.tensor_count; i++)
        assert_int_equal(again.tensors[i].expert, m.tensors[i].expert);
    manifest_write(&again, &second);
    assert_string_equal(second.data, t.data);
    text_free(&t);
    text_free(&second);
    manifest_free(&m);
    manifest_free(&again);
}

typedef void (*change_fn)(manifest *m);

static rdrr_tensor *find(manifest *m, tensor_role role, uint32_t layer, uint32_t expert) {
    for (uint32_t i = 0; i < m->tensor_count; i++) {
        rdrr_tensor *t = &m->tensors[i];
        if (t->role == role && t->layer == layer && t->expert == expert) return t;
    }
    fail_msg("no %s", roles[role].name);
    return NULL;
}

static void no_change(manifest *m) { (void)m; }
static void twice(manifest *m) { find(m, ROLE_FFN_UP, 1, 2)->expert = 1; }
static void one_less(manifest *m) { m->tensor_count--; }
static void expert_beyond(manifest *m) { find(m, ROLE_FFN_UP, 1, 2)->expert = EXPERTS; }
static void quantized_router(manifest *m) {
    rdrr_tensor *t = find(m, ROLE_ROUTER, 0, 0);
    t->format = FORMAT_Q8_0;
    t->bytes = t->spans[0].bytes = t->rows * format_row_bytes(t->format, t->cols);
}
static void another_format(manifest *m) {
    rdrr_tensor *t = find(m, ROLE_FFN_DOWN, 0, 3);
    t->format = FORMAT_F16;
    t->bytes /= 2;
    t->spans[0].bytes /= 2;
}
/* Two experts' down change places: all spans are still apart. */
static void exchanged(manifest *m) {
    rdrr_tensor *a = find(m, ROLE_FFN_DOWN, 0, 1), *b = find(m, ROLE_FFN_DOWN, 0, 2);
    rdrr_span *spans = a->spans;
    a->spans = b->spans;
    b->spans = spans;
}
/* A large expert a page behind a block's start. */
static void off_its_block(manifest *m) {
    for (tensor_role role = ROLE_FFN_GATE; role <= ROLE_FFN_DOWN; role++)
        find(m, role, 0, 1)->spans[0].offset += RDRR_ALIGN;
}
/* Another tensor in the rest of a large expert's last block. */
static void in_its_last_block(manifest *m) {
    const rdrr_span *last = &find(m, ROLE_FFN_DOWN, 0, 1)->spans[0];
    find(m, ROLE_FINAL_NORM, 0, 0)->spans[0].offset = last->offset + last->bytes;
}

static void experts_must_be_whole_and_alone(void **state) {
    (void)state;
    static const struct { uint32_t dim, hidden; change_fn change; const char *part; } cases[] = {
        {64, 96, no_change, NULL},
        {64, 96, twice, "a second ffn_up of expert 1 of layer 1"},
        {64, 96, one_less, "ffn_down of expert 3 of layer 1 is missing"},
        {64, 96, expert_beyond, "\"expert\""},
        {64, 96, quantized_router, "a router's dtype"},
        {64, 96, another_format, "ffn_down of expert 3 of layer 0 is f16, that of expert 0 f32"},
        {64, 96, exchanged, "is not one piece"},
        {256, 512, no_change, NULL},
        {256, 512, off_its_block, "expert 1 of layer 0, 1572864 bytes, shares a block"},
        {256, 512, in_its_last_block, "expert 1 of layer 0, 1572864 bytes, shares a block"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        model_config model = mixture(cases[i].dim, cases[i].hidden);
        manifest m, read;
        text t = {0};
        error e;
        assert_true(package_describe(&model, FORMAT_F32, RDRR_SHARD_BYTES, &m));
        cases[i].change(&m);
        manifest_write(&m, &t);
        if (cases[i].part) check_refused(&t, DOPPLER_BAD_FILE, cases[i].part);
        else {
            if (parse(&e, &t, &read)) fail_msg("%s", e.message);
            manifest_free(&read);
        }
        text_free(&t);
        manifest_free(&m);
    }
}

static void fields_of_mixtures_must_fit(void **state) {
    (void)state;
    static const struct { const char *from, *to, *part; } cases[] = {
        {"\"experts\": 4,", "\"experts\": 0,", "experts"},
        {"\"experts\": 4,", "\"experts\": 257,", "experts"},
        {"\"experts\": 4,", "", "unknown field \"experts_used\""},
        {"\"experts_used\": 2,", "", "experts_used"},
        {"\"experts_used\": 2,", "\"experts_used\": 5,", "experts_used 5 of experts 4"},
        {"\"experts_used\": 2,", "\"experts_used\": 17,", "experts_used"},
        {"\"router_bias\": true,", "", "router_bias"},
        {"\"router_bias\": true,", "\"router_bias\": false,", "this model has no router_bias"},
        {"\"attention_sinks\": true,", "", "this model has no attn_sinks"},
        {"\"attention_sinks\": true,", "\"attention_sinks\": 1,", "attention_sinks"},
        {"\"activation_limit\": 7,", "", "activation_limit"},
        {"\"activation_limit\": 7,", "\"activation_limit\": 0,", "activation_limit 0"},
        {"\"swiglu_clamped\"", "\"silu\"", "unknown field \"activation_limit\""},
        {"\"role\": \"attn_q\", ", "\"role\": \"attn_q\", \"expert\": 0, ", "is of no expert"},
        {"\"expert\": 3, ", "", "\"expert\""},
    };
    model_config model = mixture(64, 96);
    manifest m;
    text t = {0};
    assert_true(package_describe(&model, FORMAT_F32, RDRR_SHARD_BYTES, &m));
    manifest_write(&m, &t);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        text out = {0};
        const char *at = strstr(t.data, cases[i].from);
        assert_non_null(at);
        text_add(&out, t.data, (size_t)(at - t.data));
        text_format(&out, "%s%s", cases[i].to, at + strlen(cases[i].from));
        check_refused(&out, DOPPLER_BAD_FILE, cases[i].part);
        text_free(&out);
    }
    text_free(&t);
    manifest_free(&m);
}

/* ---- buffers */

/* Shards in which number i of a tensor is 10000 * its index + i, and the buffers of the plan filled
 * from them. */
typedef struct loaded { manifest m; weights w; arena memory; float **buffers; } loaded;

static doppler_status plan(error *e, loaded *l, const model_config *model, uint64_t binding) {
    const gpu_limits limits = {.buffer_bytes = 1 << 30, .binding_bytes = binding,
                               .offset_alignment = 256, .grid = 65535};
    *e = (error){0};
    *l = (loaded){.buffers = NULL};
    assert_true(package_describe(model, FORMAT_F32, 5 * RDRR_ALIGN, &l->m));
    return weights_plan(e, &l->memory, &l->m, &limits, &l->w);
}

static void load(loaded *l) {
    char **shards = arena_array(&l->memory, l->m.shard_count, sizeof *shards);
    for (uint32_t i = 0; i < l->m.shard_count; i++)
        shards[i] = arena_alloc(&l->memory, (size_t)l->m.shards[i].bytes);
    for (uint32_t i = 0; i < l->m.tensor_count; i++) {
        const rdrr_tensor *t = &l->m.tensors[i];
        uint32_t number = 0;
        for (uint32_t s = 0; s < t->span_count; s++)
            for (uint64_t at = 0; at < t->spans[s].bytes; at += 4) {
                float x = 10000.0f * (float)i + (float)number++;
                memcpy(shards[t->spans[s].shard] + t->spans[s].offset + at, &x, sizeof x);
            }
    }
    l->buffers = arena_array(&l->memory, l->w.buffer_count, sizeof *l->buffers);
    for (uint32_t i = 0; i < l->w.buffer_count; i++)
        l->buffers[i] = arena_alloc(&l->memory, (size_t)l->w.descs[i].bytes);
    for (uint32_t i = 0; i < l->w.placement_count; i++) {
        const placement *p = &l->w.placements[i];
        memcpy((char *)l->buffers[p->buffer] + p->to, shards[p->shard] + p->offset,
               (size_t)p->bytes);
    }
}

/* Number i of a tensor, as load made it. */
static float number_of(loaded *l, tensor_role role, uint32_t layer, uint32_t expert, uint32_t i) {
    return 10000.0f * (float)(find(&l->m, role, layer, expert) - l->m.tensors) + (float)i;
}

static void buffers_hold_an_experts_rows_together(void **state) {
    (void)state;
    enum { DIM = 32, HIDDEN = 64 };
    model_config model = mixture(DIM, HIDDEN);
    loaded l;
    error e;
    if (plan(&e, &l, &model, 1 << 20)) fail_msg("%s", e.message);
    load(&l);
    const layer_weights *w = &l.w.layers[1];
    assert_int_equal(w->router.count, 1);
    assert_int_equal(w->router.rows, EXPERTS);
    assert_int_equal(w->gate_up.count, 1);
    assert_int_equal(w->gate_up.rows, 2 * HIDDEN);
    assert_int_equal(w->gate_up.part[0].rows, EXPERTS * 2 * HIDDEN);
    assert_int_equal(w->down.rows, DIM);
    assert_int_equal(w->down.part[0].rows, EXPERTS * DIM);
    const float *gate_up = l.buffers[w->gate_up.part[0].buffer], *vectors = l.buffers[0];
    const float *down = l.buffers[w->down.part[0].buffer];
    const float *gate_up_bias = vectors + w->gate_up.bias[0];
    const float *down_bias = vectors + w->down.bias[0];
    for (uint32_t x = 0; x < EXPERTS; x++) {
        for (uint32_t i = 0; i < HIDDEN * DIM; i++) {
            const float *of = gate_up + x * 2 * HIDDEN * DIM;
            assert_true(of[i] == number_of(&l, ROLE_FFN_GATE, 1, x, i));
            assert_true(of[HIDDEN * DIM + i] == number_of(&l, ROLE_FFN_UP, 1, x, i));
            assert_true(down[x * HIDDEN * DIM + i] == number_of(&l, ROLE_FFN_DOWN, 1, x, i));
        }
        for (uint32_t i = 0; i < HIDDEN; i++) {
            const float *of = gate_up_bias + x * 2 * HIDDEN;
            assert_true(of[i] == number_of(&l, ROLE_FFN_GATE_BIAS, 1, 0, x * HIDDEN + i));
            assert_true(of[HIDDEN + i] == number_of(&l, ROLE_FFN_UP_BIAS, 1, 0, x * HIDDEN + i));
        }
        for (uint32_t i = 0; i < DIM; i++)
            assert_true(down_bias[x * DIM + i] ==
                        number_of(&l, ROLE_FFN_DOWN_BIAS, 1, 0, x * DIM + i));
        assert_true(vectors[w->router.bias[0] + x] == number_of(&l, ROLE_ROUTER_BIAS, 1, 0, x));
    }
    for (uint32_t i = 0; i < model.heads; i++)
        assert_true(vectors[w->sinks + i] == number_of(&l, ROLE_ATTN_SINKS, 1, 0, i));
    for (uint32_t i = 0; i < l.w.buffer_count; i++)
        assert_true(l.w.descs[i].bytes % 4 == 0);
    arena_free(&l.memory);
    manifest_free(&l.m);
}

static void one_expert_must_fit_a_binding(void **state) {
    (void)state;
    model_config model = mixture(64, 96);
    loaded l;
    error e;
    for (int fits = 0; fits < 2; fits++) {
        uint64_t expert = 2 * 96 * 64 * 4;
        assert_int_equal(plan(&e, &l, &model, expert - !fits),
                         fits ? DOPPLER_OK : DOPPLER_UNSUPPORTED);
        if (!fits) assert_non_null(strstr(e.message, "layer 0 gate_up: 192 rows of 256 bytes"));
        arena_free(&l.memory);
        manifest_free(&l.m);
    }
}

static void dense_models_have_no_router(void **state) {
    (void)state;
    model_config model = mixture(32, 64);
    model.experts = model.experts_used = 0;
    model.router_bias = model.attention_sinks = false;
    loaded l;
    error e;
    if (plan(&e, &l, &model, 1 << 20)) fail_msg("%s", e.message);
    assert_int_equal(l.w.layers[0].router.count, 0);
    assert_true(l.w.layers[0].sinks == OP_NO_BIAS);
    assert_int_equal(l.w.layers[0].gate_up.part[0].rows, 128);
    arena_free(&l.memory);
    manifest_free(&l.m);
}

/* ---- plans of packages */

static void list_sources(const model_config *model, arena *a, source_list *list) {
    error e;
    uint32_t rows, cols;
    assert_int_equal(source_list_create(&e, a, model, UINT64_MAX, list), DOPPLER_OK);
    for (tensor_role role = 0; role < ROLE_COUNT; role++) {
        if (!model_role_shape(model, role, &rows, &cols)) continue;
        for (uint32_t layer = 0; layer < (roles[role].per_layer ? model->layers : 1); layer++)
            for (uint32_t x = 0; x < model_role_experts(model, role); x++)
                source_list_add(&e, list, &(source_tensor){
                    .name = "t", .role = role, .layer = layer, .expert = x, .type = SOURCE_BF16,
                    .rows = rows, .cols = cols, .bytes = (uint64_t)rows * cols * 2});
    }
    static const char *const names[ROLE_COUNT];
    assert_int_equal(source_list_complete(&e, list, &(source_names){"", names}), DOPPLER_OK);
}

/* What is planned obeys the reader, large experts and small ones, in shards of any size. */
static void planned_packages_obey_the_format(void **state) {
    (void)state;
    static const uint64_t shards[] = {RDRR_ALIGN, 300 * RDRR_ALIGN, 3 << 20, 0};
    model_config model = mixture(256, 512);
    arena a = {0};
    source_list list;
    list_sources(&model, &a, &list);
    uint32_t large = 0;
    for (uint32_t target = 0; target < TARGET_COUNT; target++)
        for (size_t i = 0; i < sizeof shards / sizeof *shards; i++) {
            const convert_input input = {
                .model = &model, .sources = list.tensors, .tokenizer = "{}",
                .source_count = model_tensor_count(&model), .tokenizer_bytes = 2,
                .chat_template = "", .name = "n", .source = "s",
                .target = (convert_target)target, .shard_bytes = shards[i]};
            convert *c;
            manifest m;
            text t = {0};
            error e = {0};
            if (convert_create(&e, &input, &c)) fail_msg("%s", e.message);
            ((manifest *)convert_manifest(c))->hashes.bytes = convert_blocks(c) * RDRR_HASH_BYTES;
            manifest_write(convert_manifest(c), &t);
            if (parse(&e, &t, &m)) fail_msg("%s: %s", convert_targets[target], e.message);
            large += find(&m, ROLE_FFN_DOWN, 0, 0)->format == FORMAT_F32;
            assert_int_equal(find(&m, ROLE_ROUTER, 0, 0)->format, FORMAT_BF16);
            manifest_free(&m);
            text_free(&t);
            convert_destroy(c);
        }
    assert_true(large > 0);
    arena_free(&a);
}

/* ---- configs and names */

static model_config config_of(const char *config) {
    model_config m;
    error e = {0};
    if (hf_config_parse(&e, (hf_text){config, strlen(config)}, (hf_text){NULL, 0}, &m))
        fail_msg("%s", e.message);
    return m;
}

static void configs_of_mixtures_have_their_families_defaults(void **state) {
    (void)state;
    model_config m = config_of("{\"architectures\": [\"MixtralForCausalLM\"]}");
    assert_string_equal(m.architecture, "mixtral");
    assert_true(m.experts == 8 && m.experts_used == 2 && m.hidden == 14336 && m.window == 0);
    assert_true(m.rope[LAYER_FULL].theta == 1e6f && m.activation == ACTIVATION_SILU);
    assert_false(m.router_bias || m.mlp_bias || m.attention_sinks);
    m = config_of("{\"model_type\": \"mixtral\", \"sliding_window\": 4096, "
                  "\"num_local_experts\": 4}");
    assert_true(m.window == 4096 && m.layer_kinds[5] == LAYER_SLIDING && m.experts == 4);

    m = config_of("{\"model_type\": \"gpt_oss\", \"num_hidden_layers\": 3, "
                  "\"quantization_config\": {\"quant_method\": \"mxfp4\"}}");
    assert_string_equal(m.architecture, "gpt-oss");
    assert_true(m.experts == 128 && m.experts_used == 4 && m.window == 128 && m.dim == 2880);
    assert_true(m.router_bias && m.mlp_bias && m.attention_sinks && m.attention_bias &&
                m.attention_out_bias);
    assert_true(m.activation == ACTIVATION_SWIGLU_CLAMPED && m.activation_limit == 7);
    assert_int_equal(m.layer_kinds[0], LAYER_SLIDING);
    assert_int_equal(m.layer_kinds[1], LAYER_FULL);
    assert_int_equal(m.layer_kinds[2], LAYER_SLIDING);
    const rope_config *r = &m.rope[LAYER_SLIDING];
    assert_true(r->type == ROPE_YARN && r->factor == 32 && !r->truncate && r->theta == 150000);
    assert_int_equal(r->original_context, 4096);
    assert_true(fabsf(r->attention_factor - (0.1f * logf(32) + 1)) < 1e-6f);
    m = config_of("{\"model_type\": \"gpt_oss\", \"swiglu_limit\": 5.5}");
    assert_true(m.activation_limit == 5.5f);
    static const char gptq[] = "{\"model_type\": \"mixtral\", \"quantization_config\": "
                               "{\"quant_method\": \"mxfp4\"}}";
    error e = {0};
    assert_int_equal(hf_config_parse(&e, (hf_text){gptq, strlen(gptq)}, (hf_text){NULL, 0}, &m),
                     DOPPLER_UNSUPPORTED);
    assert_non_null(strstr(e.message, "quantization_config \"mxfp4\""));
}

/* The tensors of a layer of GPT-OSS, and all around it. */
static const uint64_t vocab[] = {64, 32}, dim[] = {32}, q[] = {64, 32}, kv[] = {32, 32},
                      o[] = {32, 64}, q_bias[] = {64}, heads[] = {2}, router[] = {4, 32},
                      experts[] = {4}, gate_up[] = {4, 128, 1, 16}, scales[] = {4, 128, 1},
                      gate_up_bias[] = {4, 128}, down[] = {4, 32, 2, 16},
                      down_scales[] = {4, 32, 2}, down_bias[] = {4, 32};
#define L "model.layers.0."
#define X L "mlp.experts."
static const safetensors_tensor whole[] = {
    {"model.embed_tokens.weight", ST_BF16, 2, vocab, 0, 4096},
    {"lm_head.weight", ST_BF16, 2, vocab, 0, 4096},
    {"model.norm.weight", ST_BF16, 1, dim, 0, 64},
    {L "input_layernorm.weight", ST_BF16, 1, dim, 0, 64},
    {L "post_attention_layernorm.weight", ST_BF16, 1, dim, 0, 64},
    {L "self_attn.q_proj.weight", ST_BF16, 2, q, 0, 4096},
    {L "self_attn.k_proj.weight", ST_BF16, 2, kv, 0, 2048},
    {L "self_attn.v_proj.weight", ST_BF16, 2, kv, 0, 2048},
    {L "self_attn.o_proj.weight", ST_BF16, 2, o, 0, 4096},
    {L "self_attn.q_proj.bias", ST_BF16, 1, q_bias, 0, 128},
    {L "self_attn.k_proj.bias", ST_BF16, 1, dim, 0, 64},
    {L "self_attn.v_proj.bias", ST_BF16, 1, dim, 0, 64},
    {L "self_attn.o_proj.bias", ST_BF16, 1, dim, 0, 64},
    {L "self_attn.sinks", ST_BF16, 1, heads, 0, 4},
    {L "mlp.router.weight", ST_BF16, 2, router, 0, 256},
    {L "mlp.router.bias", ST_BF16, 1, experts, 0, 8},
    {X "gate_up_proj_blocks", ST_U8, 4, gate_up, 0, 8192},
    {X "gate_up_proj_scales", ST_U8, 3, scales, 0, 512},
    {X "gate_up_proj_bias", ST_BF16, 2, gate_up_bias, 0, 1024},
    {X "down_proj_blocks", ST_U8, 4, down, 0, 4096},
    {X "down_proj_scales", ST_U8, 3, down_scales, 0, 256},
    {X "down_proj_bias", ST_BF16, 2, down_bias, 0, 256},
};

/* One thing wrong at a time. */
static void tensors_of_experts_must_fit(void **state) {
    (void)state;
    enum { BLOCKS = 16, SCALES, BIAS, DOWN, COUNT = sizeof whole / sizeof *whole };
    static const struct {
        uint32_t at;
        safetensors_tensor to;
        doppler_status want;
        const char *part;
    } changes[] = {
        {BLOCKS, {X "gate_up_proj_blocks", ST_U8, 4, down, 0, 4096}, DOPPLER_BAD_FILE,
         "is [4, 32, 2, 16]; the config says [4, 128, 1, 16]"},
        {BLOCKS, {X "gate_up_proj_blocks", ST_BF16, 4, gate_up, 0, 8192}, DOPPLER_UNSUPPORTED,
         "U8 is read"},
        {BLOCKS, {L "self_attn.rotary_emb.inv_freq", ST_F32, 1, dim, 0, 128}, DOPPLER_BAD_FILE,
         "ffn_gate of expert 0 of layer 0 is missing"},
        {SCALES, {L "self_attn.rotary_emb.inv_freq", ST_F32, 1, dim, 0, 128}, DOPPLER_BAD_FILE,
         "has no scales beside it"},
        {SCALES, {X "gate_up_proj_scales", ST_U8, 3, down_scales, 0, 256}, DOPPLER_BAD_FILE,
         "is [4, 32, 2]; the config says [4, 128, 1]"},
        {BIAS, {X "gate_up_proj_bias", ST_BF16, 2, down_bias, 0, 256}, DOPPLER_BAD_FILE,
         "the config says [4, 128]"},
        {DOWN, {X "gate_up_proj", ST_BF16, 3, scales, 0, 1024}, DOPPLER_BAD_FILE,
         "the config says [4, 32, 128]"},
        {DOWN, {L "mlp.gate_proj.weight", ST_BF16, 2, q, 0, 4096}, DOPPLER_UNSUPPORTED,
         "is not known"},
        {DOWN, {"model.layers.1.mlp.experts.down_proj_blocks", ST_U8, 4, down, 0, 4096},
         DOPPLER_BAD_FILE, "does not belong"},
    };
    safetensors_tensor tensors[COUNT];
    memcpy(tensors, whole, sizeof whole);
    model_config m = mixture(32, 64);
    m.layers = 1;
    m.heads = 2;
    m.kv_heads = 1;
    m.tied_head = false;
    m.attention_bias = m.attention_out_bias = true;
    safetensors file = {"f", tensors, COUNT};
    arena a = {0};
    error e = {0};
    source_tensor *s;
    uint32_t count, vision;
    if (hf_sources(&e, &a, &m, &file, 1, &s, &count, &vision)) fail_msg("%s", e.message);
    assert_int_equal(count, model_tensor_count(&m));
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        safetensors_tensor before = tensors[changes[i].at];
        tensors[changes[i].at] = changes[i].to;
        assert_int_equal(hf_sources(&e, &a, &m, &file, 1, &s, &count, &vision), changes[i].want);
        if (!strstr(e.message, changes[i].part)) fail_msg("%s", e.message);
        tensors[changes[i].at] = before;
    }
    m.experts = 256;
    m.layers = 1000;
    assert_int_equal(hf_sources(&e, &a, &m, &file, 1, &s, &count, &vision), DOPPLER_BAD_FILE);
    assert_non_null(strstr(e.message, "bytes of tensors"));
    arena_free(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mixtures_manifest_survives),
        cmocka_unit_test(experts_must_be_whole_and_alone),
        cmocka_unit_test(fields_of_mixtures_must_fit),
        cmocka_unit_test(buffers_hold_an_experts_rows_together),
        cmocka_unit_test(one_expert_must_fit_a_binding),
        cmocka_unit_test(dense_models_have_no_router),
        cmocka_unit_test(planned_packages_obey_the_format),
        cmocka_unit_test(configs_of_mixtures_have_their_families_defaults),
        cmocka_unit_test(tensors_of_experts_must_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
