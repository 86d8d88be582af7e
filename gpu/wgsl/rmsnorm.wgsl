// rmsnorm.wgsl - root mean square normalisation of rows.
//
//   n[t, i] = x[first + t, i] / sqrt(mean over i of x[first + t, i]^2 + eps) * vectors[gain + i]
//   y[t, i] = n[t, i], with ADD y[t, i] + n[t, i]
//
//   binding  name     type  shape                access
//   0        x        f32   [*, dim]             read
//   1        vectors  f32   [*]                  read
//   2        y        f32   [tokens, dim]        write
//   3        dims     uniform
//
// Dispatch: tokens. dim % 4 == 0. Source: Zhang and Sennrich 2019, equation 4.
const WG: u32 = 256u;
const PARTS: u32 = 16u;              // WG = PARTS^2: two steps add up what the threads found

const ADD: u32 = 1u;

struct Dims { dim: u32, tokens: u32, first: u32, gain: u32, flags: u32, eps: f32 }
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> vectors: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(3) var<uniform> dims: Dims;

var<workgroup> partial: array<f32, WG>;
var<workgroup> sums: array<f32, PARTS>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let quads = dims.dim / 4u;
    let row = (dims.first + group.x) * quads;
    var sum = 0.0;
    for (var i = t; i < quads; i += WG) { sum += dot(x[row + i], x[row + i]); }
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
    for (var i = t; i < quads; i += WG) {
        let g = dims.gain + 4u * i;
        var n = x[row + i] * scale
            * vec4f(vectors[g], vectors[g + 1u], vectors[g + 2u], vectors[g + 3u]);
        if ((dims.flags & ADD) != 0u) { n += y[group.x * quads + i]; }
        y[group.x * quads + i] = n;
    }
}
