// attention_merge.wgsl - adds up the splits of attention.wgsl.
//
//   M = max_s m[s],  y = sum_s exp(m[s] - M) o[s] / sum_s exp(m[s] - M) l[s]
//
// A split without keys has m below any score, o = 0 and l = 0, and so adds nothing.
//
//   binding  name     type  shape                                            access
//   0        partial  f32   [tokens, splits, heads, head_dim + 2]: o, m, l   read
//   1        y        f32   [tokens, heads, head_dim]                        write
//   2        dims     uniform
//
// Dispatch: heads, tokens. splits <= SPLITS.
const WG: u32 = 128u;
const BATCH: u32 = 8u;               // loads that wait for memory together
const SPLITS: u32 = 256u;            // ATTENTION_MAX_SPLITS of gpu/dims.h

struct Dims { heads: u32, head_dim: u32, tokens: u32, splits: u32 }
@group(0) @binding(0) var<storage, read> partial: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> dims: Dims;

var<workgroup> maxima: array<f32, SPLITS>;
var<workgroup> sums: array<f32, SPLITS>;
var<workgroup> weights: array<f32, SPLITS>;          // exp(m - M); 0 behind the last split

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let n = dims.head_dim;
    let last = dims.splits - 1u;
    let first = (group.y * dims.splits * dims.heads + group.x) * (n + 2u);
    let step = dims.heads * (n + 2u);
    for (var s = t; s <= last; s += WG) {
        maxima[s] = partial[first + s * step + n];
        sums[s] = partial[first + s * step + n + 1u];
    }
    workgroupBarrier();
    var top = maxima[0];
    for (var s = 1u; s <= last; s++) { top = max(top, maxima[s]); }
    for (var s = t; s < SPLITS; s += WG) {
        weights[s] = select(0.0, exp(maxima[min(s, last)] - top), s <= last);
    }
    workgroupBarrier();
    var l = 0.0;
    for (var s = 0u; s <= last; s++) { l += weights[s] * sums[s]; }
    for (var i = t; i < n; i += WG) {
        var o = 0.0;
        for (var s = 0u; s <= last; s += BATCH) {
            var v: array<f32, BATCH>;
            for (var b = 0u; b < BATCH; b++) {
                v[b] = partial[first + i + step * min(s + b, last)];
            }
            for (var b = 0u; b < BATCH; b++) { o += weights[s + b] * v[b]; }
        }
        y[(group.y * dims.heads + group.x) * n + i] = o / l;
    }
}
