// forms/half_store.wgsl - x as f16, for matmul_matrix.wgsl: four vec4s a run.
//
//   h = f16(v * 2^-6), saturating
//
// f16 ends at 65504, which what an activation gives exceeds in some models; a 64th reaches 4e6.
// What that costs is below 64 * 2^-14 = 0.004, where f16 has steps of 4e-6. Linked with half.wgsl.

// As in forms/f32_store.wgsl.
fn form_store(works: bool, slot: u32, i: u32, token: u32, run: u32, k: u32, v: vec4f,
              square: f32) {
    if (works) {
        let h = halves(v * 0.015625);
        let to = ((k + 255u) / 256u * 8u * token + run) * 16u + 2u * i;
        out[to] = h.x | (h.y << 16u);
        out[to + 1u] = h.z | (h.w << 16u);
    }
}
