// matvec.wgsl - y = W x for one token, for tokens of a matrix with few rows, or for a few slots, each
// with its expert's W.
//
//   y[s * y_stride + y_first + r] = (ADD: itself +) sum over i of W[m, r, i] x[s / share, i]
//                                   (+ BIAS: vectors[bias + m * rows + r])
//   s, m: slot and matrix, without EXPERTS token and 0; see part.wgsl
//
//   binding  name     type      shape                 access
//   0        weights  a format  [matrices, rows, k]   read
//   1        x        f32       [*, k]                read
//   2        vectors  f32       [*]                   read
//   3        routing  u32       [slots]               read with EXPERTS
//   4        y        f32       [*]                   write, read with ADD
//   5        dims     uniform
//
// Dispatch: ceil(rows / (WG / lanes * ROWS)) workgroups, spread over x and y; slots, or tokens. k %
// 32 == 0. A workgroup is teams of `lanes` threads: 8, 16, 32 or WG, the first that reaches k / 32,
// so that narrow matrices keep all threads busy. A team makes ROWS rows, so that a thread uses the x
// it holds ROWS times. Linked with part.wgsl and one weights/*.wgsl.
const WG: u32 = 64u;
const ROWS: u32 = 4u;                // components of `sum`
const PARTS: u32 = 8u;               // threads of a team that add up first; lanes >= PARTS

@group(0) @binding(0) var<storage, read> weights: array<vec4u>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> vectors: array<f32>;
@group(0) @binding(3) var<storage, read> routing: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<uniform> dims: Dims;

var<workgroup> partial: array<vec4f, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) t: u32) {
    let matrix = slot_matrix(group.z);
    if (matrix >= dims.matrices) { return; }
    let runs = dims.k / 32u;
    let lanes = select(select(select(8u, 16u, runs > 8u), 32u, runs > 16u), WG, runs > 32u);
    let lane = t % lanes;
    let first = ((group.y * groups.x + group.x) * (WG / lanes) + t / lanes) * ROWS;
    let w_first = matrix * dims.rows;
    let x_first = group.z / dims.share * (dims.k / 4u);
    let last = dims.rows - 1u;                           // computed twice rather than branched on
    let rows = w_first + min(vec4u(first) + vec4u(0u, 1u, 2u, 3u), vec4u(last));
    var sum = vec4f();
    for (var run = lane; run < runs; run += lanes) {
        var v: array<vec4f, 8>;
        for (var i = 0u; i < 8u; i++) { v[i] = x[x_first + run * 8u + i]; }
        sum += vec4f(w_dot(rows.x, run, &v), w_dot(rows.y, run, &v),
                     w_dot(rows.z, run, &v), w_dot(rows.w, run, &v));
    }
    partial[t] = sum;
    workgroupBarrier();
    if (lane < PARTS) {
        for (var i = PARTS; i < lanes; i += PARTS) { sum += partial[t + i]; }
        partial[t] = sum;
    }
    workgroupBarrier();
    let r = first + lane;
    if (lane >= ROWS || r >= dims.rows) { return; }
    let at = group.z * dims.y_stride + dims.y_first + r;
    var total = 0.0;
    for (var i = 0u; i < PARTS; i++) { total += partial[t - lane + i][lane]; }
    if ((dims.flags & BIAS) != 0u) { total += vectors[dims.bias + w_first + r]; }
    if ((dims.flags & ADD) != 0u) { total += y[at]; }
    y[at] = total;
}
