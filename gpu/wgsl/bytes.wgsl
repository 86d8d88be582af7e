// bytes.wgsl - runs of weights as int8 and their products with packed x. Linked with bytes/*.wgsl,
// whose w_bytes(row, run) gives 32 weights of a row as
//
//   w[i] = scales.x * q[i] - minimum, scales.y = -minimum            with MINIMUM
//   w[i] = scales[i / 16] * q[i]                                     with HALVES
//   w[i] = scales.x * q[i]                                           with neither
//
// Needs packed_4x8_integer_dot_product.
struct Bytes { low: vec4u, high: vec4u, scales: vec2f }      // q: int8, 16 in each

// Each byte, < 128, less n.
fn bytes_less(q: vec4u, n: u32) -> vec4u {
    let top = vec4u(0x80808080u);
    return ((q | top) - vec4u(n * 0x01010101u)) ^ top;
}

// z + the sum of 16 products.
fn dot16(w: vec4u, q: vec4u, z: i32) -> i32 {
    return z + dot4I8Packed(w.x, q.x) + dot4I8Packed(w.y, q.y) + dot4I8Packed(w.z, q.z)
             + dot4I8Packed(w.w, q.w);
}

// The integer of which `sum` is MAGIC more, where that is below 2^22: the bits of floats from 2^23
// on count, which is cheaper than a conversion.
const MAGIC: i32 = 0x4B400000;
fn whole(sum: i32) -> f32 { return bitcast<f32>(sum) - 12582912.0; }

// sum + a run of weights times one of x. s: scale, scale * (sum of its integers).
fn run_dot(low: vec4u, high: vec4u, scales: vec2f, a: vec4u, b: vec4u, s: vec2f,
           sum: f32) -> f32 {
    if (HALVES) {
        let halves = scales * vec2f(whole(dot16(low, a, MAGIC)), whole(dot16(high, b, MAGIC)));
        return fma(s.x, halves.x + halves.y, sum);
    }
    let all = fma(s.x * scales.x, whole(dot16(low, a, dot16(high, b, MAGIC))), sum);
    if (MINIMUM) { return fma(scales.y, s.y, all); }
    return all;
}
