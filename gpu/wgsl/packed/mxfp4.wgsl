// packed/mxfp4.wgsl - a run of a MXFP4 row times packed x. Linked with weights/mxfp4.wgsl and
// forms/packed.wgsl.
//
//   sum of w[i] x[i] = 2^(e - 128) (scale (sum of (12 + t[i]) xq[i]) - 12 scale (sum of xq[i]))
const PIECE: u32 = 1u;

fn piece_count() -> u32 { return dims.k / 32u; }

fn piece_run(i: u32, n: u32) -> u32 { return i + n; }

fn piece_dot(row: u32, i: u32, piece: ptr<function, Piece>) -> f32 {
    let at = mxfp4_row(row);
    let e = mxfp4_scale(at, i);
    let t = mxfp4_bytes(weights[at + i]);
    let s = (*piece).s[0];
    return (s.x * (dot16(t.low, (*piece).q[0]) + dot16(t.high, (*piece).q[1]))
          - 12.0 * (s.y + s.z)) * e.x * e.y;
}
