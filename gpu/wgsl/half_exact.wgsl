// half_exact.wgsl - IEEE binary16 from its bits, exactly, by integer operations: unpack2x16float may
// flush subnormals, and f16 block scales of small-valued tensors are subnormals. Linked with every
// program that reads weights or a KV cache, or half_unpack.wgsl is.

// h: bits in the low half, the rest zero. The exponent is rebased by 127 - 15 = 112, twice for
// infinities and NaNs. A subnormal is read as if it had exponent 1 and a leading bit, which is
// subtracted.
fn half_to_float(h: u32) -> f32 {
    let m = (h & 0x7FFFu) << 13u;
    let normal = m + select(0x38000000u, 0x70000000u, m >= 0x0F800000u);
    let small  = bitcast<u32>(bitcast<f32>(m + 0x38800000u) - 6.103515625e-5);
    return bitcast<f32>(select(normal, small, m < 0x00800000u) | ((h & 0x8000u) << 16u));
}

// Those in the low and the high half.
fn half_pair(word: u32) -> vec2f {
    return vec2f(half_to_float(word & 0xFFFFu), half_to_float(word >> 16u));
}
