// weights/f16.wgsl - f16: a row is k numbers.
//
//   word i of a row   w[2i] in the low half, w[2i + 1] in the high half
//
// weights: array<vec4u>, 4 of them a run. Linked with half_exact.wgsl.

fn f16_low(v: vec4u) -> vec4f {
    return vec4f(half_to_float(v.x & 0xFFFFu), half_to_float(v.y & 0xFFFFu),
                 half_to_float(v.z & 0xFFFFu), half_to_float(v.w & 0xFFFFu));
}
fn f16_high(v: vec4u) -> vec4f { return f16_low(v >> vec4u(16u)); }

// Weights 32 * run .. 32 * run + 31 of a row.
fn w_run(row: u32, run: u32) -> array<vec4f, 8> {
    let at = row * (dims.k / 8u) + run * 4u;
    var w: array<vec4f, 8>;
    for (var i = 0u; i < 4u; i++) {
        let v = weights[at + i];
        let even = f16_low(v);
        let odd = f16_high(v);
        w[2u * i] = vec4f(even.x, odd.x, even.y, odd.y);
        w[2u * i + 1u] = vec4f(even.z, odd.z, even.w, odd.w);
    }
    return w;
}

// The dot product of that run with x.
fn w_dot(row: u32, run: u32, x: ptr<function, array<vec4f, 8>>) -> f32 {
    let at = row * (dims.k / 8u) + run * 4u;
    var sum = vec4f();
    for (var i = 0u; i < 4u; i++) {
        let v = weights[at + i];
        let a = (*x)[2u * i];
        let b = (*x)[2u * i + 1u];
        sum += f16_low(v) * vec4f(a.xz, b.xz) + f16_high(v) * vec4f(a.yw, b.yw);
    }
    return sum.x + sum.y + sum.z + sum.w;
}
