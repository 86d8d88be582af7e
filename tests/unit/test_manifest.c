/* test_manifest.c - a small manifest is written and read back; then the JSON tree is written again
 * with one thing wrong at a time, and each must be refused in one line that names it. */
#include "loader/manifest.h"
#include "memory/json.h"
#include "memory/name.h"
#include <stdio.h>
#include <string.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

enum { TENSORS = 12, SHARD_BYTES = 40960 };

typedef struct sample {
    manifest m;
    rdrr_tensor tensors[TENSORS];
    rdrr_span spans[TENSORS + 1];
    rdrr_file shards[2];
} sample;

/* One layer, 32 wide, untied, in two shards; ffn_gate lies across them. */
static void make_sample(sample *s) {
    static const tensor_role order[TENSORS] = {
        ROLE_EMBEDDING, ROLE_ATTN_NORM, ROLE_ATTN_Q,   ROLE_ATTN_K, ROLE_ATTN_V,    ROLE_ATTN_O,
        ROLE_FFN_NORM,  ROLE_FFN_GATE,  ROLE_FFN_UP,   ROLE_FFN_DOWN, ROLE_FINAL_NORM, ROLE_HEAD};
    *s = (sample){0};
    s->m = (manifest){.name = "a \"sample\"\n", .quantization = "keep", .chat_template = "{{ x }}",
                      .source = "here", .producer = "test", .shards = s->shards, .shard_count = 2,
                      .tensors = s->tensors, .tensor_count = TENSORS};
    s->m.model = (model_config){
        .architecture = "llama", .layers = 1, .dim = 32, .hidden = 64, .heads = 2, .kv_heads = 1,
        .head_dim = 16, .vocab = 96, .context = 128, .norm_eps = 1e-5f,
        .attention_scale = 0.1767767f, .embedding_scale = 1, .has_bos = true, .bos = 1,
        .stops = {2, 95}, .stop_count = 2,
        .rope = {[LAYER_FULL] = {.type = ROPE_LLAMA3, .theta = 500000, .factor = 8,
                                 .low_freq_factor = 1, .high_freq_factor = 4.1f,
                                 .original_context = 64}}};
    s->m.tokenizer = (rdrr_file){"tokenizer.bin", 17, {1}};
    s->m.hashes = (rdrr_file){"hashes.bin", 64, {2}};
    s->shards[0] = (rdrr_file){"shard_00000.bin", SHARD_BYTES, {3}};
    uint64_t at = 0;
    uint32_t span = 0;
    for (uint32_t i = 0; i < TENSORS; i++) {
        rdrr_tensor *t = &s->tensors[i];
        *t = (rdrr_tensor){.name = "t", .role = order[i], .format = FORMAT_F32,
                           .spans = &s->spans[span]};
        assert_true(model_role_shape(&s->m.model, t->role, &t->rows, &t->cols));
        t->bytes = (uint64_t)t->rows * t->cols * 4;
        for (uint64_t end = at + t->bytes; at < end;) {
            uint32_t shard = at >= SHARD_BYTES;
            uint64_t offset = at - shard * (uint64_t)SHARD_BYTES, left = end - at;
            uint64_t room = shard ? left : SHARD_BYTES - offset;
            s->spans[span++] = (rdrr_span){shard, offset, left < room ? left : room};
            t->span_count++;
            at += left < room ? left : room;
        }
        s->shards[1] = (rdrr_file){"shard_00001.bin", at - SHARD_BYTES, {4}};
        at = (at + RDRR_ALIGN - 1) / RDRR_ALIGN * RDRR_ALIGN;
    }
}

static text written(const manifest *m) {
    text t = {0};
    manifest_write(m, &t);
    assert_false(t.failed);
    return t;
}

static doppler_status parse(error *e, const char *data, size_t bytes) {
    manifest m;
    *e = (error){0};
    doppler_status status = manifest_parse(e, &m, data, bytes);
    manifest_free(&m);
    assert_int_equal(status, e->status);
    assert_null(strchr(e->message, '\n'));
    assert_true(!status == !e->message[0]);
    return status;
}

/* The sample, changed by the caller, is refused with a message that holds part. */
static void refused(sample *s, doppler_status wanted, const char *part) {
    error e;
    text t = written(&s->m);
    assert_int_equal(parse(&e, t.data, t.bytes), wanted);
    if (!strstr(e.message, part)) fail_msg("\"%s\" does not hold \"%s\"", e.message, part);
    text_free(&t);
}

static void round_trip_keeps_everything(void **state) {
    (void)state;
    sample s;
    make_sample(&s);
    text t = written(&s.m);
    manifest m;
    error e = {0};
    assert_int_equal(manifest_parse(&e, &m, t.data, t.bytes), DOPPLER_OK);
    assert_memory_equal(&m.model, &s.m.model, sizeof m.model);
    assert_string_equal(m.name, s.m.name);
    assert_string_equal(m.chat_template, s.m.chat_template);
    assert_int_equal(m.tensor_count, TENSORS);
    assert_int_equal(m.tensors[11].role, ROLE_HEAD);
    assert_int_equal(m.tensors[0].span_count, 1);
    assert_int_equal(m.tensors[7].span_count, 2);
    assert_int_equal(m.tensors[7].spans[1].shard, 1);
    assert_int_equal(m.shards[1].sha256[0], 4);
    text again = written(&m);
    assert_int_equal(again.bytes, t.bytes);
    assert_memory_equal(again.data, t.data, t.bytes);
    text_free(&again);
    text_free(&t);
    manifest_free(&m);
}

static void floats_survive(void **state) {
    (void)state;
    static const float values[] = {1e-5f, 0x1.fffffep-20f, 0.17677669f, 1.00000012f, 3e-38f};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        sample s;
        make_sample(&s);
        s.m.model.norm_eps = values[i];
        text t = written(&s.m);
        manifest m;
        error e = {0};
        assert_int_equal(manifest_parse(&e, &m, t.data, t.bytes), DOPPLER_OK);
        assert_memory_equal(&m.model.norm_eps, &values[i], sizeof(float));
        manifest_free(&m);
        text_free(&t);
    }
}

static void rope_factors_survive(void **state) {
    (void)state;
    sample s;
    make_sample(&s);
    rope_config *rope = &s.m.model.rope[LAYER_FULL];
    *rope = (rope_config){.type = ROPE_FACTORS, .theta = 500000};
    uint32_t count = s.m.model.head_dim / 2;
    for (uint32_t i = 0; i < count; i++) rope->factors[i] = 1 + (float)i / 3;
    text t = written(&s.m);
    manifest m;
    error e = {0};
    if (manifest_parse(&e, &m, t.data, t.bytes)) fail_msg("%s", e.message);
    assert_memory_equal(&m.model.rope, rope, sizeof *rope);
    manifest_free(&m);
    text_free(&t);
    rope->factors[count - 1] = 0;
    refused(&s, DOPPLER_BAD_FILE, "rope factors[");
}

/* The sample whose second shard has these mirrors. */
static void make_mirrored(sample *s, rdrr_mirrors mirrors[2], const char **urls, uint32_t count) {
    make_sample(s);
    mirrors[0] = (rdrr_mirrors){0};
    mirrors[1] = (rdrr_mirrors){urls, count};
    s->m.mirrors = mirrors;
}

static void mirrors_survive(void **state) {
    (void)state;
    sample s;
    const char *urls[] = {"https://a.example/x/shard_00001.bin", "http://[::1]:8080/b?key=%20&l='~",
                          "http://127.0.0.1/"};
    rdrr_mirrors mirrors[2];
    make_mirrored(&s, mirrors, urls, 3);
    text t = written(&s.m);
    manifest m;
    error e = {0};
    if (manifest_parse(&e, &m, t.data, t.bytes)) fail_msg("%s", e.message);
    assert_int_equal(m.mirrors[0].count, 0);
    assert_int_equal(m.mirrors[1].count, 3);
    for (uint32_t i = 0; i < 3; i++) assert_string_equal(m.mirrors[1].urls[i], urls[i]);
    text again = written(&m);
    assert_string_equal(again.data, t.data);
    text_free(&again);
    text_free(&t);
    manifest_free(&m);
}

static void mirrors_are_plain_urls_and_few(void **state) {
    (void)state;
    static const char *const bad[] = {
        "", "https", "https://", "https://a", "https:///b", "http:/a/b", "//a/b", "shard_00000.bin",
        "../b", "ftp://a/b", "file:///etc/passwd", "javascript:alert(1)", "data:,x",
        "blob:https://a/b", "HTTPS://a/b", " https://a/b", "https://a/b ", "https://me@a/b",
        "https://me:pw@a/b",
        "https://a/b#c", "https://a/b\nc", "https://a/\"b", "https://a/<b>", "https://a\\@b/c",
        "https://a/b\\c", "https://\xC3\xA4/b", "https://a/\xC3\xA4", "https://a%2f/b"};
    sample s;
    const char *urls[RDRR_MAX_MIRRORS + 1];
    rdrr_mirrors mirrors[2];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        urls[0] = "https://a/b";
        urls[1] = bad[i];
        make_mirrored(&s, mirrors, urls, 2);
        refused(&s, DOPPLER_BAD_FILE, "shards[1]: urls[1] \"");
    }
    char longest[URL_MAX_BYTES + 2] = "https://a/";
    memset(longest + strlen(longest), 'b', URL_MAX_BYTES + 1 - strlen(longest));
    urls[0] = longest;
    make_mirrored(&s, mirrors, urls, 1);
    refused(&s, DOPPLER_BAD_FILE, "shards[1]: urls[0]");
    longest[URL_MAX_BYTES] = 0;
    error e;
    text t = written(&s.m);
    assert_int_equal(parse(&e, t.data, t.bytes), DOPPLER_OK);
    text_free(&t);
    for (uint32_t i = 0; i <= RDRR_MAX_MIRRORS; i++) urls[i] = "https://a/b";
    make_mirrored(&s, mirrors, urls, RDRR_MAX_MIRRORS + 1);
    refused(&s, DOPPLER_BAD_FILE, "shards[1]: 17 urls, wanted 1 to 16");
}

static void absent_bos_and_template_survive(void **state) {
    (void)state;
    sample s;
    make_sample(&s);
    s.m.model.has_bos = false;
    s.m.model.bos = 0;
    s.m.model.stop_count = 0;
    memset(s.m.model.stops, 0, sizeof s.m.model.stops);
    s.m.chat_template = "";
    text t = written(&s.m);
    manifest m;
    error e = {0};
    assert_int_equal(manifest_parse(&e, &m, t.data, t.bytes), DOPPLER_OK);
    assert_memory_equal(&m.model, &s.m.model, sizeof m.model);
    manifest_free(&m);
    text_free(&t);
}

/* The sample with a sliding layer, YaRN, and Gemma's scale and activation. */
static void make_sliding(sample *s) {
    make_sample(s);
    model_config *m = &s->m.model;
    snprintf(m->architecture, sizeof m->architecture, "gemma3");
    m->activation = ACTIVATION_GELU_TANH;
    m->embedding_scale = 5.656854249f;
    m->layer_kinds[0] = LAYER_SLIDING;
    m->window = 48;
    m->rope[LAYER_FULL] = (rope_config){0};
    m->rope[LAYER_SLIDING] = (rope_config){
        .type = ROPE_YARN, .theta = 150000, .factor = 32, .beta_fast = 32, .beta_slow = 1,
        .attention_factor = 1.3465736f, .original_context = 4096, .truncate = true};
}

static void every_kind_of_layer_and_rope_survives(void **state) {
    (void)state;
    sample s;
    make_sliding(&s);
    for (uint32_t type = 0; type < ROPE_COUNT; type++) {
        rope_config *r = &s.m.model.rope[LAYER_SLIDING];
        r->type = (rope_type)type;
        r->low_freq_factor = type == ROPE_LLAMA3 ? 1 : 0;
        r->high_freq_factor = type == ROPE_LLAMA3 ? 4 : 0;
        for (uint32_t i = 0; i < s.m.model.head_dim / 2; i++)
            r->factors[i] = type == ROPE_FACTORS ? 1 + (float)i / 3 : 0;
        text t = written(&s.m), again;
        manifest m;
        error e = {0};
        if (manifest_parse(&e, &m, t.data, t.bytes)) fail_msg("%s", e.message);
        again = written(&m);
        assert_string_equal(again.data, t.data);
        assert_int_equal(m.model.rope[LAYER_SLIDING].type, type);
        assert_int_equal(m.model.layer_kinds[0], LAYER_SLIDING);
        assert_int_equal(m.model.window, 48);
        assert_int_equal(m.model.activation, ACTIVATION_GELU_TANH);
        if (type == ROPE_YARN)
            assert_memory_equal(&m.model.rope, &s.m.model.rope, sizeof m.model.rope);
        text_free(&again);
        text_free(&t);
        manifest_free(&m);
    }
}

static void windows_and_norms_must_fit_the_layers(void **state) {
    (void)state;
    sample s;
    make_sliding(&s);
    s.m.model.window = 0;
    refused(&s, DOPPLER_BAD_FILE, "window 0");
    make_sliding(&s);
    s.m.model.layer_kinds[0] = LAYER_FULL;
    s.m.model.rope[LAYER_FULL] = s.m.model.rope[LAYER_SLIDING];
    refused(&s, DOPPLER_BAD_FILE, "no layer is sliding");
    make_sliding(&s);
    s.m.model.rope[LAYER_SLIDING].beta_slow = 33;
    refused(&s, DOPPLER_BAD_FILE, "beta_slow 33");
    make_sliding(&s);
    s.m.model.rope[LAYER_SLIDING].attention_factor = 0;
    refused(&s, DOPPLER_BAD_FILE, "attention_factor");
    make_sliding(&s);
    s.m.model.embedding_scale = -1;
    refused(&s, DOPPLER_BAD_FILE, "embedding_scale");
    make_sample(&s);
    s.m.model.qk_norm = true;
    refused(&s, DOPPLER_BAD_FILE, "attn_q_norm of layer 0 is missing");
    make_sample(&s);
    s.m.model.post_norms = true;
    refused(&s, DOPPLER_BAD_FILE, "attn_post_norm of layer 0 is missing");
}

/* ---- one thing wrong at a time */

typedef enum change { DROP, REPLACE, ADD } change;

/* Writes the tree with member number `at` (or object number, for ADD) changed. */
typedef struct mutation {
    change change;
    uint32_t at, seen;
    const char *with;            /* JSON text: the value of REPLACE, the member of ADD */
    char key[64];                /* what was changed; "" when there is no number `at` */
    json_type type;
} mutation;

static void emit(text *out, const json *node, mutation *m) {
    static const char brackets[] = "[]{}";
    const char *pair = node->type == JSON_ARRAY ? brackets : brackets + 2;
    bool first = true;
    switch (node->type) {
    case JSON_NULL: text_format(out, "null"); return;
    case JSON_BOOL: text_format(out, node->boolean ? "true" : "false"); return;
    case JSON_NUMBER: text_format(out, "%.17g", node->number); return;
    case JSON_STRING: text_json(out, node->text, node->text_bytes); return;
    case JSON_ARRAY:
    case JSON_OBJECT: break;
    }
    text_format(out, "%c", pair[0]);
    if (m->change == ADD && node->type == JSON_OBJECT && m->seen++ == m->at) {
        snprintf(m->key, sizeof m->key, "%s", node->key ? node->key : "root");
        text_format(out, "%s, ", m->with);
    }
    for (const json *child = node->first; child; child = child->next) {
        bool hit = m->change != ADD && child->key && m->seen++ == m->at;
        if (hit) {
            snprintf(m->key, sizeof m->key, "%s", child->key);
            m->type = child->type;
        }
        if (hit && m->change == DROP) continue;
        if (!first) text_format(out, ", ");
        first = false;
        if (child->key) text_format(out, "\"%s\": ", child->key);
        if (hit) text_format(out, "%s", m->with);
        else emit(out, child, m);
    }
    text_format(out, "%c", pair[1]);
}

typedef struct tree { sample s; text t; arena memory; json *root; } tree;

static void plant(tree *t) {
    *t = (tree){0};
    make_sample(&t->s);
    t->t = written(&t->s.m);
    error e = {0};
    assert_int_equal(json_parse(&e, &t->memory, "m", t->t.data, t->t.bytes, &t->root), DOPPLER_OK);
}

static void fell(tree *t) {
    text_free(&t->t);
    arena_free(&t->memory);
}

/* Each member in turn. Returns how many there were. */
static uint32_t each_refused(const tree *t, change change, const char *with, json_type type) {
    uint32_t tried = 0;
    for (uint32_t at = 0;; at++) {
        mutation m = {.change = change, .at = at, .with = with};
        text out = {0};
        emit(&out, t->root, &m);
        bool end = !m.key[0];
        if (!end && (type == JSON_NULL || m.type == type)) {
            error e;
            if (!parse(&e, out.data, out.bytes)) fail_msg("accepted: %s, %s", m.key, with);
            if (!strstr(e.message, m.key))
                fail_msg("\"%s\" does not name \"%s\"", e.message, m.key);
            tried++;
        }
        text_free(&out);
        if (end) return tried;
    }
}

static void missing_fields_are_named(void **state) {
    (void)state;
    tree t;
    plant(&t);
    assert_in_range(each_refused(&t, DROP, "", JSON_NULL), 150, 1000);
    fell(&t);
}

static void wrong_types_are_named(void **state) {
    (void)state;
    tree t;
    plant(&t);
    each_refused(&t, REPLACE, "{\"y\": 1}", JSON_NULL);
    each_refused(&t, REPLACE, "null", JSON_STRING);
    each_refused(&t, REPLACE, "\"no\"", JSON_NUMBER);
    each_refused(&t, REPLACE, "1", JSON_BOOL);
    each_refused(&t, REPLACE, "7", JSON_OBJECT);
    each_refused(&t, REPLACE, "false", JSON_ARRAY);
    fell(&t);
}

static void numbers_out_of_range_are_named(void **state) {
    (void)state;
    tree t;
    plant(&t);
    each_refused(&t, REPLACE, "-1", JSON_NUMBER);
    each_refused(&t, REPLACE, "1e300", JSON_NUMBER);
    fell(&t);
}

static void unknown_fields_are_refused_unless_x_or_newer(void **state) {
    (void)state;
    tree t;
    plant(&t);
    uint32_t objects = 0;
    for (;; objects++) {
        mutation m = {.change = ADD, .at = objects, .with = "\"zzz\": 1"};
        text out = {0};
        emit(&out, t.root, &m);
        bool end = !m.key[0];
        error e;
        if (!end) {
            assert_int_equal(parse(&e, out.data, out.bytes), DOPPLER_BAD_FILE);
            assert_non_null(strstr(e.message, "zzz"));
            char *version = strstr(out.data, "\"version\": \"1.0\"");
            memcpy(version, "\"version\": \"1.7\"", strlen("\"version\": \"1.7\""));
            assert_int_equal(parse(&e, out.data, out.bytes), DOPPLER_OK);
        }
        text_free(&out);
        if (end) break;
        mutation x = {.change = ADD, .at = objects, .with = "\"x-maker\": {\"a\": [1]}"};
        emit(&out, t.root, &x);
        assert_int_equal(parse(&e, out.data, out.bytes), DOPPLER_OK);
        text_free(&out);
    }
    assert_in_range(objects, 20, 1000);
    fell(&t);
}

static void truncated_text_is_refused(void **state) {
    (void)state;
    sample s;
    make_sample(&s);
    text t = written(&s.m);
    error e;
    for (size_t bytes = 0; bytes + 2 < t.bytes; bytes += 13)
        assert_int_equal(parse(&e, t.data, bytes), DOPPLER_BAD_FILE);
    text_free(&t);
}

/* The text with one part exchanged. */
static void exchanged(const char *from, const char *to, doppler_status wanted, const char *part) {
    sample s;
    make_sample(&s);
    text t = written(&s.m), out = {0};
    const char *at = strstr(t.data, from);
    assert_non_null(at);
    text_add(&out, t.data, (size_t)(at - t.data));
    text_format(&out, "%s%s", to, at + strlen(from));
    error e;
    assert_int_equal(parse(&e, out.data, out.bytes), wanted);
    if (!strstr(e.message, part)) fail_msg("\"%s\" does not hold \"%s\"", e.message, part);
    text_free(&t);
    text_free(&out);
}

static void what_is_not_known_is_unsupported_by_name(void **state) {
    (void)state;
    const doppler_status no = DOPPLER_UNSUPPORTED;
    exchanged("\"version\": \"1.0\"", "\"version\": \"2.0\"", no, "2.0");
    exchanged("\"version\": \"1.0\"", "\"version\": \"1.\"", no, "1.");
    exchanged("\"version\": \"1.0\"", "\"version\": \"1.0x\"", no, "1.0x");
    exchanged("\"features\": []", "\"features\": [\"paged_experts\"]", no, "paged_experts");
    exchanged("\"architecture\": \"llama\"", "\"architecture\": \"gpt9\"", no, "gpt9");
    exchanged("\"activation\": \"silu\"", "\"activation\": \"mish\"", no, "mish");
    exchanged("\"type\": \"llama3\"", "\"type\": \"ntk\"", no, "ntk");
    exchanged("[\"full\"]", "[\"chunked\"]", no, "chunked");
    exchanged("\"kind\": \"compiled\"", "\"kind\": \"tiktoken\"", no, "tiktoken");
    exchanged("\"dtype\": \"f32\"", "\"dtype\": \"q3_k\"", no, "q3_k");
    exchanged("\"layout\": \"rows\"", "\"layout\": \"tiles\"", no, "tiles");
    exchanged("\"role\": \"embedding\"", "\"role\": \"adapter\"", no, "adapter");
}

static void ill_formed_values_are_refused(void **state) {
    (void)state;
    const doppler_status bad = DOPPLER_BAD_FILE;
    exchanged("\"format\": \"rdrr\"", "\"format\": \"gguf\"", bad, "gguf");
    exchanged("\"file\": \"shard_00001.bin\"", "\"file\": \"../x\"", bad, "../x");
    exchanged("\"file\": \"shard_00001.bin\"", "\"file\": \"shard_00000.bin\"", bad,
              "shard_00000.bin");
    exchanged("\"file\": \"hashes.bin\"", "\"file\": \"tokenizer.bin\"", bad, "tokenizer.bin");
    exchanged("\"sha256\": \"03", "\"sha256\": \"0G", bad, "shards[0]");
    exchanged("\"sha256\": \"03", "\"sha256\": \"3", bad, "shards[0]");
    exchanged("\"stop\": [2, 95]", "\"stop\": [2, 96]", bad, "stop[1]");
    exchanged("\"stop\": [2, 95]", "\"stop\": [2, 2.5]", bad, "stop[1]");
    exchanged("\"bos\": 1", "\"bos\": 96", bad, "bos");
    exchanged("\"shape\": [96, 32]", "\"shape\": [95, 32]", bad, "tensors[0]");
    exchanged("\"shape\": [96, 32]", "\"shape\": [96]", bad, "tensors[0]");
    exchanged("\"dtype\": \"f32\", \"layout\": \"rows\", \"shape\": [1, 32]",
              "\"dtype\": \"bf16\", \"layout\": \"rows\", \"shape\": [1, 32]", bad, "tensors[1]");
    exchanged("\"dtype\": \"f32\"", "\"dtype\": \"q4_k\"", bad, "tensors[0]");
    exchanged("\"kv_heads\": 1", "\"kv_heads\": 3", bad, "2 heads");
    exchanged("\"heads\": 2", "\"heads\": 3", DOPPLER_UNSUPPORTED, "48");
    exchanged("\"high_freq_factor\": 4.1", "\"high_freq_factor\": 0.5", bad, "high_freq_factor");
}

static void tensors_and_spans_must_agree(void **state) {
    (void)state;
    sample s;
    make_sample(&s);
    s.m.tensor_count = TENSORS - 1;
    refused(&s, DOPPLER_BAD_FILE, "head");
    make_sample(&s);
    s.tensors[3].role = ROLE_ATTN_V;
    refused(&s, DOPPLER_BAD_FILE, "second attn_v");
    make_sample(&s);
    s.tensors[3].layer = 1;
    refused(&s, DOPPLER_BAD_FILE, "layer");
    make_sample(&s);
    s.tensors[3].spans[0].offset += 16;
    refused(&s, DOPPLER_BAD_FILE, "tensors[3].spans[0]");
    make_sample(&s);
    s.tensors[3].spans[0] = s.tensors[4].spans[0];
    refused(&s, DOPPLER_BAD_FILE, "overlap");
    make_sample(&s);
    s.tensors[3].spans[0].bytes -= 4;
    refused(&s, DOPPLER_BAD_FILE, "tensors[3]");
    make_sample(&s);
    s.tensors[TENSORS - 1].spans[0].bytes += 4;
    refused(&s, DOPPLER_BAD_FILE, "spans[0]");
    make_sample(&s);
    s.tensors[3].span_count = 0;
    refused(&s, DOPPLER_BAD_FILE, "tensors[3]");
    make_sample(&s);
    s.m.hashes.bytes = 32;
    refused(&s, DOPPLER_BAD_FILE, "hashes");
}

/* Two spans are one tensor only if the first is whole pages. */
static void spans_across_shards_are_whole_pages(void **state) {
    (void)state;
    sample s;
    make_sample(&s);
    uint32_t i = 0;
    while (s.tensors[i].span_count < 2) i++;
    s.tensors[i].spans[0].bytes -= 16;
    s.tensors[i].spans[1].bytes += 16;
    refused(&s, DOPPLER_BAD_FILE, "not the last");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip_keeps_everything),
        cmocka_unit_test(every_kind_of_layer_and_rope_survives),
        cmocka_unit_test(windows_and_norms_must_fit_the_layers),
        cmocka_unit_test(floats_survive),
        cmocka_unit_test(rope_factors_survive),
        cmocka_unit_test(absent_bos_and_template_survive),
        cmocka_unit_test(mirrors_survive),
        cmocka_unit_test(mirrors_are_plain_urls_and_few),
        cmocka_unit_test(missing_fields_are_named),
        cmocka_unit_test(wrong_types_are_named),
        cmocka_unit_test(numbers_out_of_range_are_named),
        cmocka_unit_test(unknown_fields_are_refused_unless_x_or_newer),
        cmocka_unit_test(truncated_text_is_refused),
        cmocka_unit_test(what_is_not_known_is_unsupported_by_name),
        cmocka_unit_test(ill_formed_values_are_refused),
        cmocka_unit_test(tensors_and_spans_must_agree),
        cmocka_unit_test(spans_across_shards_are_whole_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
