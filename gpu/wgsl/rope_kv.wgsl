// rope_kv.wgsl - normalizes (where the model does) and rotates the queries and keys of a step and
// writes keys and values to the cache.
//
//   NORM: a[i] = a[i] / sqrt(mean(a^2) + eps) * gain[i] for each head of q and k
//   i < head_dim / 2, p = position + t, (c, s) = rope[p, i]:
//   a[i]'                = a[i] c - a[i + head_dim / 2] s
//   a[i + head_dim / 2]' = a[i + head_dim / 2] c + a[i] s
//
//   binding  name     type        shape                                          access
//   0        state    u32         [16], position first                           read
//   1        rope     f32         [context, head_dim / 2, 2]: cos, sin           read
//   2        vectors  f32         [*], gains                                     read
//   3        qkv      f32         [tokens, heads + 2 kv_heads, head_dim]: q k v  read, write (q)
//   4        kv       KV format   [2, kv_heads, slots, head_dim]: K, V           write
//   5        dims     uniform
//
// Dispatch: ceil((heads + 2 kv_heads) / rope_kv_heads()), tokens. head_dim % 8 == 0. A thread turns
// four pairs; a workgroup has whole heads. Position p is kept in slot p % slots. Linked with one
// kv/*.wgsl, which supplies kv_encode4().
// Sources: Su et al. 2021, section 3.4.2, in the rotate-half arrangement of Hugging Face; Zhang and
// Sennrich 2019, equation 4.
const WG: u32 = 64u;
const NORM: u32 = 1u;

struct Dims {
    heads: u32, kv_heads: u32, head_dim: u32, tokens: u32, context: u32, slots: u32,
    q_gain: u32, k_gain: u32, flags: u32, eps: f32
}
@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> rope: array<vec4f>;
@group(0) @binding(2) var<storage, read> vectors: array<f32>;
@group(0) @binding(3) var<storage, read_write> qkv: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> kv: array<u32>;
@group(0) @binding(5) var<uniform> dims: Dims;

var<workgroup> squares: array<f32, WG>;

// i: index of the first element, in units of four.
fn kv_store4(i: u32, v: vec4f) {
    let words = kv_encode4(v);
    for (var w = 0u; w < KV_WORDS; w++) { kv[i * KV_WORDS + w] = words[w]; }
}

fn gain4(i: u32) -> vec4f {
    return vec4f(vectors[i], vectors[i + 1u], vectors[i + 2u], vectors[i + 3u]);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let quads = dims.head_dim / 8u;                      // of half a head
    let rows = dims.heads + 2u * dims.kv_heads;
    let together = WG / quads;                           // heads of a workgroup
    let in_group = t / quads;
    let head = group.x * together + in_group;
    let c = t % quads;
    let position = state[0] + group.y;
    let inside = in_group < together && head < rows && position < dims.context;

    let low = (group.y * rows + head) * 2u * quads + c;
    let high = low + quads;
    var a = vec4f(0.0);
    var b = vec4f(0.0);
    if (inside) {
        a = qkv[low];
        b = qkv[high];
    }
    if ((dims.flags & NORM) != 0u) {
        squares[t] = dot(a, a) + dot(b, b);
        workgroupBarrier();
        if (inside && head < dims.heads + dims.kv_heads) {
            var sum = 0.0;
            for (var i = 0u; i < quads; i++) { sum += squares[in_group * quads + i]; }
            let scale = 1.0 / sqrt(sum / f32(dims.head_dim) + dims.eps);
            let gain = select(dims.k_gain, dims.q_gain, head < dims.heads) + 4u * c;
            a *= scale * gain4(gain);
            b *= scale * gain4(gain + 4u * quads);
        }
    }
    if (!inside) { return; }
    if (head < dims.heads + dims.kv_heads) {
        let r0 = rope[position * 2u * quads + 2u * c];
        let r1 = rope[position * 2u * quads + 2u * c + 1u];
        let cosines = vec4f(r0.xz, r1.xz);
        let sines = vec4f(r0.yw, r1.yw);
        let turned = a * cosines - b * sines;
        b = b * cosines + a * sines;
        a = turned;
    }
    if (head < dims.heads) {
        qkv[low] = a;
        qkv[high] = b;
    } else {
        let slot = (head - dims.heads) * dims.slots + position % dims.slots;
        kv_store4(slot * 2u * quads + c, a);
        kv_store4(slot * 2u * quads + c + quads, b);
    }
}
