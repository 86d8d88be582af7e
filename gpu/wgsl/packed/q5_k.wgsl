// packed/q5_k.wgsl - a run of a Q5_K row times packed x. Linked with weights/q5_k.wgsl and
// forms/packed.wgsl. As packed/q4_k.wgsl, a run at a time.
const PIECE: u32 = 1u;
const STEP: u32 = 1u;
const PIECE_ROWS: u32 = 2u;         // of a team

fn piece_count() -> u32 { return dims.k / 32u; }

fn piece_run(i: u32) -> u32 { return i; }

fn piece_dot(row: u32, i: u32, piece: ptr<function, Piece>) -> f32 {
    let r = i % 8u;
    let block = (row * ((dims.k + 255u) / 256u) + i / 8u) * 11u;
    let d = k_scales(weights[block], r);
    let s = (*piece).s[0];
    return s.x * (d.x * (dot16(q5_k_quants(block, r, 0u), (*piece).q[0])
                       + dot16(q5_k_quants(block, r, 1u), (*piece).q[1])) - d.y * s.y);
}
