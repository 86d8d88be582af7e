// kv/f32.wgsl - K and V as f32, one in a word: the reference. Twin: gpu/cpu/kv.h.
const KV_WORDS: u32 = 4u;            // of four elements

// Elements 4 i .. 4 i + 3 of the cache.
fn kv_load4(i: u32) -> vec4f {
    return bitcast<vec4f>(vec4u(kv[4u * i], kv[4u * i + 1u], kv[4u * i + 2u], kv[4u * i + 3u]));
}

fn kv_encode4(v: vec4f) -> array<u32, KV_WORDS> {
    let bits = bitcast<vec4u>(v);
    return array<u32, KV_WORDS>(bits.x, bits.y, bits.z, bits.w);
}
