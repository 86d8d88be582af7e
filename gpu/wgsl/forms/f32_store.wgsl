// forms/f32_store.wgsl - writes what forms/f32.wgsl reads.
var<workgroup> form_squares: array<f32, FORM_RUNS * 8u>;

// Four numbers of run `run` of an x [k], from one of eight threads (`i`) for each of the FORM_RUNS
// runs (`slot`) of a workgroup, whose threads all come here. square: v's, before any gain.
fn form_store(works: bool, slot: u32, i: u32, run: u32, k: u32, v: vec4f, square: f32) {
    if (works) {
        form_squares[8u * slot + i] = square;
        out[run / 8u * 64u + 8u * i + run % 8u] = bitcast<vec4u>(v);
    }
    workgroupBarrier();
    if (works && i == 0u) {
        var sum = 0.0;
        for (var j = 0u; j < 8u; j++) { sum += form_squares[8u * slot + j]; }
        out[(k + 255u) / 256u * 64u + run / 4u][run % 4u] = bitcast<u32>(sum);
    }
}
