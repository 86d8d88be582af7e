// gather_form.wgsl - gather.wgsl for one token whose x goes on: its embedding, and the form of it
// that the first projection reads.
//
//   y[i] = W[ids[0] - first, i] * scale,  out = form(y[i] * vectors[gain + i])
//
// where first <= ids[0] < first + rows; else nothing.
//
//   binding  name     type            shape         access
//   0        weights  a format        [rows, k]     read
//   1        ids      u32             [1]           read
//   2        vectors  f32             [*]           read
//   3        y        f32             [k]           write
//   4        out      a form          [k]           write
//   5        dims     uniform
//
// Dispatch: ceil(k / 32 / FORM_RUNS). Eight threads make a run. Linked with one weights/*.wgsl and
// one forms/*_store.wgsl.
const WG: u32 = 64u;
const FORM_RUNS: u32 = 8u;           // that a workgroup writes

struct Dims { rows: u32, k: u32, first: u32, gain: u32, scale: f32 }
@group(0) @binding(0) var<storage, read> weights: array<vec4u>;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> vectors: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> out: array<u32>;
@group(0) @binding(5) var<uniform> dims: Dims;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let run = group.x * FORM_RUNS + t / 8u;
    let row = ids[0] - dims.first;                       // wraps to a large number below first
    let works = run < dims.k / 32u && row < dims.rows;
    var v = vec4f();
    var gain = vec4f();
    if (works) {
        var w = w_run(row, run);
        v = w[t % 8u] * dims.scale;
        y[8u * run + t % 8u] = v;
        let g = dims.gain + 32u * run + 4u * (t % 8u);
        gain = vec4f(vectors[g], vectors[g + 1u], vectors[g + 2u], vectors[g + 3u]);
    }
    form_store(works, t / 8u, t % 8u, 0u, run, dims.k, v * gain, dot(v, v));
}
