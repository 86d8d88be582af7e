/* attention_token.c - twin of gpu/wgsl/attention_token.wgsl and attention_lanes.wgsl: rope_kv and
 * attention of one token. Its splits are others; what they add up to is the same. */
#include "gpu/cpu/twins.h"
#include "gpu/cpu/x_form.h"
#include "gpu/kernel.h"

#include <assert.h>

/* q and k of qkv are normalized and rotated in place, which nobody reads later. */
static void turn(const gpu_call *call) {
    const struct attention_token_dims *d = call->dims;
    struct rope_kv_dims dims = {
        .heads = d->heads, .kv_heads = d->kv_heads, .head_dim = d->head_dim, .tokens = 1,
        .context = d->context, .slots = d->slots, .kv_first = d->kv_first,
        .kv_count = d->kv_count, .rope_rows = d->rope_rows, .q_gain = d->q_gain,
        .k_gain = d->k_gain, .flags = d->flags & ATTENTION_NORM ? ROPE_KV_NORM : 0,
        .eps = d->eps};
    gpu_call part = *call;                   /* state, rope, vectors, qkv, kv */
    part.format = KV_F16;
    part.dims = &dims;
    twin_rope_kv(&part);
}

static void attend(const gpu_call *call, struct attention_dims *dims, void *out) {
    gpu_call part = {.format = KV_F16, .dims = dims};
    part.buffer[0] = call->buffer[0];
    for (int i = 1; i < 4; i++) part.buffer[i] = call->buffer[i + 1];    /* vectors, qkv, kv */
    part.buffer[4] = out;
    twin_attention(&part);
}

static struct attention_dims all_heads(const struct attention_token_dims *d) {
    return (struct attention_dims){
        .heads = d->heads, .kv_heads = d->kv_heads, .head_dim = d->head_dim, .tokens = 1,
        .context = d->context, .slots = d->slots, .kv_first = d->kv_first,
        .kv_count = d->kv_count, .window = d->window, .splits = d->splits, .sinks = d->sinks,
        .scale = d->scale};
}

void twin_attention_token(const gpu_call *call) {
    const struct attention_token_dims *d = call->dims;
    struct attention_dims dims = all_heads(d);
    assert(d->splits > 1);
    turn(call);
    attend(call, &dims, call->buffer[5]);
}

void twin_attention_lanes(const gpu_call *call) { twin_attention_token(call); }

/* The form of y [heads * head_dim], one KV head's at a time: as if there were no other. */
void twin_attention_whole(const gpu_call *call) {
    const struct attention_token_dims *d = call->dims;
    struct attention_dims dims = all_heads(d);
    float y[ATTENTION_MAX_GROUP];
    assert(d->splits == 1 && d->group * d->head_dim <= ATTENTION_MAX_GROUP);
    turn(call);
    gpu_call one = *call;
    dims.heads = d->group;
    dims.kv_heads = dims.kv_count = 1;
    dims.kv_first = 0;
    for (uint32_t h = 0; h < d->kv_count; h++) {
        uint32_t head = (d->kv_first + h) * d->group;
        size_t first = (size_t)head * d->head_dim;
        if (d->sinks != OP_NO_BIAS) dims.sinks = d->sinks + head;
        one.buffer[3] = (float *)call->buffer[3] + first;
        one.buffer[4] = (uint16_t *)call->buffer[4] + 2 * (size_t)h * d->slots * d->head_dim;
        attend(&one, &dims, y);
        for (uint32_t i = 0; i < d->group * d->head_dim; i += X_RUN)
            x_store((x_form)(X_F32 + call->format / LANES_WIDTHS), call->buffer[5],
                    (uint64_t)d->heads * d->head_dim, (first + i) / X_RUN, y + i,
                    x_run_square(y + i));
    }
}
