// forms/f32_store.wgsl - writes what forms/f32.wgsl reads.
var<workgroup> form_squares: array<f32, FORM_RUNS * 8u>;

// Four numbers of run `run` of x number `token`, [k], from one of eight threads (`i`) for each of
// the FORM_RUNS runs (`slot`) of a workgroup, whose threads all come here. square: v's, before any
// gain.
fn form_store(works: bool, slot: u32, i: u32, token: u32, run: u32, k: u32, v: vec4f,
              square: f32) {
    let groups = (k + 255u) / 256u;
    let start = token * groups * 264u;
    if (works) {
        form_squares[8u * slot + i] = square;
        let to = start + run / 8u * 256u + 32u * i + 4u * (run % 8u);
        for (var j = 0u; j < 4u; j++) { out[to + j] = bitcast<u32>(v[j]); }
    }
    workgroupBarrier();
    if (works && i == 0u) {
        var sum = 0.0;
        for (var j = 0u; j < 8u; j++) { sum += form_squares[8u * slot + j]; }
        out[start + groups * 256u + run] = bitcast<u32>(sum);
    }
}
