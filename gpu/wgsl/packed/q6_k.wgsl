// packed/q6_k.wgsl - a piece of a Q6_K row times packed x: runs 4h + j and 4h + j + 2 of a block,
// j < 2, which share their bytes. Linked with weights/q6_k.wgsl and forms/packed.wgsl.
//
//   sum of w[i] x[i] = d sc scale (sum of q[i] xq[i] - 32 (sum of xq[i])), for each 16 weights
const PIECE: u32 = 2u;
const STEP: u32 = 2u;
const PIECE_ROWS: u32 = 2u;         // of a team

fn piece_count() -> u32 { return (dims.k + 255u) / 256u * 4u; }

fn piece_run(i: u32) -> u32 { return i / 4u * 8u + (i & 2u) * 2u + (i & 1u); }

fn piece_dot(row: u32, i: u32, piece: ptr<function, Piece>) -> f32 {
    let at = q6_k_row(row);
    let block = i / 4u;
    let unit = at + 13u * block;
    let h = (i & 2u) / 2u;
    let j = i & 1u;
    let a = weights[unit + 4u * h + 2u * j];
    let b = weights[unit + 4u * h + 2u * j + 1u];
    let high_a = weights[unit + 8u + 2u * h] >> vec4u(2u * j);
    let high_b = weights[unit + 9u + 2u * h] >> vec4u(2u * j);
    let scales = weights[unit + 12u];
    let word = weights[at + 13u * ((dims.k + 255u) / 256u) + block / 8u][(block / 2u) % 4u];
    let d = half_to_float((word >> (16u * (block & 1u))) & 0xFFFFu);
    let nibbles = vec4u(0x0F0F0F0Fu);
    let pairs = vec4u(0x30303030u);
    // int8 scales of runs 4h + j and 4h + j + 2, two each
    let shift = vec4u(24u, 16u, 24u, 16u) - vec4u(16u * j);
    let sc = vec4f(bitcast<vec4i>(vec4u(scales[2u * h], scales[2u * h], scales[2u * h + 1u],
                                        scales[2u * h + 1u]) << shift) >> vec4u(24u));
    let s = (*piece).s[0];
    let t = (*piece).s[1];
    let low = (a & nibbles) | ((high_a << vec4u(4u)) & pairs);
    let low_b = (b & nibbles) | ((high_b << vec4u(4u)) & pairs);
    let high = ((a >> vec4u(4u)) & nibbles) | (high_a & pairs);
    let high_b2 = ((b >> vec4u(4u)) & nibbles) | (high_b & pairs);
    return d * dot(sc * vec4f(s.xx, t.xx),
                   vec4f(dot16(low, (*piece).q[0]) - 32.0 * s.z,
                         dot16(low_b, (*piece).q[1]) - 32.0 * s.w,
                         dot16(high, (*piece).q[2]) - 32.0 * t.z,
                         dot16(high_b2, (*piece).q[3]) - 32.0 * t.w));
}
