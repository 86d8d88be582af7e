/* convert.c - plans a package, and makes the files behind the blocks.
 *
 * The tensors form one stream of bytes, each starting at a multiple of RDRR_ALIGN with zeros
 * before it; an expert of a block or more, and what follows it, start at a block. Shards are equal
 * cuts of that stream and blocks are cuts of a shard. */
#include "loader/convert_plan.h"
#include "loader/quantize.h"
#include "loader/repack.h"
#include "memory/name.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SHARDS = 100000 };

const char *const convert_targets[TARGET_COUNT] = {
    [TARGET_KEEP] = "keep", [TARGET_F32] = "f32",   [TARGET_F16] = "f16",
    [TARGET_BF16] = "bf16", [TARGET_Q8_0] = "q8_0", [TARGET_Q4_K_M] = "q4_k_m",
    [TARGET_MXFP4] = "mxfp4"};

/* ---- plan */

/* Layers whose attn_v and ffn_down get more bits: the first and last eighth, and every third
 * between. llama.cpp, src/llama-quant.cpp, use_more_bits. */
static bool more_bits(uint32_t layer, uint32_t layers) {
    return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

/* Q4_K_M is llama.cpp's mixture (llama_tensor_get_type, LLAMA_FTYPE_MOSTLY_Q4_K_M), but what it has
 * in Q5_K, the attention's output where there are 8 experts, is Q6_K. */
static weight_format mixture_format(const model_config *m, const source_tensor *s) {
    bool is_8 = m->experts == 8;
    if (is_8 && (s->role == ROLE_ATTN_K || s->role == ROLE_ATTN_V)) return FORMAT_Q8_0;
    if (is_8 && s->role == ROLE_ATTN_O) return FORMAT_Q6_K;
    bool is_mixed = s->role == ROLE_ATTN_V || s->role == ROLE_FFN_DOWN;
    return is_mixed && more_bits(s->layer, m->layers) ? FORMAT_Q6_K : FORMAT_Q4_K;
}

/* MXFP4 beside experts is theirs alone, as in llama.cpp's LLAMA_FTYPE_MOSTLY_MXFP4_MOE. */
static weight_format mxfp4_format(const model_config *m, const source_tensor *s) {
    return m->experts && !model_role_in_expert(m, s->role) ? FORMAT_Q8_0 : FORMAT_MXFP4;
}

/* Both mixtures leave the embedding, of which only one row is read per token, in bf16 where it is
 * not the head as well, and what is MXFP4 already as it is. Vectors are f32 always; routers, which
 * decide, keep their floats. */
static weight_format wanted_format(const convert_input *in, const source_tensor *s) {
    static const weight_format plain[TARGET_COUNT] = {
        [TARGET_F32] = FORMAT_F32, [TARGET_F16] = FORMAT_F16, [TARGET_BF16] = FORMAT_BF16,
        [TARGET_Q8_0] = FORMAT_Q8_0};
    const model_config *m = in->model;
    weight_format kept = repack_format(s->type);
    if (!roles[s->role].matrix) return FORMAT_F32;
    if (s->role == ROLE_ROUTER) return formats[kept].block_weights == 1 ? kept : FORMAT_F32;
    if (s->role == ROLE_EMBEDDING && in->embeddings) return *in->embeddings;
    if (s->role == ROLE_HEAD && in->head) return *in->head;
    if (in->target == TARGET_KEEP) return kept;
    if (in->target != TARGET_Q4_K_M && in->target != TARGET_MXFP4) return plain[in->target];
    if (s->role == ROLE_EMBEDDING) return m->tied_head ? FORMAT_Q6_K : FORMAT_BF16;
    if (s->role == ROLE_HEAD) return FORMAT_Q6_K;
    if (kept == FORMAT_MXFP4) return kept;
    return in->target == TARGET_Q4_K_M ? mixture_format(m, s) : mxfp4_format(m, s);
}

static uint64_t align_up(uint64_t bytes) {
    return (bytes + RDRR_ALIGN - 1) / RDRR_ALIGN * RDRR_ALIGN;
}

/* Whether source i is of an expert that has blocks of its own: its three matrices stand together,
 * gate, up and down. */
static bool has_own_blocks(const convert *c, uint32_t i) {
    const source_tensor *s = &c->input.sources[i];
    uint64_t bytes[3];
    if (!model_role_in_expert(c->input.model, s->role)) return false;
    s -= s->role - ROLE_FFN_GATE;
    for (uint32_t j = 0; j < 3; j++)
        bytes[j] = rdrr_tensor_bytes(s[j].role, wanted_format(&c->input, &s[j]), s[j].rows,
                                     s[j].cols);
    return rdrr_group_bytes(bytes[0], bytes[1], bytes[2]) >= RDRR_BLOCK_BYTES;
}

/* Where tensor i starts in the stream, given where the one before it ends. */
static uint64_t find_start(const convert *c, uint32_t i) {
    bool own = has_own_blocks(c, i), begins = own && c->input.sources[i].role == ROLE_FFN_GATE;
    bool ended = i && !own && has_own_blocks(c, i - 1);
    return begins || ended ? rdrr_next_block(c->stream_bytes, c->shard_bytes)
                           : align_up(c->stream_bytes);
}

static bool plan_tensor(convert *c, uint32_t i) {
    const source_tensor *s = &c->input.sources[i];
    rdrr_tensor *t = &c->m.tensors[i];
    *t = (rdrr_tensor){
        .name = arena_text(&c->m.memory, s->name, strlen(s->name)),
        .role = s->role,
        .layer = s->layer,
        .expert = s->expert,
        .format = wanted_format(&c->input, s),
        .rows = s->rows,
        .cols = s->cols,
    };
    t->bytes = rdrr_tensor_bytes(t->role, t->format, t->rows, t->cols);
    c->starts[i] = find_start(c, i);
    c->stream_bytes = c->starts[i] + t->bytes;
    uint64_t first = c->starts[i] / c->shard_bytes, last = (c->stream_bytes - 1) / c->shard_bytes;
    if (last >= MAX_SHARDS) return true;          /* refused by plan_shards */
    t->spans = arena_array(&c->m.memory, (size_t)(last - first + 1), sizeof *t->spans);
    if (!t->spans || !t->name) return false;
    for (uint64_t at = c->starts[i]; at < c->stream_bytes;) {
        uint64_t offset = at % c->shard_bytes, room = c->shard_bytes - offset;
        uint64_t bytes = c->stream_bytes - at < room ? c->stream_bytes - at : room;
        t->spans[t->span_count++] = (rdrr_span){(uint32_t)(at / c->shard_bytes), offset, bytes};
        at += bytes;
    }
    return true;
}

static bool plan_shards(convert *c) {
    manifest *m = &c->m;
    m->shards = arena_array(&m->memory, m->shard_count, sizeof *m->shards);
    if (!m->shards) return false;
    c->shard_blocks = rdrr_block_count(c->shard_bytes);
    for (uint32_t i = 0; i < m->shard_count; i++) {
        char name[32];
        int bytes = snprintf(name, sizeof name, "shard_%05u.bin", i);
        m->shards[i].file = arena_text(&m->memory, name, (size_t)bytes);
        uint64_t left = c->stream_bytes - i * c->shard_bytes;
        m->shards[i].bytes = left < c->shard_bytes ? left : c->shard_bytes;
        c->blocks += rdrr_block_count(m->shards[i].bytes);
        if (!m->shards[i].file) return false;
    }
    m->hashes = (rdrr_file){.file = RDRR_HASHES, .bytes = c->blocks * RDRR_HASH_BYTES};
    c->hashes = arena_array(&m->memory, (size_t)c->blocks, RDRR_HASH_BYTES);
    return c->hashes != NULL;
}

/* The URL of each shard below each mirror. */
static doppler_status plan_mirrors(error *e, convert *c) {
    manifest *m = &c->m;
    uint32_t count = c->input.mirror_count;
    static const char no_memory[] = "URLs of %u shards";
    if (!count) return DOPPLER_OK;
    m->mirrors = arena_array(&m->memory, m->shard_count, sizeof *m->mirrors);
    if (!m->mirrors) return fail(e, DOPPLER_NO_MEMORY, no_memory, m->shard_count);
    for (uint32_t i = 0; i < m->shard_count; i++) {
        rdrr_mirrors *of = &m->mirrors[i];
        of->urls = arena_array(&m->memory, count, sizeof *of->urls);
        for (; of->urls && of->count < count; of->count++) {
            const char *base = c->input.mirrors[of->count], *file = m->shards[i].file;
            size_t bytes = strlen(base), room = bytes + strlen(file) + 2;
            char *url = arena_alloc(&m->memory, room);
            if (!url) return fail(e, DOPPLER_NO_MEMORY, no_memory, m->shard_count);
            bool ends = bytes && base[bytes - 1] == '/';
            snprintf(url, room, "%s%s%s", base, ends ? "" : "/", file);
            if (strchr(base, '?') || !name_is_url(url))
                return fail(e, DOPPLER_BAD_ARGUMENT, "mirror \"%.100s\" is no http or https URL of "
                            "a folder", base);
            of->urls[of->count] = url;
        }
        if (!of->urls) return fail(e, DOPPLER_NO_MEMORY, no_memory, m->shard_count);
    }
    return DOPPLER_OK;
}

source_rows convert_rows(const source_tensor *s) {
    const source_type_info *type = &source_types[s->type];
    source_rows r = {.together = s->interleaved_head && roles[s->role].matrix
                                     ? s->interleaved_head : 1};
    r.scale_bytes = (uint64_t)s->cols / type->block_weights * type->scale_bytes;
    r.row_bytes = s->bytes / s->rows - r.scale_bytes;
    r.row_step = s->row_step ? s->row_step : r.row_bytes;
    r.col_step = s->col_step ? s->col_step : type->block_bytes;
    r.scales_step = s->scales_step ? s->scales_step : r.scale_bytes;
    bool plain = type->block_weights == 1;
    bool is_loose = plain && r.col_step != type->block_bytes;
    r.is_turned = is_loose && r.col_step > r.row_step;
    r.is_close = !is_loose && r.row_step == r.row_bytes && !r.scale_bytes;
    r.span_bytes = is_loose ? (s->cols - 1) * r.col_step + type->block_bytes : r.row_bytes;
    r.in_bytes = r.is_turned ? s->cols * r.row_step : r.row_step + r.scales_step;
    return r;
}

/* What a part needs room for: the rows that must come together, one row as it is and as floats,
 * one stored row. */
static void plan_rows(convert *c) {
    c->in_bytes = CONVERT_READ_BYTES;
    for (uint32_t i = 0; i < c->m.tensor_count; i++) {
        const source_tensor *s = &c->input.sources[i];
        const rdrr_tensor *t = &c->m.tensors[i];
        source_rows r = convert_rows(s);
        uint32_t cols = (s->cols + CONVERT_RUN - 1) / CONVERT_RUN * CONVERT_RUN;
        uint64_t in_bytes = r.in_bytes * r.together, row_bytes = t->bytes / t->rows;
        uint64_t source_row_bytes = r.row_bytes + r.scale_bytes;
        if (in_bytes > c->in_bytes) c->in_bytes = in_bytes;
        if (source_row_bytes > c->source_row_bytes) c->source_row_bytes = source_row_bytes;
        if (row_bytes > c->row_bytes) c->row_bytes = row_bytes;
        if (cols > c->cols) c->cols = cols;
    }
}

static doppler_status check_input(error *e, const convert_input *in, uint64_t shard_bytes) {
    if (shard_bytes % RDRR_ALIGN || shard_bytes > INT64_MAX)
        return fail(e, DOPPLER_BAD_ARGUMENT, "shards of %" PRIu64 " bytes, wanted a multiple of %d",
                    shard_bytes, RDRR_ALIGN);
    if (!in->tokenizer_bytes || in->tokenizer_bytes > RDRR_MAX_TOKENIZER)
        return fail(e, DOPPLER_BAD_ARGUMENT, "a tokenizer of %zu bytes, 1 to %d are possible",
                    in->tokenizer_bytes, RDRR_MAX_TOKENIZER);
    if (in->mirror_count > RDRR_MAX_MIRRORS)
        return fail(e, DOPPLER_BAD_ARGUMENT, "%u mirrors, at most %d", in->mirror_count,
                    RDRR_MAX_MIRRORS);
    if (in->head && in->model->tied_head)
        return fail(e, DOPPLER_BAD_ARGUMENT, "a head in %s, but this model's head is its "
                    "embedding", formats[*in->head].name);
    return DOPPLER_OK;
}

static doppler_status plan(error *e, convert *c) {
    const convert_input *in = &c->input;
    manifest *m = &c->m;
    static const char no_memory[] = "conversion of %u tensors";
    c->shard_bytes = in->shard_bytes ? in->shard_bytes : RDRR_SHARD_BYTES;
    doppler_status status = check_input(e, in, c->shard_bytes);
    if (status) return status;
    m->model = *in->model;
    m->name = in->name;
    m->quantization = convert_targets[in->target];
    m->chat_template = in->chat_template;
    m->source = in->source;
    m->producer = "doppler " DOPPLER_VERSION;
    m->tokenizer = (rdrr_file){.file = RDRR_TOKENIZER, .bytes = in->tokenizer_bytes};
    m->tensors = arena_array(&m->memory, in->source_count, sizeof *m->tensors);
    c->starts = arena_array(&m->memory, in->source_count, sizeof *c->starts);
    if (!m->tensors || !c->starts)
        return fail(e, DOPPLER_NO_MEMORY, no_memory, in->source_count);
    for (; m->tensor_count < in->source_count; m->tensor_count++)
        if (!plan_tensor(c, m->tensor_count))
            return fail(e, DOPPLER_NO_MEMORY, no_memory, in->source_count);
    uint64_t shards = (c->stream_bytes - 1) / c->shard_bytes + 1;
    if (shards > MAX_SHARDS)
        return fail(e, DOPPLER_BAD_ARGUMENT, "%" PRIu64 " shards of %" PRIu64 " bytes, at most %d",
                    shards, c->shard_bytes, MAX_SHARDS);
    m->shard_count = (uint32_t)shards;
    plan_rows(c);
    if (!plan_shards(c))
        return fail(e, DOPPLER_NO_MEMORY, no_memory, in->source_count);
    if (m->hashes.bytes > RDRR_MAX_HASHES)
        return fail(e, DOPPLER_BAD_ARGUMENT, "%" PRIu64 " bytes of weights are too many for one "
                    "package", c->stream_bytes);
    return plan_mirrors(e, c);
}

doppler_status convert_create(error *e, const convert_input *input, convert **out) {
    assert(input->source_count && input->target < TARGET_COUNT);
    convert *c = *out = calloc(1, sizeof *c);
    if (!c) return fail(e, DOPPLER_NO_MEMORY, "conversion");
    c->input = *input;
    doppler_status status = plan(e, c);
    if (status) {
        convert_destroy(c);
        *out = NULL;
    }
    return status;
}

void convert_destroy(convert *c) {
    if (!c) return;
    manifest_free(&c->m);
    text_free(&c->json);
    free(c);
}

const manifest *convert_manifest(const convert *c) { return &c->m; }

void convert_describe(const convert *c, text *out) {
    manifest_write(&c->m, out);
    for (uint32_t i = 0; i < c->input.source_count; i++) {
        const source_tensor *s = &c->input.sources[i];
        text_format(out, "%s %s %" PRIu32 " %" PRIu64 " %" PRIu64 " %" PRIu32 " %g", s->name,
                    source_types[s->type].name, s->file, s->offset, s->bytes, s->interleaved_head,
                    (double)s->add);
        text_format(out, " %" PRIu64 " %" PRIu64 " %" PRIu32 " %" PRIu64 " %" PRIu64 "\n",
                    s->row_step, s->col_step, s->scales_file, s->scales_offset, s->scales_step);
    }
}

/* ---- blocks */

uint64_t convert_blocks(const convert *c) { return c->blocks; }

uint64_t convert_block_start(const convert *c, uint64_t index) {
    if (index == c->blocks) return c->stream_bytes;
    return index / c->shard_blocks * c->shard_bytes + index % c->shard_blocks * RDRR_BLOCK_BYTES;
}

convert_step convert_block(const convert *c, uint64_t index) {
    assert(index < c->blocks);
    rdrr_file *shard = &c->m.shards[index / c->shard_blocks];
    uint64_t offset = index % c->shard_blocks * RDRR_BLOCK_BYTES, left = shard->bytes - offset;
    return (convert_step){
        .action = CONVERT_WRITE,
        .file = shard->file,
        .offset = offset,
        .bytes = left < RDRR_BLOCK_BYTES ? (uint32_t)left : RDRR_BLOCK_BYTES,
        .block_sha256 = c->hashes + index * RDRR_HASH_BYTES,
        .file_sha256 = left <= RDRR_BLOCK_BYTES ? shard->sha256 : NULL,
    };
}

uint64_t convert_source_bytes(const convert *c, uint64_t index) {
    uint64_t bytes = 0, at = convert_block_start(c, index);
    for (uint32_t i = 0; i < c->m.tensor_count && c->starts[i] < at; i++) {
        uint64_t made = at - c->starts[i], all = c->m.tensors[i].bytes;
        double part = made < all ? (double)made / (double)all : 1;
        bytes += (uint64_t)(part * (double)c->input.sources[i].bytes);
    }
    return bytes;
}

/* ---- the other files */

static void write_whole(convert_step *step, const char *file, const void *data, uint64_t bytes,
                        uint8_t *sha256) {
    *step = (convert_step){
        .action = CONVERT_WRITE,
        .file = file,
        .bytes = (uint32_t)bytes,
        .from = data,
        .file_sha256 = sha256,
    };
}

doppler_status convert_next(error *e, convert *c, convert_step *step) {
    manifest *m = &c->m;
    switch (c->stage++) {
    case STAGE_TOKENIZER:
        write_whole(step, RDRR_TOKENIZER, c->input.tokenizer, m->tokenizer.bytes,
                    m->tokenizer.sha256);
        break;
    case STAGE_HASHES:
        write_whole(step, RDRR_HASHES, c->hashes, m->hashes.bytes, m->hashes.sha256);
        break;
    case STAGE_MANIFEST:
        manifest_write(m, &c->json);
        if (c->json.failed || c->json.bytes > RDRR_MAX_MANIFEST)
            return fail(e, DOPPLER_NO_MEMORY, RDRR_MANIFEST " of %u tensors in %u shards",
                        m->tensor_count, m->shard_count);
        write_whole(step, RDRR_MANIFEST, c->json.data, c->json.bytes, c->package_id);
        break;
    default:
        c->stage = STAGE_DONE;
        *step = (convert_step){.action = CONVERT_DONE};
    }
    return DOPPLER_OK;
}

const uint8_t *convert_package_id(const convert *c) { return c->package_id; }
