// one_token.wgsl - what both ways of attention of one token read, eight elements of a head at a time:
// a 16-byte load of the cache. Linked with attention_token.wgsl or attention_lanes.wgsl, which say
// what the operands are, and with half.wgsl and half_exact.wgsl or half_unpack.wgsl.
const LOWEST: f32 = -1e38;           // below any score; differences stay finite
const NO_SINKS: u32 = 0xFFFFFFFFu;
const NORM: u32 = 1u;

struct Dims {
    heads: u32, kv_heads: u32, head_dim: u32, context: u32, slots: u32, kv_first: u32,
    kv_count: u32, rope_rows: u32, window: u32, splits: u32, sinks: u32, flags: u32, scale: f32,
    lane_bits: u32, group: u32, q_gain: u32, k_gain: u32, eps: f32
}
@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> rope: array<vec4f>;
@group(0) @binding(2) var<storage, read> vectors: array<f32>;
@group(0) @binding(3) var<storage, read_write> qkv: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> kv: array<vec4u>;
@group(0) @binding(6) var<uniform> dims: Dims;

struct Eight { a: vec4f, b: vec4f }

fn eight(w: vec4u) -> Eight {
    return Eight(vec4f(half_pair(w.x), half_pair(w.y)), vec4f(half_pair(w.z), half_pair(w.w)));
}

fn packed(v: Eight) -> vec4u {
    let a = halves(v.a);
    let b = halves(v.b);
    return vec4u(a.x | (a.y << 16u), a.z | (a.w << 16u), b.x | (b.y << 16u), b.z | (b.w << 16u));
}

fn dot8(x: Eight, y: Eight) -> f32 { return dot(x.a, y.a) + dot(x.b, y.b); }

// Elements 8 lane .. of a row of qkv.
fn plain(row: u32, lane: u32) -> Eight {
    let at = row * (dims.head_dim / 4u) + 2u * lane;
    return Eight(qkv[at], qkv[at + 1u]);
}

fn gain8(i: u32) -> Eight {
    return Eight(vec4f(vectors[i], vectors[i + 1u], vectors[i + 2u], vectors[i + 3u]),
                 vec4f(vectors[i + 4u], vectors[i + 5u], vectors[i + 6u], vectors[i + 7u]));
}
