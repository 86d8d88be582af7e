// kv/f16.wgsl - K and V as IEEE binary16, two in a word, the lower index in the lower half.
// Linked with half.wgsl. Twin: gpu/cpu/kv.h.
const KV_WORDS: u32 = 2u;            // of four elements

alias KvRaw = vec2u;

fn kv_raw4(row: u32, quad: u32) -> KvRaw {
    let i = row * (dims.head_dim / 2u) + 2u * quad;
    return KvRaw(kv[i], kv[i + 1u]);
}

// Elements 4 quad .. 4 quad + 3 of a row. With the exponent rebiased by 112, a half of exponent 0
// and mantissa m reads as 2^-15 (1 + m / 1024); what it means is 2^-14 m / 1024. There is no
// infinity.
fn kv_value4(raw: KvRaw, quad: u32) -> vec4f {
    let h = vec4u(raw.x << 16u, raw.x, raw.y << 16u, raw.y);
    let bits = ((h & vec4u(0x7FFF0000u)) >> vec4u(3u)) + vec4u(0x38000000u);
    let v = bitcast<vec4f>(bits);
    let f = select(v, 2.0 * v - 6.103515625e-5, bits < vec4u(0x38800000u));
    return bitcast<vec4f>(bitcast<vec4u>(f) | (h & vec4u(0x80000000u)));
}

fn kv_load4(row: u32, quad: u32) -> vec4f { return kv_value4(kv_raw4(row, quad), quad); }

fn kv_encode4(v: vec4f, largest: f32) -> array<u32, KV_WORDS> {
    let h = halves(v);
    return array<u32, KV_WORDS>(h.x | (h.y << 16u), h.z | (h.w << 16u));
}
