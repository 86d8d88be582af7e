// weights/f32.wgsl - f32: a row is k numbers.
//
//   word i of a row   w[i]
//
// weights: array<vec4u>, 8 of them a run.

// Weights 32 * run .. 32 * run + 31 of a row.
fn w_run(row: u32, run: u32) -> array<vec4f, 8> {
    let at = row * (dims.k / 4u) + run * 8u;
    var w: array<vec4f, 8>;
    for (var i = 0u; i < 8u; i++) { w[i] = bitcast<vec4f>(weights[at + i]); }
    return w;
}

// The dot product of that run with x.
fn w_dot(row: u32, run: u32, x: ptr<function, array<vec4f, 8>>) -> f32 {
    let at = row * (dims.k / 4u) + run * 8u;
    var sum = vec4f();
    for (var i = 0u; i < 8u; i++) { sum += bitcast<vec4f>(weights[at + i]) * (*x)[i]; }
    return sum.x + sum.y + sum.z + sum.w;
}
