// route.wgsl - which experts a token goes through, and with what weights.
//
//   ids[t, r] = the expert with the r-th largest logit of token t, r < used; ties: lower index
//   weights[t, r] = exp(l[r] - l[0]) / sum over r of exp(l[r] - l[0]),  l[r] = logits[t, ids[t, r]]
//
// The softmax over the chosen equals the softmax over all, renormalised over the chosen.
//
//   binding  name     type  shape               access
//   0        logits   f32   [tokens, experts]   read, as bits
//   1        ids      u32   [tokens, used]      write
//   2        weights  f32   [tokens, used]      write
//   3        dims     uniform
//
// Dispatch: tokens. experts <= EXPERTS, 1 <= used <= USED, used <= experts. An expert's rank is the
// number of those before it: no order of rounds, one barrier. Linked with key.wgsl: NaN counts as
// -infinity, infinities as +-1e38. Sources: Shazeer et al. 2017, equations 3 to 5; Mixtral (Jiang
// et al. 2024), section 2.1.
const WG: u32 = 64u;
const EXPERTS: u32 = 256u;
const USED: u32 = 16u;

struct Dims { experts: u32, used: u32 }
@group(0) @binding(0) var<storage, read> logits: array<u32>;
@group(0) @binding(1) var<storage, read_write> ids: array<u32>;
@group(0) @binding(2) var<storage, read_write> weights: array<f32>;
@group(0) @binding(3) var<uniform> dims: Dims;

var<workgroup> keys: array<u32, EXPERTS>;
var<workgroup> chosen: array<f32, USED>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let first = group.x * dims.used;
    for (var e = t; e < dims.experts; e += WG) {
        keys[e] = float_key(logits[group.x * dims.experts + e]);
    }
    workgroupBarrier();
    for (var e = t; e < dims.experts; e += WG) {
        let key = keys[e];
        var rank = 0u;
        for (var i = 0u; i < dims.experts; i++) {
            rank += select(0u, 1u, keys[i] > key || (keys[i] == key && i < e));
        }
        if (rank < dims.used) {
            ids[first + rank] = e;
            chosen[rank] = key_value(key);
        }
    }
    workgroupBarrier();
    if (t >= dims.used) { return; }
    var sum = 0.0;
    for (var r = 0u; r < dims.used; r++) { sum += exp(chosen[r] - chosen[0]); }
    weights[first + t] = exp(chosen[t] - chosen[0]) / sum;
}
