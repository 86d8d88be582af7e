// activation.wgsl - what gates a feed-forward layer. Linked with act_mul and linear.
//
//   y = act(g) u,  act(g) = g / (1 + exp(-z))
//   SILU:       z = g
//   GELU_TANH:  z = 2 sqrt(2 / pi) (g + 0.044715 g^3)
//               since (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)); WGSL's tanh may be NaN for large u
//   SWIGLU_CLAMPED: y = act(g) (u + 1), z = 1.702 g, g = min(gate, limit), u = up in +-limit
//
// Sources: Shazeer 2020, equation 6; Hendrycks and Gimpel 2016, section 2 (GELU's approximations,
// 1.702 too); transformers' modeling_gpt_oss.py, GptOssExperts.
const GELU_TANH: u32 = 1u;           // activation
const SWIGLU_CLAMPED: u32 = 2u;
const SATURATED: f32 = 20.0;         // gates beyond have act(g) = g or 0; their cubes stay finite
const LEAST_GATE: f32 = -47.0;       // 1.702 of that is -80, where act(g) is 0

fn activate(activation: u32, given: vec4f, up: vec4f, limit: f32) -> vec4f {
    var gate = given;
    var u = up;
    var z = gate;
    if (activation == GELU_TANH) {
        let g = clamp(gate, vec4f(-SATURATED), vec4f(SATURATED));
        z = 1.5957691216057308 * (g + 0.044715 * g * g * g);
    } else if (activation == SWIGLU_CLAMPED) {
        gate = clamp(gate, vec4f(LEAST_GATE), vec4f(limit));
        u = clamp(up, vec4f(-limit), vec4f(limit)) + 1.0;
        z = 1.702 * gate;
    }
    // Infinities may be assumed not to occur: exp stays finite, and beyond that act is 0.
    return gate / (1.0 + exp(min(-z, vec4f(80.0)))) * u;
}
