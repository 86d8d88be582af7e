// half.wgsl - IEEE binary16 from its bits, exactly, by integer operations, and back.
//
// unpack2x16float may flush subnormals, and f16 block scales of small-valued tensors are
// subnormals; pack2x16float may round as the device likes. Linked with every program that reads
// weights or a KV cache.

// h: bits in the low half, the rest zero. The exponent is rebased by 127 - 15 = 112, twice for
// infinities and NaNs. A subnormal is read as if it had exponent 1 and a leading bit, which is
// subtracted.
fn half_to_float(h: u32) -> f32 {
    let m = (h & 0x7FFFu) << 13u;
    let normal = m + select(0x38000000u, 0x70000000u, m >= 0x0F800000u);
    let small  = bitcast<u32>(bitcast<f32>(m + 0x38800000u) - 6.103515625e-5);
    return bitcast<f32>(select(normal, small, m < 0x00800000u) | ((h & 0x8000u) << 16u));
}

// Bits of the nearest halves, ties to even, saturating at 65504: an infinity would turn a whole
// softmax into NaN.
fn halves(v: vec4f) -> vec4u {
    let bits = bitcast<vec4u>(v);
    let a = min(bits & vec4u(0x7FFFFFFFu), vec4u(0x477FE000u));
    let e = a >> vec4u(23u);
    let normal = (a - vec4u(0x38000000u) + vec4u(0xFFFu) + ((a >> vec4u(13u)) & vec4u(1u)))
               >> vec4u(13u);
    // Below 2^-14: the 24-bit mantissa m means m 2^(e - 150), in units of 2^-24.
    let m = (a & vec4u(0x7FFFFFu)) | vec4u(0x800000u);
    let s = min(vec4u(126u) - min(e, vec4u(112u)), vec4u(25u));
    let half = (vec4u(1u) << (s - vec4u(1u))) - vec4u(1u);
    let subnormal = (m + half + ((m >> s) & vec4u(1u))) >> s;
    return select(normal, subnormal, e < vec4u(113u)) | ((bits >> vec4u(16u)) & vec4u(0x8000u));
}
