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
// Dispatch: heads, tokens.
const WG: u32 = 64u;

struct Dims { heads: u32, head_dim: u32, tokens: u32, splits: u32 }
@group(0) @binding(0) var<storage, read> partial: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> dims: Dims;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let n = dims.head_dim;
    let first = (group.y * dims.splits * dims.heads + group.x) * (n + 2u);
    let step = dims.heads * (n + 2u);
    var top = partial[first + n];
    for (var s = 1u; s < dims.splits; s++) { top = max(top, partial[first + s * step + n]); }
    var l = 0.0;
    for (var s = 0u; s < dims.splits; s++) {
        l += exp(partial[first + s * step + n] - top) * partial[first + s * step + n + 1u];
    }
    for (var i = t; i < n; i += WG) {
        var o = 0.0;
        for (var s = 0u; s < dims.splits; s++) {
            o += exp(partial[first + s * step + n] - top) * partial[first + s * step + i];
        }
        y[(group.y * dims.heads + group.x) * n + i] = o / l;
    }
}
