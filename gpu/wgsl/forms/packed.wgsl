// forms/packed.wgsl - x as int8 with a scale for each run of 32.
//
//   vec4s 5p .. 5p + 3   q     runs 2p and 2p + 1: 32 int8 each, x[i] = scale * q[i]
//   vec4  5p + 4               scales and sums of both, see forms/packed_tail.wgsl
//   then                 f32   for each run the sum of squares of x before it was rounded and
//                              before any gain
//
// Runs behind k, up to a whole group of eight, are zeros. Read with packed/*.wgsl, which says which
// runs are a piece (PIECE of them, STEP apart, the first of them piece_run()) and how many rows a
// team has (PIECE_ROWS). x: array<vec4u>. Needs packed_4x8_integer_dot_product.
const R: u32 = PIECE_ROWS;           // rows of a team

// s: of each run scale, sum of its integers, of the first 16, of the others.
struct Piece { q: array<vec4u, 2u * PIECE>, s: array<vec4f, PIECE> }

// The first piece of a group of eight runs.
fn piece_of_group(group: u32) -> u32 { return group * (8u / PIECE); }

fn piece_load(i: u32) -> Piece {
    var piece: Piece;
    let run = piece_run(i);
    let odd = select(run % 2u, 0u, PIECE > STEP);    // 0 for pairs, which compilers did not see
    var tail: vec4u;
    for (var n = 0u; n < PIECE; n++) {
        let pair = 5u * (run / 2u + n * (STEP / 2u));
        let second = (odd + n * STEP) % 2u;
        piece.q[2u * n] = x[pair + 2u * second];
        piece.q[2u * n + 1u] = x[pair + 2u * second + 1u];
        if (n == 0u || STEP > 1u) { tail = x[pair + 4u]; }
        piece.s[n] = run_tail(tail, second == 1u);
    }
    return piece;
}

// Squares of runs 4i .. 4i + 3.
fn x_squares(i: u32) -> vec4f { return bitcast<vec4f>(x[(dims.k + 255u) / 256u * 20u + i]); }

// The sum of 16 products of int8.
fn dot16(w: vec4u, q: vec4u) -> f32 {
    return f32(dot4I8Packed(w.x, q.x) + dot4I8Packed(w.y, q.y) + dot4I8Packed(w.z, q.z)
             + dot4I8Packed(w.w, q.w));
}
