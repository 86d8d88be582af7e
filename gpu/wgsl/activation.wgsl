// activation.wgsl - what gates a feed-forward layer. Linked with act_mul and linear.
//
//   act(g) = g / (1 + exp(-z))
//   SILU:       z = g
//   GELU_TANH:  z = 2 sqrt(2 / pi) (g + 0.044715 g^3)
//               since (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)); WGSL's tanh may be NaN for large u
//
// Sources: Shazeer 2020, equation 6; Hendrycks and Gimpel 2016, section 2 (GELU's approximation by
// tanh).
const GELU_TANH: u32 = 1u;           // activation
const SATURATED: f32 = 20.0;         // gates beyond have act(g) = g or 0; their cubes stay finite

fn activate(activation: u32, gate: vec4f) -> vec4f {
    var z = gate;
    if (activation == GELU_TANH) {
        let g = clamp(gate, vec4f(-SATURATED), vec4f(SATURATED));
        z = 1.5957691216057308 * (g + 0.044715 * g * g * g);
    }
    // Infinities may be assumed not to occur: exp stays finite, and beyond that act is 0.
    return gate / (1.0 + exp(min(-z, vec4f(80.0))));
}
