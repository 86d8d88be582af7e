// bytes/mxfp4.wgsl - a run of a MXFP4 row as int8. Linked with weights/mxfp4.wgsl; see
// bytes.wgsl. 2^(e - 128) is subnormal for e < 2 and flushed to zero.
const HALVES: bool = false;
const MINIMUM: bool = false;

fn w_bytes(row: u32, run: u32) -> Bytes {
    let at = mxfp4_row(row);
    let s = mxfp4_scale(at, run);
    let t = mxfp4_bytes(weights[at + run]);
    return Bytes(bytes_less(t.low, 12u), bytes_less(t.high, 12u), vec2f(s.x * s.y, 0.0));
}
