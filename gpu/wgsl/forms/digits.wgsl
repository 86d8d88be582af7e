// forms/digits.wgsl - x as integers of 24 bits with a scale for each run of 32, each as three int8
// digits, as exact as f32: products with the weights' own integers and their sums do not round.
//
//   x[i] = scale * (65536 a[i] + 256 b[i] + c[i])
//
// Runs stand in groups of eight, [7 vec4s][8 runs]: a, b, c in two vec4s each, then as floats
// scale, the sum of the first 16 integers, of the others, and the sum of squares of x before it was
// rounded and before any gain. Runs behind k are zeros. Read with packed/*.wgsl, as
// forms/packed.wgsl is. x: array<vec4u>. Needs packed_4x8_integer_dot_product.
const R: u32 = 2u;                   // rows of a team

struct Digits { a: vec4u, b: vec4u, c: vec4u }
// s: as in forms/packed.wgsl.
struct Piece { q: array<Digits, 2u * PIECE>, s: array<vec4f, PIECE> }

// The first piece of a group of eight runs.
fn piece_of_group(group: u32) -> u32 { return group * (8u / PIECE); }

// The first vec4 of a run.
fn digits_at(run: u32) -> u32 { return run / 8u * 56u + run % 8u; }

fn piece_load(i: u32) -> Piece {
    var piece: Piece;
    for (var n = 0u; n < PIECE; n++) {
        let run = piece_run(i) + n * STEP;
        let at = digits_at(run);
        piece.q[2u * n] = Digits(x[at], x[at + 16u], x[at + 32u]);
        piece.q[2u * n + 1u] = Digits(x[at + 8u], x[at + 24u], x[at + 40u]);
        let tail = bitcast<vec4f>(x[at + 48u]);
        piece.s[n] = vec4f(tail.x, tail.y + tail.z, tail.yz);
    }
    return piece;
}

// Squares of runs 4i .. 4i + 3.
fn x_squares(i: u32) -> vec4f {
    let at = digits_at(4u * i) + 48u;
    return bitcast<vec4f>(vec4u(x[at].w, x[at + 1u].w, x[at + 2u].w, x[at + 3u].w));
}

// The sum of 16 products with one digit.
fn dot16_digit(w: vec4u, digit: vec4u) -> i32 {
    return dot4I8Packed(w.x, digit.x) + dot4I8Packed(w.y, digit.y) + dot4I8Packed(w.z, digit.z)
         + dot4I8Packed(w.w, digit.w);
}

// The sum of 16 products. Both terms are exact.
fn dot16(w: vec4u, q: Digits) -> f32 {
    return 65536.0 * f32(dot16_digit(w, q.a)) + f32(dot16_digit(w, q.b) * 256 + dot16_digit(w, q.c));
}
