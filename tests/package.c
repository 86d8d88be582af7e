/* package.c - see package.h. */
#include "tests/package.h"
#include "doppler.h"
#include "tokenizer/tokenizer.h"
#include <stdio.h>
#include <string.h>

enum { MOST_SHARDS = 4096, MOST_EXPERTS = MODEL_MAX_EXPERTS + 1 };
enum { PROMPT = 3, ANSWER = 2, NAME_BYTES = 32 };

const char package_tokenizer[] =
    "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": []},"
    " \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": ["
    "{\"type\": \"Split\", \"behavior\": \"Isolated\", \"pattern\": {\"Regex\": \""
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}|"
    " ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}},"
    " {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false}]},"
    " \"decoder\": {\"type\": \"ByteLevel\"}}";

/* package_tokenizer as packages hold it; empty when out of memory. */
static text compiled_tokenizer(void) {
    text out = {0};
    error e = {0};
    tokenizer *t;
    if (!tokenizer_read_json(&e, package_tokenizer, strlen(package_tokenizer), &t))
        tokenizer_compile(t, &out);
    tokenizer_close(t);
    return out;
}

/* ---- description */

/* Whether a tensor that starts at `at` of the stream of shards gets spans. */
static bool has_room(const rdrr_tensor *t, uint64_t at, uint64_t shard_bytes) {
    uint64_t end = at + t->bytes;
    return t->bytes > 0 && end > at && (end - 1) / shard_bytes < MOST_SHARDS;
}

static bool cut_spans(manifest *m, rdrr_tensor *t, uint64_t at, uint64_t shard_bytes) {
    uint64_t end = at + t->bytes;
    size_t count = (size_t)((end - 1) / shard_bytes - at / shard_bytes + 1);
    t->spans = arena_array(&m->memory, count, sizeof *t->spans);
    while (t->spans && at < end) {
        uint64_t room = shard_bytes - at % shard_bytes;
        uint64_t bytes = end - at < room ? end - at : room;
        t->spans[t->span_count++] = (rdrr_span){(uint32_t)(at / shard_bytes), at % shard_bytes,
                                                bytes};
        at += bytes;
    }
    return t->spans != NULL;
}

static void add_tensor(manifest *m, tensor_role role, uint32_t layer, uint32_t expert,
                       weight_format format) {
    rdrr_tensor *t = &m->tensors[m->tensor_count++];
    *t = (rdrr_tensor){.name = "t", .role = role, .layer = layer, .expert = expert};
    model_role_shape(&m->model, role, &t->rows, &t->cols);
    bool stored = roles[role].matrix && role != ROLE_ROUTER && format_suits(t->cols);
    t->format = stored ? format : FORMAT_F32;
    t->bytes = stored ? t->rows * format_row_bytes(format, t->cols)
                      : (uint64_t)t->rows * t->cols * 4;
}

/* All tensors but those of experts, then these: a group each. False: out of memory. */
static bool add_tensors(manifest *m, weight_format format) {
    const model_config *c = &m->model;
    uint32_t experts = c->experts < MOST_EXPERTS ? c->experts : MOST_EXPERTS, rows, cols;
    m->tensors = arena_array(&m->memory, (size_t)(ROLE_COUNT + 3 * experts) * (c->layers + 1),
                             sizeof *m->tensors);
    if (!m->tensors) return false;
    for (tensor_role role = 0; role < ROLE_COUNT; role++) {
        uint32_t layers = roles[role].per_layer ? c->layers : 1;
        if (!model_role_shape(c, role, &rows, &cols) || model_role_in_expert(c, role)) continue;
        for (uint32_t layer = 0; layer < layers; layer++) add_tensor(m, role, layer, 0, format);
    }
    for (uint32_t layer = 0; layer < c->layers; layer++)
        for (uint32_t expert = 0; expert < experts; expert++)
            for (tensor_role role = ROLE_FFN_GATE; role <= ROLE_FFN_DOWN; role++)
                add_tensor(m, role, layer, expert, format);
    return true;
}

/* Where tensor i starts, `at` or behind: large groups, and what follows them, start blocks. */
static uint64_t start_of(const manifest *m, uint32_t i, uint64_t at, uint64_t shard_bytes) {
    const rdrr_tensor *t = &m->tensors[i];
    if (!model_role_in_expert(&m->model, t->role) || t->role != ROLE_FFN_GATE) return at;
    bool is_large = rdrr_group_bytes(t->bytes, t[1].bytes, t[2].bytes) >= RDRR_BLOCK_BYTES;
    return is_large ? rdrr_next_block(at, shard_bytes) : at;
}

static bool add_shards(manifest *m, uint64_t bytes, uint64_t shard_bytes) {
    uint64_t count = (bytes - 1) / shard_bytes + 1, blocks = 0;
    m->shards = arena_array(&m->memory, (size_t)count, sizeof *m->shards);
    if (!m->shards) return false;
    for (uint32_t i = 0; i < count; i++) {
        char name[NAME_BYTES];
        int length = snprintf(name, sizeof name, "shard_%05u.bin", i);
        uint64_t left = bytes - i * shard_bytes;
        m->shards[i] = (rdrr_file){.file = arena_text(&m->memory, name, (size_t)length),
                                   .bytes = left < shard_bytes ? left : shard_bytes};
        if (!m->shards[i].file) return false;
        blocks += rdrr_block_count(m->shards[i].bytes);
    }
    m->shard_count = (uint32_t)count;
    m->hashes = (rdrr_file){.file = RDRR_HASHES, .bytes = blocks * RDRR_HASH_BYTES};
    return true;
}

bool package_describe(const model_config *model, weight_format format, uint64_t shard_bytes,
                      manifest *m) {
    text tokenizer = compiled_tokenizer();
    *m = (manifest){.model = *model, .name = "noise", .quantization = "keep", .chat_template = "",
                    .source = "tests", .producer = "tests",
                    .tokenizer = {.file = RDRR_TOKENIZER, .bytes = tokenizer.bytes}};
    text_free(&tokenizer);
    if (!add_tensors(m, format)) return false;
    uint64_t at = 0, end = 1;
    for (uint32_t i = 0; i < m->tensor_count; i++) {
        at = start_of(m, i, at, shard_bytes);
        if (!has_room(&m->tensors[i], at, shard_bytes)) continue;
        if (!cut_spans(m, &m->tensors[i], at, shard_bytes)) return false;
        end = at + m->tensors[i].bytes;
        at = (end + RDRR_ALIGN - 1) / RDRR_ALIGN * RDRR_ALIGN;
    }
    return add_shards(m, end, shard_bytes);
}

/* ---- run */

typedef struct answer { bool done; doppler_status status; } answer;

static void take_answer(doppler_status status, void *user) {
    *(answer *)user = (answer){true, status};
}

static bool take_token(uint32_t id, const char *text, size_t bytes, void *user) {
    (void)id, (void)text, (void)bytes, (void)user;
    return true;
}

static doppler_status wait(doppler *d, const answer *a) {
    while (!a->done) doppler_poll(d);
    return a->status;
}

/* Noise with small exponents and large: every bit pattern may be a weight. */
static void fill_noise(uint8_t *to, size_t bytes, uint32_t *seed) {
    for (size_t i = 0; i < bytes; i++) {
        *seed = *seed * 1664525 + 1013904223;
        to[i] = (uint8_t)(*seed >> 24);
    }
}

static void serve(const doppler_request *q, const text *tokenizer, uint32_t *seed) {
    bool is_tokenizer = strcmp(q->file, RDRR_TOKENIZER) == 0;
    for (uint32_t i = 0; i < q->segment_count; i++) {
        const doppler_segment *s = &q->segments[i];
        fill_noise(s->host, s->bytes, seed);
        if (is_tokenizer && s->bytes == tokenizer->bytes)
            memcpy(s->host, tokenizer->data, s->bytes);
    }
}

static doppler_status load(doppler *d, doppler_model *model, const text *tokenizer) {
    uint32_t seed = 1;
    for (;;) {
        doppler_request request;
        switch (doppler_model_next(model, &request)) {
        case DOPPLER_NEXT_REQUEST:
            serve(&request, tokenizer, &seed);
            doppler_model_fed(model, request.id, DOPPLER_OK, NULL);
            break;
        case DOPPLER_NEXT_WAIT: doppler_poll(d); break;
        case DOPPLER_NEXT_READY: return DOPPLER_OK;
        case DOPPLER_NEXT_FAILED: return doppler_last_status(d);
        }
    }
}

static doppler_status run_session(doppler *d, doppler_model *model, const package_session *p) {
    const doppler_session_options options = {.context = p->context, .chunk = p->chunk,
                                             .kv = p->kv};
    const doppler_sampling sampling = {.temperature = p->temperature, .top_p = 0.9f,
                                       .repetition_penalty = p->temperature > 0 ? 1.1f : 0};
    doppler_session *s;
    answer a = {0};
    doppler_status status = doppler_session_create(model, &options, &s, take_answer, &a);
    if (!status) status = wait(d, &a);
    uint32_t ids[PROMPT];
    for (uint32_t i = 0; i < PROMPT; i++) ids[i] = (i * 7 + 1) % doppler_model_vocab(model);
    uint32_t count = status || PROMPT < doppler_session_context(s) ? PROMPT
                                                                   : doppler_session_context(s);
    if (!status) {
        a.done = false;
        status = doppler_generate(s, ids, count, &sampling, ANSWER, take_token, take_answer, &a);
        if (!status) status = wait(d, &a);
        if (status == DOPPLER_CONTEXT_FULL) status = DOPPLER_OK;
    }
    if (!status && count > 1) {
        float nll[PROMPT];
        a.done = false;
        status = doppler_score(s, ids, count, nll, take_answer, &a);
        if (!status) status = wait(d, &a);
    }
    doppler_session_destroy(s);
    return status;
}

package_result package_run(const char *json, size_t bytes, const package_session *sessions,
                           size_t count) {
    package_result r = {0};
    doppler_model *model = NULL;
    text tokenizer = compiled_tokenizer();
    doppler *d = doppler_create(NULL);
    r.status = d ? doppler_model_create(d, json, bytes, &model) : DOPPLER_NO_MEMORY;
    if (!r.status) r.status = load(d, model, &tokenizer);
    for (size_t i = 0; i < count && !r.status; i++) r.status = run_session(d, model, &sessions[i]);
    if (d) snprintf(r.message, sizeof r.message, "%s", doppler_message(d));
    doppler_model_destroy(model);
    doppler_destroy(d);
    text_free(&tokenizer);
    return r;
}
