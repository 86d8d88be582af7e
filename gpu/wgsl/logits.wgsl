// logits.wgsl - what argmax.wgsl and sample.wgsl share: bindings, a logit as it counts, the end.
//
//   binding  name    type  shape                                         access
//   0        logits  f32   [rows, stride >= vocab]                       read, as bits
//   1        counts  u32   [vocab] occurrences in the timeline           read (PENALIZE), write
//   2        state   step_state of gpu/dims.h                            read, write (ADVANCE)
//   3        ids     u32   [rows]                                        write
//   4        ring    u32   [ring_size]                                   write (ADVANCE)
//   5        parts   u32   what workgroups leave for the next dispatch    read, write
//   6        dims    uniform
//
// A logit is handled as a key (key.wgsl, linked too), so that thresholds can be found digit by
// digit. Twin: gpu/cpu/logits.h.
const WG: u32 = 256u;
const BATCH: u32 = 8u;
const ADVANCE: u32 = 1u;
const PENALIZE: u32 = 2u;
const PART: u32 = 4u;
const JOIN: u32 = 8u;
const PART_TOKENS: u32 = 2048u;      // BATCH * WG

struct Dims { vocab: u32, stride: u32, rows: u32, tokens: u32, ring_size: u32, flags: u32 }
struct State {
    position: u32, step: u32, seed: vec2u,
    temperature: f32, top_k: u32, top_p: f32, min_p: f32,
    repetition_penalty: f32, presence_penalty: f32
}
@group(0) @binding(0) var<storage, read> logits: array<u32>;
@group(0) @binding(1) var<storage, read_write> counts: array<u32>;
@group(0) @binding(2) var<storage, read_write> state: State;
@group(0) @binding(3) var<storage, read_write> ids: array<u32>;
@group(0) @binding(4) var<storage, read_write> ring: array<u32>;
@group(0) @binding(5) var<storage, read_write> parts: array<atomic<u32>>;
@group(0) @binding(6) var<uniform> dims: Dims;

// The key of a logit by its bits, after penalties; n: how often the token occurred. Keskar et al.
// 2019, section 4.1: what occurred is divided by the penalty, or multiplied if it is not positive.
fn key_of(bits: u32, n: u32) -> u32 {
    if (n == 0u || (bits & 0x7FFFFFFFu) >= 0x7F800000u) { return float_key(bits); }
    let x = bitcast<f32>(bits);
    let p = state.repetition_penalty;
    return float_key(bitcast<u32>(select(x * p, x / p, x > 0.0) - state.presence_penalty));
}

fn logit_key(row: u32, i: u32) -> u32 {
    var n = 0u;
    if ((dims.flags & PENALIZE) != 0u) { n = counts[i]; }
    return key_of(logits[row * dims.stride + i], n);
}

// Keys of tokens i, i + WG, .. i + (BATCH - 1) WG, 0 (below every key) behind the vocabulary. All
// loads come before their use, so that a thread waits for memory once.
fn logit_keys(row: u32, i: u32) -> array<u32, BATCH> {
    let last = dims.vocab - 1u;
    var keys: array<u32, BATCH>;
    var n: array<u32, BATCH>;
    for (var j = 0u; j < BATCH; j++) {
        keys[j] = logits[row * dims.stride + min(i + j * WG, last)];
    }
    if ((dims.flags & PENALIZE) != 0u) {
        for (var j = 0u; j < BATCH; j++) { n[j] = counts[min(i + j * WG, last)]; }
    }
    for (var j = 0u; j < BATCH; j++) {
        keys[j] = select(key_of(keys[j], n[j]), 0u, i + j * WG > last);
    }
    return keys;
}

// The last act of one thread.
fn finish(row: u32, id: u32) {
    ids[row] = id;
    if ((dims.flags & ADVANCE) != 0u) {
        ring[state.step % dims.ring_size] = id;
        counts[id] += 1u;
        state.step += 1u;
        state.position += dims.tokens;
    }
}
