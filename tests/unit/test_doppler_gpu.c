/* test_doppler_gpu.c - packages of doppler-gpu: where their tensors lie in every spelling, what
 * model a manifest describes, and what a hostile one may do. */
#include "bridge/doppler_gpu.h"
#include "memory/text.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#define SHARDS "\"shards\": [{\"filename\": \"a.bin\", \"size\": 1000}, " \
               "{\"fileName\": \"b.bin\", \"size\": 5000000}]"

/* A manifest with one tensor and anything in front. */
static doppler_status parse_tensor(error *e, arena *a, const char *more, const char *tensor,
                                   doppler_gpu *p) {
    char text[2048];
    int bytes = snprintf(text, sizeof text, "{\"modelId\": \"m\", %s%s, \"tensors\": {\"t\": "
                         "{%s}}}", more, SHARDS, tensor);
    assert_true(bytes > 0 && (size_t)bytes < sizeof text);
    *e = (error){0};
    return doppler_gpu_parse(e, a, text, (size_t)bytes, p);
}

static void manifests_are_told_apart(void **state) {
    (void)state;
    static const struct { const char *text; bool is; } cases[] = {
        {"{\"modelId\": \"m\", \"shards\": []}", true},
        {"{\"format\": \"rdrr\", \"modelId\": \"m\", \"shards\": []}", false},
        {"{\"name\": \"a page\", \"icons\": []}", false},
        {"[]", false}, {"", false}, {"{\"modelId\": \"m\", \"shards\": [", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(doppler_gpu_is(cases[i].text, strlen(cases[i].text)), cases[i].is);
}

static void places_are_read_in_every_spelling(void **state) {
    (void)state;
    static const char *const same[] = {
        "\"dtype\": \"F16\", \"shape\": [2, 100], \"size\": 400, \"shard\": 1, \"offset\": 16",
        "\"dtype\": \"f16\", \"shape\": [2, 100], \"size\": 400, \"shardIndex\": 1, "
        "\"offset\": 16",
        "\"dtype\": \"F16\", \"shape\": [2, 100], \"size\": 400, \"shard\": 0, \"offset\": 0, "
        "\"spans\": [{\"shard\": 1, \"offset\": 16, \"size\": 150}, "
        "{\"shardIndex\": 1, \"offset\": 166, \"size\": 250}]",
        "\"dtype\": \"F16\", \"shape\": [2, 100], \"size\": 400, \"storage\": {\"packing\": "
        "\"dense\", \"shardSpans\": [{\"shardIndex\": 1, \"byteStart\": 16, \"byteEnd\": 416}]}",
        "\"dtype\": \"F16\", \"shape\": [100, 2], \"originalShape\": [2, 100], \"layout\": "
        "\"row\", \"size\": 400, \"shard\": 1, \"offset\": 16"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        arena a = {0};
        error e;
        doppler_gpu p;
        assert_int_equal(parse_tensor(&e, &a, "", same[i], &p), DOPPLER_OK);
        const doppler_gpu_tensor *t = &p.tensors[0];
        uint32_t shard;
        uint64_t offset;
        assert_int_equal(t->type, SOURCE_F16);
        assert_int_equal(t->span_count, 1);          /* what runs on is one */
        assert_int_equal(t->shape[0], 2);
        assert_int_equal(t->shape[1], 100);
        assert_int_equal(doppler_gpu_find(t, 30, &shard, &offset), 370);
        assert_int_equal(shard, 1);
        assert_int_equal(offset, 46);
        assert_string_equal(p.shards[0].file, "a.bin");
        assert_string_equal(p.shards[1].file, "b.bin");
        assert_int_equal(p.unchecked_count, 2);
        arena_free(&a);
    }
}

static void bytes_are_found_over_spans(void **state) {
    (void)state;
    arena a = {0};
    error e;
    doppler_gpu p;
    assert_int_equal(parse_tensor(&e, &a, "", "\"dtype\": \"F32\", \"shape\": [60], \"size\": 240, "
        "\"spans\": [{\"shard\": 0, \"offset\": 900, \"size\": 100}, {\"shard\": 1, \"offset\": 0, "
        "\"size\": 40}, {\"shard\": 0, \"offset\": 0, \"size\": 100}]", &p), DOPPLER_OK);
    static const struct { uint64_t at; uint32_t shard; uint64_t offset, left; } cases[] = {
        {0, 0, 900, 100}, {99, 0, 999, 1}, {100, 1, 0, 40}, {139, 1, 39, 1}, {140, 0, 0, 100},
        {239, 0, 99, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t shard;
        uint64_t offset;
        assert_int_equal(doppler_gpu_find(&p.tensors[0], cases[i].at, &shard, &offset),
                         cases[i].left);
        assert_int_equal(shard, cases[i].shard);
        assert_int_equal(offset, cases[i].offset);
    }
    arena_free(&a);
}

/* 4 x 320: rows 2 blocks, columns 1 block each, flat 5 blocks; 4 x 256: rows are flat. */
static void layouts_of_q4_k_are_what_their_size_says(void **state) {
    (void)state;
    static const struct {
        const char *more, *layout;
        uint32_t cols, blocks;
        doppler_status status;
        doppler_gpu_layout is;
        bool in_order;
    } cases[] = {
        {"", "", 320, 8, DOPPLER_OK, DOPPLER_GPU_ROWS, true},
        {"", "", 320, 5, DOPPLER_OK, DOPPLER_GPU_FLAT, false},
        {"", "", 256, 4, DOPPLER_OK, DOPPLER_GPU_ROWS, true},
        {"", "\"layout\": \"flat\", ", 256, 4, DOPPLER_OK, DOPPLER_GPU_FLAT, true},
        {"", "\"layout\": \"col\", ", 320, 320, DOPPLER_OK, DOPPLER_GPU_COLUMNS, false},
        {"\"quantizationInfo\": {\"layout\": \"col\"}, ", "", 320, 320, DOPPLER_OK,
         DOPPLER_GPU_COLUMNS, false},
        {"\"conversion\": {\"quantization\": {\"layout\": \"row_wise\"}}, ", "", 320, 8,
         DOPPLER_OK, DOPPLER_GPU_ROWS, true},
        {"", "\"layout\": \"row\", ", 320, 5, DOPPLER_BAD_FILE, 0, false},
        {"", "\"layout\": \"row\", ", 320, 320, DOPPLER_BAD_FILE, 0, false},
        {"", "", 320, 7, DOPPLER_BAD_FILE, 0, false},
        {"", "", 225, 4, DOPPLER_UNSUPPORTED, 0, false},     /* 4 rows of one, or 3.5: who knows */
        {"", "\"layout\": \"diagonal\", ", 320, 8, DOPPLER_UNSUPPORTED, 0, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        arena a = {0};
        error e;
        doppler_gpu p;
        char tensor[256];
        snprintf(tensor, sizeof tensor, "%s\"dtype\": \"Q4_K_M\", \"shape\": [4, %u], \"size\": "
                 "%u, \"shard\": 1, \"offset\": 0", cases[i].layout, cases[i].cols,
                 cases[i].blocks * 144);
        doppler_status status = parse_tensor(&e, &a, cases[i].more, tensor, &p);
        assert_int_equal(status, cases[i].status);
        if (!status) {
            assert_int_equal(p.tensors[0].layout, cases[i].is);
            assert_int_equal(doppler_gpu_in_order(&p.tensors[0]), cases[i].in_order);
        }
        arena_free(&a);
    }
}

static void numbers_that_lie_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "\"shape\": [4294967295, 4294967295], \"size\": 16, \"shard\": 0, \"offset\": 0",
        "\"shape\": [1048576, 4294967295], \"size\": 16, \"shard\": 0, \"offset\": 0",
        "\"shape\": [0], \"size\": 0, \"shard\": 0, \"offset\": 0",
        "\"shape\": [4], \"size\": 16, \"shard\": 0, \"offset\": 9007199254740991",
        "\"shape\": [4], \"size\": 18446744073709551615, \"shard\": 0, \"offset\": 16",
        "\"shape\": [4], \"size\": 16, \"shard\": 2, \"offset\": 0",
        "\"shape\": [4], \"size\": 16, \"shard\": -1, \"offset\": 0",
        "\"shape\": [4], \"size\": 16, \"shard\": 0, \"offset\": 985",
        "\"shape\": [4], \"size\": 20, \"shard\": 0, \"offset\": 0",
        "\"shape\": [4], \"size\": 16",
        "\"shape\": [4], \"size\": 16, \"spans\": []",
        "\"shape\": [4], \"size\": 16, \"spans\": [7]",
        "\"shape\": [4], \"size\": 16, \"spans\": [{\"shard\": 0, \"offset\": 16, \"byteEnd\": 0}]",
        "\"shape\": 4, \"size\": 16, \"shard\": 0, \"offset\": 0",
        "\"shape\": [1,1,1,1,1,1,1,1,4], \"size\": 16, \"shard\": 0, \"offset\": 0"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        arena a = {0};
        error e;
        doppler_gpu p;
        char tensor[512];
        snprintf(tensor, sizeof tensor, "\"dtype\": \"F32\", %s", bad[i]);
        assert_int_equal(parse_tensor(&e, &a, "", tensor, &p), DOPPLER_BAD_FILE);
        assert_true(strlen(e.message) > 0);
        arena_free(&a);
    }
}

/* ---- a whole manifest */

static char *read_fixture(size_t *bytes) {
    FILE *f = fopen("tests/fixtures/doppler-gpu/row/manifest.json", "rb");
    assert_non_null(f);
    char *text = malloc(65536);
    *bytes = fread(text, 1, 65535, f);
    text[*bytes] = 0;
    fclose(f);
    return text;
}

static doppler_status model_of(const char *text, size_t bytes, model_config *m, uint32_t *count) {
    arena a = {0};
    error e = {0};
    doppler_gpu p;
    source_tensor *sources;
    doppler_status status = doppler_gpu_parse(&e, &a, text, bytes, &p);
    if (!status && p.tensors_file)
        status = doppler_gpu_parse_tensors(&e, &a, text, bytes, &p);
    if (!status) status = doppler_gpu_model(&e, &a, &p, (hf_text){0}, m, &sources, count);
    if (status) assert_true(strlen(e.message) > 0);
    arena_free(&a);
    return status;
}

static void a_manifest_describes_its_model(void **state) {
    (void)state;
    size_t bytes;
    char *text = read_fixture(&bytes);
    model_config m;
    uint32_t count;
    assert_int_equal(model_of(text, bytes, &m, &count), DOPPLER_OK);
    assert_string_equal(m.architecture, "llama");
    assert_int_equal(m.layers, 1);
    assert_int_equal(m.dim, 32);
    assert_int_equal(m.hidden, 96);
    assert_int_equal(m.heads, 2);
    assert_int_equal(m.kv_heads, 1);
    assert_int_equal(m.head_dim, 16);
    assert_int_equal(m.vocab, 512);
    assert_int_equal(m.context, 1024);
    assert_true(m.tied_head);
    assert_true(m.norm_eps == 1e-5f && m.rope[LAYER_FULL].theta == 10000);
    assert_int_equal(m.rope[LAYER_FULL].type, ROPE_DEFAULT);
    assert_int_equal(m.stop_count, 1);
    assert_int_equal(m.stops[0], 508);
    assert_int_equal(count, 11);
    free(text);
}

/* Every prefix, and a byte changed here and there: a status, never a crash (under ASan). */
static void broken_manifests_are_refused(void **state) {
    (void)state;
    static const char to[] = "\"0-{}[],x\\";
    size_t bytes;
    char *text = read_fixture(&bytes);
    model_config m;
    uint32_t count, refused = 0;
    size_t end = bytes;
    while (end && text[end - 1] == '\n') end--;
    for (size_t i = 0; i < end; i += 7) {
        char *cut = malloc(i + 1);           /* ASan watches its end */
        memcpy(cut, text, i);
        assert_int_not_equal(model_of(cut, i, &m, &count), DOPPLER_OK);
        free(cut);
    }
    for (size_t i = 0; i < bytes; i += 3) {
        char was = text[i];
        text[i] = to[i / 3 % (sizeof to - 1)];
        refused += model_of(text, bytes, &m, &count) != DOPPLER_OK;
        text[i] = was;
    }
    assert_true(refused > bytes / 6);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(manifests_are_told_apart),
        cmocka_unit_test(places_are_read_in_every_spelling),
        cmocka_unit_test(bytes_are_found_over_spans),
        cmocka_unit_test(layouts_of_q4_k_are_what_their_size_says),
        cmocka_unit_test(numbers_that_lie_are_refused),
        cmocka_unit_test(a_manifest_describes_its_model),
        cmocka_unit_test(broken_manifests_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
