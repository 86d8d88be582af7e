// forms/f32.wgsl - x as floats, so laid that the threads of a team read neighbouring bytes: runs of
// 32 stand in groups of eight, whose vec4s are [8 vec4s of a run][8 runs]; behind all groups one
// sum of squares for each run.
//
// A form is how one kernel hands x to the next. It is written a run at a time and read in pieces.
// x: array<vec4u>. Linked with a weight format.
const R: u32 = 2u;                   // rows of a team

// A thread's part of x: a run.
struct Piece { v: array<vec4f, 8> }

fn piece_count() -> u32 { return dims.k / 32u; }

// The first piece of a group of eight runs.
fn piece_of_group(group: u32) -> u32 { return 8u * group; }

fn piece_load(i: u32) -> Piece {
    var piece: Piece;
    let at = i / 8u * 64u + i % 8u;
    for (var q = 0u; q < 8u; q++) { piece.v[q] = bitcast<vec4f>(x[at + 8u * q]); }
    return piece;
}

// Squares of runs 4i .. 4i + 3.
fn x_squares(i: u32) -> vec4f {
    return bitcast<vec4f>(x[(dims.k + 255u) / 256u * 64u + i]);
}

fn piece_dot(row: u32, i: u32, piece: ptr<function, Piece>) -> f32 {
    var v = (*piece).v;              // not all compilers take a pointer into a struct
    return w_dot(row, i, &v);
}
