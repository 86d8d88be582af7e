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
// Dispatch: tokens. experts <= EXPERTS, 1 <= used <= USED, used <= experts. Linked with choice.wgsl
// and key.wgsl: NaN counts as -infinity, infinities as +-1e38. Sources: Shazeer et al. 2017,
// equations 3 to 5; Mixtral (Jiang et al. 2024), section 2.1.
const WG: u32 = 64u;

struct Dims { experts: u32, used: u32 }
@group(0) @binding(0) var<storage, read> logits: array<u32>;
@group(0) @binding(1) var<storage, read_write> ids: array<u32>;
@group(0) @binding(2) var<storage, read_write> weights: array<f32>;
@group(0) @binding(3) var<uniform> dims: Dims;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    choose(t, WG, group.x * dims.experts, dims.experts, dims.used);
    if (t >= dims.used) { return; }
    ids[group.x * dims.used + t] = choice[t];
    weights[group.x * dims.used + t] = choice_share(t, dims.used);
}
