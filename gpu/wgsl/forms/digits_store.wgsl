// forms/digits_store.wgsl - writes what forms/digits.wgsl reads.
//
//   scale = max |v| / (127 * 65536),  q = round(v / scale)
//
// q's digits are the bytes of q + 0x808080 with their top bits turned.
var<workgroup> form_largest: array<f32, FORM_RUNS * 8u>;
var<workgroup> form_sums: array<vec2f, FORM_RUNS * 8u>;      // of q, of squares
const FORM_MOST: f32 = 8323072.0;

// Byte `place` of four words, as one.
fn form_bytes(v: vec4u, place: u32) -> u32 {
    let bytes = ((v >> vec4u(8u * place)) & vec4u(255u)) << vec4u(0u, 8u, 16u, 24u);
    return bytes.x | bytes.y | bytes.z | bytes.w;
}

// As in forms/f32_store.wgsl.
fn form_store(works: bool, slot: u32, i: u32, token: u32, run: u32, k: u32, v: vec4f,
              square: f32) {
    let at = 8u * slot + i;
    let to = ((k + 255u) / 256u * token + run / 8u) * 224u + 4u * (run % 8u);
    if (works) {
        let a = abs(v);
        form_largest[at] = max(max(a.x, a.y), max(a.z, a.w));
    }
    workgroupBarrier();
    var largest = 0.0;
    if (works) {
        for (var j = 0u; j < 8u; j++) { largest = max(largest, form_largest[8u * slot + j]); }
        let inverse = select(0.0, FORM_MOST / largest, largest > 1e-30);
        let q = vec4i(clamp(round(v * inverse), vec4f(-FORM_MOST), vec4f(FORM_MOST)));
        let digits = bitcast<vec4u>(q + vec4i(0x808080)) ^ vec4u(0x808080u);
        for (var d = 0u; d < 3u; d++) {
            out[to + 32u * (2u * d + i / 4u) + i % 4u] = form_bytes(digits, 2u - d);
        }
        form_sums[at] = vec2f(f32(q.x + q.y + q.z + q.w), square);
    }
    workgroupBarrier();
    if (works && i == 0u) {
        let scale = select(0.0, largest / FORM_MOST, largest > 1e-30);
        var low = vec2f();
        var high = vec2f();
        for (var j = 0u; j < 4u; j++) {
            low += form_sums[8u * slot + j];
            high += form_sums[8u * slot + j + 4u];
        }
        let tail = vec4f(scale, low.x, high.x, low.y + high.y);
        for (var j = 0u; j < 4u; j++) { out[to + 192u + j] = bitcast<u32>(tail[j]); }
    }
}
