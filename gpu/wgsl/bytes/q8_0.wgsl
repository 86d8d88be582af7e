// bytes/q8_0.wgsl - a run of a Q8_0 row as int8. Linked with weights/q8_0.wgsl; see bytes.wgsl.
const HALVES: bool = false;
const MINIMUM: bool = false;

fn w_bytes(row: u32, run: u32) -> Bytes {
    let at = q8_0_row(row);
    return Bytes(weights[at + 2u * run], weights[at + 2u * run + 1u], vec2f(q8_0_scale(at, run), 0.0));
}
