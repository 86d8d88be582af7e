// nll.wgsl - how unlikely tokens were: the negative log-likelihood of one token a row, in nats.
//
//   nll[first + r] = log(sum over i of exp(x[r, i] - m)) + m - x[r, targets[first + r]]
//   m = max over i of x[r, i]
//
//   binding  name     type  shape           access
//   0        logits   f32   [rows, vocab]   read: x
//   1        targets  u32   [*]             read
//   2        nll      f32   [*]             write
//   3        dims     uniform
//
// Dispatch: rows. A thread keeps a maximum and a sum of its own (Milakov and Gimelshein 2018,
// algorithm 3); thread 0 joins them.
const WG: u32 = 256u;
const PARTS: u32 = 16u;              // WG = PARTS^2: two steps join what the threads found
const LOWEST: f32 = -1e38;           // below any logit; differences stay finite

struct Dims { vocab: u32, rows: u32, first: u32 }
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read_write> nll: array<f32>;
@group(0) @binding(3) var<uniform> dims: Dims;

var<workgroup> maxima: array<f32, WG>;
var<workgroup> sums: array<f32, WG>;

// The `count` entries from `first`, `step` apart, joined into entry `first`.
fn join(first: u32, count: u32, step: u32) {
    var top = maxima[first];
    for (var i = 1u; i < count; i++) { top = max(top, maxima[first + i * step]); }
    var sum = 0.0;
    for (var i = 0u; i < count; i++) {
        sum += sums[first + i * step] * exp(maxima[first + i * step] - top);
    }
    maxima[first] = top;
    sums[first] = sum;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let row = group.x * dims.vocab;
    var top = LOWEST;
    var sum = 0.0;
    for (var i = t; i < dims.vocab; i += WG) {
        let x = logits[row + i];
        if (x > top) {
            sum *= exp(top - x);
            top = x;
        }
        sum += exp(x - top);
    }
    maxima[t] = top;
    sums[t] = sum;
    workgroupBarrier();
    if (t < PARTS) { join(t, PARTS, PARTS); }
    workgroupBarrier();
    if (t == 0u) {
        join(0u, PARTS, 1u);
        let at = dims.first + group.x;
        nll[at] = log(sums[0]) + (maxima[0] - logits[row + targets[at]]);
    }
}
