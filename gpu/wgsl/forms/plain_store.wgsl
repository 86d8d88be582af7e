// forms/plain_store.wgsl - x as k floats in their order, for kernels that read no form.

// As in forms/f32_store.wgsl.
fn form_store(works: bool, slot: u32, i: u32, run: u32, k: u32, v: vec4f, square: f32) {
    if (works) { out[8u * run + i] = bitcast<vec4u>(v); }
}
