// key.wgsl - floats as keys: u32 in the same order, made from the bits, so that NaN and infinity
// need no arithmetic and ties are exact. Twin: gpu/cpu/key.h.
const KEY_MINUS_INFINITY: u32 = 0x007FFFFFu;         // NaN counts as this, too

fn float_key(bits: u32) -> u32 {
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) { return KEY_MINUS_INFINITY; }
    if ((bits & 0x7FFFFFFFu) == 0u) { return 0x80000000u; }          // -0 equals 0
    return select(bits | 0x80000000u, ~bits, (bits & 0x80000000u) != 0u);
}

// The value of a key, kept so far from the largest f32 that differences stay finite.
fn key_value(key: u32) -> f32 {
    let bits = select(~key, key & 0x7FFFFFFFu, (key & 0x80000000u) != 0u);
    let magnitude = min(bits & 0x7FFFFFFFu, 0x7E967699u);        // 1e38
    return bitcast<f32>(magnitude | (bits & 0x80000000u));
}
