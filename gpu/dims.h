/* dims.h - the uniform of every kernel, as C and WGSL both see it: u32 and f32 words, in this
 * order. The WGSL struct Dims of gpu/wgsl/NAME.wgsl has the same fields; gpu/cpu/NAME.c reads
 * this one. "first" and "stride" fields count f32 elements of the buffer they name. */
#ifndef GPU_DIMS_H
#define GPU_DIMS_H

#include <stdint.h>

/* An operand that is absent from the model's vectors: a bias, a gain, sinks. */
#define OP_NO_BIAS UINT32_MAX

/* What changes from step to step lives in one storage buffer, so that recorded lists stay valid.
 * Bound as array<u32> or as a struct State in WGSL. All words, 64 bytes. */
typedef struct step_state {
    uint32_t position;           /* timeline index of the step's first token */
    uint32_t step;               /* sampled tokens so far; the next id goes to ring[step % n] */
    uint32_t seed_lo, seed_hi;
    float temperature;           /* > 0 where sample runs */
    uint32_t top_k;              /* 0: off */
    float top_p;                 /* 1: off */
    float min_p;                 /* 0: off */
    float repetition_penalty;    /* 1: off */
    float presence_penalty;      /* 0: off */
    uint32_t reserved[6];
} step_state;

/* gather: y[t, :] = W[ids[t], :] * scale. The weights bound are rows first .. first + rows - 1;
 * tokens with other ids are left alone.
 * bindings: weights [rows, k] r, ids [tokens] u32 r, y [tokens, k] f32 w. */
struct gather_dims { uint32_t rows, k, tokens, first; float scale; };

/* rmsnorm: y[t, :] = (ADD: y[t, :] +) x[first + t, :] / sqrt(mean(x^2) + eps) * vectors[gain + :].
 * bindings: x [*, dim] r, vectors f32 r, y [tokens, dim] w. first: a row of x. */
enum { RMSNORM_ADD = 1 };
struct rmsnorm_dims { uint32_t dim, tokens, first, gain, flags; float eps; };

/* flags of matvec and matmul, and of its variants */
enum { PROJECT_BIAS = 1, PROJECT_ADD = 2, PROJECT_EXPERTS = 4 };

/* matvec and matmul: y[t * y_stride + y_first + r] = (ADD: itself +) sum_i W[m, r, i]
 * x[t / share, i] (+ BIAS: vectors[bias + m * rows + r]), t < tokens.  k % 32 == 0.
 * Dense: m = 0, matrices = share = 1. With EXPERTS the rows of y are the
 * slots, used to a token, m is the slot's expert - first_matrix, and slots with m >= matrices are
 * left alone; share: the slots of a row of x, used or 1. routing: for matvec the expert of each
 * slot; for matmul what expert_tiles writes, order = 3 tiles.
 * bindings: weights [matrices, rows, k] r, x r, vectors f32 r, routing u32 r (dense: anything), y
 * w. Packed variants: a row of x is a packed form of [k]; those by subgroup matrices: a half
 * one, and weights are rounded to f16. */
struct project_dims {
    uint32_t rows, k, tokens;    /* rows: of one matrix */
    uint32_t y_first, y_stride;
    uint32_t bias, flags;
    uint32_t matrices, first_matrix, share, order;
};

/* How one kernel hands x [k] to the next, k % 32 == 0.
 * plain: k floats.
 * f32: runs of 32 in groups of eight: four floats of each run, then the next four ... (8 times);
 * behind all groups for each run the sum of its squares.
 * packed: x[i] = scale * q[i], q int8, scale = max |x| / 127. The 32 q of two runs, then of the
 * first and of the second: scale as a float, as int16 the sum of the first 16 q and of all; so on,
 * and behind all groups of eight runs for each run the sum of its squares.
 * digits: x[i] = scale * (65536 a[i] + 256 b[i] + c[i]), a, b, c int8, scale = max |x| / (127 *
 * 65536): off by half a scale, as f32's own rounding of the run's largest is. Runs in groups of
 * eight: 16 bytes of each run, then the next 16 ... (7 times): a, b, c; then as floats scale, the
 * sum of the first 16 integers, of the others, the sum of squares.
 * half: for each run 32 f16, the nearest to x * 2^-6, at most 65504: x up to 4,192,256.
 * Squares, which half has not, are of x before it was rounded and before the gain that it was
 * multiplied by. Runs that the last eight lack are zeros, which nobody writes: a buffer that linear
 * reads holds one form of one k. */
typedef enum x_form { X_PLAIN, X_F32, X_PACKED, X_DIGITS, X_HALF, X_FORMS } x_form;
enum { X_HALF_SCALE = 64 };
static inline uint64_t x_form_bytes(x_form form, uint64_t k) {
    static const uint32_t group_bytes[X_FORMS] = {
        [X_F32] = 1024 + 32, [X_PACKED] = 352, [X_DIGITS] = 896, [X_HALF] = 512};
    return form == X_PLAIN ? k * 4 : (k + 255) / 256 * group_bytes[form];
}

/* form: out[t, :] = form(x[first + t, :] * (GAIN: vectors[gain + :])), t < tokens.
 * bindings: x [*, k] r, vectors f32 r, out: a form of [k] for each token w. Not plain; more than
 * one token: packed and half only. */
enum { FORM_GAIN = 1 };
struct form_dims { uint32_t k, tokens, first, gain, flags; };

/* gather_form: y[i] = W[ids[0], i] * scale, out = form(y[i] * vectors[gain + i]), one token. The
 * weights bound are rows first .. first + rows - 1; another id is left alone. gather_packed and
 * gather_digits: out is that, else f32.
 * bindings: weights [rows, k] r, ids u32 r, vectors f32 r, y [k] w, out: a form of [k] w.
 * grid: ceil(k / 32 / FORM_RUNS). */
struct gather_form_dims { uint32_t rows, k, first, gain; float scale; };

/* norm_form: x[i] += y[i] / sqrt(mean(y^2) + eps) * vectors[gain + i],
 * out = form(x[i] * vectors[next_gain + i]), one token. dim % 32 == 0.
 * bindings: y [dim] r, vectors f32 r, x [dim] w, out: a form of [dim] w. Not plain. grid: 1. */
struct norm_form_dims { uint32_t dim, gain, next_gain; float eps; };

/* linear, and linear_experts below: d[r] = s sum_i W[r, i] x[i] (+ BIAS: vectors[bias + r]), r <
 * rows, where s is 1 or, with
 * NORM, 1 / sqrt(sum of x's squares / k + eps);
 * v[r] = d[r], with ACT act(d[r]) * d[up + r], with ADD d[r] + y[y_first + r];
 * y[y_first + r] = v[r], not with ACT;
 * with FORM out = form(v * (GAIN: vectors[gain + r])), from element y_first of out_k on.
 * bindings: weights [*, k] r, x: a form of [k] r, vectors f32 r, y w, out w.
 * activation, limit: of ACT, as act_mul's. experts, used: 0.
 * with FORM y_first % 32 == 0, and the rows end where out does or at a multiple of 32. */
enum {
    LINEAR_NORM = 1, LINEAR_BIAS = 2, LINEAR_ACT = 4, LINEAR_ADD = 8, LINEAR_FORM = 16,
    LINEAR_GAIN = 32
};
struct linear_dims {
    uint32_t rows, k, y_first, out_k, up, bias, gain, activation, flags;
    float eps, limit;
    uint32_t experts, used;
};

/* linear_experts: the same for the experts of one token, chosen as route does; p: their weights.
 * W and what BIAS adds are [experts, rows of one, ..], rows of one being 2 rows with ACT, else rows.
 * With ACT, y untouched: out[s, :] = form(p[s] v) of expert s of the token, s < used, s the grid's
 * z; rows of out are padded to whole groups of eight runs. Without: x is such a form [used, k],
 * d[r] = sum over s, in this order, of (W[e_s] x[s, :] (+ p[s] bias)). NORM belongs to ACT.
 * bindings: linear's, and logits [experts] r behind. */

/* router: y[e] = sum_i W[e, i] vectors[gain + i] x[i] / sqrt(mean of x^2 + eps) (+ BIAS:
 * vectors[bias + e]).
 * bindings: weights [*, k] r, x [k] r, vectors f32 r, y [experts] w. grid: experts. gain % 4 == 0,
 * k % 32 == 0. */
enum { ROUTER_BIAS = 1 };
struct router_dims { uint32_t k, gain, bias, flags; float eps; };

/* route: the `used` largest of each token's router logits (ties: the lower index first; NaN counts
 * as -infinity), largest first, and the softmax over them.
 * ids[t, r] = expert, weights[t, r] = exp(logits[t, ids[t, r]] - m) / sum over r of that.
 * bindings: logits [tokens, experts] r, ids u32 [tokens, used] w, weights [tokens, used] w.
 * grid: tokens. 1 <= used <= experts. */
enum { ROUTE_MAX_EXPERTS = 256, ROUTE_MAX_USED = 16 };
struct route_dims { uint32_t experts, used; };

/* expert_tiles: sorts slots by expert and cuts each expert's slots into tiles of up to `tile`.
 * routing: [tiles, 3] expert, first, count, and from element 3 * tiles the slots, those of one
 * expert side by side; a tile's slots are first .. first + count - 1 of these. Tiles that are not
 * needed have count 0. tiles: expert_tile_count(). experts <= ROUTE_MAX_EXPERTS.
 * bindings: ids u32 [slots] r, routing u32 [3 * tiles + slots] w. grid: 1. */
struct expert_tiles_dims { uint32_t slots, experts, tile, tiles; };
/* The most that `slots` can need: every expert but begins one that is not full. */
static inline uint32_t expert_tile_count(uint32_t slots, uint32_t experts, uint32_t tile) {
    return slots / tile + (experts < slots ? experts : slots);
}

/* combine: y[t, :] = (ADD: itself +) sum over r, in this order, of weights[t, r] times
 * x[t * used + r, :].
 * bindings: x [tokens * used, dim] r, weights [tokens, used] r, y [tokens, dim] w. dim % 4 == 0.
 * grid: ceil(dim / 4 / COMBINE_THREADS), tokens. */
enum { COMBINE_ADD = 1 };
struct combine_dims { uint32_t dim, used, tokens, flags; };
/* A buffer of the cache has kv_count KV heads of a layer, from kv_first on: rows
 * [kv_count, 2, slots] of head_dim elements in the program's KV format, K and V of each head.
 * kernels take the query heads of those KV heads: group = heads / kv_heads of each. */

/* rope_kv: rotates q and k of each token and writes k and v into the cache: position p, state's
 * + t, is kept in slot p % slots. With NORM each head of q and k is normalized first, as rmsnorm
 * does, with the gains vectors[q_gain + :head_dim] and vectors[k_gain + :head_dim].
 * qkv is [tokens, (heads + 2 * kv_heads) * head_dim]: q heads, k heads, v heads; q is rotated in
 * place. rope is [rope_rows, head_dim / 2] pairs (cos, sin), position p's in row p % rope_rows.
 * head_dim % 8 == 0. Positions >= context are left out.
 * bindings: state r, rope r, vectors r, qkv w, kv w.
 * grid: ceil(kv_count * (group + 2) / rope_kv_heads()), tokens. */
enum { ROPE_KV_NORM = 1, ROPE_KV_THREADS = 64 };
struct rope_kv_dims {
    uint32_t heads, kv_heads, head_dim, tokens, context, slots, kv_first, kv_count, rope_rows;
    uint32_t q_gain, k_gain, flags;
    float eps;
};
/* Whole heads of a workgroup; a thread has four pairs. */
static inline uint32_t rope_kv_heads(uint32_t head_dim) { return ROPE_KV_THREADS / (head_dim / 8); }

/* attention: causal softmax(q k^T * scale) v for query heads of one KV head, over the last
 * `window` keys of 0..position + t (all of them where window >= context), which are in slots
 * j % slots, split into `splits` ranges per token. window + tokens - 1 <= slots, or slots ==
 * context. vectors[sinks + h] is one more logit of query head h, whose value is zero (OP_NO_BIAS:
 * there is none); split 0 has it. With splits == 1 y is the result
 * [tokens, heads * head_dim]; otherwise partial holds per (token, split, head) the unnormalised
 * sum [head_dim], then max, denominator and two words: [tokens, splits, heads, head_dim + 4], and
 * attention_merge reduces them.
 * bindings: state r, vectors r, qkv r (as above), kv r, out w (y or partial).
 * attention_tile: the same with splits == 1. grid: kv_count, 1, tiles of tokens.
 * grid: kv_count, splits, tokens. head_dim % 8 == 0 and attention_fits(). */
enum {
    ATTENTION_MAX_GROUP = 2048, ATTENTION_MAX_HEADS = 32, ATTENTION_MAX_HEAD_DIM = 256,
    ATTENTION_MAX_SPLITS = 256
};
/* Whether one workgroup of 64 threads can hold a KV head's query heads: as many per thread as its
 * 8 accumulators of 4 elements take, which bounds their elements by ATTENTION_MAX_GROUP. */
static inline int attention_fits(uint32_t heads, uint32_t kv_heads, uint32_t head_dim) {
    return kv_heads > 0 && heads % kv_heads == 0 && head_dim > 0 && head_dim % 8 == 0 &&
           head_dim <= ATTENTION_MAX_HEAD_DIM && heads / kv_heads <= ATTENTION_MAX_HEADS &&
           heads / kv_heads <= 8 * (ATTENTION_MAX_HEAD_DIM / head_dim);
}
struct attention_dims {
    uint32_t heads, kv_heads, head_dim, tokens, context, slots, kv_first, kv_count;
    uint32_t window, splits, sinks;
    float scale;
};

/* attention_token: attention of one token at state.position with splits > 1, over a cache in f16;
 * which also does what rope_kv does for that token, NORM being ROPE_KV_NORM; q stays as it is. A
 * split has at least attention_token_keys() keys, so that the first ones have all of few; later
 * ones write nothing.
 * bindings: state r, rope r, vectors r, qkv w, kv w, out (partial) w. head_dim: 16, 32 .. 256,
 * which is 8 << lane_bits. group: heads / kv_heads.
 * grid: kv_count, splits, ceil(group / ATTENTION_TOKEN_HEADS). */
enum { ATTENTION_NORM = 1, ATTENTION_TOKEN_HEADS = 4 };
struct attention_token_dims {
    uint32_t heads, kv_heads, head_dim, context, slots, kv_first, kv_count, rope_rows;
    uint32_t window, splits, sinks, flags;
    float scale;
    uint32_t lane_bits, group, q_gain, k_gain;
    float eps;
};
/* attention_whole: the variant of it with splits == 1, for windows of at most ATTENTION_WHOLE_KEYS;
 * out is a form of [heads * head_dim]. grid: kv_count, 1, group. */
enum { ATTENTION_WHOLE_KEYS = 128 };
/* Keys of a tile of attention_token, and of its variant attention_lanes, which has head_dim 64, 128
 * or 256. */
static inline uint32_t attention_token_keys(uint32_t head_dim) { return 2 * 128 / (head_dim / 8); }
static inline uint32_t attention_lanes_keys(uint32_t head_dim) { return 4 * 64 / (head_dim / 8); }

/* attention_merge: of each token the splits that have keys: the first, of max(ceil(seen / splits),
 * least) each; twins have keys in all and add up all.
 * bindings: state r, partial r, out: a form of [tokens, heads * head_dim] w, one token where it is
 * not plain.
 * grid: heads * head_dim / 32, tokens. */
struct attention_merge_dims {
    uint32_t heads, head_dim, tokens, splits, context, window, least;
};

/* act_mul: y[t, i] = act(gu[t, i]) * gu[t, hidden + i]; gu is [tokens, 2 * hidden]: gate, up.
 * SWIGLU_CLAMPED clamps both by limit and adds 1 to up; limit is not read otherwise.
 * bindings: gu r, y [tokens, hidden] w. activation: enum model_activation. */
struct act_mul_dims { uint32_t hidden, tokens, activation; float limit; };

/* nll: nll[first + r] = log(sum_i exp(logits[r, i])) - logits[r, targets[first + r]], r < rows.
 * bindings: logits [rows, vocab] r, targets u32 r, nll f32 w. grid: rows. */
struct nll_dims { uint32_t vocab, rows, first; };

/* argmax and sample: one workgroup per row of logits [rows, stride >= vocab] (stride 0: all rows
 * share one). Penalties apply first: a token with counts[i] > 0 has its logit divided (if > 0) or
 * multiplied by the repetition penalty, and lowered by the presence penalty. argmax: the lowest
 * index of the largest. sample: z = logit / temperature; keep the top_k largest (ties of the
 * last kept), then the fewest most probable tokens whose probabilities sum to >= top_p (ties
 * kept), then those with p >= min_p * p_max; draw among them with u from the counter-based RNG
 * (Threefry-2x32-20, Salmon et al. 2011) keyed by the seed at counter (index of the drawn token
 * in the timeline + row, 0). Writes ids[row], and with ADVANCE: ids[0], ring[step % ring_size],
 * counts[id] += 1, state.step += 1, state.position += tokens (rows must be 1).
 * NaN logits count as -inf, which is never drawn unless there is nothing else (then id 0).
 * index of the drawn token: state.position + tokens.
 * bindings: logits r, counts [vocab] u32 w, state w, ids u32 w, ring u32 w, parts u32 w. grid: rows.
 * By many workgroups for each row, one for SAMPLE_PART_TOKENS tokens: argmax with PART, which leaves
 * (key, id) of each in parts, then with JOIN; sample with PART, COUNT, LIST, FINE, MASS and JOIN
 * (sample.wgsl says what they leave). parts: sample_part_words() for each row.
 * grid: sample_part_count(), rows; JOIN: rows. */
enum {
    SAMPLE_ADVANCE = 1, SAMPLE_PENALIZE = 2, SAMPLE_PART = 4, SAMPLE_JOIN = 8, SAMPLE_COUNT = 16,
    SAMPLE_LIST = 32, SAMPLE_FINE = 64, SAMPLE_MASS = 128
};
enum { SAMPLE_PART_TOKENS = 2048, SAMPLE_ROW_WORDS = 2568 };
static inline uint32_t sample_part_count(uint32_t vocab) {
    return vocab / SAMPLE_PART_TOKENS + (vocab % SAMPLE_PART_TOKENS != 0);
}
/* Whether many workgroups are faster than one. */
static inline int sample_is_spread(uint32_t vocab) { return sample_part_count(vocab) > 2; }
/* One word where they are not. */
static inline uint32_t sample_part_words(uint32_t vocab) {
    return sample_is_spread(vocab) ? SAMPLE_ROW_WORDS + sample_part_count(vocab) : 1;
}
struct sample_dims { uint32_t vocab, stride, rows, tokens, ring_size, flags; };

#endif
