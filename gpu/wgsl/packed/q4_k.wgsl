// packed/q4_k.wgsl - a piece of a Q4_K row times packed x: runs 2c and 2c + 1 of a block, which
// share their bytes. Linked with weights/q4_k.wgsl and forms/packed.wgsl.
//
//   sum of w[i] x[i] = scale (d sc (sum of q[i] xq[i]) - dmin mn (sum of xq[i]))
const PIECE: u32 = 2u;
const STEP: u32 = 1u;
const PIECE_ROWS: u32 = 2u;         // of a team

fn piece_count() -> u32 { return (dims.k + 63u) / 64u; }

fn piece_run(i: u32) -> u32 { return 2u * i; }

fn piece_dot(row: u32, i: u32, piece: ptr<function, Piece>) -> f32 {
    let r = 2u * (i % 4u);
    let block = (row * ((dims.k + 255u) / 256u) + i / 4u) * 9u;
    let header = weights[block];
    let a = weights[block + 1u + r];
    let b = weights[block + 2u + r];
    let d = k_scales_pair(header, r);
    let low = d.xy;
    let high = d.zw;
    let nibbles = vec4u(0x0F0F0F0Fu);
    let s = (*piece).s[0];
    let t = (*piece).s[1];
    return s.x * (low.x * (dot16(a & nibbles, (*piece).q[0]) + dot16(b & nibbles, (*piece).q[1]))
                - low.y * s.y)
         + t.x * (high.x * (dot16((a >> vec4u(4u)) & nibbles, (*piece).q[2])
                          + dot16((b >> vec4u(4u)) & nibbles, (*piece).q[3])) - high.y * t.y);
}
