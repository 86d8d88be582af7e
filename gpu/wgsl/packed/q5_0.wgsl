// packed/q5_0.wgsl - a run of a Q5_0 row times packed x. Linked with weights/q5_0.wgsl and
// forms/packed.wgsl.
//
//   sum of w[i] x[i] = d scale (sum of q[i] xq[i] - 16 (sum of xq[i]))
const PIECE: u32 = 1u;
const STEP: u32 = 1u;
const PIECE_ROWS: u32 = 2u;         // of a team

fn piece_count() -> u32 { return dims.k / 32u; }

fn piece_run(i: u32) -> u32 { return i; }

fn piece_dot(row: u32, i: u32, piece: ptr<function, Piece>) -> f32 {
    let at = q5_0_row(row);
    let high = q5_0_high(at, i);
    let low = weights[at + i];
    let s = (*piece).s[0];
    let second = q5_0_quants(low >> vec4u(4u), high >> 16u);
    return q5_0_scale(at, i) * s.x * (dot16(q5_0_quants(low, high), (*piece).q[0])
                                    + dot16(second, (*piece).q[1]) - 16.0 * s.y);
}
