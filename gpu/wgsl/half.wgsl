// half.wgsl - IEEE binary16 from its bits, exactly, by integer operations.
//
// unpack2x16float may flush subnormals, and f16 block scales of small-valued tensors are
// subnormals. Linked with every program that reads weights or a KV cache.

// h: bits in the low half, the rest zero. Subnormal: mantissa x 2^-24. Else the exponent is
// rebased by 127 - 15 = 112, twice for infinities and NaNs.
fn half_to_float(h: u32) -> f32 {
    let m = h & 0x7FFFu;
    let normal = (m << 13u) + select(0x38000000u, 0x70000000u, m >= 0x7C00u);
    let small  = bitcast<u32>(f32(m) * exp2_minus_24);
    return bitcast<f32>(select(normal, small, m < 0x0400u) | ((h & 0x8000u) << 16u));
}
const exp2_minus_24: f32 = 5.9604644775390625e-8;
