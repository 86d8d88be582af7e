/* test_convert.c - packages made in memory from the micro/llama3 fixture (and from larger models
 * where ../shared is): what is stored must be what the source holds. */
#include "bridge/hf_config.h"
#include "bridge/hf_names.h"
#include "gpu/cpu/weights.h"
#include "loader/convert.h"
#include "loader/repack.h"
#include "storage/files.h"
#include "storage/sha256.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

/* Decoders read whole runs of 32 weights, which short vectors are not. */
enum { RUN = 32, SLACK = RUN * 4 };

static const char fixture[] = "tests/fixtures/micro/llama3";

/* A checkpoint in memory. */
typedef struct source {
    arena memory;
    char *data;                  /* model.safetensors, whole */
    size_t bytes;
    model_config model;
    safetensors file;
    source_tensor *tensors;
    uint32_t count;
} source;

static char *read_whole(const char *folder, const char *name, size_t *bytes) {
    storage_file f = {0};
    error e = {0};
    if (storage_open(&e, &f, folder, name)) fail_msg("%s", e.message);
    *bytes = (size_t)f.bytes;
    char *data = malloc(*bytes + 1);
    if (storage_read(&e, &f, 0, data, *bytes)) fail_msg("%s", e.message);
    storage_close(&f);
    return data;
}

static void find_tensors(source *s) {
    error e = {0};
    uint64_t header;
    uint32_t vision;
    if (safetensors_header_bytes(&e, "f", (uint8_t *)s->data, s->bytes, s->bytes, &header) ||
        safetensors_parse(&e, &s->memory, "f", s->data + 8, (size_t)header, s->bytes, &s->file) ||
        hf_sources(&e, &s->memory, &s->model, &s->file, 1, &s->tensors, &s->count,
                   &vision))
        fail_msg("%s", e.message);
}

static void open_source(source *s, const char *folder) {
    *s = (source){0};
    error e = {0};
    hf_text config, generation;
    char *c = read_whole(folder, "config.json", &config.bytes);
    char *g = read_whole(folder, "generation_config.json", &generation.bytes);
    config.data = c;
    generation.data = g;
    if (hf_config_parse(&e, config, generation, &s->model)) fail_msg("%s", e.message);
    s->data = read_whole(folder, "model.safetensors", &s->bytes);
    find_tensors(s);
    free(c);
    free(g);
}

static void close_source(source *s) {
    arena_free(&s->memory);
    free(s->data);
}

/* Every tensor of the model as bf16, one behind the other. */
static void list_roles(source *s) {
    s->count = 0;
    s->bytes = 0;
    for (uint32_t role = 0; role < ROLE_COUNT; role++)
        for (uint32_t layer = 0; layer < (roles[role].per_layer ? s->model.layers : 1); layer++) {
            source_tensor *t = &s->tensors[s->count];
            *t = (source_tensor){.name = "t", .role = (tensor_role)role, .layer = layer,
                                 .type = SOURCE_BF16};
            if (!model_role_shape(&s->model, t->role, &t->rows, &t->cols)) continue;
            t->offset = s->bytes;
            t->bytes = (uint64_t)t->rows * t->cols * 2;
            s->bytes += (size_t)t->bytes;
            s->count++;
        }
}

/* A source of shapes alone. */
static void plan_only(source *s, uint32_t layers, bool tied) {
    *s = (source){0};
    s->model = (model_config){.architecture = "llama", .layers = layers, .dim = 256, .hidden = 512,
                              .heads = 4, .kv_heads = 2, .head_dim = 64, .vocab = 64,
                              .context = 64, .norm_eps = 1e-5f, .attention_scale = 0.125f,
                              .embedding_scale = 1, .tied_head = tied,
                              .rope = {{.theta = 1e4f}}};
    s->tensors = arena_array(&s->memory, (size_t)ROLE_COUNT * layers, sizeof *s->tensors);
    list_roles(s);
}

/* ---- a package in memory */

typedef struct made {
    convert *c;
    char **shards;
    text json;
    uint8_t hashes[1 << 16];
    uint32_t reads;
} made;

static convert_input input_of(const source *s, convert_target target, uint64_t shard_bytes) {
    return (convert_input){.model = &s->model, .sources = s->tensors, .source_count = s->count,
                           .tokenizer = "{}", .tokenizer_bytes = 2, .chat_template = "{{ t }}",
                           .name = "micro", .source = "here", .target = target,
                           .shard_bytes = shard_bytes};
}

/* Bytes go where the step says, once each and in order. */
static void take_write(made *p, const convert_step *step, uint64_t *at) {
    const manifest *m = convert_manifest(p->c);
    uint32_t shard = 0;
    while (shard < m->shard_count && strcmp(step->file, m->shards[shard].file)) shard++;
    if (step->offset == 0) *at = 0;
    assert_int_equal(step->offset, *at);
    *at += step->bytes;
    if (shard < m->shard_count) {
        assert_true(step->offset + step->bytes <= m->shards[shard].bytes);
        assert_non_null(step->block_sha256);
        if (!p->shards[shard]) p->shards[shard] = malloc((size_t)m->shards[shard].bytes);
        memcpy(p->shards[shard] + step->offset, step->from, step->bytes);
        assert_true((step->file_sha256 != NULL) == (*at == m->shards[shard].bytes));
        return;
    }
    if (!strcmp(step->file, "hashes.bin")) {
        assert_in_range(step->bytes, 32, sizeof p->hashes);
        memcpy(p->hashes, step->from, step->bytes);
    } else if (!strcmp(step->file, "manifest.json"))
        text_add(&p->json, (const char *)step->from, step->bytes);
    else assert_string_equal(step->file, RDRR_TOKENIZER);
}

/* Sources that make rows up as they are read count on whole ones. */
static void check_rows(const source *s, const convert_step *step) {
    const source_tensor *t = s->tensors;
    while (step->offset < t->offset || step->offset >= t->offset + t->bytes) t++;
    assert_int_equal((step->offset - t->offset) % (t->bytes / t->rows), 0);
    assert_int_equal(step->bytes % (t->bytes / t->rows), 0);
    assert_true(step->offset + step->bytes <= t->offset + t->bytes);
}

/* The host's loop over blocks first to end - 1. */
static doppler_status make_blocks(error *e, made *p, const source *s, convert_part *part,
                                  uint64_t first, uint64_t end, uint64_t *at) {
    convert_step step;
    doppler_status status;
    convert_part_begin(part, first, end);
    while (!(status = convert_part_next(e, part, &step)) && step.action != CONVERT_DONE) {
        if (step.action == CONVERT_READ) {
            assert_int_equal(step.source, 0);
            assert_true(step.bytes && step.offset + step.bytes <= s->bytes);
            check_rows(s, &step);
            memcpy(step.to, s->data + step.offset, step.bytes);
            p->reads++;
            continue;
        }
        convert_step same = convert_block(p->c, first++);
        assert_string_equal(same.file, step.file);
        assert_true(same.offset == step.offset && same.bytes == step.bytes);
        take_write(p, &step, at);
        sha256_of(e, step.from, step.bytes, step.block_sha256);
    }
    assert_true(status || first == end);
    return status;
}

/* The files behind the blocks. */
static doppler_status finish(error *e, made *p) {
    convert_step step;
    doppler_status status;
    uint64_t at = 0;
    uint32_t shard = 0;
    for (uint64_t i = 0; i < convert_blocks(p->c); i++) {
        step = convert_block(p->c, i);
        if (step.file_sha256)
            sha256_of(e, p->shards[shard++], (size_t)step.offset + step.bytes, step.file_sha256);
    }
    while (!(status = convert_next(e, p->c, &step)) && step.action != CONVERT_DONE) {
        assert_int_equal(step.action, CONVERT_WRITE);
        take_write(p, &step, &at);
        sha256_of(e, step.from, step.bytes, step.file_sha256);
    }
    return status;
}

static doppler_status make(error *e, made *p, const source *s, const convert_input *input) {
    *p = (made){0};
    *e = (error){0};
    convert_part *part;
    uint64_t at = 0;
    doppler_status status = convert_create(e, input, &p->c);
    if (status) return status;
    p->shards = calloc(convert_manifest(p->c)->shard_count, sizeof *p->shards);
    status = convert_part_create(e, p->c, &part);
    if (!status) status = make_blocks(e, p, s, part, 0, convert_blocks(p->c), &at);
    convert_part_destroy(part);
    return status ? status : finish(e, p);
}

static void drop(made *p) {
    for (uint32_t i = 0; p->c && i < convert_manifest(p->c)->shard_count; i++) free(p->shards[i]);
    free(p->shards);
    text_free(&p->json);
    convert_destroy(p->c);
}

static void make_good(made *p, const source *s, convert_target target, uint64_t shard_bytes) {
    error e;
    convert_input input = input_of(s, target, shard_bytes);
    if (make(&e, p, s, &input)) fail_msg("%s", e.message);
}

/* Stored bytes of a tensor, its spans joined. */
static uint8_t *stored(const made *p, const rdrr_tensor *t) {
    uint8_t *bytes = malloc((size_t)t->bytes + SLACK);
    uint64_t at = 0;
    for (uint32_t i = 0; i < t->span_count; i++) {
        memcpy(bytes + at, p->shards[t->spans[i].shard] + t->spans[i].offset,
               (size_t)t->spans[i].bytes);
        at += t->spans[i].bytes;
    }
    assert_int_equal(at, t->bytes);
    return bytes;
}

/* ---- what is stored */

/* RMS error of a tensor over its RMS value. */
static double relative_error(const made *p, const source *s, const rdrr_tensor *t,
                             const source_tensor *from) {
    uint8_t *bytes = stored(p, t);
    uint32_t runs = (t->cols + RUN - 1) / RUN * RUN;
    float *got = malloc(runs * sizeof *got), *want = malloc(runs * sizeof *want);
    double error_sum = 0, sum = 0;
    for (uint32_t row = 0; row < t->rows; row++) {
        weights_decode(t->format, bytes + row * (t->bytes / t->rows), runs, got);
        repack_decode(from->type,
                      (uint8_t *)s->data + from->offset + row * (from->bytes / from->rows),
                      t->cols, want);
        for (uint32_t i = 0; i < t->cols; i++) {
            error_sum += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
            sum += (double)want[i] * want[i];
        }
    }
    free(bytes);
    free(got);
    free(want);
    return sqrt(error_sum / sum);
}

static void check_against_source(const made *p, const source *s) {
    /* of weights that are roughly normal; the quantizers' own test is sharper */
    static const double bound[FORMAT_COUNT] = {
        [FORMAT_F32] = 0, [FORMAT_F16] = 5e-4, [FORMAT_BF16] = 4e-3, [FORMAT_Q8_0] = 1e-2,
        [FORMAT_Q4_K] = 9e-2, [FORMAT_Q6_K] = 3e-2, [FORMAT_MXFP4] = 0.13};
    const manifest *m = convert_manifest(p->c);
    assert_int_equal(m->tensor_count, s->count);
    for (uint32_t i = 0; i < m->tensor_count; i++) {
        const rdrr_tensor *t = &m->tensors[i];
        assert_int_equal(t->role, s->tensors[i].role);
        double off = relative_error(p, s, t, &s->tensors[i]);
        if (!(off <= bound[t->format])) fail_msg("%s: error %g", t->name, off);
    }
}

/* The manifest parses to the plan, and every hash is that of the bytes. */
static void check_hashes(const made *p) {
    manifest m;
    error e = {0};
    uint8_t hash[32];
    const uint8_t *block_hash = p->hashes;
    if (manifest_parse(&e, &m, p->json.data, p->json.bytes)) fail_msg("%s", e.message);
    assert_int_equal(m.shard_count, convert_manifest(p->c)->shard_count);
    sha256_of(&e, p->json.data, p->json.bytes, hash);
    assert_memory_equal(hash, convert_package_id(p->c), 32);
    for (uint32_t i = 0; i < m.shard_count; i++) {
        sha256_of(&e, p->shards[i], (size_t)m.shards[i].bytes, hash);
        assert_memory_equal(hash, m.shards[i].sha256, 32);
        for (uint64_t at = 0; at < m.shards[i].bytes; at += RDRR_BLOCK_BYTES, block_hash += 32) {
            uint64_t left = m.shards[i].bytes - at;
            sha256_of(&e, p->shards[i] + at,
                      (size_t)(left < RDRR_BLOCK_BYTES ? left : RDRR_BLOCK_BYTES), hash);
            assert_memory_equal(hash, block_hash, 32);
        }
    }
    assert_int_equal(block_hash - p->hashes, m.hashes.bytes);
    sha256_of(&e, p->hashes, (size_t)m.hashes.bytes, hash);
    assert_memory_equal(hash, m.hashes.sha256, 32);
    sha256_of(&e, "{}", 2, hash);
    assert_memory_equal(hash, m.tokenizer.sha256, 32);
    manifest_free(&m);
}

static void keep_stores_the_sources_bytes(void **state) {
    (void)state;
    source s;
    made p;
    open_source(&s, fixture);
    make_good(&p, &s, TARGET_KEEP, 0);
    const manifest *m = convert_manifest(p.c);
    uint32_t same = 0;
    for (uint32_t i = 0; i < m->tensor_count; i++) {
        if (!roles[m->tensors[i].role].matrix) continue;
        uint8_t *bytes = stored(&p, &m->tensors[i]);
        assert_int_equal(m->tensors[i].bytes, s.tensors[i].bytes);
        assert_memory_equal(bytes, s.data + s.tensors[i].offset, (size_t)s.tensors[i].bytes);
        free(bytes);
        same++;
    }
    assert_int_equal(same, 15);
    check_against_source(&p, &s);
    check_hashes(&p);
    assert_int_equal(convert_source_bytes(p.c, 0), 0);
    assert_int_equal(convert_source_bytes(p.c, convert_blocks(p.c)), 311936);
    drop(&p);
    close_source(&s);
}

static void every_target_decodes_to_the_source(void **state) {
    (void)state;
    source s;
    open_source(&s, fixture);
    for (uint32_t target = 0; target < TARGET_COUNT; target++) {
        made p;
        make_good(&p, &s, (convert_target)target, 0);
        check_against_source(&p, &s);
        check_hashes(&p);
        drop(&p);
    }
    close_source(&s);
}

/* Tensors cross many small shards; what is stored does not depend on the cuts. */
static void shards_of_any_size_hold_the_same_tensors(void **state) {
    (void)state;
    static const uint64_t sizes[] = {4096, 12288, 40960, 1 << 20};
    source s;
    made whole;
    open_source(&s, fixture);
    make_good(&whole, &s, TARGET_Q8_0, 0);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        made p;
        make_good(&p, &s, TARGET_Q8_0, sizes[i]);
        const manifest *m = convert_manifest(p.c);
        for (uint32_t t = 0; t < m->tensor_count; t++) {
            uint8_t *a = stored(&p, &m->tensors[t]);
            uint8_t *b = stored(&whole, &convert_manifest(whole.c)->tensors[t]);
            assert_memory_equal(a, b, (size_t)m->tensors[t].bytes);
            free(a);
            free(b);
        }
        check_hashes(&p);
        assert_true(m->shard_count == 1 || m->shards[0].bytes == sizes[i]);
        drop(&p);
    }
    drop(&whole);
    close_source(&s);
}

/* Several blocks a shard, the last of 4,096 bytes; heads of 64 rows whose rows change places lie
 * across blocks. */
static void open_blocks(source *s) {
    plan_only(s, 2, false);
    s->model.vocab = 6000;
    s->model.dim = 288;
    s->model.hidden = 1056;
    list_roles(s);
    s->data = malloc(s->bytes);
    for (size_t i = 0; i < s->bytes / 2; i++) {          /* bf16 of all magnitudes below 2 */
        uint16_t bits = (uint16_t)(i * 40503u % 0x8000 % 0x4000 | (i & 1) << 15);
        memcpy(s->data + i * 2, &bits, 2);
    }
    for (uint32_t i = 0; i < s->count; i++)
        if (s->tensors[i].role == ROLE_ATTN_Q || s->tensors[i].role == ROLE_ATTN_K)
            s->tensors[i].interleaved_head = 64;
}

/* What threads of a host do: two parts, blocks in disorder, some of them twice. */
static void blocks_depend_on_nothing_but_their_index(void **state) {
    (void)state;
    static const convert_target targets[] = {TARGET_KEEP, TARGET_Q4_K_M, TARGET_F32};
    source s;
    error e = {0};
    open_blocks(&s);
    for (size_t t = 0; t < sizeof targets / sizeof *targets; t++) {
        made whole, p = {0};
        convert_part *parts[2];
        convert_input input = input_of(&s, targets[t], (3 << 20) + 4096);
        assert_int_equal(make(&e, &whole, &s, &input), DOPPLER_OK);
        assert_int_equal(convert_create(&e, &input, &p.c), DOPPLER_OK);
        uint64_t blocks = convert_blocks(p.c);
        assert_in_range(blocks, 5, 40);
        p.shards = calloc(convert_manifest(p.c)->shard_count, sizeof *p.shards);
        for (int i = 0; i < 2; i++)
            assert_int_equal(convert_part_create(&e, p.c, &parts[i]), DOPPLER_OK);
        for (uint64_t k = 0; k < blocks; k++) {              /* from both ends */
            uint64_t index = k % 2 ? blocks - 1 - k / 2 : k / 2;
            uint64_t at = convert_block(p.c, index).offset;
            uint64_t end = k % 3 == 0 && index + 2 < blocks ? index + 2 : index + 1;
            assert_int_equal(make_blocks(&e, &p, &s, parts[k % 5 > 2], index, end, &at),
                             DOPPLER_OK);
        }
        assert_int_equal(finish(&e, &p), DOPPLER_OK);
        assert_memory_equal(convert_package_id(p.c), convert_package_id(whole.c), 32);
        for (int i = 0; i < 2; i++) convert_part_destroy(parts[i]);
        drop(&p);
        drop(&whole);
    }
    close_source(&s);
}

/* A resumed conversion trusts blocks of an equal plan only. */
static void plans_that_differ_are_described_apart(void **state) {
    (void)state;
    source s;
    error e = {0};
    convert *c;
    text texts[6] = {{0}};
    weight_format q6 = FORMAT_Q6_K;
    open_blocks(&s);
    for (uint32_t i = 0; i < 6; i++) {
        convert_input input = input_of(&s, i == 2 ? TARGET_F16 : TARGET_Q8_0,
                                       i == 3 ? 1 << 20 : 2 << 20);
        if (i == 4) input.head = &q6;
        if (i == 5) s.tensors[3].offset += 2;
        assert_int_equal(convert_create(&e, &input, &c), DOPPLER_OK);
        convert_describe(c, &texts[i]);
        convert_destroy(c);
    }
    assert_string_equal(texts[0].data, texts[1].data);
    for (uint32_t i = 2; i < 6; i++) assert_string_not_equal(texts[0].data, texts[i].data);
    for (uint32_t i = 0; i < 6; i++) text_free(&texts[i]);
    close_source(&s);
}

static void same_input_gives_the_same_package(void **state) {
    (void)state;
    source s;
    made a, b, other;
    open_source(&s, fixture);
    make_good(&a, &s, TARGET_Q4_K_M, 8192);
    make_good(&b, &s, TARGET_Q4_K_M, 8192);
    assert_memory_equal(convert_package_id(a.c), convert_package_id(b.c), 32);
    memcpy(s.data + s.tensors[3].offset, &(uint16_t){0x4000}, 2);      /* 2, much larger */
    make_good(&other, &s, TARGET_Q4_K_M, 8192);
    assert_memory_not_equal(convert_package_id(a.c), convert_package_id(other.c), 32);
    drop(&a);
    drop(&b);
    drop(&other);
    close_source(&s);
}

/* Biases of 16, which is no whole run: the fixture's vectors are all longer. */
static void short_vectors_are_stored(void **state) {
    (void)state;
    source s = {0};
    made p;
    plan_only(&s, 1, true);
    s.model.attention_bias = s.model.attention_out_bias = true;
    s.model.kv_heads = 1;
    s.model.head_dim = 16;
    s.model.heads = 2;
    list_roles(&s);
    s.data = malloc(s.bytes);
    for (size_t i = 0; i < s.bytes / 2; i++) {      /* bf16 from 1 to 3.97 */
        uint16_t bits = (uint16_t)(0x3F80 + i % 255);
        memcpy(s.data + i * 2, &bits, 2);
    }
    make_good(&p, &s, TARGET_Q8_0, 4096);
    check_against_source(&p, &s);
    check_hashes(&p);
    drop(&p);
    close_source(&s);
}

/* llama.cpp's order of the rows of Q and K: heads of 8 rows (of numbers, in a bias) whose halves,
 * which rotate together, alternate. Stored by keep (f32, q8_0) and decoded. */
static void interleaved_heads_are_put_back(void **state) {
    (void)state;
    source s = {0};
    made p;
    plan_only(&s, 1, true);
    s.model.attention_bias = true;
    s.model.kv_heads = 1;
    s.model.heads = 4;
    s.model.head_dim = 8;
    list_roles(&s);
    s.bytes = 0;
    for (uint32_t i = 0; i < s.count; i++) {
        source_tensor *t = &s.tensors[i];
        bool q = t->role == ROLE_ATTN_Q;
        t->type = q ? SOURCE_Q8_0 : SOURCE_F32;
        t->bytes = q ? t->rows * t->cols / 32 * 34 : t->rows * t->cols * 4;
        t->offset = s.bytes;
        s.bytes += (size_t)t->bytes;
        if (q || t->role == ROLE_ATTN_K || t->role == ROLE_ATTN_Q_BIAS ||
            t->role == ROLE_ATTN_K_BIAS)
            t->interleaved_head = 8;
    }
    s.data = calloc(1, s.bytes);
    for (uint32_t i = 0; i < s.count; i++) {             /* row r holds r (a vector: i at i) */
        const source_tensor *t = &s.tensors[i];
        for (uint32_t k = 0; k < t->rows * t->cols && t->type == SOURCE_F32; k++) {
            float value = (float)(t->rows > 1 ? k / t->cols : k);
            memcpy(s.data + t->offset + 4 * k, &value, 4);
        }
        for (uint32_t b = 0; b < t->bytes / 34 && t->type == SOURCE_Q8_0; b++) {
            char *block = s.data + t->offset + 34 * b;
            block[1] = 0x3C;                             /* d = 1 */
            memset(block + 2, (int)(b / (t->cols / 32)), 32);
        }
    }
    make_good(&p, &s, TARGET_KEEP, 0);
    const manifest *m = convert_manifest(p.c);
    for (uint32_t i = 0; i < m->tensor_count; i++) {
        static const uint32_t was[8] = {0, 2, 4, 6, 1, 3, 5, 7};
        const rdrr_tensor *t = &m->tensors[i];
        uint8_t *bytes = stored(&p, t);
        float row[512];
        bool matrix = t->rows > 1, moved = s.tensors[i].interleaved_head;
        for (uint32_t r = 0; r < t->rows; r++) {
            if (matrix) weights_decode(t->format, bytes + r * (t->bytes / t->rows), t->cols, row);
            else memcpy(row, bytes, t->cols * 4);
            for (uint32_t c = 0; c < t->cols; c++) {
                uint32_t at = matrix ? r : c, from = moved ? at / 8 * 8 + was[at % 8] : at;
                if (row[c] != (float)from)
                    fail_msg("%s[%u, %u]: %g", t->name, r, c, (double)row[c]);
            }
        }
        free(bytes);
    }
    drop(&p);
    close_source(&s);
}

/* ---- formats */

static weight_format planned(const source *s, convert_target target, tensor_role role,
                             uint32_t layer) {
    convert *c;
    error e = {0};
    convert_input input = input_of(s, target, 0);
    assert_int_equal(convert_create(&e, &input, &c), DOPPLER_OK);
    const manifest *m = convert_manifest(c);
    uint32_t i = 0;
    while (m->tensors[i].role != role || m->tensors[i].layer != layer) i++;
    weight_format format = m->tensors[i].format;
    convert_destroy(c);
    return format;
}

/* A layer with rows of 96, 288 and 1152 weights: the last block of 256 is stored, padded. */
static void short_rows_are_padded_to_whole_blocks(void **state) {
    (void)state;
    static const convert_target targets[] = {TARGET_Q4_K_M, TARGET_MXFP4, TARGET_Q8_0};
    static const struct { tensor_role role; uint64_t bytes[3]; } known[] = {
        {ROLE_EMBEDDING, {64 * 1056, 64 * 1056, 64 * 1232}},     /* q6_k, q6_k, q8_0 of 1152 */
        {ROLE_ATTN_Q, {96 * 720, 96 * 624, 96 * 1232}},          /* q4_k, mxfp4, q8_0 of 1152 */
        {ROLE_ATTN_O, {1152 * 144, 1152 * 64, 1152 * 112}},      /* of 96 */
        {ROLE_FFN_DOWN, {1152 * 432, 1152 * 160, 1152 * 320}},   /* q6_k, mxfp4, q8_0 of 288 */
    };
    source s = {0};
    uint64_t seed = 1;
    plan_only(&s, 1, true);
    s.model.dim = 1152;
    s.model.hidden = 288;
    s.model.heads = 3;
    s.model.kv_heads = 1;
    s.model.head_dim = 32;
    list_roles(&s);
    s.data = malloc(s.bytes);
    for (size_t i = 0; i < s.bytes / 2; i++) {               /* bf16, roughly normal */
        float sum = -2.0f;
        for (int j = 0; j < 4; j++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            sum += (float)(seed >> 40) * 0x1p-24f;
        }
        uint32_t bits;
        memcpy(&bits, &sum, sizeof bits);
        uint16_t half = (uint16_t)(bits >> 16);
        memcpy(s.data + i * 2, &half, sizeof half);
    }
    for (size_t t = 0; t < sizeof targets / sizeof *targets; t++) {
        made p;
        make_good(&p, &s, targets[t], 0);
        check_against_source(&p, &s);
        check_hashes(&p);
        const manifest *m = convert_manifest(p.c);
        for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
            uint32_t i = 0;
            while (m->tensors[i].role != known[k].role) i++;
            assert_int_equal(m->tensors[i].cols, s.tensors[i].cols);
            assert_int_equal(m->tensors[i].bytes, known[k].bytes[t]);
        }
        drop(&p);
    }
    close_source(&s);
}

static void mxfp4_leaves_embedding_and_head_alone(void **state) {
    (void)state;
    source s;
    plan_only(&s, 3, false);
    for (tensor_role role = 0; role < ROLE_COUNT; role++) {
        uint32_t rows, cols;
        if (!model_role_shape(&s.model, role, &rows, &cols)) continue;
        weight_format want = !roles[role].matrix ? FORMAT_F32
                             : role == ROLE_EMBEDDING ? FORMAT_BF16
                             : role == ROLE_HEAD ? FORMAT_Q6_K : FORMAT_MXFP4;
        assert_int_equal(planned(&s, TARGET_MXFP4, role, 0), want);
    }
    close_source(&s);
    plan_only(&s, 3, true);
    assert_int_equal(planned(&s, TARGET_MXFP4, ROLE_EMBEDDING, 0), FORMAT_Q6_K);
    close_source(&s);
}

/* The types that llama.cpp gave attn_v and ffn_down of models with 3, 8 and 32 layers. */
static void q4_k_m_is_the_known_mixture(void **state) {
    (void)state;
    static const struct { uint32_t layers; const char *q6; } cases[] = {
        {3, "001"}, {8, "10010011"}, {32, "11110010010010010010010010011111"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        source s;
        plan_only(&s, cases[i].layers, false);
        for (uint32_t layer = 0; layer < cases[i].layers; layer++) {
            weight_format want = cases[i].q6[layer] == '1' ? FORMAT_Q6_K : FORMAT_Q4_K;
            assert_int_equal(planned(&s, TARGET_Q4_K_M, ROLE_ATTN_V, layer), want);
            assert_int_equal(planned(&s, TARGET_Q4_K_M, ROLE_FFN_DOWN, layer), want);
            assert_int_equal(planned(&s, TARGET_Q4_K_M, ROLE_ATTN_K, layer), FORMAT_Q4_K);
        }
        assert_int_equal(planned(&s, TARGET_Q4_K_M, ROLE_HEAD, 0), FORMAT_Q6_K);
        assert_int_equal(planned(&s, TARGET_Q4_K_M, ROLE_EMBEDDING, 0), FORMAT_BF16);
        close_source(&s);
        plan_only(&s, cases[i].layers, true);
        assert_int_equal(planned(&s, TARGET_Q4_K_M, ROLE_EMBEDDING, 0), FORMAT_Q6_K);
        close_source(&s);
    }
}

static void embedding_and_head_have_formats_of_their_own(void **state) {
    (void)state;
    static const weight_format q8 = FORMAT_Q8_0, f16 = FORMAT_F16;
    source s, untied;
    error e = {0};
    open_source(&s, fixture);                            /* a tied one */
    plan_only(&untied, 1, false);
    for (uint32_t target = 0; target < TARGET_COUNT; target++) {
        made p;
        convert *c;
        convert_input input = input_of(&s, (convert_target)target, 0);
        input.embeddings = &q8;
        assert_int_equal(make(&e, &p, &s, &input), DOPPLER_OK);
        check_against_source(&p, &s);
        assert_int_equal(convert_manifest(p.c)->tensors[0].role, ROLE_EMBEDDING);
        assert_int_equal(convert_manifest(p.c)->tensors[0].format, FORMAT_Q8_0);
        drop(&p);
        input = input_of(&untied, (convert_target)target, 0);
        input.head = &f16;
        assert_int_equal(convert_create(&e, &input, &c), DOPPLER_OK);
        const manifest *m = convert_manifest(c);
        for (uint32_t i = 0; i < m->tensor_count; i++) {
            const rdrr_tensor *t = &m->tensors[i];
            weight_format want = t->role == ROLE_HEAD ? FORMAT_F16
                                 : planned(&untied, (convert_target)target, t->role, 0);
            assert_int_equal(t->format, want);
        }
        convert_destroy(c);
    }
    close_source(&s);
    close_source(&untied);
}

/* ---- failures */

static void numbers_that_do_not_fit_are_named(void **state) {
    (void)state;
    static const struct { uint16_t bits; convert_target target; bool fits; } cases[] = {
        {0x7F80, TARGET_KEEP, true},       /* infinity, bit for bit */
        {0x7F80, TARGET_F32, false},
        {0x7FC0, TARGET_Q8_0, false},      /* NaN */
        {0x4780, TARGET_F16, false},       /* 65536 */
        {0x4780, TARGET_F32, true},
        {0x477F, TARGET_F16, true},        /* 65280 */
        {0xC780, TARGET_Q4_K_M, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        source s;
        made p;
        error e;
        open_source(&s, fixture);
        const source_tensor *t = &s.tensors[2];    /* attn_q of layer 0: [128, 64] */
        memcpy(s.data + t->offset + (5 * 64 + 7) * 2, &cases[i].bits, 2);
        convert_input input = input_of(&s, cases[i].target, 0);
        doppler_status status = make(&e, &p, &s, &input);
        assert_int_equal(status, cases[i].fits ? DOPPLER_OK : DOPPLER_BAD_FILE);
        if (status) {
            assert_non_null(strstr(e.message, "layers.0.self_attn.q_proj.weight"));
            assert_non_null(strstr(e.message, "row 5, column 7"));
        }
        drop(&p);
        close_source(&s);
    }
}

static void bad_arguments_are_refused(void **state) {
    (void)state;
    source s;
    error e = {0};
    convert *c;
    open_source(&s, fixture);
    convert_input input = input_of(&s, TARGET_KEEP, 5000);
    assert_int_equal(convert_create(&e, &input, &c), DOPPLER_BAD_ARGUMENT);
    assert_non_null(strstr(e.message, "5000"));
    input = input_of(&s, TARGET_KEEP, 0);
    input.tokenizer_bytes = 0;
    assert_int_equal(convert_create(&e, &input, &c), DOPPLER_BAD_ARGUMENT);
    assert_null(c);
    close_source(&s);
    weight_format f16 = FORMAT_F16;
    plan_only(&s, 1, true);
    input = input_of(&s, TARGET_KEEP, 0);
    input.head = &f16;
    assert_int_equal(convert_create(&e, &input, &c), DOPPLER_BAD_ARGUMENT);
    assert_non_null(strstr(e.message, "head is its embedding"));
    close_source(&s);
}

/* ---- ../shared */

static void larger_models_keep_their_bytes(void **state) {
    (void)state;
    static const char *const folders[] = {"../shared/models/stories", "../shared/models/llama3"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        if (!storage_exists(folders[i], "model.safetensors")) {
            print_message("skipped: %s is absent\n", folders[i]);
            skip();
        }
        source s;
        made p;
        open_source(&s, folders[i]);
        make_good(&p, &s, TARGET_KEEP, 16 << 20);
        check_against_source(&p, &s);
        check_hashes(&p);
        drop(&p);
        close_source(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keep_stores_the_sources_bytes),
        cmocka_unit_test(every_target_decodes_to_the_source),
        cmocka_unit_test(shards_of_any_size_hold_the_same_tensors),
        cmocka_unit_test(blocks_depend_on_nothing_but_their_index),
        cmocka_unit_test(plans_that_differ_are_described_apart),
        cmocka_unit_test(same_input_gives_the_same_package),
        cmocka_unit_test(short_vectors_are_stored),
        cmocka_unit_test(interleaved_heads_are_put_back),
        cmocka_unit_test(short_rows_are_padded_to_whole_blocks),
        cmocka_unit_test(mxfp4_leaves_embedding_and_head_alone),
        cmocka_unit_test(q4_k_m_is_the_known_mixture),
        cmocka_unit_test(embedding_and_head_have_formats_of_their_own),
        cmocka_unit_test(numbers_that_do_not_fit_are_named),
        cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(larger_models_keep_their_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
