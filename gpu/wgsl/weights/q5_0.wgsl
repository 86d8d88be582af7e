// weights/q5_0.wgsl - Q5_0: 32 weights in 16 bytes of nibbles, a word of high bits and an f16 scale,
// in three planes of a row.
//
//   vec4 b                     low four bits of block b: low nibbles are weights 0-15, high ones
//                              16-31
//   word 4 * blocks + b        bit i: bit 4 of weight i of block b
//   words 5 * blocks ..        d of every block, two f16 a word, zeros to 16 bytes
//
//   w[i] = d * (q[i] - 16)
//
// weights: array<vec4u>. Linked with half.wgsl. Source: ggml-quants.c, block_q5_0.

// First vec4 of a row: a block takes 11 half words.
fn q5_0_row(row: u32) -> u32 { return row * ((11u * (dims.k / 32u) + 7u) / 8u); }

fn q5_0_scale(at: u32, block: u32) -> f32 {
    let i = 5u * (dims.k / 32u) + block / 2u;
    let word = weights[at + i / 4u][i % 4u];
    return half_to_float((word >> (16u * (block & 1u))) & 0xFFFFu);
}

fn q5_0_high(at: u32, block: u32) -> u32 {
    return weights[at + dims.k / 32u + block / 4u][block % 4u];
}

// q - 16 of four weights: low nibbles of a word's bytes, and the low bits of high.
fn q5_0_unpack(word: u32, high: u32) -> vec4f {
    let low = (vec4u(word) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(15u);
    return vec4f(low | ((vec4u(high) << vec4u(4u, 3u, 2u, 1u)) & vec4u(16u))) - 16.0;
}

// Weights 32 * run .. 32 * run + 31 of a row.
fn w_run(row: u32, run: u32) -> array<vec4f, 8> {
    let at = q5_0_row(row);
    let d = q5_0_scale(at, run);
    let h = q5_0_high(at, run);
    let low = weights[at + run];
    let high = low >> vec4u(4u);
    return array<vec4f, 8>(
        d * q5_0_unpack(low.x, h), d * q5_0_unpack(low.y, h >> 4u),
        d * q5_0_unpack(low.z, h >> 8u), d * q5_0_unpack(low.w, h >> 12u),
        d * q5_0_unpack(high.x, h >> 16u), d * q5_0_unpack(high.y, h >> 20u),
        d * q5_0_unpack(high.z, h >> 24u), d * q5_0_unpack(high.w, h >> 28u));
}

// The dot product of that run with x.
fn w_dot(row: u32, run: u32, x: ptr<function, array<vec4f, 8>>) -> f32 {
    let at = q5_0_row(row);
    let h = q5_0_high(at, run);
    let low = weights[at + run];
    let high = low >> vec4u(4u);
    let sum = q5_0_unpack(low.x, h) * (*x)[0] + q5_0_unpack(low.y, h >> 4u) * (*x)[1]
            + q5_0_unpack(low.z, h >> 8u) * (*x)[2] + q5_0_unpack(low.w, h >> 12u) * (*x)[3]
            + q5_0_unpack(high.x, h >> 16u) * (*x)[4] + q5_0_unpack(high.y, h >> 20u) * (*x)[5]
            + q5_0_unpack(high.z, h >> 24u) * (*x)[6] + q5_0_unpack(high.w, h >> 28u) * (*x)[7];
    return q5_0_scale(at, run) * (sum.x + sum.y + sum.z + sum.w);
}
