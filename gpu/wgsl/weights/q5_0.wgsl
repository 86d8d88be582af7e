// weights/q5_0.wgsl - Q5_0: 32 weights in 16 bytes of nibbles, a word of high bits and an f16
// scale, in three planes of a row.
//
//   vec4 b                     low four bits of block b: low nibbles are weights 0-15, high ones
//                              16-31
//   word 4 * blocks + b        bit i: bit 4 of weight i of block b
//   words 5 * blocks ..        d of every block, two f16 a word, zeros to 16 bytes
//
//   w[i] = d * (q[i] - 16)
//
// weights: array<vec4u>. Linked with half_exact.wgsl. Source: ggml-quants.c, block_q5_0.

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

// q of 16 weights in the bytes of four words: low nibbles of theirs, and the low bits of high. The
// product puts copies of four bits 7 apart, so that bit i of them is also bit 8 i.
fn q5_0_quants(low: vec4u, high: u32) -> vec4u {
    let four = (vec4u(high) >> vec4u(0u, 4u, 8u, 12u)) & vec4u(15u);
    let fifth = (four * vec4u(0x00204081u)) & vec4u(0x01010101u);
    return (low & vec4u(0x0F0F0F0Fu)) | (fifth << vec4u(4u));
}

fn q5_0_unpack(word: u32) -> vec4f {
    return vec4f((vec4u(word) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(31u)) - 16.0;
}

// Weights 32 * run .. 32 * run + 31 of a row.
fn w_run(row: u32, run: u32) -> array<vec4f, 8> {
    let at = q5_0_row(row);
    let d = q5_0_scale(at, run);
    let high = q5_0_high(at, run);
    let a = q5_0_quants(weights[at + run], high);
    let b = q5_0_quants(weights[at + run] >> vec4u(4u), high >> 16u);
    return array<vec4f, 8>(
        d * q5_0_unpack(a.x), d * q5_0_unpack(a.y), d * q5_0_unpack(a.z), d * q5_0_unpack(a.w),
        d * q5_0_unpack(b.x), d * q5_0_unpack(b.y), d * q5_0_unpack(b.z), d * q5_0_unpack(b.w));
}

// The dot product of that run with x.
fn w_dot(row: u32, run: u32, x: ptr<function, array<vec4f, 8>>) -> f32 {
    let at = q5_0_row(row);
    let high = q5_0_high(at, run);
    let a = q5_0_quants(weights[at + run], high);
    let b = q5_0_quants(weights[at + run] >> vec4u(4u), high >> 16u);
    let sum = q5_0_unpack(a.x) * (*x)[0] + q5_0_unpack(a.y) * (*x)[1]
            + q5_0_unpack(a.z) * (*x)[2] + q5_0_unpack(a.w) * (*x)[3]
            + q5_0_unpack(b.x) * (*x)[4] + q5_0_unpack(b.y) * (*x)[5]
            + q5_0_unpack(b.z) * (*x)[6] + q5_0_unpack(b.w) * (*x)[7];
    return q5_0_scale(at, run) * (sum.x + sum.y + sum.z + sum.w);
}
