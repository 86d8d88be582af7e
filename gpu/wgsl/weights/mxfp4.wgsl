// weights/mxfp4.wgsl - MXFP4: 32 weights in 16 bytes of E2M1 codes and an E8M0 scale, in two planes
// of a row.
//
//   vec4 b                 codes of block b: low nibbles are weights 0-15, high ones 16-31
//   vec4s blocks ..        e of every block, four bytes a word, zeros to 16 bytes
//
//   w[i] = 2^(e - 128) * t[code],  t = 0 1 2 3 4 6 8 12 and, from code 8 on, their negatives
//
// The power is made of two, since it may be subnormal where its product is not: no special case
// for e = 0 or 255, and only a subnormal product may be flushed to zero.
// weights: array<vec4u>. Sources: OCP Microscaling Formats 1.0; ggml-quants.c, block_mxfp4.

// First vec4 of a row.
fn mxfp4_row(row: u32) -> u32 {
    let blocks = dims.k / 32u;
    return row * (blocks + (blocks + 15u) / 16u);
}

// Two normal powers of two, whose product is 2^(e - 128).
fn mxfp4_scale(at: u32, block: u32) -> vec2f {
    let word = weights[at + dims.k / 32u + block / 16u][(block / 4u) % 4u];
    let e = (word >> (8u * (block & 3u))) & 255u;
    return bitcast<vec2f>((vec2u(e / 2u, e - e / 2u) + vec2u(63u)) << vec2u(23u));
}

// The magnitudes of t of eight codes a word, in their nibbles: m for m < 4, then 4 6 8 12 = m + (0 1
// 2 5).
fn mxfp4_magnitudes(q: vec4u) -> vec4u {
    let ones = vec4u(0x11111111u);
    let m = q & (((q >> vec4u(2u)) & ones) * vec4u(3u));         // m & 3 where m >= 4, else 0
    return (q & vec4u(0x77777777u)) + m + ((m & (m >> vec4u(1u)) & ones) << vec4u(1u));
}

// Eight codes a word to int8 a byte, those of the low nibbles and of the high: t less the sign bit,
// so that no byte carries into the next, and the sign bits.
struct Mxfp4Signed { low: vec4u, low_signs: vec4u, high: vec4u, high_signs: vec4u }
fn mxfp4_signed(q: vec4u) -> Mxfp4Signed {
    let bytes = vec4u(0x0F0F0F0Fu);
    let ones = vec4u(0x01010101u);
    let t = mxfp4_magnitudes(q);
    let low = (q >> vec4u(3u)) & ones;
    let high = (q >> vec4u(7u)) & ones;
    return Mxfp4Signed((t & bytes) ^ (low * vec4u(255u)), low,
                       ((t >> vec4u(4u)) & bytes) ^ (high * vec4u(255u)), high);
}

// The same to 12 + t a byte, never negative.
struct Mxfp4Bytes { low: vec4u, high: vec4u }
fn mxfp4_bytes(q: vec4u) -> Mxfp4Bytes {
    let ones = vec4u(0x11111111u);
    let bytes = vec4u(0x0F0F0F0Fu);
    let t = mxfp4_magnitudes(q);
    let negative = t & (((q >> vec4u(3u)) & ones) * vec4u(15u));
    return Mxfp4Bytes(
        vec4u(0x0C0C0C0Cu) + (t & bytes) - ((negative & bytes) << vec4u(1u)),
        vec4u(0x0C0C0C0Cu) + ((t >> vec4u(4u)) & bytes)
            - (((negative >> vec4u(4u)) & bytes) << vec4u(1u)));
}

fn mxfp4_unpack(word: u32) -> vec4f {
    return vec4f((vec4u(word) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(31u)) - 12.0;
}

// Weights 32 * run .. 32 * run + 31 of a row.
fn w_run(row: u32, run: u32) -> array<vec4f, 8> {
    let at = mxfp4_row(row);
    let s = mxfp4_scale(at, run);
    let t = mxfp4_bytes(weights[at + run]);
    return array<vec4f, 8>(
        mxfp4_unpack(t.low.x) * s.x * s.y, mxfp4_unpack(t.low.y) * s.x * s.y,
        mxfp4_unpack(t.low.z) * s.x * s.y, mxfp4_unpack(t.low.w) * s.x * s.y,
        mxfp4_unpack(t.high.x) * s.x * s.y, mxfp4_unpack(t.high.y) * s.x * s.y,
        mxfp4_unpack(t.high.z) * s.x * s.y, mxfp4_unpack(t.high.w) * s.x * s.y);
}

// The dot product of that run with x.
fn w_dot(row: u32, run: u32, x: ptr<function, array<vec4f, 8>>) -> f32 {
    let at = mxfp4_row(row);
    let s = mxfp4_scale(at, run);
    let t = mxfp4_bytes(weights[at + run]);
    let sum = mxfp4_unpack(t.low.x) * (*x)[0] + mxfp4_unpack(t.low.y) * (*x)[1]
            + mxfp4_unpack(t.low.z) * (*x)[2] + mxfp4_unpack(t.low.w) * (*x)[3]
            + mxfp4_unpack(t.high.x) * (*x)[4] + mxfp4_unpack(t.high.y) * (*x)[5]
            + mxfp4_unpack(t.high.z) * (*x)[6] + mxfp4_unpack(t.high.w) * (*x)[7];
    return (sum.x + sum.y + sum.z + sum.w) * s.x * s.y;
}
