// bytes/q6_k.wgsl - a run of a Q6_K row as int8. Linked with weights/q6_k.wgsl; see bytes.wgsl.
const HALVES: bool = true;
const MINIMUM: bool = false;

// q - 32 of 16 weights, as q6_k_quants() of weights/q6_k.wgsl.
fn q6_k_bytes(unit: u32, r: u32, part: u32) -> vec4u {
    let j = r & 3u;
    let ql = weights[unit + (r & 4u) + 2u * (j & 1u) + part] >> vec4u(2u * (j & 2u));
    let qh = weights[unit + 8u + (r & 4u) / 2u + part] >> vec4u(2u * j);
    return bytes_less((ql & vec4u(0x0F0F0F0Fu)) | ((qh & vec4u(0x03030303u)) << vec4u(4u)), 32u);
}

fn w_bytes(row: u32, run: u32) -> Bytes {
    let at = q6_k_row(row);
    let unit = at + 13u * (run / 8u);
    return Bytes(q6_k_bytes(unit, run % 8u, 0u), q6_k_bytes(unit, run % 8u, 1u),
                 q6_k_scales(at, run));
}
