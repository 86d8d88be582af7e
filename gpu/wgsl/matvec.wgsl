// matvec.wgsl - y = W x for one token.
//
//   y[y_first + r] = (ADD: y[y_first + r] +) sum over i of W[r, i] x[i] (+ BIAS: vectors[bias + r])
//
//   binding  name     type      shape       access
//   0        weights  a format  [rows, k]   read
//   1        x        f32       [k]         read
//   2        vectors  f32       [*]         read
//   3        y        f32       [*]         write, read with ADD
//   4        dims     uniform
//
// Dispatch: ceil(rows / (WG / lanes * ROWS)) workgroups, spread over x and y. k % 32 == 0. A
// workgroup is teams of `lanes` threads: 8, 16, 32 or WG, the first that reaches k / 32, so that
// narrow matrices keep all threads busy. A team makes ROWS rows, so that a thread uses the x it
// holds ROWS times. Linked with one weights/*.wgsl.
const WG: u32 = 64u;
const ROWS: u32 = 4u;                // components of `sum`
const PARTS: u32 = 8u;               // threads of a team that add up first; lanes >= PARTS
const BIAS: u32 = 1u;
const ADD: u32 = 2u;

struct Dims {
    rows: u32, k: u32, tokens: u32, y_first: u32, y_stride: u32, bias: u32, flags: u32
}
@group(0) @binding(0) var<storage, read> weights: array<vec4u>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> vectors: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> dims: Dims;

var<workgroup> partial: array<vec4f, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) t: u32) {
    let runs = dims.k / 32u;
    let lanes = select(select(select(8u, 16u, runs > 8u), 32u, runs > 16u), WG, runs > 32u);
    let lane = t % lanes;
    let first = ((group.y * groups.x + group.x) * (WG / lanes) + t / lanes) * ROWS;
    let last = dims.rows - 1u;                           // computed twice rather than branched on
    var sum = vec4f();
    for (var run = lane; run < runs; run += lanes) {
        var v: array<vec4f, 8>;
        for (var i = 0u; i < 8u; i++) { v[i] = x[run * 8u + i]; }
        sum += vec4f(w_dot(min(first, last), run, &v), w_dot(min(first + 1u, last), run, &v),
                     w_dot(min(first + 2u, last), run, &v), w_dot(min(first + 3u, last), run, &v));
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
    var total = 0.0;
    for (var i = 0u; i < PARTS; i++) { total += partial[t - lane + i][lane]; }
    if ((dims.flags & BIAS) != 0u) { total += vectors[dims.bias + r]; }
    if ((dims.flags & ADD) != 0u) { total += y[dims.y_first + r]; }
    y[dims.y_first + r] = total;
}
