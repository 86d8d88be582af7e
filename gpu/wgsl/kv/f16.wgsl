// kv/f16.wgsl - K and V as IEEE binary16, two in a word, the lower index in the lower half.
// Linked with half.wgsl. Twin: gpu/cpu/kv.h.
const KV_WORDS: u32 = 2u;            // of four elements

alias KvRaw = vec2u;                 // of four elements, as they are stored

fn kv_raw4(row: u32, quad: u32) -> KvRaw {
    let i = row * (dims.head_dim / 2u) + 2u * quad;
    return KvRaw(kv[i], kv[i + 1u]);
}

// Elements 4 quad .. 4 quad + 3 of a row.
fn kv_value4(raw: KvRaw, quad: u32) -> vec4f {
    return vec4f(half_pair(raw.x), half_pair(raw.y));
}
fn kv_encode4(v: vec4f, largest: f32) -> array<u32, KV_WORDS> {
    let h = halves(v);
    return array<u32, KV_WORDS>(h.x | (h.y << 16u), h.z | (h.w << 16u));
}
