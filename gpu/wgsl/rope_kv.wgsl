// rope_kv.wgsl - rotates the queries and keys of a step and writes keys and values to the cache.
//
//   i < head_dim / 2, (c, s) = rope[position + t, i]:
//   a[i]'                = a[i] c - a[i + head_dim / 2] s
//   a[i + head_dim / 2]' = a[i + head_dim / 2] c + a[i] s
//
//   binding  name   type        shape                                          access
//   0        state  u32         [16], position first                           read
//   1        rope   f32         [context, head_dim / 2, 2]: cos, sin           read
//   2        qkv    f32         [tokens, heads + 2 kv_heads, head_dim]: q k v  read, write (q)
//   3        kv     KV format   [2, kv_heads, context, head_dim]: K, V         write
//   4        dims   uniform
//
// Dispatch: ceil((heads + 2 kv_heads) head_dim / 8 / 64), tokens. head_dim % 8 == 0. A thread
// turns four pairs. Linked with one kv/*.wgsl, which supplies kv_encode4().
// Source: Su et al. 2021, section 3.4.2, in the rotate-half arrangement of Hugging Face.
struct Dims { heads: u32, kv_heads: u32, head_dim: u32, tokens: u32, context: u32 }
@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> rope: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> qkv: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> kv: array<u32>;
@group(0) @binding(4) var<uniform> dims: Dims;

// i: index of the first element, in units of four.
fn kv_store4(i: u32, v: vec4f) {
    let words = kv_encode4(v);
    for (var w = 0u; w < KV_WORDS; w++) { kv[i * KV_WORDS + w] = words[w]; }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let quads = dims.head_dim / 8u;                      // of half a head
    let rows = dims.heads + 2u * dims.kv_heads;
    let item = group.x * 64u + t;
    let head = item / quads;
    let c = item % quads;
    let position = state[0] + group.y;
    if (head >= rows || position >= dims.context) { return; }

    let low = (group.y * rows + head) * 2u * quads + c;
    let high = low + quads;
    var a = qkv[low];
    var b = qkv[high];
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
        let to = ((head - dims.heads) * dims.context + position) * 2u * quads + c;
        kv_store4(to, a);
        kv_store4(to + quads, b);
    }
}
