// matmul_few.wgsl - matmul.wgsl for a few tokens: weights go from memory to registers.
//
//   y[t * y_stride + y_first + r] = (ADD: itself +) sum over i of W[m, r, i] x[t / share, i]
//                                   (+ BIAS: vectors[bias + m * rows + r])
//   bindings and dims as there
//
// Dispatch: ceil(rows / ROWS), ceil(tokens / TOKENS) or with EXPERTS order / 3 tiles. k % 32 == 0.
// A thread decodes a run of two rows and multiplies it with TOKENS runs of x, which lie in
// workgroup memory (8 KiB); LANES threads go along a row and are added up at the end. Linked with
// part.wgsl and one weights/*.wgsl.
const WG: u32 = 256u;
const LANES: u32 = 16u;
const ROWS: u32 = 32u;               // WG / LANES * 2
const TOKENS: u32 = 4u;              // components of sums
const LOADS: u32 = 2u;               // TOKENS * LANES * 8 / WG, a thread's part of the tile of x

@group(0) @binding(0) var<storage, read> weights: array<vec4u>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> vectors: array<f32>;
@group(0) @binding(3) var<storage, read> routing: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<uniform> dims: Dims;

var<workgroup> tile: array<vec4f, 512>;      // x [TOKENS][8 vec4s of a run][LANES]; sums [2][WG]

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let part = part_of_tile(group.y, TOKENS);
    if (part.count == 0u) { return; }
    let runs = dims.k / 32u;
    let first_row = group.x * ROWS;
    let w_first = part.matrix * dims.rows;
    let lane = t % LANES;
    let rows = w_first + min(vec2u(first_row + t / LANES * 2u) + vec2u(0u, 1u),
                             vec2u(dims.rows - 1u));
    var sum: array<vec4f, 2>;        // [row]
    for (var first = 0u; first < runs; first += LANES) {
        let run = min(first + lane, runs - 1u);      // beyond the end x is zero
        var a = w_run(rows.x, run);
        var b = w_run(rows.y, run);
        for (var i = 0u; i < LOADS; i++) {
            let token = t / 128u + 2u * i;
            let at = t % 128u;
            var v = vec4f();
            if (token < part.count && first + at / 8u < runs) {
                v = x[(part_row(part, token) / dims.share * runs + first) * 8u + at];
            }
            tile[(token * 8u + at % 8u) * LANES + at / 8u] = v;
        }
        workgroupBarrier();
        for (var i = 0u; i < TOKENS; i++) {
            var u = vec4f();
            var v = vec4f();
            for (var q = 0u; q < 8u; q++) {
                let quad = tile[(i * 8u + q) * LANES + lane];
                u = fma(a[q], quad, u);
                v = fma(b[q], quad, v);
            }
            sum[0][i] += u.x + u.y + u.z + u.w;
            sum[1][i] += v.x + v.y + v.z + v.w;
        }
        workgroupBarrier();
    }
    tile[t] = sum[0];
    tile[WG + t] = sum[1];
    workgroupBarrier();

    let r = first_row + t;
    if (t >= ROWS || r >= dims.rows) { return; }
    var total = vec4f();
    for (var i = 0u; i < LANES; i++) { total += tile[t % 2u * WG + t / 2u * LANES + i]; }
    if ((dims.flags & BIAS) != 0u) { total += vectors[dims.bias + w_first + r]; }
    for (var i = 0u; i < part.count; i++) {
        let at = part_row(part, i) * dims.y_stride + dims.y_first + r;
        if ((dims.flags & ADD) != 0u) { total[i] += y[at]; }
        y[at] = total[i];
    }
}
