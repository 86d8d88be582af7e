// packed/q4_0.wgsl - a run of a Q4_0 row times packed x. Linked with weights/q4_0.wgsl and
// forms/packed.wgsl.
//
//   sum of w[i] x[i] = d scale (sum of q[i] xq[i] - 8 (sum of xq[i]))
const PIECE: u32 = 1u;
const STEP: u32 = 1u;
const PIECE_ROWS: u32 = 2u;         // of a team

fn piece_count() -> u32 { return dims.k / 32u; }

fn piece_run(i: u32) -> u32 { return i; }

fn piece_dot(row: u32, i: u32, piece: ptr<function, Piece>) -> f32 {
    let at = q4_0_row(row);
    let q = weights[at + i];
    let s = (*piece).s[0];
    return q4_0_scale(at, i) * s.x * (dot16(q & vec4u(0x0F0F0F0Fu), (*piece).q[0])
                                    + dot16((q >> vec4u(4u)) & vec4u(0x0F0F0F0Fu), (*piece).q[1])
                                    - 8.0 * s.y);
}
