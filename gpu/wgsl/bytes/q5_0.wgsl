// bytes/q5_0.wgsl - a run of a Q5_0 row as int8. Linked with weights/q5_0.wgsl; see bytes.wgsl.
const HALVES: bool = false;
const MINIMUM: bool = false;

fn w_bytes(row: u32, run: u32) -> Bytes {
    let at = q5_0_row(row);
    let q = weights[at + run];
    let high = q5_0_high(at, run);
    return Bytes(bytes_less(q5_0_quants(q, high), 16u),
                 bytes_less(q5_0_quants(q >> vec4u(4u), high >> 16u), 16u),
                 vec2f(q5_0_scale(at, run), 0.0));
}
