// kv/f16.wgsl - K and V as IEEE binary16, two in a word, the lower index in the lower half.
//
// Stored by rounding to nearest even, saturating at 65504 (an infinity would turn a whole softmax
// into NaN), by integer arithmetic, because pack2x16float may round as the device likes.
// Twin: gpu/cpu/kv.h.
const KV_WORDS: u32 = 2u;            // of four elements

// Elements 4 i .. 4 i + 3 of the cache. With the exponent rebiased by 112, a half of exponent 0 and
// mantissa m reads as 2^-15 (1 + m / 1024); what it means is 2^-14 m / 1024. There is no infinity.
fn kv_load4(i: u32) -> vec4f {
    let a = kv[2u * i];
    let b = kv[2u * i + 1u];
    let h = vec4u(a << 16u, a, b << 16u, b);
    let bits = ((h & vec4u(0x7FFF0000u)) >> vec4u(3u)) + vec4u(0x38000000u);
    let v = bitcast<vec4f>(bits);
    let f = select(v, 2.0 * v - 6.103515625e-5, bits < vec4u(0x38800000u));
    return bitcast<vec4f>(bitcast<vec4u>(f) | (h & vec4u(0x80000000u)));
}

fn kv_encode4(v: vec4f) -> array<u32, KV_WORDS> {
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
    let h = select(normal, subnormal, e < vec4u(113u)) | ((bits >> vec4u(16u)) & vec4u(0x8000u));
    return array<u32, KV_WORDS>(h.x | (h.y << 16u), h.z | (h.w << 16u));
}
