/* test_hostile.c - manifests that are consistent in themselves and of models nobody made: what the
 * kernels cannot do must be refused in one line, never reach an assert of theirs; what they can
 * must run. */
#include "gpu/op.h"
#include "loader/weights.h"
#include "tests/package.h"
#include <stdio.h>
#include <string.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#define REFUSED DOPPLER_STATUS_COUNT     /* UNSUPPORTED or BAD_FILE */

static model_config small_model(void) {
    return (model_config){
        .architecture = "llama", .layers = 1, .dim = 64, .hidden = 64, .heads = 4, .kv_heads = 2,
        .head_dim = 16, .vocab = 8, .context = 40, .norm_eps = 1e-5f, .attention_scale = 0.25f,
        .embedding_scale = 1, .tied_head = true, .rope = {{.type = ROPE_DEFAULT, .theta = 10000}}};
}

static text manifest_of(const model_config *model, weight_format format, uint64_t shard_bytes) {
    manifest m;
    text t = {0};
    assert_true(package_describe(model, format, shard_bytes, &m));
    manifest_write(&m, &t);
    assert_false(t.failed);
    manifest_free(&m);
    return t;
}

/* Loads, prefills in one and in several steps, decodes. */
static package_result run(const model_config *model, weight_format format) {
    static const package_session sessions[] = {
        {.context = 0}, {.chunk = 1, .kv = DOPPLER_KV_F32, .temperature = 1}, {.context = 1},
        {.context = 2, .chunk = UINT32_MAX}, {.context = 2, .kv = DOPPLER_KV_Q8_0}};
    text t = manifest_of(model, format, RDRR_SHARD_BYTES);
    size_t count = model->context < 2 ? 1 : sizeof sessions / sizeof *sessions;
    if (model->head_dim % 32 != 0 && count > 1) count--;               /* of q8_0 */
    package_result r = package_run(t.data, t.bytes, sessions, count);
    text_free(&t);
    return r;
}

static void expect(const char *what, package_result r, doppler_status wanted) {
    bool refused = r.status == DOPPLER_UNSUPPORTED || r.status == DOPPLER_BAD_FILE;
    if (wanted == REFUSED ? !refused || !r.message[0] : r.status != wanted)
        fail_msg("%s: %s \"%s\"", what, doppler_status_name(r.status), r.message);
}

/* One number of the small model changed at a time. */
static void sizes_run_or_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *name;
        size_t field;
        uint32_t value;
        doppler_status wanted;
    } cases[] = {
#define CASE(field, value, wanted) {#field " " #value, offsetof(model_config, field), value, wanted}
        CASE(layers, 0, REFUSED), CASE(layers, 3, DOPPLER_OK),
        CASE(dim, 0, REFUSED), CASE(dim, 2, REFUSED), CASE(dim, 4, REFUSED),
        CASE(dim, 32, DOPPLER_OK), CASE(dim, 33, REFUSED), CASE(dim, 48, REFUSED),
        CASE(dim, 96, DOPPLER_OK), CASE(dim, 1 << 18, REFUSED), CASE(dim, UINT32_MAX, REFUSED),
        CASE(hidden, 0, REFUSED), CASE(hidden, 16, REFUSED), CASE(hidden, 32, DOPPLER_OK),
        CASE(hidden, 36, REFUSED), CASE(hidden, 1 << 20, REFUSED),
        CASE(heads, 0, REFUSED), CASE(heads, 1, REFUSED), CASE(heads, 3, REFUSED),
        CASE(heads, 2, DOPPLER_OK), CASE(heads, 6, DOPPLER_OK), CASE(heads, 64, DOPPLER_OK),
        CASE(heads, 66, REFUSED), CASE(heads, 1024, REFUSED), CASE(heads, 2048, REFUSED),
        CASE(heads, 1u << 31, REFUSED),
        CASE(kv_heads, 0, REFUSED), CASE(kv_heads, 1, DOPPLER_OK), CASE(kv_heads, 3, REFUSED),
        CASE(kv_heads, 4, DOPPLER_OK), CASE(kv_heads, 8, REFUSED),
        CASE(head_dim, 0, REFUSED), CASE(head_dim, 1, REFUSED), CASE(head_dim, 2, REFUSED),
        CASE(head_dim, 8, DOPPLER_OK), CASE(head_dim, 12, REFUSED), CASE(head_dim, 17, REFUSED),
        CASE(head_dim, 24, DOPPLER_OK), CASE(head_dim, 36, REFUSED),
        CASE(head_dim, 256, DOPPLER_OK), CASE(head_dim, 264, REFUSED),
        CASE(head_dim, 1024, REFUSED), CASE(head_dim, 1 << 30, REFUSED),
        CASE(vocab, 0, REFUSED), CASE(vocab, 1, DOPPLER_OK), CASE(vocab, 33, DOPPLER_OK),
        CASE(context, 0, REFUSED), CASE(context, 1, DOPPLER_OK), CASE(context, 2, DOPPLER_OK),
        CASE(context, 1 << 25, REFUSED),
#undef CASE
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        model_config model = small_model();
        memcpy((char *)&model + cases[i].field, &cases[i].value, sizeof cases[i].value);
        expect(cases[i].name, run(&model, FORMAT_F32), cases[i].wanted);
    }
}

/* attention.wgsl holds a KV head's query heads in one workgroup. */
static void attention_groups_run_or_are_refused(void **state) {
    (void)state;
    static const struct { uint32_t heads, kv_heads, head_dim; } groups[] = {
        {32, 1, 8}, {33, 1, 32}, {64, 1, 8}, {8, 1, 256}, {9, 1, 256}, {16, 1, 128}, {17, 1, 128},
        {40, 1, 64}, {32, 1, 64}, {24, 1, 80}, {25, 1, 80}, {1024, 1, 32}, {1024, 1024, 2},
        {4, 2, 272}, {1, 1, 288}};
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        model_config model = small_model();
        model.heads = groups[i].heads;
        model.kv_heads = groups[i].kv_heads;
        model.head_dim = groups[i].head_dim;
        bool whole = model.heads * model.head_dim % 32 == 0;
        bool fits = whole && attention_fits(model.heads, model.kv_heads, model.head_dim);
        char name[64];
        snprintf(name, sizeof name, "%u heads, %u kv_heads of %u", model.heads, model.kv_heads,
                 model.head_dim);
        expect(name, run(&model, FORMAT_F16), fits ? DOPPLER_OK : REFUSED);
    }
}

static void every_format_and_bias_runs(void **state) {
    (void)state;
    for (uint32_t format = 0; format < FORMAT_COUNT; format++)
        for (uint32_t bits = 0; bits < 16; bits += 5) {
            model_config model = small_model();
            model.dim = model.hidden = 288;
            model.head_dim = 72;
            model.tied_head = bits & 1;
            model.attention_bias = bits & 2;
            model.attention_out_bias = bits & 4;
            model.mlp_bias = bits & 8;
            expect(formats[format].name, run(&model, (weight_format)format), DOPPLER_OK);
        }
}

/* Small, of `experts`, each token through `used` of them. */
static model_config expert_model(uint32_t experts, uint32_t used) {
    model_config model = small_model();
    memcpy(model.architecture, "mixtral", sizeof "mixtral");
    model.experts = experts;
    model.experts_used = used;
    return model;
}

static void every_number_of_experts_runs(void **state) {
    (void)state;
    static const struct { uint32_t experts, used; } cases[] = {
        {1, 1}, {4, 1}, {4, 4}, {7, 3}, {16, 16}, {256, 16}, {256, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        model_config model = expert_model(cases[i].experts, cases[i].used);
        char name[64];
        snprintf(name, sizeof name, "%u of %u experts", cases[i].used, cases[i].experts);
        expect(name, run(&model, FORMAT_F32), DOPPLER_OK);
    }
}

/* Every format, bias, activation and norm that experts may have, and sinks. */
static void every_kind_of_expert_runs(void **state) {
    (void)state;
    for (uint32_t format = 0; format < FORMAT_COUNT; format++)
        for (uint32_t bits = 0; bits < 32; bits += 31) {
            model_config model = expert_model(3, 2);
            model.dim = 288;
            model.hidden = 96;
            model.router_bias = bits & 1;
            model.mlp_bias = bits & 2;
            model.attention_sinks = bits & 4;
            model.post_norms = bits & 8;
            if (bits & 16) {
                model.activation = ACTIVATION_SWIGLU_CLAMPED;
                model.activation_limit = 7;
            }
            expect(formats[format].name, run(&model, (weight_format)format), DOPPLER_OK);
        }
}

/* Angles may come out as infinities, and logits as NaN: a generation ends all the same. */
static void extreme_floats_run_or_are_refused(void **state) {
    (void)state;
    static const float values[] = {0, -1, 1e-45f, 1e-38f, 3e38f};
    static const size_t fields[] = {
        offsetof(model_config, norm_eps), offsetof(model_config, attention_scale),
        offsetof(model_config, rope[0].theta), offsetof(model_config, rope[0].factor),
        offsetof(model_config, rope[0].low_freq_factor),
        offsetof(model_config, rope[0].high_freq_factor)};
    for (size_t f = 0; f < sizeof fields / sizeof *fields; f++)
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
            model_config model = small_model();
            model.rope[0] = (rope_config){.type = ROPE_LLAMA3, .theta = 10000, .factor = 8,
                                       .low_freq_factor = 1, .high_freq_factor = 4,
                                       .original_context = 32};
            memcpy((char *)&model + fields[f], &values[v], sizeof values[v]);
            package_result r = run(&model, FORMAT_F32);
            if (r.status) expect("floats", r, REFUSED);
            else assert_true(values[v] > 0);
        }
}

static doppler_status plan(const model_config *model, weight_format format, uint64_t shard_bytes,
                           uint64_t binding_bytes, error *e) {
    text t = manifest_of(model, format, shard_bytes);
    manifest m;
    weights w;
    arena a = {0};
    gpu_limits limits = {.buffer_bytes = binding_bytes, .binding_bytes = binding_bytes,
                         .offset_alignment = 256, .grid = 65535};
    *e = (error){0};
    doppler_status status = manifest_parse(e, &m, t.data, t.bytes);
    if (!status) status = weights_plan(e, &a, &m, &limits, &w);
    for (uint32_t i = 0; !status && i < w.placement_count; i++) {
        const placement *p = &w.placements[i];
        assert_true(p->buffer < w.buffer_count);
        assert_true(p->bytes <= w.descs[p->buffer].bytes);
        assert_true(p->to <= w.descs[p->buffer].bytes - p->bytes);
        assert_true(w.descs[p->buffer].bytes <= binding_bytes);
    }
    arena_free(&a);
    manifest_free(&m);
    text_free(&t);
    return status;
}

/* Small vectors of all layers together: 2^32 elements and more, each placement inside. */
static void vectors_beyond_a_binding_are_refused(void **state) {
    (void)state;
    error e;
    model_config model = small_model();
    model.layers = 1000;
    model.heads = model.kv_heads = 1024;
    model.head_dim = 256;
    model.attention_bias = true;
    model.dim = 32;
    assert_int_equal(plan(&model, FORMAT_Q8_0, UINT64_C(1) << 30, 128 << 20, &e),
                     DOPPLER_UNSUPPORTED);
    assert_non_null(strstr(e.message, "vectors"));
    model.head_dim = 1024;
    model.layers = 1024;
    model.mlp_bias = true;
    model.hidden = MODEL_MAX_HIDDEN;
    assert_int_equal(plan(&model, FORMAT_Q8_0, UINT64_C(1) << 32, UINT64_C(1) << 42, &e),
                     DOPPLER_UNSUPPORTED);
    assert_non_null(strstr(e.message, "vectors"));
}

/* Slabs are whole experts: gate and up of one are 128 rows of 256 bytes. */
static void an_expert_beyond_a_binding_is_refused(void **state) {
    (void)state;
    error e;
    for (uint32_t experts = 1; experts <= 4; experts += 3) {
        model_config model = expert_model(experts, 1);
        model.heads = model.kv_heads = 1;
        model.head_dim = 32;
        assert_int_equal(plan(&model, FORMAT_F32, RDRR_SHARD_BYTES, (128 + 16) * 256 * 4, &e),
                         DOPPLER_OK);
        assert_int_equal(plan(&model, FORMAT_F32, RDRR_SHARD_BYTES, 128 * 256 - 256, &e),
                         DOPPLER_UNSUPPORTED);
        if (!strstr(e.message, "gate_up: 128 rows of 256 bytes")) fail_msg("%s", e.message);
    }
}

static void every_tensor_of_a_thousand_layers_is_placed(void **state) {
    (void)state;
    error e;
    model_config model = small_model();
    model.layers = MODEL_MAX_LAYERS;
    model.attention_bias = model.attention_out_bias = model.mlp_bias = true;
    assert_int_equal(plan(&model, FORMAT_Q8_0, RDRR_SHARD_BYTES, 128 << 20, &e), DOPPLER_OK);
}

/* Biases of experts are cut into those of each: many small pieces in a block. */
static void every_tensor_of_many_experts_is_placed(void **state) {
    (void)state;
    error e;
    model_config model = small_model();
    model.layers = 16;
    model.experts = MODEL_MAX_EXPERTS;
    model.experts_used = MODEL_MAX_EXPERTS_USED;
    model.hidden = 32;
    model.attention_bias = model.attention_out_bias = model.mlp_bias = model.router_bias = true;
    model.attention_sinks = true;
    assert_int_equal(plan(&model, FORMAT_MXFP4, RDRR_SHARD_BYTES, 128 << 20, &e), DOPPLER_OK);
}

/* Numbers of mixtures that no file may have. */
static void impossible_mixtures_are_refused(void **state) {
    (void)state;
    static const struct { uint32_t experts, used; float limit; bool clamped, router_bias; }
        cases[] = {
            {0, 1, 0, false, false}, {4, 0, 0, false, false}, {4, 5, 0, false, false},
            {257, 2, 0, false, false}, {UINT32_MAX, 2, 0, false, false}, {32, 17, 0, false, false},
            {0, 0, 0, false, true}, {4, 2, 0, true, false}, {4, 2, -1, true, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        model_config model = small_model();
        model.experts = cases[i].experts;
        model.experts_used = cases[i].used;
        model.router_bias = cases[i].router_bias;
        if (cases[i].clamped) model.activation = ACTIVATION_SWIGLU_CLAMPED;
        model.activation_limit = cases[i].limit;
        error e;
        assert_true(model_check(&e, "mixture", &model) != DOPPLER_OK);
        package_result r = run(&model, FORMAT_F32);
        if (cases[i].experts || cases[i].clamped) expect("mixture", r, REFUSED);
    }
}

static void small_shards_are_walked_to_the_end(void **state) {
    (void)state;
    model_config model = small_model();
    model.layers = 2;
    for (uint64_t pages = 1; pages < 8; pages++) {
        text t = manifest_of(&model, FORMAT_F32, pages * RDRR_ALIGN);
        package_result r = package_run(t.data, t.bytes, &(package_session){0}, 1);
        expect("shards", r, DOPPLER_OK);
        text_free(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_run_or_are_refused),
        cmocka_unit_test(attention_groups_run_or_are_refused),
        cmocka_unit_test(every_format_and_bias_runs),
        cmocka_unit_test(every_number_of_experts_runs),
        cmocka_unit_test(every_kind_of_expert_runs),
        cmocka_unit_test(an_expert_beyond_a_binding_is_refused),
        cmocka_unit_test(extreme_floats_run_or_are_refused),
        cmocka_unit_test(vectors_beyond_a_binding_are_refused),
        cmocka_unit_test(every_tensor_of_a_thousand_layers_is_placed),
        cmocka_unit_test(every_tensor_of_many_experts_is_placed),
        cmocka_unit_test(impossible_mixtures_are_refused),
        cmocka_unit_test(small_shards_are_walked_to_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
