/* convert.c - plans a package and makes it, a few rows at a time.
 *
 * The tensors form one stream of bytes, each starting at a multiple of RDRR_ALIGN with zeros
 * before it; shards are equal cuts of that stream and blocks are cuts of a shard. Bytes flow
 * through `pending` (rows encoded, or zeros) into `block`, which leaves when it is full. */
#include "loader/convert.h"
#include "loader/quantize.h"
#include "loader/repack.h"
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { READ_BYTES = 1 << 20, MAX_SHARDS = 100000, RUN_WEIGHTS = 32, WIDEST_WEIGHT = 4 };

const char *const convert_targets[TARGET_COUNT] = {
    [TARGET_KEEP] = "keep", [TARGET_F32] = "f32",   [TARGET_F16] = "f16",
    [TARGET_BF16] = "bf16", [TARGET_Q8_0] = "q8_0", [TARGET_Q4_K_M] = "q4_k_m",
    [TARGET_MXFP4] = "mxfp4"};

typedef enum stage {
    STAGE_TENSORS, STAGE_TOKENIZER, STAGE_HASHES, STAGE_MANIFEST, STAGE_DONE
} stage;

struct convert {
    convert_input input;         /* borrowed */
    manifest m;                  /* owned; also the arena of everything below */
    uint64_t *starts;            /* [tensors] in the stream */
    uint64_t stream_bytes, shard_bytes;
    uint8_t *hashes;             /* [blocks, 32] */
    stage stage;

    uint32_t tensor, row;        /* being made; rows of it already in the stream or pending */
    uint8_t *in;                 /* [in_bytes] source rows */
    size_t in_bytes;
    uint32_t in_rows, in_row;    /* rows in it, and encoded of them */
    bool reading;                /* in was handed to the host in the last step */
    float *decoded, *unordered;  /* [largest cols, whole runs] */
    uint8_t *encoded;            /* one stored row */
    const uint8_t *pending;      /* NULL: zeros */
    uint64_t pending_bytes;

    uint8_t *block;              /* [RDRR_BLOCK_BYTES] */
    uint32_t block_used;
    uint64_t stream_at;          /* where the block starts */
    uint64_t block_index;
    bool writing;                /* block was handed to the host in the last step */

    uint64_t done_bytes, total_bytes;
    text json;
    uint8_t package_id[RDRR_HASH_BYTES];
};

/* ---- plan */

/* Layers whose attn_v and ffn_down get more bits: the first and last eighth, and every third
 * between. llama.cpp, src/llama-quant.cpp, use_more_bits. */
static bool more_bits(uint32_t layer, uint32_t layers) {
    return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

/* Q4_K_M is llama.cpp's mixture (llama_tensor_get_type, LLAMA_FTYPE_MOSTLY_Q4_K_M) except for an
 * embedding that is not the head as well: only one row of it is read per token, so it stays bf16.
 * MXFP4 has the same embedding and head. Vectors are f32 always. */
static weight_format wanted_format(const convert_input *in, const source_tensor *s) {
    static const weight_format plain[TARGET_COUNT] = {
        [TARGET_F32] = FORMAT_F32, [TARGET_F16] = FORMAT_F16, [TARGET_BF16] = FORMAT_BF16,
        [TARGET_Q8_0] = FORMAT_Q8_0, [TARGET_Q4_K_M] = FORMAT_Q4_K,
        [TARGET_MXFP4] = FORMAT_MXFP4};
    if (!roles[s->role].matrix) return FORMAT_F32;
    if (in->target == TARGET_KEEP) return repack_format(s->type);
    bool is_mixture = in->target == TARGET_Q4_K_M;
    if (!is_mixture && in->target != TARGET_MXFP4) return plain[in->target];
    if (s->role == ROLE_EMBEDDING) return in->model->tied_head ? FORMAT_Q6_K : FORMAT_BF16;
    bool is_mixed = is_mixture && (s->role == ROLE_ATTN_V || s->role == ROLE_FFN_DOWN);
    if (s->role == ROLE_HEAD || (is_mixed && more_bits(s->layer, in->model->layers)))
        return FORMAT_Q6_K;
    return plain[in->target];
}

static uint64_t align_up(uint64_t bytes) {
    return (bytes + RDRR_ALIGN - 1) / RDRR_ALIGN * RDRR_ALIGN;
}

static bool plan_tensor(convert *c, uint32_t i) {
    const source_tensor *s = &c->input.sources[i];
    rdrr_tensor *t = &c->m.tensors[i];
    *t = (rdrr_tensor){
        .name = arena_text(&c->m.memory, s->name, strlen(s->name)),
        .role = s->role,
        .layer = s->layer,
        .format = wanted_format(&c->input, s),
        .rows = s->rows,
        .cols = s->cols,
    };
    t->bytes = rdrr_tensor_bytes(t->role, t->format, t->rows, t->cols);
    c->starts[i] = align_up(c->stream_bytes);
    c->stream_bytes = c->starts[i] + t->bytes;
    c->total_bytes += s->bytes;
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
    uint64_t blocks = 0;
    for (uint32_t i = 0; i < m->shard_count; i++) {
        char name[32];
        int bytes = snprintf(name, sizeof name, "shard_%05u.bin", i);
        m->shards[i].file = arena_text(&m->memory, name, (size_t)bytes);
        uint64_t left = c->stream_bytes - i * c->shard_bytes;
        m->shards[i].bytes = left < c->shard_bytes ? left : c->shard_bytes;
        blocks += rdrr_block_count(m->shards[i].bytes);
        if (!m->shards[i].file) return false;
    }
    m->hashes = (rdrr_file){.file = RDRR_HASHES, .bytes = blocks * RDRR_HASH_BYTES};
    c->hashes = arena_array(&m->memory, (size_t)blocks, RDRR_HASH_BYTES);
    return c->hashes != NULL;
}

static uint32_t whole_runs(uint32_t cols) {
    return (cols + RUN_WEIGHTS - 1) / RUN_WEIGHTS * RUN_WEIGHTS;
}

/* Room for one read of whole rows, for one row as floats and for one stored row. Decoders work in
 * runs, which the length of a vector need not be: the last one reads and writes into slack. */
static bool plan_buffers(convert *c) {
    uint64_t in_bytes = READ_BYTES, row_bytes = 0;
    uint32_t cols = 0;
    for (uint32_t i = 0; i < c->m.tensor_count; i++) {
        const source_tensor *s = &c->input.sources[i];
        const rdrr_tensor *t = &c->m.tensors[i];
        uint32_t together = s->rows > 1 && s->interleaved_head ? s->interleaved_head : 1;
        if (s->bytes / s->rows * together > in_bytes) in_bytes = s->bytes / s->rows * together;
        if (s->cols > cols) cols = s->cols;
        if (t->bytes / t->rows > row_bytes) row_bytes = t->bytes / t->rows;
    }
    arena *a = &c->m.memory;
    c->in_bytes = (size_t)in_bytes;
    c->in = arena_alloc(a, c->in_bytes + RUN_WEIGHTS * WIDEST_WEIGHT);
    c->decoded = arena_array(a, whole_runs(cols), sizeof *c->decoded);
    c->unordered = arena_array(a, whole_runs(cols), sizeof *c->unordered);
    c->encoded = arena_alloc(a, (size_t)row_bytes);
    c->block = arena_alloc(a, RDRR_BLOCK_BYTES);
    return c->in && c->decoded && c->unordered && c->encoded && c->block;
}

static doppler_status plan(error *e, convert *c) {
    const convert_input *in = &c->input;
    manifest *m = &c->m;
    static const char no_memory[] = "conversion of %u tensors";
    c->shard_bytes = in->shard_bytes ? in->shard_bytes : RDRR_SHARD_BYTES;
    if (c->shard_bytes % RDRR_ALIGN || c->shard_bytes > INT64_MAX)
        return fail(e, DOPPLER_BAD_ARGUMENT, "shards of %" PRIu64 " bytes, wanted a multiple of %d",
                    c->shard_bytes, RDRR_ALIGN);
    if (!in->tokenizer_bytes || in->tokenizer_bytes > RDRR_MAX_TOKENIZER)
        return fail(e, DOPPLER_BAD_ARGUMENT, "a tokenizer of %zu bytes, 1 to %d are possible",
                    in->tokenizer_bytes, RDRR_MAX_TOKENIZER);
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
    if (!plan_shards(c) || !plan_buffers(c))
        return fail(e, DOPPLER_NO_MEMORY, no_memory, in->source_count);
    if (m->hashes.bytes > RDRR_MAX_HASHES)
        return fail(e, DOPPLER_BAD_ARGUMENT, "%" PRIu64 " bytes of weights are too many for one "
                    "package", c->stream_bytes);
    return DOPPLER_OK;
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

/* ---- rows */

/* Whether rows keep their numbers, in the stored layout: no decoding, no quantizing. */
static bool keeps(const convert *c, uint32_t tensor) {
    const source_tensor *s = &c->input.sources[tensor];
    return repack_is_exact(s->type) && repack_format(s->type) == c->m.tensors[tensor].format &&
           roles[s->role].matrix;
}

/* Row of the source that becomes row `row`: see source_tensor.interleaved_head. */
static uint32_t source_index(const source_tensor *s, uint32_t row) {
    if (!s->interleaved_head) return row;
    uint32_t half = s->interleaved_head / 2, in_head = row % s->interleaved_head;
    return row - in_head + in_head % half * 2 + in_head / half;
}

/* Numbers of a vector into their order; out and in do not overlap. */
static void order_vector(const source_tensor *s, const float *in, float *out) {
    for (uint32_t i = 0; i < s->cols; i++) out[i] = in[source_index(s, i)];
}

/* Largest magnitude that the format holds; of quantized ones, that its f16 scales surely hold. */
static float largest(weight_format format) {
    return format == FORMAT_F32 ? 0x1.FFFFFEp127f : format == FORMAT_BF16 ? 0x1.FEp127f : 65504.0f;
}

/* Source row in_row -> pending. */
static doppler_status encode_row(error *e, convert *c) {
    const source_tensor *s = &c->input.sources[c->tensor];
    const rdrr_tensor *t = &c->m.tensors[c->tensor];
    bool matrix = roles[t->role].matrix;
    uint32_t from = matrix ? source_index(s, c->in_row) : c->in_row;
    const uint8_t *row = c->in + from * (s->bytes / s->rows);
    c->pending_bytes = t->bytes / t->rows;
    c->pending = matrix ? c->encoded : (const uint8_t *)c->decoded;
    if (keeps(c, c->tensor)) {
        repack_row(s->type, row, s->cols, c->encoded);
        c->in_row++;
        return DOPPLER_OK;
    }
    repack_decode(s->type, row, s->cols, matrix ? c->decoded : c->unordered);
    if (!matrix) order_vector(s, c->unordered, c->decoded);
    float limit = largest(t->format);
    for (uint32_t i = 0; s->add != 0 && i < s->cols; i++) c->decoded[i] += s->add;
    for (uint32_t i = 0; i < s->cols; i++)
        if (!(fabsf(c->decoded[i]) <= limit))
            return fail(e, DOPPLER_BAD_FILE, "tensor \"%.80s\": row %u, column %u is %g, which %s "
                        "cannot hold", s->name, c->row + c->in_row, i, (double)c->decoded[i],
                        formats[t->format].name);
    if (matrix) quantize_row(t->format, c->decoded, s->cols, c->encoded);
    c->in_row++;
    return DOPPLER_OK;
}

/* The host has filled `in`: plain rows of the same format go on as they are. */
static void take_read(convert *c) {
    const source_tensor *s = &c->input.sources[c->tensor];
    c->reading = false;
    c->done_bytes += c->in_rows * (s->bytes / s->rows);
    c->in_row = 0;
    bool plain = source_types[s->type].block_weights == 1 && !s->interleaved_head && s->add == 0;
    if (!plain || repack_format(s->type) != c->m.tensors[c->tensor].format) return;
    c->pending = c->in;
    c->pending_bytes = c->in_rows * (s->bytes / s->rows);
    c->in_row = c->in_rows;
}

static void ask_read(convert *c, convert_step *step) {
    const source_tensor *s = &c->input.sources[c->tensor];
    uint64_t row_bytes = s->bytes / s->rows;
    uint32_t left = s->rows - c->row;
    c->in_rows = c->in_bytes / row_bytes < left ? (uint32_t)(c->in_bytes / row_bytes) : left;
    if (s->interleaved_head && s->rows > 1) c->in_rows -= c->in_rows % s->interleaved_head;
    c->reading = true;
    *step = (convert_step){
        .action = CONVERT_READ,
        .source = s->file,
        .offset = s->offset + c->row * row_bytes,
        .bytes = (uint32_t)(c->in_rows * row_bytes),
        .to = c->in,
    };
}

/* ---- blocks */

/* Where the block being filled ends in the stream: after 1 MiB, or with its shard. */
static uint64_t block_end(const convert *c) {
    uint64_t shard = c->stream_at / c->shard_bytes, in_shard = c->stream_at % c->shard_bytes;
    uint64_t left = c->m.shards[shard].bytes - in_shard;
    return c->stream_at + (left < RDRR_BLOCK_BYTES ? left : RDRR_BLOCK_BYTES);
}

static void fill_block(convert *c) {
    uint64_t room = block_end(c) - c->stream_at - c->block_used;
    size_t bytes = (size_t)(c->pending_bytes < room ? c->pending_bytes : room);
    if (c->pending) {
        memcpy(c->block + c->block_used, c->pending, bytes);
        c->pending += bytes;
    } else memset(c->block + c->block_used, 0, bytes);
    c->block_used += (uint32_t)bytes;
    c->pending_bytes -= bytes;
}

static void write_block(convert *c, convert_step *step) {
    rdrr_file *shard = &c->m.shards[c->stream_at / c->shard_bytes];
    uint64_t offset = c->stream_at % c->shard_bytes;
    *step = (convert_step){
        .action = CONVERT_WRITE,
        .file = shard->file,
        .offset = offset,
        .bytes = c->block_used,
        .from = c->block,
        .block_sha256 = c->hashes + c->block_index++ * RDRR_HASH_BYTES,
        .file_sha256 = offset + c->block_used == shard->bytes ? shard->sha256 : NULL,
    };
    c->writing = true;
}

/* Until a step for the host is found; false: the tensors are finished. */
static doppler_status next_of_tensors(error *e, convert *c, convert_step *step, bool *found) {
    *found = true;
    if (c->writing) {
        c->stream_at += c->block_used;
        c->block_used = 0;
        c->writing = false;
    }
    if (c->reading) take_read(c);
    for (;;) {
        if (c->stream_at < c->stream_bytes && c->stream_at + c->block_used == block_end(c)) {
            write_block(c, step);
            return DOPPLER_OK;
        }
        if (c->pending_bytes) {
            fill_block(c);
            continue;
        }
        if (c->in_row < c->in_rows) {
            doppler_status status = encode_row(e, c);
            if (status) return status;
            continue;
        }
        c->row += c->in_rows;
        c->in_rows = c->in_row = 0;
        if (c->tensor < c->m.tensor_count && c->row == c->m.tensors[c->tensor].rows) {
            c->tensor++;
            c->row = 0;
        }
        if (c->tensor == c->m.tensor_count) break;
        uint64_t at = c->stream_at + c->block_used;
        if (c->row == 0 && at < c->starts[c->tensor]) {
            c->pending = NULL;
            c->pending_bytes = c->starts[c->tensor] - at;
            continue;
        }
        ask_read(c, step);
        return DOPPLER_OK;
    }
    *found = false;
    return DOPPLER_OK;
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
    if (c->stage == STAGE_TENSORS) {
        bool found;
        doppler_status status = next_of_tensors(e, c, step, &found);
        if (status || found) return status;
        c->stage = STAGE_TOKENIZER;
    }
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

const manifest *convert_manifest(const convert *c) { return &c->m; }
const uint8_t *convert_package_id(const convert *c) { return c->package_id; }

void convert_progress(const convert *c, uint64_t *done, uint64_t *total) {
    *done = c->done_bytes;
    *total = c->total_bytes;
}
