// act_mul.wgsl - the gated activation between the two halves of a feed-forward layer.
//
//   y[t, i] = act(gu[t, i]) * gu[t, hidden + i]
//
//   binding  name  type  shape                           access
//   0        gu    f32   [tokens, 2 * hidden] gate, up   read
//   1        y     f32   [tokens, hidden]                write
//   2        dims  uniform
//
// Dispatch: ceil(hidden / 4 / WG), tokens. hidden % 4 == 0. Linked with activation.wgsl.
// Source: Shazeer 2020, equation 6.
const WG: u32 = 64u;

struct Dims { hidden: u32, tokens: u32, activation: u32, limit: f32 }
@group(0) @binding(0) var<storage, read> gu: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<uniform> dims: Dims;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let quads = dims.hidden / 4u;
    let i = group.x * WG + t;
    if (i >= quads) { return; }
    let gate = gu[2u * group.y * quads + i];
    let up = gu[(2u * group.y + 1u) * quads + i];
    y[group.y * quads + i] = activate(dims.activation, gate, up, dims.limit);
}
