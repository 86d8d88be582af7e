// kv/q8_0.wgsl - K and V as int8 with an f16 scale for each 32 of a row, in two planes.
//
//   words of q   [rows, head_dim / 4]           four int8, the lower index in the lower bits
//   words of d   [rows, ceil(head_dim / 64)]    two f16; 0 where there is no second run
//
//   x[i] = d q[i],  d = max |x| / 127 rounded to f16,  q[i] = round(x[i] / d)
//
// rows = kv_count 2 slots. head_dim % 32 == 0. Linked with half.wgsl, half_exact.wgsl. Twin: gpu/cpu/kv.h.
// Source of the idea: ggml-quants.c, quantize_row_q8_0.
const KV_WORDS: u32 = 1u;            // of four elements
const KV_SCALED: bool = true;

// The word with the scale of the run that quad is in.
fn kv_scale_word(row: u32, quad: u32) -> u32 {
    let plane = 2u * dims.kv_count * dims.slots * (dims.head_dim / 4u);
    return plane + row * ((dims.head_dim + 63u) / 64u) + quad / 16u;
}

alias KvRaw = vec2u;                 // four int8; the scale's word

fn kv_raw4(row: u32, quad: u32) -> KvRaw {
    return KvRaw(kv[row * (dims.head_dim / 4u) + quad], kv[kv_scale_word(row, quad)]);
}

fn kv_value4(raw: KvRaw, quad: u32) -> vec4f {
    let d = half_to_float((raw.y >> (2u * (quad & 8u))) & 0xFFFFu);
    return d * vec4f(bitcast<vec4i>(vec4u(raw.x) << vec4u(24u, 16u, 8u, 0u)) >> vec4u(24u));
}

fn kv_scale_bits(largest: f32) -> u32 { return halves(vec4f(largest / 127.0)).x; }

// largest: of |x| in the run.
fn kv_encode4(v: vec4f, largest: f32) -> array<u32, KV_WORDS> {
    let d = half_to_float(kv_scale_bits(largest));
    let q = clamp(round(v / max(d, 1e-30)), vec4f(-127.0), vec4f(127.0));
    let bytes = (bitcast<vec4u>(vec4i(q)) & vec4u(255u)) << vec4u(0u, 8u, 16u, 24u);
    return array<u32, KV_WORDS>(bytes.x | bytes.y | bytes.z | bytes.w);
}
