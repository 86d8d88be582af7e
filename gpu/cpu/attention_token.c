/* attention_token.c - twin of gpu/wgsl/attention_token.wgsl: rope_kv and attention of one token.
 * Its splits are others; what they add up to is the same. */
#include "gpu/cpu/twins.h"
#include "gpu/dims.h"
#include "gpu/kernel.h"

#include <assert.h>

/* q and k of qkv are rotated in place, which nobody reads later. */
void twin_attention_token(const gpu_call *call) {
    const struct attention_token_dims *d = call->dims;
    assert(d->splits > 1);
    struct rope_kv_dims turn = {
        .heads = d->heads, .kv_heads = d->kv_heads, .head_dim = d->head_dim, .tokens = 1,
        .context = d->context, .slots = d->slots, .kv_first = d->kv_first,
        .kv_count = d->kv_count, .rope_rows = d->rope_rows};
    gpu_call part = *call;                   /* state, rope, vectors, qkv, kv */
    part.format = KV_F16;
    part.dims = &turn;
    if (d->flags & ATTENTION_TURN) twin_rope_kv(&part);
    struct attention_dims attend = {
        .heads = d->heads, .kv_heads = d->kv_heads, .head_dim = d->head_dim, .tokens = 1,
        .context = d->context, .slots = d->slots, .kv_first = d->kv_first,
        .kv_count = d->kv_count, .window = d->window, .splits = d->splits, .sinks = d->sinks,
        .scale = d->scale};
    part.dims = &attend;
    for (int i = 1; i < 5; i++) {            /* state, vectors, qkv, kv, out */
        part.buffer[i] = call->buffer[i + 1];
        part.bytes[i] = call->bytes[i + 1];
    }
    twin_attention(&part);
}
