/* test_synth.c - synthetic checkpoints have the tensors of real ones, sane numbers, and are the
 * same however they are read. */
#include "bridge/hf_config.h"
#include "memory/hash.h"
#include "storage/files.h"
#include "tokenizer/tokenizer.h"
#include "tools/synth.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

static void open_synth(synth *s, const shape *of, uint32_t layers, uint64_t seed) {
    error e = {0};
    if (synth_open(&e, s, of, layers, seed)) fail_msg("%s", e.message);
}

/* ---- names and shapes, against checkpoints that transformers wrote */

/* Its header; false where the file is not there. */
static bool read_header(const char *folder, arena *a, safetensors *out) {
    storage_file f = {0};
    error e = {0};
    uint8_t prefix[SAFETENSORS_PREFIX];
    uint64_t bytes = 0;
    if (!storage_exists(folder, "model.safetensors")) return false;
    if (storage_open(&e, &f, folder, "model.safetensors") ||
        storage_read(&e, &f, 0, prefix, sizeof prefix) ||
        safetensors_header_bytes(&e, "f", prefix, sizeof prefix, f.bytes, &bytes))
        fail_msg("%s", e.message);
    char *header = arena_alloc(a, (size_t)bytes + 1);
    if (storage_read(&e, &f, sizeof prefix, header, (size_t)bytes) ||
        safetensors_parse(&e, a, "f", header, (size_t)bytes, f.bytes, out))
        fail_msg("%s", e.message);
    storage_close(&f);
    return true;
}

static void same_tensors(const synth *s, const safetensors *real) {
    const synth_file *f = &s->files[0];
    assert_int_equal(s->file_count, 1);
    assert_int_equal(f->count, real->count);
    for (uint32_t i = 0; i < f->count; i++) {
        const safetensors_tensor *want = &real->tensors[i];
        assert_string_equal(f->tensors[i].name, want->name);
        assert_int_equal(f->tensors[i].dtype, want->dtype);
        assert_int_equal(f->tensors[i].dims, want->dims);
        for (uint32_t d = 0; d < want->dims; d++)
            assert_int_equal(f->tensors[i].shape[d], want->shape[d]);
        assert_int_equal(f->tensors[i].bytes, want->bytes);
    }
}

static void tensors_are_those_that_transformers_writes(void **state) {
    (void)state;
    static const struct { const char *folder; shape shape; } cases[] = {
        {"tests/fixtures/micro/llama3",
         {.family = FAMILY_LLAMA, .layers = 2, .dim = 64, .hidden = 192, .heads = 4,
          .kv_heads = 2, .head_dim = 32, .vocab = 512, .tied_head = true}},
        {"../shared/micro/llama2",
         {.family = FAMILY_LLAMA, .layers = 2, .dim = 64, .hidden = 160, .heads = 4,
          .kv_heads = 4, .head_dim = 16, .vocab = 640}},
        {"../shared/micro/mistral",
         {.family = FAMILY_MISTRAL, .layers = 2, .dim = 64, .hidden = 160, .heads = 4,
          .kv_heads = 2, .head_dim = 16, .vocab = 640}},
        {"../shared/micro/gemma3",
         {.family = FAMILY_GEMMA3, .layers = 6, .dim = 96, .hidden = 160, .heads = 4,
          .kv_heads = 2, .head_dim = 32, .vocab = 640, .tied_head = true}},
        {"../shared/micro/mixtral",
         {.family = FAMILY_MIXTRAL, .layers = 2, .dim = 64, .hidden = 96, .heads = 4,
          .kv_heads = 2, .head_dim = 16, .vocab = 640, .experts = 4}},
        {"../shared/micro/gptoss",
         {.family = FAMILY_GPT_OSS, .layers = 2, .dim = 96, .hidden = 64, .heads = 4,
          .kv_heads = 2, .head_dim = 32, .vocab = 512, .experts = 6}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        arena a = {0};
        safetensors real;
        synth s;
        if (read_header(cases[i].folder, &a, &real)) {
            open_synth(&s, &cases[i].shape, 0, 0);
            same_tensors(&s, &real);
            synth_free(&s);
        } else {
            printf("skipped: %s is not there\n", cases[i].folder);
        }
        arena_free(&a);
    }
}

/* total_size of model.safetensors.index.json where a model is released in parts, else twice the
 * published number of parameters. */
static void sizes_are_those_of_the_released_models(void **state) {
    (void)state;
    static const struct { const char *name; uint64_t bytes; uint32_t files; } known[] = {
        {"llama-3.2-1b", 2 * 1235814400ull, 1},   {"llama-3.1-8b", 2 * 8030261248ull, 4},
        {"mistral-7b", 2 * 7241732096ull, 3},     {"gemma-3-1b", 2 * 999885952ull, 1},
        {"gemma-3-4b", 8600158944ull, 2},         {"mixtral-8x7b", 93405585408ull, 19},
        {"gpt-oss-20b", 13761264768ull, 3},       {"stories", 2 * 27271680ull, 1},
    };
    assert_int_equal(sizeof known / sizeof *known, SHAPE_COUNT);
    for (size_t i = 0; i < SHAPE_COUNT; i++) {
        synth s;
        const shape *of = shape_by_name(known[i].name);
        assert_non_null(of);
        open_synth(&s, of, 0, 0);
        assert_int_equal(s.bytes, known[i].bytes);
        assert_int_equal(s.file_count, known[i].files);
        for (uint32_t f = 0; f < s.file_count; f++) {
            arena a = {0};
            error e = {0};
            safetensors parsed;
            const synth_file *file = &s.files[f];
            if (safetensors_parse(&e, &a, file->name, file->header + SAFETENSORS_PREFIX,
                                  (size_t)file->header_bytes - SAFETENSORS_PREFIX, file->bytes,
                                  &parsed))
                fail_msg("%s", e.message);
            assert_int_equal(parsed.count, file->count);
            arena_free(&a);
        }
        synth_free(&s);
    }
    assert_null(shape_by_name("llama-3.2"));
}

/* ---- numbers */

static double bf16_at(const uint8_t *bytes) {
    uint32_t bits = (uint32_t)(bytes[0] | bytes[1] << 8) << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return (double)x;
}

static void check_moments(const synth_tensor *t, double mean, double deviation) {
    enum { COUNT = 4096 };
    uint8_t bytes[2 * COUNT];
    double sum = 0, squares = 0;
    uint64_t count = t->bytes / 2 < COUNT ? t->bytes / 2 : COUNT;
    assert_int_equal(t->dtype, ST_BF16);
    synth_numbers(t, 0, count, bytes);
    for (uint64_t i = 0; i < count; i++) sum += bf16_at(bytes + 2 * i);
    sum /= (double)count;
    for (uint64_t i = 0; i < count; i++) {
        double x = bf16_at(bytes + 2 * i) - sum;
        squares += x * x;
    }
    assert_true(fabs(sum - mean) < 0.15 * deviation + 1e-9);
    assert_true(fabs(sqrt(squares / (double)count) / deviation - 1) < 0.1);
}

static void weights_keep_activations_sane(void **state) {
    (void)state;
    static const struct { const char *shape, *name; double mean, deviation; } cases[] = {
        {"llama-3.1-8b", "model.layers.31.mlp.down_proj.weight", 0, 0.0083518},  /* 14336^-0.5 */
        {"llama-3.1-8b", "model.layers.0.self_attn.q_proj.weight", 0, 0.015625},
        {"llama-3.1-8b", "model.norm.weight", 1, 0.1},
        {"gemma-3-1b", "model.layers.3.input_layernorm.weight", 0, 0.1},
        {"gemma-3-4b", "language_model.model.layers.3.self_attn.k_norm.weight", 0, 0.1},
        {"gemma-3-4b", "vision_tower.vision_model.embeddings.patch_embedding.weight", 0,
         0.041239},                                                               /* 588^-0.5 */
        {"mixtral-8x7b", "model.layers.1.block_sparse_moe.experts.7.w2.weight", 0, 0.0083518},
        {"gpt-oss-20b", "model.layers.23.mlp.experts.down_proj_bias", 0, 0.1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        synth s;
        open_synth(&s, shape_by_name(cases[i].shape), 0, 7);
        const synth_tensor *t = synth_find(&s, cases[i].name);
        assert_non_null(t);
        check_moments(t, cases[i].mean, cases[i].deviation);
        synth_free(&s);
    }
}

/* Experts of MXFP4, decoded, have the deviation of other matrices, and no extreme exponents. */
static void mxfp4_weights_are_as_large_as_others(void **state) {
    (void)state;
    static const double codes[8] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
    enum { BLOCKS = 4096 };
    static uint8_t blocks[BLOCKS * 16], scales[BLOCKS];
    synth s;
    double squares = 0;
    open_synth(&s, shape_by_name("gpt-oss-20b"), 1, 0);
    synth_numbers(synth_find(&s, "model.layers.0.mlp.experts.gate_up_proj_blocks"), 0,
                  sizeof blocks, blocks);
    synth_numbers(synth_find(&s, "model.layers.0.mlp.experts.gate_up_proj_scales"), 0,
                  sizeof scales, scales);
    for (uint32_t i = 0; i < sizeof blocks; i++)
        for (int high = 0; high < 2; high++) {
            double x = ldexp(codes[blocks[i] >> 4 * high & 7], scales[i / 16] - 127);
            squares += x * x;
        }
    double deviation = sqrt(squares / (2 * sizeof blocks)) * sqrt(2880);
    assert_true(deviation > 0.7 && deviation < 1.4);
    synth_free(&s);
}

/* Any cut of a file is that part of the whole, and other seeds and tensors have other numbers. */
static void any_range_can_be_read(void **state) {
    (void)state;
    static const shape small = {.family = FAMILY_GPT_OSS, .layers = 2, .dim = 96, .hidden = 64,
                                .heads = 4, .kv_heads = 2, .head_dim = 32, .vocab = 512,
                                .experts = 6};
    synth s, other;
    open_synth(&s, &small, 0, 1);
    open_synth(&other, &small, 0, 2);
    size_t bytes = (size_t)s.files[0].bytes;
    uint8_t *whole = malloc(bytes), *part = malloc(bytes);
    synth_read(&s, 0, 0, whole, bytes);
    uint64_t header = s.files[0].header_bytes, draw = 5;
    for (int i = 0; i < 200; i++) {
        draw = hash_u64(draw);
        uint64_t at = draw % bytes & ~1ull, count = (draw >> 32) % 5000 & ~1ull;
        if (count > bytes - at) count = bytes - at;
        synth_read(&s, 0, at, part, (size_t)count);
        assert_memory_equal(part, whole + at, (size_t)count);
    }
    assert_memory_equal(whole, s.files[0].header, (size_t)header);
    synth_read(&other, 0, 0, part, bytes);
    uint32_t equal = 0;
    for (size_t i = (size_t)header; i < bytes; i++) equal += part[i] == whole[i];
    assert_true(equal < (bytes - header) / 4);
    const synth_tensor *q0 = synth_find(&s, "model.layers.0.self_attn.q_proj.weight");
    const synth_tensor *q1 = synth_find(&s, "model.layers.1.self_attn.q_proj.weight");
    assert_memory_not_equal(whole + q0->offset, whole + q1->offset, 64);
    free(whole);
    free(part);
    synth_free(&s);
    synth_free(&other);
}

/* Packages and figures refer to a seed: its numbers must stay. */
static void the_generator_does_not_change(void **state) {
    (void)state;
    synth s;
    uint8_t got[16];
    open_synth(&s, shape_by_name("llama-3.2-1b"), 1, 42);
    synth_numbers(synth_find(&s, "model.layers.0.self_attn.q_proj.weight"), 1000000, 8, got);
    static const uint8_t want[16] = {0x2F, 0x3D, 0x66, 0xBC, 0xBF, 0xBC, 0x86, 0xBC,
                                      0x8D, 0xBC, 0x78, 0xBC, 0xEC, 0xBC, 0x96, 0x3C};
    assert_memory_equal(got, want, sizeof want);
    synth_free(&s);
}

/* ---- the files beside the weights */

static void configs_say_what_the_shape_has(void **state) {
    (void)state;
    static const char *const names[] = {"llama-3.2-1b", "llama-3.1-8b"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const shape *of = shape_by_name(names[i]);
        synth s;
        text config = {0}, generation = {0};
        model_config m;
        error e = {0};
        open_synth(&s, of, 3, 0);
        synth_config(&s, &config);
        synth_generation_config(&s, &generation);
        if (hf_config_parse(&e, (hf_text){config.data, config.bytes},
                            (hf_text){generation.data, generation.bytes}, &m))
            fail_msg("%s", e.message);
        assert_int_equal(m.layers, 3);
        assert_int_equal(m.dim, of->dim);
        assert_int_equal(m.hidden, of->hidden);
        assert_int_equal(m.kv_heads, of->kv_heads);
        assert_int_equal(m.head_dim, of->head_dim);
        assert_int_equal(m.vocab, of->vocab);
        assert_int_equal(m.context, of->context);
        assert_true(m.tied_head == of->tied_head);
        assert_int_equal(m.rope[LAYER_FULL].type, ROPE_LLAMA3);
        assert_true(m.rope[LAYER_FULL].factor == (float)of->factor);
        assert_true(m.rope[LAYER_FULL].theta == (float)of->theta);
        assert_true(m.norm_eps == 1e-5f);
        assert_int_equal(m.bos, 128000);
        assert_int_equal(m.stop_count, 3);
        assert_int_equal(m.stops[2], 128009);
        text_free(&config);
        text_free(&generation);
        synth_free(&s);
    }
}

static void check_tokenizer(const char *name, uint32_t bos) {
    static const char text_of[] = "a\n\xC3\xA9";
    synth s;
    text json = {0};
    tokenizer *t;
    error e = {0};
    uint32_t ids[8];
    size_t bytes;
    open_synth(&s, shape_by_name(name), 1, 0);
    synth_tokenizer(&s, &json);
    if (tokenizer_read_json(&e, json.data, json.bytes, &t)) fail_msg("%s: %s", name, e.message);
    assert_int_equal(tokenizer_vocab(t), s.shape->vocab);
    assert_int_equal(tokenizer_encode(t, text_of, 4, TOKENIZE_TEMPLATE, ids, 8), 5);
    assert_int_equal(ids[0], bos);
    assert_true(tokenizer_is_special(t, bos));
    for (uint32_t i = 1; i < 5; i++) {
        assert_memory_equal(tokenizer_piece(t, ids[i], &bytes), &text_of[i - 1], 1);
        assert_int_equal(bytes, 1);
    }
    for (uint32_t id = 0; id < s.shape->vocab; id++) {
        tokenizer_piece(t, id, &bytes);
        assert_true(bytes > 0);
    }
    assert_memory_equal(tokenizer_piece(t, s.shape->vocab - 1, &bytes), " ", 1);
    tokenizer_close(t);
    text_free(&json);
    synth_free(&s);
}

static void tokenizers_have_every_byte_and_the_whole_vocabulary(void **state) {
    (void)state;
    check_tokenizer("mistral-7b", 1);
    check_tokenizer("gemma-3-1b", 2);
    check_tokenizer("gpt-oss-20b", 199998);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_are_those_that_transformers_writes),
        cmocka_unit_test(sizes_are_those_of_the_released_models),
        cmocka_unit_test(weights_keep_activations_sane),
        cmocka_unit_test(mxfp4_weights_are_as_large_as_others),
        cmocka_unit_test(any_range_can_be_read),
        cmocka_unit_test(the_generator_does_not_change),
        cmocka_unit_test(configs_say_what_the_shape_has),
        cmocka_unit_test(tokenizers_have_every_byte_and_the_whole_vocabulary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
