// matmul_few_packed.wgsl - matmul_packed.wgsl for a few tokens: weights go from memory to registers.
//
//   y[t * y_stride + y_first + r] = (ADD: itself +) sum over i of W[m, r, i] x[t / share, i]
//                                   (+ BIAS: vectors[bias + m * rows + r])
//   bindings and dims as there
//
// Dispatch: ceil(rows / ROWS), ceil(tokens / TOKENS) or with EXPERTS order / 3 tiles. k % 32 == 0.
// A thread reads a run of two rows and multiplies it with TOKENS runs of x, which lie in workgroup
// memory (8 KiB); LANES threads go along a row and are added up at the end. Linked with part.wgsl,
// bytes.wgsl, one weights/*.wgsl and its bytes/*.wgsl.
const WG: u32 = 256u;
const LANES: u32 = 32u;
const PAIRS: u32 = 16u;              // of runs, LANES / 2
const ROWS: u32 = 16u;               // WG / LANES * 2
const TOKENS: u32 = 4u;              // components of sums

@group(0) @binding(0) var<storage, read> weights: array<vec4u>;
@group(0) @binding(1) var<storage, read> x: array<vec4u>;
@group(0) @binding(2) var<storage, read> vectors: array<f32>;
@group(0) @binding(3) var<storage, read> routing: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<uniform> dims: Dims;

var<workgroup> tile: array<vec4u, 512>;      // x [TOKENS][5 vec4s of a pair][PAIRS]; sums [2][WG]

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let part = part_of_tile(group.y, TOKENS);
    if (part.count == 0u) { return; }
    let runs = dims.k / 32u;
    let x_row = (runs + 7u) / 8u * 22u;
    let first_row = group.x * ROWS;
    let w_first = part.matrix * dims.rows;
    let lane = t % LANES;
    let rows = w_first + min(vec2u(first_row + t / LANES * 2u) + vec2u(0u, 1u),
                             vec2u(dims.rows - 1u));
    var sum: array<vec4f, 2>;        // [row]
    for (var first = 0u; first < runs; first += LANES) {
        let run = min(first + lane, runs - 1u);      // beyond the end x's scales are made zero
        let a = w_bytes(rows.x, run);
        let b = w_bytes(rows.y, run);
        for (var i = t; i < TOKENS * 5u * PAIRS; i += WG) {
            let token = i / (5u * PAIRS);
            let pair = first / 2u + i / 5u % PAIRS;
            var v = vec4u();
            if (token < part.count && 2u * pair < runs) {
                v = x[part_row(part, token) / dims.share * x_row + pair * 5u + i % 5u];
            }
            tile[(token * 5u + i % 5u) * PAIRS + pair % PAIRS] = v;
        }
        workgroupBarrier();
        for (var i = 0u; i < TOKENS; i++) {
            let at = 5u * i * PAIRS + lane / 2u;
            let low = tile[at + lane % 2u * 2u * PAIRS];
            let high = tile[at + (lane % 2u * 2u + 1u) * PAIRS];
            let s = run_tail(tile[at + 4u * PAIRS], lane % 2u == 1u);
            let scales = select(vec2f(), vec2f(s.x, s.x * s.y), first + lane < runs);
            sum[0][i] = run_dot(a.low, a.high, a.scales, low, high, scales, sum[0][i]);
            sum[1][i] = run_dot(b.low, b.high, b.scales, low, high, scales, sum[1][i]);
        }
        workgroupBarrier();
    }
    tile[t] = bitcast<vec4u>(sum[0]);
    tile[WG + t] = bitcast<vec4u>(sum[1]);
    workgroupBarrier();

    let r = first_row + t;
    if (t >= ROWS || r >= dims.rows) { return; }
    var total = vec4f();
    for (var i = 0u; i < LANES; i++) {
        total += bitcast<vec4f>(tile[t % 2u * WG + t / 2u * LANES + i]);
    }
    if ((dims.flags & BIAS) != 0u) { total += vectors[dims.bias + w_first + r]; }
    for (var i = 0u; i < part.count; i++) {
        let at = part_row(part, i) * dims.y_stride + dims.y_first + r;
        if ((dims.flags & ADD) != 0u) { total[i] += y[at]; }
        y[at] = total[i];
    }
}
