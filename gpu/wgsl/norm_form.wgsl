// norm_form.wgsl - the residual stream behind a part of a layer that has a norm at its end, and the
// form of it that the next projection reads; one token.
//
//   x[i] = x[i] + y[i] / sqrt(mean over i of y[i]^2 + eps) * vectors[gain + i]
//   out  = form(x[i] * vectors[next_gain + i])
//
//   binding  name     type    shape    access
//   0        y        f32     [dim]    read
//   1        vectors  f32     [*]      read
//   2        x        f32     [dim]    read, write
//   3        out      a form  [dim]    write
//   4        dims     uniform
//
// Dispatch: 1. dim % 32 == 0. Not plain. Linked with one forms/*_store.wgsl.
// Source: Zhang and Sennrich 2019, equation 4.
override WG: u32 = 256u;
override FORM_RUNS: u32 = WG / 8u;   // that a workgroup writes at a time
const PARTS: u32 = 16u;              // two steps add up what the threads found

struct Dims { dim: u32, gain: u32, next_gain: u32, eps: f32 }
@group(0) @binding(0) var<storage, read> y: array<vec4f>;
@group(0) @binding(1) var<storage, read> vectors: array<f32>;
@group(0) @binding(2) var<storage, read_write> x: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> out: array<u32>;
@group(0) @binding(4) var<uniform> dims: Dims;

var<workgroup> partial: array<f32, WG>;
var<workgroup> sums: array<f32, PARTS>;

fn vector4(i: u32) -> vec4f {
    return vec4f(vectors[i], vectors[i + 1u], vectors[i + 2u], vectors[i + 3u]);
}

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) t: u32) {
    let quads = dims.dim / 4u;
    var sum = 0.0;
    for (var i = t; i < quads; i += WG) { sum += dot(y[i], y[i]); }
    partial[t] = sum;
    workgroupBarrier();
    if (t < PARTS) {
        var part = 0.0;
        for (var i = t; i < WG; i += PARTS) { part += partial[i]; }
        sums[t] = part;
    }
    workgroupBarrier();
    var square = 0.0;
    for (var i = 0u; i < PARTS; i++) { square += sums[i]; }
    let scale = 1.0 / sqrt(square / f32(dims.dim) + dims.eps);
    for (var first = 0u; first < quads; first += WG) {
        let i = first + t;
        let works = i < quads;
        var v = vec4f();
        var next = vec4f();
        if (works) {
            v = x[i] + scale * y[i] * vector4(dims.gain + 4u * i);
            next = v * vector4(dims.next_gain + 4u * i);
            x[i] = v;
        }
        form_store(works, t / 8u, t % 8u, 0u, i / 8u, dims.dim, next, dot(v, v));
        workgroupBarrier();                          // form_store's memory is used again
    }
}
