// attention_merge.wgsl - adds up the splits of attention.wgsl.
//
//   M = max_s m[s],  y = sum_s exp(m[s] - M) o[s] / sum_s exp(m[s] - M) l[s],  out = form(y)
//
// A split without keys has m below any score, o = 0 and l = 0, and so adds nothing.
//
//   binding  name     type    shape                                    access
//   0        partial  f32     [tokens, splits, heads, head_dim + 2]: o, m, l   read
//   1        out      a form  [tokens, heads * head_dim]                       write
//   2        dims     uniform
//
// Dispatch: heads * head_dim / 32, tokens. head_dim % 4 == 0, heads * head_dim % 32 == 0. A
// workgroup makes a run of 32, a thread four elements of an eighth of the splits, with a running
// maximum (Dao et al. 2022). More than one token: plain only. Linked with one forms/*_store.wgsl.
const WG: u32 = 64u;
const FORM_RUNS: u32 = 1u;           // that a workgroup writes
const LANES: u32 = 8u;               // WG / (32 / 4)

struct Dims { heads: u32, head_dim: u32, tokens: u32, splits: u32 }
@group(0) @binding(0) var<storage, read> partial: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<vec4u>;
@group(0) @binding(2) var<uniform> dims: Dims;

var<workgroup> maxima: array<f32, WG>;
var<workgroup> sums: array<f32, WG>;
var<workgroup> values: array<vec4f, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let quads = dims.head_dim / 4u;
    let quad = group.x * 8u + t % 8u;                    // of all heads'
    let head = quad / quads;
    let step = dims.heads * (dims.head_dim + 2u);
    let first = group.y * dims.splits * step + head * (dims.head_dim + 2u);
    var top = -1e38;
    var sum = 0.0;
    var o = vec4f();
    for (var s = t / 8u; s < dims.splits; s += LANES) {
        let at = first + s * step;
        let i = at + quad % quads * 4u;
        let v = vec4f(partial[i], partial[i + 1u], partial[i + 2u], partial[i + 3u]);
        let m = partial[at + dims.head_dim];
        let larger = max(top, m);
        let before = exp(top - larger);
        let now = exp(m - larger);
        o = before * o + now * v;
        sum = before * sum + now * partial[at + dims.head_dim + 1u];
        top = larger;
    }
    maxima[t] = top;
    sums[t] = sum;
    values[t] = o;
    workgroupBarrier();
    var y = vec4f();
    if (t < 8u) {
        for (var i = 1u; i < LANES; i++) { top = max(top, maxima[t + 8u * i]); }
        sum = 0.0;
        for (var i = 0u; i < LANES; i++) {
            let factor = exp(maxima[t + 8u * i] - top);
            sum += factor * sums[t + 8u * i];
            y += factor * values[t + 8u * i];
        }
        y /= sum;
    }
    let k = dims.heads * dims.head_dim;
    form_store(t < 8u, 0u, t, group.y * (k / 32u) + group.x, dims.tokens * k, y, dot(y, y));
}
