// attention_merge.wgsl - adds up the splits of attention.wgsl and attention_token.wgsl.
//
//   M = max_s m[s],  y = sum_s exp(m[s] - M) o[s] / sum_s exp(m[s] - M) l[s],  out = form(y)
//
// s: of the splits that have keys, the first. A split of attention.wgsl without any has m below any
// score, o = 0 and l = 0, and so adds nothing.
//
//   binding  name     type    shape                                    access
//   0        state    u32     [16], position first                               read
//   1        partial  f32     [tokens, splits, heads, head_dim + 4]: o, m, l     read
//   2        out      a form  [tokens, heads * head_dim]                         write
//   3        dims     uniform
//
// Dispatch: heads * head_dim / 32, tokens. head_dim % 4 == 0, heads * head_dim % 32 == 0. A
// workgroup makes a run of 32, a thread four elements of a sixteenth of the splits, with a running
// maximum (Dao et al. 2022). More than one token: plain only. Linked with one forms/*_store.wgsl.
const WG: u32 = 128u;
const FORM_RUNS: u32 = 1u;           // that a workgroup writes
const LANES: u32 = 16u;              // WG / (32 / 4)

struct Dims {
    heads: u32, head_dim: u32, tokens: u32, splits: u32, context: u32, window: u32, least: u32
}
@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> partial: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
@group(0) @binding(3) var<uniform> dims: Dims;

var<workgroup> totals: array<vec2f, WG>;             // m, l
var<workgroup> values: array<vec4f, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let quads = dims.head_dim / 4u;
    let quad = group.x * 8u + t % 8u;                    // of all heads'
    let head = quad / quads;
    let seen = min(min(state[0] + group.y + 1u, dims.context), dims.window);
    let share = max((seen + dims.splits - 1u) / dims.splits, dims.least);
    let used = (seen + share - 1u) / share;
    let step = dims.heads * (quads + 1u);
    let first = group.y * dims.splits * step + head * (quads + 1u);
    var top = -1e38;
    var sum = 0.0;
    var o = vec4f();
    for (var s = t / 8u; s < used; s += LANES) {
        let at = first + s * step;
        let v = partial[at + quad % quads];
        let m = partial[at + quads];
        let larger = max(top, m.x);
        let before = exp(top - larger);
        let now = exp(m.x - larger);
        o = before * o + now * v;
        sum = before * sum + now * m.y;
        top = larger;
    }
    totals[t] = vec2f(top, sum);
    values[t] = o;
    workgroupBarrier();
    var y = vec4f();
    if (t < 8u) {
        for (var i = 1u; i < LANES; i++) { top = max(top, totals[t + 8u * i].x); }
        sum = 0.0;
        for (var i = 0u; i < LANES; i++) {
            let total = totals[t + 8u * i];
            let factor = exp(total.x - top);
            sum += factor * total.y;
            y += factor * values[t + 8u * i];
        }
        y /= sum;
    }
    let k = dims.heads * dims.head_dim;
    form_store(t < 8u, 0u, t, group.y, group.x, k, y, dot(y, y));
}
