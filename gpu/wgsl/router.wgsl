// router.wgsl - the router's logits of one token, with the norm before it; never rounded, since
// another expert is another answer.
//
//   y[e] = s sum over i of W[e, i] gain[i] x[i] (+ BIAS: vectors[bias + e])
//   s = 1 / sqrt(mean of x^2 + eps),  gain = vectors[gain ..]
//
//   binding  name     type      shape    access
//   0        weights  a format  [*, k]   read
//   1        x        f32       [k]      read
//   2        vectors  f32       [*]      read
//   3        y        f32       [*]      write
//   4        dims     uniform
//
// Dispatch: experts, so that a step's shortest projection fills many cores. k % 32 == 0, gain % 4 ==
// 0. Linked with one weights/*.wgsl. Source: Zhang and Sennrich 2019, equation 4.
const WG: u32 = 128u;
const PARTS: u32 = 8u;               // threads that add up first
const BIAS: u32 = 1u;

struct Dims { k: u32, gain: u32, bias: u32, flags: u32, eps: f32 }
@group(0) @binding(0) var<storage, read> weights: array<vec4u>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> vectors: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> dims: Dims;

var<workgroup> partial: array<vec2f, WG>;            // products, squares

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    var sum = vec2f();
    for (var run = t; run < dims.k / 32u; run += WG) {
        var v: array<vec4f, 8>;
        for (var i = 0u; i < 8u; i++) {
            let a = x[8u * run + i];
            sum.y += dot(a, a);
            v[i] = a * vectors[dims.gain / 4u + 8u * run + i];
        }
        sum.x += w_dot(group.x, run, &v);
    }
    partial[t] = sum;
    workgroupBarrier();
    if (t < PARTS) {
        for (var i = t + PARTS; i < WG; i += PARTS) { sum += partial[i]; }
        partial[t] = sum;
    }
    workgroupBarrier();
    if (t > 0u) { return; }
    for (var i = 1u; i < PARTS; i++) { sum += partial[i]; }
    var logit = sum.x / sqrt(sum.y / f32(dims.k) + dims.eps);
    if ((dims.flags & BIAS) != 0u) {
        let at = dims.bias + group.x;
        logit += vectors[at / 4u][at % 4u];
    }
    y[group.x] = logit;
}
