// forms/direct.wgsl - x as it is bound; as forms/staged.wgsl.
fn x_begin(t: u32) {}

fn x_vec(i: u32) -> vec4u { return x[i]; }
