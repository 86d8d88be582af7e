// weights/q4_0.wgsl - Q4_0: 32 weights in 16 bytes of nibbles and an f16 scale, in two planes of a
// row.
//
//   vec4 b                 q of block b: low nibbles are weights 0-15, high ones 16-31
//   vec4s blocks ..        d of every block, two f16 a word, zeros to 16 bytes
//
//   w[i] = d * (q[i] - 8)
//
// weights: array<vec4u>. Linked with half_exact.wgsl. Source: ggml-quants.c, block_q4_0.

// First vec4 of a row.
fn q4_0_row(row: u32) -> u32 {
    let blocks = dims.k / 32u;
    return row * (blocks + (blocks + 7u) / 8u);
}

fn q4_0_scale(at: u32, block: u32) -> f32 {
    let word = weights[at + dims.k / 32u + block / 8u][(block / 2u) % 4u];
    return half_to_float((word >> (16u * (block & 1u))) & 0xFFFFu);
}

// q - 8 of four nibbles of a word that was shifted so that they are the low ones of its bytes.
fn q4_0_unpack(word: u32) -> vec4f {
    return vec4f((vec4u(word) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(15u)) - 8.0;
}

// Weights 32 * run .. 32 * run + 31 of a row.
fn w_run(row: u32, run: u32) -> array<vec4f, 8> {
    let at = q4_0_row(row);
    let d = q4_0_scale(at, run);
    let low = weights[at + run];
    let high = low >> vec4u(4u);
    return array<vec4f, 8>(
        d * q4_0_unpack(low.x), d * q4_0_unpack(low.y),
        d * q4_0_unpack(low.z), d * q4_0_unpack(low.w),
        d * q4_0_unpack(high.x), d * q4_0_unpack(high.y),
        d * q4_0_unpack(high.z), d * q4_0_unpack(high.w));
}

// The dot product of that run with x.
fn w_dot(row: u32, run: u32, x: ptr<function, array<vec4f, 8>>) -> f32 {
    let at = q4_0_row(row);
    let low = weights[at + run];
    let high = low >> vec4u(4u);
    let sum = q4_0_unpack(low.x) * (*x)[0] + q4_0_unpack(low.y) * (*x)[1]
            + q4_0_unpack(low.z) * (*x)[2] + q4_0_unpack(low.w) * (*x)[3]
            + q4_0_unpack(high.x) * (*x)[4] + q4_0_unpack(high.y) * (*x)[5]
            + q4_0_unpack(high.z) * (*x)[6] + q4_0_unpack(high.w) * (*x)[7];
    return q4_0_scale(at, run) * (sum.x + sum.y + sum.z + sum.w);
}
