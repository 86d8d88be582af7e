// packed/mxfp4.wgsl - a run of a MXFP4 row times packed x. Linked with weights/mxfp4.wgsl and
// forms/packed.wgsl.
//
//   sum of w[i] x[i] = 2^(e - 128) scale (sum of (t[i] - sign[i]) xq[i] + sum of sign[i] xq[i])
const PIECE: u32 = 1u;
const STEP: u32 = 1u;
const PIECE_ROWS: u32 = 4u;         // of a team

fn piece_count() -> u32 { return dims.k / 32u; }

fn piece_run(i: u32) -> u32 { return i; }

fn piece_dot(row: u32, i: u32, piece: ptr<function, Piece>) -> f32 {
    let at = mxfp4_row(row);
    let e = mxfp4_scale(at, i);
    let t = mxfp4_signed(weights[at + i]);
    let low = (*piece).q[0];
    let high = (*piece).q[1];
    return (*piece).s[0].x * e.x * e.y * (dot16(t.low, low) + dot16(t.low_signs, low)
                                        + dot16(t.high, high) + dot16(t.high_signs, high));
}
