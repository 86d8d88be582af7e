// bytes/q4_0.wgsl - a run of a Q4_0 row as int8. Linked with weights/q4_0.wgsl; see bytes.wgsl.
const HALVES: bool = false;
const MINIMUM: bool = false;

fn w_bytes(row: u32, run: u32) -> Bytes {
    let at = q4_0_row(row);
    let q = weights[at + run];
    let nibbles = vec4u(0x0F0F0F0Fu);
    return Bytes(bytes_less(q & nibbles, 8u), bytes_less((q >> vec4u(4u)) & nibbles, 8u),
                 vec2f(q4_0_scale(at, run), 0.0));
}
