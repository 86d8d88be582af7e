// kv/f32.wgsl - K and V as f32, one in a word: the reference. Twin: gpu/cpu/kv.h.
const KV_WORDS: u32 = 4u;            // of four elements

alias KvRaw = vec4u;                 // of four elements, as they are stored

fn kv_raw4(row: u32, quad: u32) -> KvRaw {
    let i = row * dims.head_dim + 4u * quad;
    return KvRaw(kv[i], kv[i + 1u], kv[i + 2u], kv[i + 3u]);
}

// Elements 4 quad .. 4 quad + 3 of a row.
fn kv_value4(raw: KvRaw, quad: u32) -> vec4f { return bitcast<vec4f>(raw); }
fn kv_encode4(v: vec4f, largest: f32) -> array<u32, KV_WORDS> {
    let bits = bitcast<vec4u>(v);
    return array<u32, KV_WORDS>(bits.x, bits.y, bits.z, bits.w);
}
