// forms/plain_store.wgsl - x as k floats in their order, for kernels that read no form.

// As in forms/f32_store.wgsl.
fn form_store(works: bool, slot: u32, i: u32, token: u32, run: u32, k: u32, v: vec4f,
              square: f32) {
    if (works) {
        let to = token * k + 32u * run + 4u * i;
        for (var j = 0u; j < 4u; j++) { out[to + j] = bitcast<u32>(v[j]); }
    }
}
