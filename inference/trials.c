/* trials.c - the table of trials, and the numbers they are made with. */
#include "inference/trials.h"
#include "gpu/cpu/half.h"
#include "gpu/cpu/x_form.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- operations */

enum { K = 768, ROWS = 64 };     /* K: three blocks of 256 */

/* y, out = W x, for x [K] and out in a form; with LINEAR_ACT of half the rows. */
static void linear(op_context o, const gpu_buffer *b, const trial *t, uint32_t format) {
    uint32_t rows = t->flags & LINEAR_ACT ? ROWS / 2 : ROWS;
    const matrix w = {(weight_format)format, ROWS, K, b[0], 0};
    op_linear(o, operand_form(&t->operands[1], format), b[3], b[4], &w, b[1], b[2],
              (struct linear_dims){.rows = rows, .k = K, .out_k = rows, .up = rows, .bias = ROWS,
                                   .flags = t->flags, .eps = 1e-5f});
}

enum { EXPERTS = 4, USED = 2 };

/* y, out = W x of a token's experts: with LINEAR_ACT out for each of half the rows, else x for each
 * and out of their sum. */
static void experts(op_context o, const gpu_buffer *b, const trial *t, uint32_t format) {
    uint32_t rows = t->flags & LINEAR_ACT ? ROWS / 2 : ROWS;
    const matrix w = {(weight_format)format, EXPERTS * ROWS, K, b[0], 0};
    op_linear_experts(o, operand_form(&t->operands[1], format), b[3], b[4], &w, b[1], b[2], b[5],
                      (struct linear_dims){.rows = rows, .k = K, .out_k = rows, .up = rows,
                                           .bias = ROWS, .flags = t->flags, .eps = 1e-5f,
                                           .experts = EXPERTS, .used = USED});
}

enum { TOKENS = 100, SHORT = 256 };          /* most of the largest tile */

/* y += W x + bias for TOKENS x [SHORT]. */
static void project(op_context o, const gpu_buffer *b, const trial *t, uint32_t format) {
    const matrix w = {(weight_format)format, ROWS, SHORT, b[0], 0};
    op_project(o, operand_form(&t->operands[1], format), b[3], 0, ROWS, &w, b[1], TOKENS,
               b[2], 1, true);
}

/* x += norm(y), out = a form of it */
static void norm_form(op_context o, const gpu_buffer *b, const trial *t, uint32_t format) {
    (void)t;
    op_norm_form(o, (x_form)format, b[0], b[1], b[2], b[3],
                 (struct norm_form_dims){K, 0, K, 1e-5f});
}

enum { KEYS = 128, POSITION = 100, HEADS = 4, KV_HEADS = 2, SPLITS = 2 };

/* y = attention of one token, in a form or plain */
static void token(op_context o, const gpu_buffer *b, const trial *t, uint32_t format) {
    const kv_slabs kv = {KV_F16, KV_HEADS, &b[4]};
    op_attention_token(o, kv, operand_form(&t->operands[6], format), b[6], b[5], b[0], b[1], b[2],
                       b[3],
                       (struct attention_token_dims){
                           .heads = HEADS, .kv_heads = KV_HEADS, .head_dim = t->flags,
                           .context = KEYS, .slots = KEYS, .rope_rows = KEYS, .window = KEYS,
                           .splits = SPLITS, .sinks = OP_NO_BIAS, .flags = ATTENTION_NORM,
                           .scale = 0.125f, .k_gain = t->flags, .eps = 1e-5f});
}

enum { QUERIES = 20 };

/* y = attention of QUERIES tokens */
static void tile(op_context o, const gpu_buffer *b, const trial *t, uint32_t format) {
    const kv_slabs kv = {(kv_format)format, KV_HEADS, &b[3]};
    op_attention(o, kv, b[5], b[4], b[0], b[1], b[2],
                 (struct attention_dims){
                     .heads = HEADS, .kv_heads = KV_HEADS, .head_dim = t->flags,
                     .tokens = QUERIES, .context = KEYS, .slots = KEYS, .window = KEYS,
                     .splits = 1, .sinks = OP_NO_BIAS, .scale = 0.125f});
}

/* ---- the table */

#define LINEAR_TRIAL(id, form, rows, flags)                                          \
    {KERNEL_##id, true, linear, flags, 1e-3f,                                        \
     {{OPERAND_WEIGHTS, ROWS, K, false}, {OPERAND_##form, K, 0, false},              \
      {OPERAND_FLOATS, 3 * ROWS, 0, false}, {OPERAND_FLOATS, ROWS, 0, true},         \
      {OPERAND_##form, rows, 0, true}}}
#define EXPERTS_TRIAL(id, form, x, out, flags)                                       \
    {KERNEL_##id, true, experts, flags, 1e-3f,                                       \
     {{OPERAND_WEIGHTS, EXPERTS * ROWS, K, false}, {OPERAND_##form, x, 0, false},    \
      {OPERAND_FLOATS, (EXPERTS + 1) * ROWS, 0, false}, {OPERAND_FLOATS, ROWS, 0, true}, \
      {OPERAND_##form, out, 0, true}, {OPERAND_FLOATS, EXPERTS, 0, false}}}
#define PROJECT_TRIAL(id, of_base, x, count, width)                                  \
    {KERNEL_##id, of_base, project, 0, 1e-3f,                                        \
     {{OPERAND_WEIGHTS, ROWS, SHORT, false}, {OPERAND_##x, count, width, false},     \
      {OPERAND_FLOATS, ROWS + 1, 0, false}, {OPERAND_FLOATS, ROWS * TOKENS, 0, true}}}
#define TOKEN_TRIAL(id, head_dim, y)                                                 \
    {KERNEL_##id, true, token, head_dim, 1e-3f,                                      \
     {{OPERAND_STATE, POSITION, 0, false}, {OPERAND_FLOATS, KEYS * (head_dim), 0, false},    \
      {OPERAND_FLOATS, 2 * (head_dim), 0, false},                                    \
      {OPERAND_FLOATS, (HEADS + 2 * KV_HEADS) * (head_dim), 0, false},               \
      {OPERAND_HALVES, KV_HEADS * 2 * KEYS * (head_dim), 0, true},                   \
      {OPERAND_FLOATS, SPLITS * HEADS * ((head_dim) + 4), 0, false},                 \
      {OPERAND_##y, HEADS * (head_dim), 0, true}}}
#define TILE_TRIAL(head_dim)                                                         \
    {KERNEL_ATTENTION_TILE_##head_dim, true, tile, head_dim, 1e-3f,                  \
     {{OPERAND_STATE, POSITION, 0, false}, {OPERAND_FLOATS, 4, 0, false},            \
      {OPERAND_FLOATS, QUERIES * (HEADS + 2 * KV_HEADS) * (head_dim), 0, false},     \
      {OPERAND_KV, KV_HEADS * 2 * KEYS, head_dim, false},                            \
      {OPERAND_FLOATS, 4, 0, false},                                                 \
      {OPERAND_FLOATS, QUERIES * HEADS * (head_dim), 0, true}}}
enum {
    GATED = LINEAR_NORM | LINEAR_BIAS | LINEAR_ACT | LINEAR_FORM,
    JOINED = LINEAR_NORM | LINEAR_ADD | LINEAR_GAIN | LINEAR_FORM,
    SUMMED = LINEAR_ADD | LINEAR_BIAS | LINEAR_GAIN | LINEAR_FORM
};

const trial trials[] = {
    LINEAR_TRIAL(LINEAR, FORM_F32, ROWS / 2, GATED),
    LINEAR_TRIAL(LINEAR, FORM_F32, ROWS, JOINED),
    LINEAR_TRIAL(LINEAR_DIGITS, FORM_DIGITS, ROWS / 2, GATED),
    LINEAR_TRIAL(LINEAR_DIGITS, FORM_DIGITS, ROWS, JOINED),
    LINEAR_TRIAL(LINEAR_PACKED, FORM_PACKED, ROWS / 2, GATED),
    LINEAR_TRIAL(LINEAR_PACKED, FORM_PACKED, ROWS, JOINED),
    EXPERTS_TRIAL(LINEAR_EXPERTS, FORM_F32, K, USED * 256, GATED),
    EXPERTS_TRIAL(LINEAR_EXPERTS, FORM_F32, USED * K, ROWS, SUMMED),
    EXPERTS_TRIAL(LINEAR_EXPERTS_DIGITS, FORM_DIGITS, K, USED * 256, GATED),
    EXPERTS_TRIAL(LINEAR_EXPERTS_DIGITS, FORM_DIGITS, USED * K, ROWS, SUMMED),
    EXPERTS_TRIAL(LINEAR_EXPERTS_PACKED, FORM_PACKED, K, USED * 256, GATED),
    EXPERTS_TRIAL(LINEAR_EXPERTS_PACKED, FORM_PACKED, USED * K, ROWS, SUMMED),
    PROJECT_TRIAL(MATMUL, false, FLOATS, SHORT * TOKENS, 0),
    PROJECT_TRIAL(MATMUL_PACKED, true, FORM_PACKED, SHORT, TOKENS),
    PROJECT_TRIAL(MATMUL_MATRIX, true, FORM_HALF, SHORT, TOKENS),
    TOKEN_TRIAL(ATTENTION_LANES, 64, FLOATS),
    TOKEN_TRIAL(ATTENTION_LANES, 128, FLOATS),
    TOKEN_TRIAL(ATTENTION_LANES, 256, FLOATS),
    TOKEN_TRIAL(ATTENTION_WHOLE, 64, FORM_LANES),
    TOKEN_TRIAL(ATTENTION_WHOLE, 128, FORM_LANES),
    TOKEN_TRIAL(ATTENTION_WHOLE, 256, FORM_LANES),
    TILE_TRIAL(64),
    TILE_TRIAL(128),
    TILE_TRIAL(256),
    {KERNEL_NORM_FORM, false, norm_form, 0, 1e-3f,
     {{OPERAND_FLOATS, K, 0, true}, {OPERAND_FORM, K, 0, true}, {OPERAND_FLOATS, K, 0, false},
      {OPERAND_FLOATS, 2 * K, 0, false}}},
};
const uint32_t trial_count = sizeof trials / sizeof *trials;

static bool is_lanes(kernel_id id) {
    return id == KERNEL_ATTENTION_LANES || id == KERNEL_ATTENTION_WHOLE;
}

/* Of lanes, flags are the head_dim. */
bool trial_is_for(const trial *t, kernel_id id, uint32_t format) {
    if (is_lanes(id) && t->flags != 64u << format % LANES_WIDTHS) return false;
    return kernel_base(id) == t->base && (id != t->base || t->of_base);
}

bool trials_have(kernel_id id) {
    for (uint32_t i = 0; i < trial_count; i++)
        for (uint32_t f = 0; f < kernel_formats(id); f++)
            if (trial_is_for(&trials[i], id, f)) return true;
    return false;
}

/* ---- operands */

x_form operand_form(const operand *o, uint32_t format) {
    static const x_form forms[OPERAND_STATE + 1] = {
        [OPERAND_FORM_F32] = X_F32, [OPERAND_FORM_DIGITS] = X_DIGITS,
        [OPERAND_FORM_PACKED] = X_PACKED, [OPERAND_FORM_HALF] = X_HALF};
    return o->kind == OPERAND_FORM ? (x_form)format
         : o->kind == OPERAND_FORM_LANES ? (x_form)(X_F32 + format / LANES_WIDTHS)
         : forms[o->kind];
}

uint64_t operand_bytes(const operand *o, uint32_t format) {
    static const uint32_t each[] = {[OPERAND_FLOATS] = 4, [OPERAND_HALVES] = 2, [OPERAND_IDS] = 4};
    if (o->kind == OPERAND_STATE) return sizeof(step_state);
    if (o->kind == OPERAND_WEIGHTS)
        return o->count * format_row_bytes((weight_format)format, o->width);
    if (o->kind == OPERAND_KV) return o->count * kv_row_bytes((kv_format)format, o->width);
    if (operand_form(o, format) != X_PLAIN)
        return (o->width ? o->width : 1) * x_form_bytes(operand_form(o, format), o->count);
    assert(o->count * each[o->kind] % 4 == 0);
    return o->count * each[o->kind];
}

static uint32_t hash(uint32_t i) { return (i * 2654435761u) >> 9; }

/* Small numbers of both signs. */
static float number(uint32_t i) { return (float)((i * 2654435761u) >> 16 & 1023) / 512 - 1; }

static void put_half(uint8_t *at, uint32_t bits) {
    at[0] = (uint8_t)bits;
    at[1] = (uint8_t)(bits >> 8);
}

/* A row of weights of about [-1, 1], some of 0: any bits for quants, small scales for blocks. */
static void make_row(weight_format format, uint32_t k, uint32_t seed, uint8_t *row) {
    const format_info *info = &formats[format];
    uint32_t scales = format_scales_offset(format, k), blocks = format_blocks(format, k);
    for (uint32_t i = 0; i < format_row_bytes(format, k); i++) row[i] = (uint8_t)hash(seed + i);
    for (uint32_t b = 0; b < blocks; b++) {
        uint8_t *unit = row + b * info->unit_bytes, *scale = row + scales + b * info->scale_bytes;
        uint32_t bits = hash(seed + b);
        float value = number(seed + b);
        if (format == FORMAT_F32) memcpy(unit, &value, 4);
        if (format == FORMAT_F16) put_half(unit, 0x3000 | (bits & 0x87FF));
        if (format == FORMAT_BF16) put_half(unit, 0x3E00 | (bits & 0x80FF));
        if (info->scale_bytes == 1) *scale = (uint8_t)(122 + bits % 4);
        if (info->scale_bytes == 2) put_half(scale, (format == FORMAT_Q6_K ? 0x0C00 : 0x2000) |
                                                        (bits & 0x3FF));
        if (format != FORMAT_Q4_K && format != FORMAT_Q5_K) continue;
        put_half(unit, 0x1000 | (bits & 0x3FF));
        put_half(unit + 2, 0x1800 | (bits & 0x3FF));
    }
}

/* Rows of a cache: elements, then the scales of all rows. */
static void make_kv(const operand *o, uint32_t format, uint8_t *data) {
    uint32_t count = o->count * o->width;
    uint64_t scales = o->count * kv_scale_bytes((kv_format)format, o->width);
    for (uint32_t i = 0; i < count; i++) {
        float value = number(i + 3);
        if (format == KV_F32) memcpy(data + 4 * i, &value, 4);
        if (format == KV_F16) put_half(data + 2 * i, float_to_half(value));
        if (format == KV_Q8_0) data[i] = (uint8_t)hash(i);
    }
    for (uint32_t i = 0; i < scales / 2; i++) put_half(data + count + 2 * i, 0x2000 | (i & 0x3FF));
}

static void make_form(const operand *o, x_form form, uint32_t seed, uint8_t *data) {
    uint64_t bytes = x_form_bytes(form, o->count);
    for (uint32_t token = 0; token < (o->width ? o->width : 1); token++, data += bytes)
        for (uint32_t run = 0; run < o->count / X_RUN; run++) {
            float v[X_RUN];
            for (uint32_t i = 0; i < X_RUN; i++)
                v[i] = number((token * o->count + run * X_RUN + i) * 3 + seed);
            x_store(form, data, o->count, run, v, x_run_square(v));
        }
}

void *operand_make(const operand *o, uint32_t format, uint32_t seed) {
    uint8_t *data = calloc(1, (size_t)operand_bytes(o, format));
    float *floats = (float *)data;
    uint32_t *ids = (uint32_t *)data;
    uint64_t row = o->kind == OPERAND_WEIGHTS ? operand_bytes(o, format) / o->count : 0;
    seed = seed * 7 + 7;
    if (!data) return NULL;
    for (uint32_t i = 0; i < o->count && o->kind != OPERAND_STATE; i++) {
        if (o->kind == OPERAND_FLOATS) floats[i] = number(i + seed);
        if (o->kind == OPERAND_HALVES) put_half(data + 2 * i, float_to_half(number(i + seed)));
        if (o->kind == OPERAND_IDS) ids[i] = hash(i + seed) % o->width;
        if (o->kind == OPERAND_WEIGHTS)
            make_row((weight_format)format, o->width, i * 7919 + format, data + i * row);
    }
    if (operand_form(o, format) != X_PLAIN) make_form(o, operand_form(o, format), seed, data);
    if (o->kind == OPERAND_KV) make_kv(o, format, data);
    if (o->kind == OPERAND_STATE) ((step_state *)data)->position = o->count;
    return data;
}
