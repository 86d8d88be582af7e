// bytes/q4_k.wgsl - a run of a Q4_K row as int8. Linked with weights/q4_k.wgsl; see bytes.wgsl.
const HALVES: bool = false;
const MINIMUM: bool = true;

fn w_bytes(row: u32, run: u32) -> Bytes {
    let block = (row * ((dims.k + 255u) / 256u) + run / 8u) * 9u;
    let r = run % 8u;
    let s = k_scales(weights[block], r);
    let shift = vec4u((r & 1u) * 4u);
    let nibbles = vec4u(0x0F0F0F0Fu);
    return Bytes((weights[block + 1u + (r & 6u)] >> shift) & nibbles,
                 (weights[block + 2u + (r & 6u)] >> shift) & nibbles, vec2f(s.x, -s.y));
}
