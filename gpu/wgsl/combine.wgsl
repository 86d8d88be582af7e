// combine.wgsl - what a token's experts made, weighted and added up.
//
//   y[t, i] = (ADD: itself +) sum over r < used, in this order, of weights[t, r] x[t * used + r, i]
//
//   binding  name     type  shape                  access
//   0        x        f32   [tokens * used, dim]   read
//   1        weights  f32   [tokens, used]         read
//   2        y        f32   [tokens, dim]          write, read with ADD
//   3        dims     uniform
//
// Dispatch: ceil(dim / 4 / WG), tokens. dim % 4 == 0.
const WG: u32 = 64u;
const ADD: u32 = 1u;

struct Dims { dim: u32, used: u32, tokens: u32, flags: u32 }
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(3) var<uniform> dims: Dims;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let quads = dims.dim / 4u;
    let i = group.x * WG + t;
    if (i >= quads) { return; }
    let first = group.y * dims.used;
    var sum = vec4f();
    for (var r = 0u; r < dims.used; r++) { sum += weights[first + r] * x[(first + r) * quads + i]; }
    let at = group.y * quads + i;
    if ((dims.flags & ADD) != 0u) { sum += y[at]; }
    y[at] = sum;
}
