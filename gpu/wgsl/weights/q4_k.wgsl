// weights/q4_k.wgsl - Q4_K: 256 weights in 9 vec4s (144 bytes), ggml's own block.
//
//   vec4 0   word 0      d, dmin        f16 pair
//            words 1-3   8 x (sc, mn)   6 bits each, see k_scales()
//   vec4s 1-8            q              vec4s 1 + 2c, 2 + 2c hold runs 2c (low nibbles) and
//                                       2c + 1 (high nibbles)
//
//   w[i] = d * sc[run] * q[i] - dmin * mn[run],  i in 0..31, run in 0..7
//
// Both products are exact in f32 (11 + 6 + 4 bits), the difference rounds once.
// weights: array<vec4u>. Linked with k_scales.wgsl, half_exact.wgsl. Source: ggml-quants.c, block_q4_K.

// Four nibbles of a word that was shifted so that they are the low ones of its bytes.
fn q4_k_unpack(word: u32) -> vec4f {
    return vec4f((vec4u(word) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(15u));
}

// Weights 32 * run .. 32 * run + 31 of a row.
fn w_run(row: u32, run: u32) -> array<vec4f, 8> {
    let block = (row * ((dims.k + 255u) / 256u) + run / 8u) * 9u;
    let r = run % 8u;
    let s = k_scales(weights[block], r);
    let shift = vec4u((r & 1u) * 4u);
    let low = weights[block + 1u + (r & 6u)] >> shift;
    let high = weights[block + 2u + (r & 6u)] >> shift;
    return array<vec4f, 8>(
        s.x * q4_k_unpack(low.x) - s.y, s.x * q4_k_unpack(low.y) - s.y,
        s.x * q4_k_unpack(low.z) - s.y, s.x * q4_k_unpack(low.w) - s.y,
        s.x * q4_k_unpack(high.x) - s.y, s.x * q4_k_unpack(high.y) - s.y,
        s.x * q4_k_unpack(high.z) - s.y, s.x * q4_k_unpack(high.w) - s.y);
}

// The dot product of that run with x.
fn w_dot(row: u32, run: u32, x: ptr<function, array<vec4f, 8>>) -> f32 {
    let block = (row * ((dims.k + 255u) / 256u) + run / 8u) * 9u;
    let r = run % 8u;
    let s = k_scales(weights[block], r);
    let shift = vec4u((r & 1u) * 4u);
    let low = weights[block + 1u + (r & 6u)] >> shift;
    let high = weights[block + 2u + (r & 6u)] >> shift;
    let q = q4_k_unpack(low.x) * (*x)[0] + q4_k_unpack(low.y) * (*x)[1]
          + q4_k_unpack(low.z) * (*x)[2] + q4_k_unpack(low.w) * (*x)[3]
          + q4_k_unpack(high.x) * (*x)[4] + q4_k_unpack(high.y) * (*x)[5]
          + q4_k_unpack(high.z) * (*x)[6] + q4_k_unpack(high.w) * (*x)[7];
    let one = (*x)[0] + (*x)[1] + (*x)[2] + (*x)[3] + (*x)[4] + (*x)[5] + (*x)[6] + (*x)[7];
    return s.x * (q.x + q.y + q.z + q.w) - s.y * (one.x + one.y + one.z + one.w);
}
