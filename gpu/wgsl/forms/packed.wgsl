// forms/packed.wgsl - x as int8 with a scale for each run of 32: three vec4s a run.
//
//   vec4s 0, 1   q        32 int8, x[i] = scale * q[i]
//   vec4 2       f32      scale, scale * (sum of q[0..15]), scale * (sum of q[16..31]), sum of
//                         squares of x before it was rounded and before any gain
//
// Runs behind k, up to a whole group of eight, are zeros. Read with packed/*.wgsl, which says how
// many runs a piece has (PIECE), which they are, and how many rows a team has (PIECE_ROWS). x:
// array<vec4u>. Needs packed_4x8_integer_dot_product.
const R: u32 = PIECE_ROWS;           // rows of a team

struct Piece { q: array<vec4u, 2u * PIECE>, s: array<vec4f, PIECE> }

// The first piece of a group of eight runs.
fn piece_of_group(group: u32) -> u32 { return group * (8u / PIECE); }

fn piece_load(i: u32) -> Piece {
    var piece: Piece;
    for (var n = 0u; n < PIECE; n++) {
        let at = 3u * piece_run(i, n);
        piece.q[2u * n] = x[at];
        piece.q[2u * n + 1u] = x[at + 1u];
        piece.s[n] = bitcast<vec4f>(x[at + 2u]);
    }
    return piece;
}

fn piece_square(i: u32, piece: ptr<function, Piece>) -> f32 {
    var square = 0.0;
    for (var n = 0u; n < PIECE; n++) { square += (*piece).s[n].w; }
    return square;
}

// The sum of 16 products of int8.
fn dot16(w: vec4u, q: vec4u) -> f32 {
    return f32(dot4I8Packed(w.x, q.x) + dot4I8Packed(w.y, q.y) + dot4I8Packed(w.z, q.z)
             + dot4I8Packed(w.w, q.w));
}
