/* attention.c - twin of gpu/wgsl/attention.wgsl and attention_tile.wgsl: softmax over tiles of keys
 * with a running maximum (Dao et al. 2022, algorithm 1).
 *
 * A tile of K and V is converted to f32 once and serves a block of tokens and all query heads of
 * its KV head; their sums are accumulated in the output buffer itself. */
#include "gpu/cpu/dot.h"
#include "gpu/cpu/kv.h"
#include "gpu/cpu/twins.h"
#include "gpu/dims.h"

#include <assert.h>
#include <math.h>

enum { TILE_KEYS = 32, BLOCK_TOKENS = 32 };
static const float LOWEST = -1e38f;      /* below any score; differences stay finite */

/* One KV head and split of a block of tokens. */
typedef struct block {
    const struct attention_dims *d;
    uint32_t position, heads, kv_head, split;        /* heads: of this KV head */
    uint32_t first_token, tokens;
    float maximum[BLOCK_TOKENS][ATTENTION_MAX_HEADS], sum[BLOCK_TOKENS][ATTENTION_MAX_HEADS];
    const float *qkv, *sinks;                        /* [heads] of all, or NULL */
    float *out;
} block;

/* Keys [*begin, *end) of the split, for one token. */
static void split_range(const block *b, uint32_t token, uint32_t *begin, uint32_t *end) {
    uint32_t length = b->position + token + 1;
    if (length > b->d->context) length = b->d->context;
    uint32_t seen = length < b->d->window ? length : b->d->window;
    uint32_t share = (seen + b->d->splits - 1) / b->d->splits;
    *begin = length - seen + (b->split * share < seen ? b->split * share : seen);
    *end = *begin + share < length ? *begin + share : length;
}

/* Where the sum [head_dim] of a token and head is kept; with splits, max and sum come behind it. */
static float *out_row(const block *b, uint32_t token, uint32_t head) {
    const struct attention_dims *d = b->d;
    size_t h = b->kv_head * b->heads + head;
    if (d->splits == 1) return b->out + ((size_t)token * d->heads + h) * d->head_dim;
    return b->out + (((size_t)token * d->splits + b->split) * d->heads + h) * (d->head_dim + 4);
}

/* o[:] = o[:] * factor + sum over j < keys of w[j] v[j, :].  v: [keys, n] */
static void add_values(float *o, float factor, const float *w, const float *v, uint32_t keys,
                       uint32_t n) {
    for (uint32_t i = 0; i < n; i++) o[i] *= factor;
    uint32_t j = 0;
    for (; j + 4 <= keys; j += 4) {
        const float *v0 = v + (size_t)j * n, *v1 = v0 + n, *v2 = v1 + n, *v3 = v2 + n;
        for (uint32_t i = 0; i < n; i++)
            o[i] += (w[j] * v0[i] + w[j + 1] * v1[i]) + (w[j + 2] * v2[i] + w[j + 3] * v3[i]);
    }
    for (; j < keys; j++)
        for (uint32_t i = 0; i < n; i++) o[i] += w[j] * v[(size_t)j * n + i];
}

/* One query against keys of a tile.  k, v: [keys, head_dim], o: [head_dim] */
static void attend(block *b, uint32_t token, uint32_t head, const float *k, const float *v,
                   uint32_t keys) {
    const struct attention_dims *d = b->d;
    size_t row = (size_t)token * (d->heads + 2 * d->kv_heads) + b->kv_head * b->heads + head;
    const float *q = b->qkv + row * d->head_dim;
    float *maximum = &b->maximum[token - b->first_token][head];
    float *sum = &b->sum[token - b->first_token][head];
    float w[TILE_KEYS], top = *maximum;
    for (uint32_t j = 0; j < keys; j++) {
        w[j] = d->scale * dot_f32(q, k + (size_t)j * d->head_dim, d->head_dim);
        if (w[j] > top) top = w[j];
    }
    float factor = expf(*maximum - top);
    *sum *= factor;
    for (uint32_t j = 0; j < keys; j++) {
        w[j] = expf(w[j] - top);
        *sum += w[j];
    }
    *maximum = top;
    add_values(out_row(b, token, head), factor, w, v, keys, d->head_dim);
}

/* All keys of the split for all tokens and heads of the block. */
static void block_attend(block *b, const kv_rows *kv) {
    const struct attention_dims *d = b->d;
    float k_tile[TILE_KEYS * ATTENTION_MAX_HEAD_DIM], v_tile[TILE_KEYS * ATTENTION_MAX_HEAD_DIM];
    uint32_t from, to, unused;
    split_range(b, b->first_token, &from, &unused);
    split_range(b, b->first_token + b->tokens - 1, &unused, &to);
    for (uint32_t tile = from, tile_end; tile < to; tile = tile_end) {
        uint32_t slot = tile % d->slots, contiguous = d->slots - slot;
        uint32_t keys = contiguous < TILE_KEYS ? contiguous : TILE_KEYS;
        tile_end = to - tile < keys ? to : tile + keys;
        size_t row = 2 * (size_t)(b->kv_head - d->kv_first) * d->slots + slot;
        const float *k = kv_load(kv, row, tile_end - tile, k_tile);
        const float *v = kv_load(kv, row + d->slots, tile_end - tile, v_tile);
        for (uint32_t t = b->first_token; t < b->first_token + b->tokens; t++) {
            uint32_t begin, end;
            split_range(b, t, &begin, &end);
            if (begin < tile) begin = tile;
            if (end > tile_end) end = tile_end;
            if (begin >= end) continue;
            size_t skip = (size_t)(begin - tile) * d->head_dim;
            for (uint32_t h = 0; h < b->heads; h++)
                attend(b, t, h, k + skip, v + skip, end - begin);
        }
    }
}

static void block_begin(block *b) {
    for (uint32_t t = 0; t < b->tokens; t++)
        for (uint32_t h = 0; h < b->heads; h++) {
            memset(out_row(b, b->first_token + t, h), 0, b->d->head_dim * sizeof(float));
            bool sink = b->sinks && b->split == 0;
            b->maximum[t][h] = sink ? fmaxf(LOWEST, b->sinks[b->kv_head * b->heads + h]) : LOWEST;
            b->sum[t][h] = sink ? 1 : 0;
        }
}

static void block_end(const block *b) {
    for (uint32_t t = 0; t < b->tokens; t++)
        for (uint32_t h = 0; h < b->heads; h++) {
            float *o = out_row(b, b->first_token + t, h);
            if (b->d->splits == 1) {
                for (uint32_t i = 0; i < b->d->head_dim; i++) o[i] /= b->sum[t][h];
            } else {
                o[b->d->head_dim] = b->maximum[t][h];
                o[b->d->head_dim + 1] = b->sum[t][h];
            }
        }
}

void twin_attention(const gpu_call *call) {
    const struct attention_dims *d = call->dims;
    const step_state *state = call->buffer[0];
    assert(attention_fits(d->heads, d->kv_heads, d->head_dim));
    const float *vectors = call->buffer[1];
    block b = {.d = d, .position = state->position, .heads = d->heads / d->kv_heads,
               .sinks = d->sinks == OP_NO_BIAS ? NULL : vectors + d->sinks,
               .qkv = call->buffer[2], .out = call->buffer[4]};
    const kv_rows kv = {(kv_format)call->format, d->head_dim,
                        2 * (size_t)d->kv_count * d->slots, call->buffer[3]};
    for (b.kv_head = d->kv_first; b.kv_head < d->kv_first + d->kv_count; b.kv_head++)
        for (b.split = 0; b.split < d->splits; b.split++)
            for (b.first_token = 0; b.first_token < d->tokens; b.first_token += BLOCK_TOKENS) {
                uint32_t left = d->tokens - b.first_token;
                b.tokens = left < BLOCK_TOKENS ? left : BLOCK_TOKENS;
                block_begin(&b);
                block_attend(&b, &kv);
                block_end(&b);
            }
}

void twin_attention_tile(const gpu_call *call) { twin_attention(call); }
