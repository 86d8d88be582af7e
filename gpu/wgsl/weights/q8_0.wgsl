// weights/q8_0.wgsl - Q8_0: 32 weights in 32 int8 and an f16 scale, in two planes of a row.
//
//   vec4s 2b, 2b + 1       q of block b, four int8 a word
//   vec4s 2 * blocks ..    d of every block, two f16 a word, zeros to 16 bytes
//
//   w[i] = d * q[i]
//
// weights: array<vec4u>. Linked with half_exact.wgsl. Source: ggml-quants.c, block_q8_0.

// First vec4 of a row.
fn q8_0_row(row: u32) -> u32 {
    let blocks = dims.k / 32u;
    return row * (2u * blocks + (blocks + 7u) / 8u);
}

fn q8_0_scale(at: u32, block: u32) -> f32 {
    let word = weights[at + dims.k / 16u + block / 8u][(block / 2u) % 4u];
    return half_to_float((word >> (16u * (block & 1u))) & 0xFFFFu);
}

fn q8_0_unpack(word: u32) -> vec4f {
    return vec4f(bitcast<vec4i>(vec4u(word) << vec4u(24u, 16u, 8u, 0u)) >> vec4u(24u));
}

// Weights 32 * run .. 32 * run + 31 of a row.
fn w_run(row: u32, run: u32) -> array<vec4f, 8> {
    let at = q8_0_row(row);
    let d = q8_0_scale(at, run);
    let low = weights[at + 2u * run];
    let high = weights[at + 2u * run + 1u];
    return array<vec4f, 8>(
        d * q8_0_unpack(low.x), d * q8_0_unpack(low.y),
        d * q8_0_unpack(low.z), d * q8_0_unpack(low.w),
        d * q8_0_unpack(high.x), d * q8_0_unpack(high.y),
        d * q8_0_unpack(high.z), d * q8_0_unpack(high.w));
}

// The dot product of that run with x.
fn w_dot(row: u32, run: u32, x: ptr<function, array<vec4f, 8>>) -> f32 {
    let at = q8_0_row(row);
    let low = weights[at + 2u * run];
    let high = weights[at + 2u * run + 1u];
    let sum = q8_0_unpack(low.x) * (*x)[0] + q8_0_unpack(low.y) * (*x)[1]
            + q8_0_unpack(low.z) * (*x)[2] + q8_0_unpack(low.w) * (*x)[3]
            + q8_0_unpack(high.x) * (*x)[4] + q8_0_unpack(high.y) * (*x)[5]
            + q8_0_unpack(high.z) * (*x)[6] + q8_0_unpack(high.w) * (*x)[7];
    return q8_0_scale(at, run) * (sum.x + sum.y + sum.z + sum.w);
}
