// gather.wgsl - rows of a matrix by number: token embeddings.
//
//   y[t, i] = W[ids[t] - first, i] * scale      for tokens with first <= ids[t] < first + rows
//
//   binding  name     type            shape         access
//   0        weights  a format        [rows, k]     read
//   1        ids      u32             [tokens]      read
//   2        y        f32             [tokens, k]   write
//   3        dims     uniform
//
// Dispatch: ceil(k / 32 / WG), tokens. A thread writes one run. Linked with one weights/*.wgsl.
const WG: u32 = 64u;

struct Dims { rows: u32, k: u32, tokens: u32, first: u32, scale: f32 }
@group(0) @binding(0) var<storage, read> weights: array<vec4u>;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(3) var<uniform> dims: Dims;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let run = group.x * WG + t;
    let row = ids[group.y] - dims.first;                 // wraps to a large number below first
    if (run >= dims.k / 32u || row >= dims.rows) { return; }
    let w = w_run(row, run);
    let at = group.y * (dims.k / 4u) + run * 8u;
    for (var i = 0u; i < 8u; i++) { y[at + i] = w[i] * dims.scale; }
}
