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
//   1        rope     f32         [rope_rows, head_dim / 2, 2]: cos, sin         read
//   2        vectors  f32         [*], gains                                     read
//   3        qkv      f32         [tokens, heads + 2 kv_heads, head_dim]: q k v  read, write (q)
//   4        kv       KV format   [kv_count, 2, slots, head_dim]: K, V           write
//   5        dims     uniform
//
// Dispatch: ceil(kv_count (group + 2) / rope_kv_heads()), tokens; group = heads / kv_heads: the
// heads that this buffer of the cache has to do with, q, k, v. head_dim % 8 == 0. A thread turns
// four pairs; a workgroup has whole heads. Position p is kept in slot p % slots, its cosines in row
// p % rope_rows. Linked with one kv/*.wgsl, which supplies kv_encode4() and, where KV_SCALED, the
// place and the bits of scales.
// Sources: Su et al. 2021, section 3.4.2, in the rotate-half arrangement of Hugging Face; Zhang and
// Sennrich 2019, equation 4.
const WG: u32 = 64u;
const NORM: u32 = 1u;

struct Dims {
    heads: u32, kv_heads: u32, head_dim: u32, tokens: u32, context: u32, slots: u32,
    kv_first: u32, kv_count: u32, rope_rows: u32,
    q_gain: u32, k_gain: u32, flags: u32, eps: f32
}
@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> rope: array<vec4f>;
@group(0) @binding(2) var<storage, read> vectors: array<f32>;
@group(0) @binding(3) var<storage, read_write> qkv: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> kv: array<u32>;
@group(0) @binding(5) var<uniform> dims: Dims;

var<workgroup> squares: array<f32, WG>;

var<workgroup> largest: array<f32, 2u * WG>;         // |x| of each quad; with scales

// The largest |x| of the 32 that quad i of `largest` belongs to.
fn run_largest(i: u32) -> f32 {
    var most = 0.0;
    for (var k = 0u; k < 8u; k++) { most = max(most, largest[i / 8u * 8u + k]); }
    return most;
}

// Four elements of a row of the cache. i: their quad in `largest`.
fn kv_store4(row: u32, quad: u32, v: vec4f, i: u32) {
    var most = 0.0;
    if (KV_SCALED) { most = run_largest(i); }
    let words = kv_encode4(v, most);
    let at = (row * (dims.head_dim / 4u) + quad) * KV_WORDS;
    for (var w = 0u; w < KV_WORDS; w++) { kv[at + w] = words[w]; }
    if (KV_SCALED && quad % 16u == 0u) {
        var scales = kv_scale_bits(most);
        if (quad + 8u < dims.head_dim / 4u) {
            scales |= kv_scale_bits(run_largest(i + 8u)) << 16u;
        }
        kv[kv_scale_word(row, quad)] = scales;
    }
}

fn largest4(v: vec4f) -> f32 {
    let a = abs(v);
    return max(max(a.x, a.y), max(a.z, a.w));
}

fn gain4(i: u32) -> vec4f {
    return vec4f(vectors[i], vectors[i + 1u], vectors[i + 2u], vectors[i + 3u]);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let quads = dims.head_dim / 8u;                      // of half a head
    let rows = dims.heads + 2u * dims.kv_heads;
    let group_heads = dims.heads / dims.kv_heads;
    let queries = dims.kv_count * group_heads;           // here: queries, keys, values
    let together = WG / quads;                           // heads of a workgroup
    let in_group = t / quads;
    let here = group.x * together + in_group;
    let c = t % quads;
    let position = state[0] + group.y;
    let is_query = here < queries;
    let is_value = here >= queries + dims.kv_count;
    let kv_head = (here - queries) % dims.kv_count;      // of this buffer
    let inside = in_group < together && here < queries + 2u * dims.kv_count
              && position < dims.context;

    var head = dims.kv_first * group_heads + here;       // row of qkv
    if (!is_query) {
        head = dims.heads + select(0u, dims.kv_heads, is_value) + dims.kv_first + kv_head;
    }
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
        if (inside && !is_value) {
            var sum = 0.0;
            for (var i = 0u; i < quads; i++) { sum += squares[in_group * quads + i]; }
            let scale = 1.0 / sqrt(sum / f32(dims.head_dim) + dims.eps);
            let gain = select(dims.k_gain, dims.q_gain, is_query) + 4u * c;
            a *= scale * gain4(gain);
            b *= scale * gain4(gain + 4u * quads);
        }
    }
    if (inside && !is_value) {
        let r = position % dims.rope_rows * 2u * quads + 2u * c;
        let r0 = rope[r];
        let r1 = rope[r + 1u];
        let cosines = vec4f(r0.xz, r1.xz);
        let sines = vec4f(r0.yw, r1.yw);
        let turned = a * cosines - b * sines;
        b = b * cosines + a * sines;
        a = turned;
    }
    let quad = in_group * 2u * quads + c;                // of the workgroup
    if (KV_SCALED) {
        if (in_group < together) {
            largest[quad] = largest4(a);
            largest[quad + quads] = largest4(b);
        }
        workgroupBarrier();
    }
    if (!inside) { return; }
    if (is_query) {
        qkv[low] = a;
        qkv[high] = b;
    } else {
        let row = (2u * kv_head + select(0u, 1u, is_value)) * dims.slots + position % dims.slots;
        kv_store4(row, c, a, quad);
        kv_store4(row, c + quads, b, quad + quads);
    }
}
