/* fuzz_manifest.c - a manifest that is taken can be written again, planned and loaded; a small one
 * runs. Input: JSON, or, where it begins otherwise, the numbers of a model that nobody made. */
#include "loader/manifest.h"
#include "loader/weights.h"
#include "tests/fuzz/walk.h"
#include "tests/package.h"
#include <string.h>

enum { RUN_BYTES = 1 << 17, MOST_LAYERS = 3, CONTEXT = 12 };

/* Sessions of these would take more memory and time than a test has. */
static bool is_small(const manifest *m) {
    const model_config *c = &m->model;
    uint64_t bytes = m->hashes.bytes + m->tokenizer.bytes, width = c->dim + c->hidden;
    for (uint32_t i = 0; i < m->tensor_count; i++) bytes += m->tensors[i].bytes;
    for (uint32_t i = 0; i < m->shard_count && bytes <= RUN_BYTES; i++)
        bytes += m->shards[i].bytes;
    width += (uint64_t)(c->heads + 2 * c->kv_heads) * c->head_dim;
    width += (uint64_t)c->experts_used * (c->dim + c->hidden);
    return bytes <= RUN_BYTES && width <= 1 << 14 && c->layers <= MOST_LAYERS;
}

static void check_run(const manifest *m, const char *json, size_t bytes) {
    uint32_t context = m->model.context < CONTEXT ? m->model.context : CONTEXT;
    const package_session sessions[] = {
        {.context = context},
        {.context = context, .chunk = 2, .kv = DOPPLER_KV_F32, .temperature = 0.7f},
        {.context = context, .chunk = 2, .kv = DOPPLER_KV_Q8_0}};
    package_result r = package_run(json, bytes, sessions, sizeof sessions / sizeof *sessions);
    assert(!r.status || r.message[0]);
}

/* What is written is the same manifest. */
static void check_round_trip(const manifest *m) {
    text first = {0}, second = {0};
    manifest again;
    error e = {0};
    manifest_write(m, &first);
    assert(!first.failed);
    assert(manifest_parse(&e, &again, first.data, first.bytes) == DOPPLER_OK);
    manifest_write(&again, &second);
    assert(first.bytes == second.bytes && !memcmp(first.data, second.data, first.bytes));
    manifest_free(&again);
    text_free(&first);
    text_free(&second);
}

static void check(const char *json, size_t bytes, bool foreign, fuzz_input order) {
    static const gpu_limits large = {.buffer_bytes = UINT64_C(1) << 42,
                                     .binding_bytes = UINT64_C(1) << 42, .offset_alignment = 256,
                                     .grid = 65535};
    manifest m;
    error e = {0};
    doppler_status status = manifest_parse(&e, &m, json, bytes);
    FUZZ_CHECK_ERROR(status, e);
    if (!status && foreign) check_round_trip(&m);
    if (!status) {
        walk_loader(&m, &walk_limits, order);
        walk_loader(&m, &large, order);
        if (is_small(&m)) check_run(&m, json, bytes);
    }
    manifest_free(&m);
}

/* One of the sizes that kernels care about, or any. */
static uint32_t size(fuzz_input *in) {
    static const uint32_t sizes[] = {1, 2, 4, 8, 12, 16, 24, 32, 33, 64, 96, 128, 256, 512, 1024};
    uint8_t i = fuzz_u8(in);
    return i < 2 * sizeof sizes / sizeof *sizes ? sizes[i / 2] : i < 250 ? i : fuzz_u32(in);
}

static float number(fuzz_input *in) {
    uint32_t bits = fuzz_u32(in);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static model_config made_up(fuzz_input *in) {
    model_config c = {.architecture = "llama", .norm_eps = 1e-5f, .attention_scale = 0.25f,
                      .embedding_scale = 1};
    rope_config rope = {.theta = 10000, .factor = 8, .low_freq_factor = 1, .high_freq_factor = 4,
                        .original_context = 32, .beta_fast = 32, .beta_slow = 1,
                        .attention_factor = 1.5f};
    uint32_t *const sizes[] = {&c.dim, &c.hidden, &c.heads, &c.kv_heads, &c.head_dim, &c.vocab,
                               &c.context};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) *sizes[i] = size(in);
    uint8_t bits = fuzz_u8(in), what = fuzz_u8(in);
    c.layers = bits >> 6;
    c.tied_head = bits & 1;
    c.attention_bias = bits & 2;
    c.attention_out_bias = bits & 4;
    c.mlp_bias = bits & 8;
    c.qk_norm = bits & 16;
    c.post_norms = bits & 32;
    rope.type = (rope_type)(what % ROPE_COUNT);
    if (c.head_dim > MODEL_MAX_HEAD_DIM) rope.type = ROPE_DEFAULT;     /* has so many factors */
    if (what & 8) c.norm_eps = number(in);
    if (what & 16) c.attention_scale = number(in);
    if (what & 32) rope.theta = number(in);
    if (what & 64) rope.factor = number(in);
    for (uint32_t i = 0; i < MODEL_MAX_HEAD_DIM / 2; i++) rope.factors[i] = 1 + (float)i;
    if (what & 128) c.window = 1 + fuzz_u8(in);
    for (uint32_t i = 0; i < c.layers; i++)
        c.layer_kinds[i] = c.window && i % 2 == 0 ? LAYER_SLIDING : LAYER_FULL;
    c.rope[LAYER_FULL] = c.rope[LAYER_SLIDING] = rope;
    uint8_t mixture = fuzz_u8(in);
    c.attention_sinks = mixture & 1;
    if (mixture & 2) {
        c.activation = ACTIVATION_SWIGLU_CLAMPED;
        c.activation_limit = mixture & 4 ? number(in) : 7;
    }
    if (mixture < 64) return c;          /* dense */
    c.router_bias = mixture & 8;
    c.experts = mixture & 16 ? size(in) : 1 + fuzz_u8(in) % 8;
    c.experts_used = mixture & 32 ? size(in) : 1 + fuzz_u8(in) % 4;
    return c;
}

static void check_made_up(fuzz_input in) {
    model_config c = made_up(&in);
    weight_format format = (weight_format)(fuzz_u8(&in) % FORMAT_COUNT);
    uint64_t shard_bytes = (fuzz_u8(&in) + 1) * (uint64_t)RDRR_ALIGN;
    manifest m;
    text json = {0};
    if (package_describe(&c, format, shard_bytes, &m)) {
        manifest_write(&m, &json);
        assert(!json.failed);
        check(json.data, json.bytes, false, in);
    }
    manifest_free(&m);
    text_free(&json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    fuzz_input in = {data, data + bytes};
    if (bytes && (*data == '{' || *data == ' ')) check((const char *)data, bytes, true, in);
    else check_made_up(in);
    return 0;
}
