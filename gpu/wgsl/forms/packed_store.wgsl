// forms/packed_store.wgsl - writes what forms/packed.wgsl reads: rounds each run of 32 to int8.
//
//   scale = max |v| / 127,  q = round(v / scale)
var<workgroup> form_largest: array<f32, FORM_RUNS * 8u>;
var<workgroup> form_sums: array<vec2f, FORM_RUNS * 8u>;      // of q, of squares

// As in forms/f32_store.wgsl.
fn form_store(works: bool, slot: u32, i: u32, token: u32, run: u32, k: u32, v: vec4f,
              square: f32) {
    let at = 8u * slot + i;
    let groups = (k + 255u) / 256u;
    let start = token * groups * 88u;
    let pair = start + run / 2u * 20u;
    if (works) {
        let a = abs(v);
        form_largest[at] = max(max(a.x, a.y), max(a.z, a.w));
    }
    workgroupBarrier();
    var largest = 0.0;
    if (works) {
        for (var j = 0u; j < 8u; j++) { largest = max(largest, form_largest[8u * slot + j]); }
        let inverse = select(0.0, 127.0 / largest, largest > 1e-30);
        let q = vec4i(clamp(round(v * inverse), vec4f(-127.0), vec4f(127.0)));
        let bytes = (bitcast<vec4u>(q) & vec4u(255u)) << vec4u(0u, 8u, 16u, 24u);
        out[pair + 8u * (run % 2u) + i] = bytes.x | bytes.y | bytes.z | bytes.w;
        form_sums[at] = vec2f(f32(q.x + q.y + q.z + q.w), square);
    }
    workgroupBarrier();
    if (works && i == 0u) {
        let scale = select(0.0, largest / 127.0, largest > 1e-30);
        var low = vec2f();
        var high = vec2f();
        for (var j = 0u; j < 4u; j++) {
            low += form_sums[8u * slot + j];
            high += form_sums[8u * slot + j + 4u];
        }
        let sums = bitcast<vec2u>(vec2i(vec2f(low.x, low.x + high.x)));
        out[pair + 16u + 2u * (run % 2u)] = bitcast<u32>(scale);
        out[pair + 17u + 2u * (run % 2u)] = (sums.x & 0xFFFFu) | (sums.y << 16u);
        out[start + groups * 80u + run] = bitcast<u32>(low.y + high.y);
    }
}
