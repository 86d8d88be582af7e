// weights/q5_k.wgsl - Q5_K: 256 weights in 11 vec4s (176 bytes), ggml's own block.
//
//   vec4 0       header   d, dmin, 8 x (sc, mn), see k_scales.wgsl
//   vec4s 1-2    qh       bit r of byte i: bit 4 of weight i of run r
//   vec4s 3-10   q        vec4s 3 + 2c, 4 + 2c hold runs 2c (low nibbles) and 2c + 1 (high
//                         nibbles)
//
//   w[i] = d * sc[run] * q[i] - dmin * mn[run],  i in 0..31, run in 0..7
//
// Both products are exact in f32 (11 + 6 + 5 bits), the difference rounds once.
// weights: array<vec4u>. Linked with k_scales.wgsl, half_exact.wgsl. Source: ggml-quants.c, block_q5_K.

// q of 16 weights of run r: part 0 or 1 of the block at vec4 `block`, in the bytes of four words.
fn q5_k_quants(block: u32, r: u32, part: u32) -> vec4u {
    let low = weights[block + 3u + (r & 6u) + part] >> vec4u(4u * (r & 1u));
    let high = weights[block + 1u + part] >> vec4u(r);
    return (low & vec4u(0x0F0F0F0Fu)) | ((high & vec4u(0x01010101u)) << vec4u(4u));
}

fn q5_k_unpack(word: u32) -> vec4f {
    return vec4f((vec4u(word) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(31u));
}

// Weights 32 * run .. 32 * run + 31 of a row.
fn w_run(row: u32, run: u32) -> array<vec4f, 8> {
    let block = (row * ((dims.k + 255u) / 256u) + run / 8u) * 11u;
    let r = run % 8u;
    let s = k_scales(weights[block], r);
    let a = q5_k_quants(block, r, 0u);
    let b = q5_k_quants(block, r, 1u);
    return array<vec4f, 8>(
        s.x * q5_k_unpack(a.x) - s.y, s.x * q5_k_unpack(a.y) - s.y,
        s.x * q5_k_unpack(a.z) - s.y, s.x * q5_k_unpack(a.w) - s.y,
        s.x * q5_k_unpack(b.x) - s.y, s.x * q5_k_unpack(b.y) - s.y,
        s.x * q5_k_unpack(b.z) - s.y, s.x * q5_k_unpack(b.w) - s.y);
}

// The dot product of that run with x.
fn w_dot(row: u32, run: u32, x: ptr<function, array<vec4f, 8>>) -> f32 {
    let block = (row * ((dims.k + 255u) / 256u) + run / 8u) * 11u;
    let r = run % 8u;
    let s = k_scales(weights[block], r);
    let a = q5_k_quants(block, r, 0u);
    let b = q5_k_quants(block, r, 1u);
    let q = q5_k_unpack(a.x) * (*x)[0] + q5_k_unpack(a.y) * (*x)[1]
          + q5_k_unpack(a.z) * (*x)[2] + q5_k_unpack(a.w) * (*x)[3]
          + q5_k_unpack(b.x) * (*x)[4] + q5_k_unpack(b.y) * (*x)[5]
          + q5_k_unpack(b.z) * (*x)[6] + q5_k_unpack(b.w) * (*x)[7];
    let one = (*x)[0] + (*x)[1] + (*x)[2] + (*x)[3] + (*x)[4] + (*x)[5] + (*x)[6] + (*x)[7];
    return s.x * (q.x + q.y + q.z + q.w) - s.y * (one.x + one.y + one.z + one.w);
}
