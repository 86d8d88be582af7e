// packed/q8_0.wgsl - a run of a Q8_0 row times packed x. Linked with weights/q8_0.wgsl and
// forms/packed.wgsl.
//
//   sum of w[i] x[i] = d scale (sum of q[i] xq[i])
const PIECE: u32 = 1u;
const STEP: u32 = 1u;
const PIECE_ROWS: u32 = 2u;         // of a team

fn piece_count() -> u32 { return dims.k / 32u; }

fn piece_run(i: u32) -> u32 { return i; }

fn piece_dot(row: u32, i: u32, piece: ptr<function, Piece>) -> f32 {
    let at = q8_0_row(row);
    return q8_0_scale(at, i) * (*piece).s[0].x
         * (dot16(weights[at + 2u * i], (*piece).q[0])
          + dot16(weights[at + 2u * i + 1u], (*piece).q[1]));
}
