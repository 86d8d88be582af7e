// form.wgsl - brings rows of x into the form that projections read.
//
//   out[t, :] = form(x[first + t, :] * (GAIN: vectors[gain + :]))
//
//   binding  name     type    shape         access
//   0        x        f32     [*, k]        read
//   1        vectors  f32     [*]           read
//   2        out      a form  [tokens, k]   write
//   3        dims     uniform
//
// Dispatch: ceil(tokens * k / 32 / FORM_RUNS). k % 32 == 0. Not plain; more
// than one token: packed or half. Linked with one forms/*_store.wgsl and half.wgsl.
const WG: u32 = 64u;
const FORM_RUNS: u32 = 8u;           // that a workgroup writes
const GAIN: u32 = 1u;

struct Dims { k: u32, tokens: u32, first: u32, gain: u32, flags: u32 }
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> vectors: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
@group(0) @binding(3) var<uniform> dims: Dims;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) t: u32) {
    let runs = dims.k / 32u;
    let run = (group.y * groups.x + group.x) * FORM_RUNS + t / 8u;
    let works = run < runs * dims.tokens;
    var v = vec4f();
    var gain = vec4f(1.0);
    if (works) {
        v = x[dims.first * 8u * runs + 8u * run + t % 8u];
        let g = dims.gain + run % runs * 32u + t % 8u * 4u;
        if ((dims.flags & GAIN) != 0u) {
            gain = vec4f(vectors[g], vectors[g + 1u], vectors[g + 2u], vectors[g + 3u]);
        }
    }
    form_store(works, t / 8u, t % 8u, run / runs, run % runs, dims.k, v * gain, dot(v, v));
}
