// forms/digits.wgsl - x as integers of 24 bits with a scale for each run of 32, each as three int8
// digits, as exact as f32: products with the weights' own integers and their sums do not round.
//
//   x[i] = scale * (65536 a[i] + 256 b[i] + c[i])
//
// Runs stand in groups of eight, of 54 vec4s: [6 vec4s][8 runs], a, b, c in two vec4s each; then as
// floats [8 runs][scale, scale * (sum of the integers)], and for each run the sum of squares of x
// before it was rounded and before any gain. Runs behind k are as gpu/dims.h says. Read with
// packed/*.wgsl, as forms/packed.wgsl is. x: array<vec4u>. Needs packed_4x8_integer_dot_product.
const R: u32 = 2u;                   // rows of a team

struct Digits { a: vec4u, b: vec4u, c: vec4u }
struct Piece { q: array<Digits, 2u * PIECE>, s: array<vec2f, PIECE> }

// The first piece of a group of eight runs.
fn piece_of_group(group: u32) -> u32 { return group * (8u / PIECE); }

fn piece_load(i: u32) -> Piece {
    var piece: Piece;
    var tail: vec4u;
    for (var n = 0u; n < PIECE; n++) {
        let run = piece_run(i) + n * STEP;
        let group = run / 8u * 54u;
        let at = group + run % 8u;
        piece.q[2u * n] = Digits(x[at], x[at + 16u], x[at + 32u]);
        piece.q[2u * n + 1u] = Digits(x[at + 8u], x[at + 24u], x[at + 40u]);
        if (n == 0u || STEP > 1u) { tail = x[group + 48u + run / 2u % 4u]; }
        piece.s[n] = bitcast<vec2f>(select(tail.xy, tail.zw, run % 2u == 1u));
    }
    return piece;
}

// Squares of runs 4i .. 4i + 3.
fn x_squares(i: u32) -> vec4f { return bitcast<vec4f>(x[i / 2u * 54u + 52u + i % 2u]); }

// The sum of 16 products with one digit.
fn dot16_digit(w: vec4u, digit: vec4u) -> i32 {
    return dot4I8Packed(w.x, digit.x) + dot4I8Packed(w.y, digit.y) + dot4I8Packed(w.z, digit.z)
         + dot4I8Packed(w.w, digit.w);
}

// The sum of 16 products. Both terms are exact.
fn dot16(w: vec4u, q: Digits) -> f32 {
    return 65536.0 * f32(dot16_digit(w, q.a)) + f32(dot16_digit(w, q.b) * 256 + dot16_digit(w, q.c));
}
