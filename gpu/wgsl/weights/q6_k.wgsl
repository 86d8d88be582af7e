// weights/q6_k.wgsl - Q6_K: 256 weights in 13 vec4s (208 bytes) and an f16 scale, in two planes of
// a row.
//
//   vec4s 0-7 of a unit     ql   low nibbles
//   vec4s 8-11              qh   two high bits
//   vec4 12                 sc   16 int8, one for 16 weights
//   behind all units        d    of every block, two f16 a word, zeros to 16 bytes
//
//   w[i] = d * sc[i / 16] * (q[i] - 32),  i in 0..255
//
// The products are exact in f32 (11 + 7 + 5 bits). Run r = 4h + j of a block (h < 2, j < 4) has its
// low nibbles in vec4s 4h + 2(j & 1) and the next, shifted by 4(j / 2), and its high bits in vec4s
// 8 + 2h and the next, shifted by 2j.
// weights: array<vec4u>. Linked with half_exact.wgsl. Source: ggml-quants.c, block_q6_K.

// First vec4 of a row.
fn q6_k_row(row: u32) -> u32 {
    let blocks = (dims.k + 255u) / 256u;
    return row * (13u * blocks + (blocks + 7u) / 8u);
}

// d * sc of the two halves of a run.
fn q6_k_scales(at: u32, run: u32) -> vec2f {
    let block = run / 8u;
    let r = run % 8u;
    let word = weights[at + 13u * ((dims.k + 255u) / 256u) + block / 8u][(block / 2u) % 4u];
    let d = half_to_float((word >> (16u * (block & 1u))) & 0xFFFFu);
    let pair = weights[at + 13u * block + 12u][r / 2u] >> (16u * (r & 1u));
    return d * vec2f(bitcast<vec2i>(vec2u(pair) << vec2u(24u, 16u)) >> vec2u(24u));
}

// q - 32 of 16 weights of run r: part 0 or 1 of the unit at vec4 `unit`. Four a word.
fn q6_k_quants(unit: u32, r: u32, part: u32) -> array<vec4f, 4> {
    let j = r & 3u;
    let ql = weights[unit + (r & 4u) + 2u * (j & 1u) + part] >> vec4u(2u * (j & 2u));
    let qh = weights[unit + 8u + (r & 4u) / 2u + part] >> vec4u(2u * j);
    let q = (ql & vec4u(0x0F0F0F0Fu)) | ((qh & vec4u(0x03030303u)) << vec4u(4u));
    return array<vec4f, 4>(q6_k_unpack(q.x), q6_k_unpack(q.y), q6_k_unpack(q.z), q6_k_unpack(q.w));
}

fn q6_k_unpack(word: u32) -> vec4f {
    return vec4f((vec4u(word) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(63u)) - 32.0;
}

// Weights 32 * run .. 32 * run + 31 of a row.
fn w_run(row: u32, run: u32) -> array<vec4f, 8> {
    let at = q6_k_row(row);
    let s = q6_k_scales(at, run);
    let a = q6_k_quants(at + 13u * (run / 8u), run % 8u, 0u);
    let b = q6_k_quants(at + 13u * (run / 8u), run % 8u, 1u);
    return array<vec4f, 8>(s.x * a[0], s.x * a[1], s.x * a[2], s.x * a[3],
                           s.y * b[0], s.y * b[1], s.y * b[2], s.y * b[3]);
}

// The dot product of that run with x.
fn w_dot(row: u32, run: u32, x: ptr<function, array<vec4f, 8>>) -> f32 {
    let at = q6_k_row(row);
    let s = q6_k_scales(at, run);
    let a = q6_k_quants(at + 13u * (run / 8u), run % 8u, 0u);
    let b = q6_k_quants(at + 13u * (run / 8u), run % 8u, 1u);
    let low = a[0] * (*x)[0] + a[1] * (*x)[1] + a[2] * (*x)[2] + a[3] * (*x)[3];
    let high = b[0] * (*x)[4] + b[1] * (*x)[5] + b[2] * (*x)[6] + b[3] * (*x)[7];
    return s.x * (low.x + low.y + low.z + low.w) + s.y * (high.x + high.y + high.z + high.w);
}
