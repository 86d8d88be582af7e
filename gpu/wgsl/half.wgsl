// half.wgsl - IEEE binary16 from floats, exactly, by integer operations: pack2x16float may round as
// the device likes. Linked with programs that write a KV cache.

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
