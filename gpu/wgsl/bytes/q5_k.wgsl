// bytes/q5_k.wgsl - a run of a Q5_K row as int8. Linked with weights/q5_k.wgsl; see bytes.wgsl.
const HALVES: bool = false;
const MINIMUM: bool = true;

fn w_bytes(row: u32, run: u32) -> Bytes {
    let block = (row * ((dims.k + 255u) / 256u) + run / 8u) * 11u;
    let s = k_scales(weights[block], run % 8u);
    return Bytes(q5_k_quants(block, run % 8u, 0u), q5_k_quants(block, run % 8u, 1u), vec2f(s.x, -s.y));
}
