// act_mul.wgsl - the gated activation between the two halves of a feed-forward layer.
//
//   y[t, i] = act(gu[t, i]) * gu[t, hidden + i],  act(g) = g / (1 + exp(-z))
//   SILU:       z = g
//   GELU_TANH:  z = 2 sqrt(2 / pi) (g + 0.044715 g^3)
//               since (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)); WGSL's tanh may be NaN for large u
//   SWIGLU_CLAMPED: y = act(g) (u + 1), z = 1.702 g, g = min(gate, limit), u = up in +-limit
//
//   binding  name  type  shape                           access
//   0        gu    f32   [tokens, 2 * hidden] gate, up   read
//   1        y     f32   [tokens, hidden]                write
//   2        dims  uniform
//
// Dispatch: ceil(hidden / 4 / WG), tokens. hidden % 4 == 0. Sources: Shazeer 2020,
// equation 6; Hendrycks and Gimpel 2016, section 2 (GELU's approximations, 1.702 too);
// transformers' modeling_gpt_oss.py, GptOssExperts.
const WG: u32 = 64u;
const GELU_TANH: u32 = 1u;           // activation
const SWIGLU_CLAMPED: u32 = 2u;
const SATURATED: f32 = 20.0;         // gates beyond have act(g) = g or 0; their cubes stay finite
const LOWEST: f32 = -47.0;           // 1.702 of that is -80, where act(g) is 0

struct Dims { hidden: u32, tokens: u32, activation: u32, limit: f32 }
@group(0) @binding(0) var<storage, read> gu: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<uniform> dims: Dims;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let quads = dims.hidden / 4u;
    let i = group.x * WG + t;
    if (i >= quads) { return; }
    var gate = gu[2u * group.y * quads + i];
    var up = gu[(2u * group.y + 1u) * quads + i];
    var z = gate;
    if (dims.activation == GELU_TANH) {
        let g = clamp(gate, vec4f(-SATURATED), vec4f(SATURATED));
        z = 1.5957691216057308 * (g + 0.044715 * g * g * g);
    } else if (dims.activation == SWIGLU_CLAMPED) {
        gate = clamp(gate, vec4f(LOWEST), vec4f(dims.limit));
        up = clamp(up, vec4f(-dims.limit), vec4f(dims.limit)) + 1.0;
        z = 1.702 * gate;
    }
    // Infinities may be assumed not to occur: exp stays finite, and beyond that act is 0.
    y[group.y * quads + i] = gate / (1.0 + exp(min(-z, vec4f(80.0)))) * up;
}
