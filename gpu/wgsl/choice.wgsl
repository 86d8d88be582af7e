// choice.wgsl - a token's experts: the `used` largest of its router logits (ties: the lower index
// first; NaN counts as -infinity), and the softmax over these.
//
//   choice[r] = expert,  choice_share(r) = exp(l[r] - l[0]) / sum over r of that
//
// experts <= EXPERTS, used <= USED. A rank is the number of experts before one, so nothing is sorted.
// logits: array<u32>, bits of f32. Linked with key.wgsl.
const EXPERTS: u32 = 256u;
const USED: u32 = 16u;

var<workgroup> choice_keys: array<vec4u, EXPERTS / 4u>;     // 0 behind the last
var<workgroup> choice: array<u32, USED>;
var<workgroup> choice_logits: array<f32, USED>;

// By all `threads` of a workgroup; a barrier is behind. first: the token's first logit.
fn choose(t: u32, threads: u32, first: u32, experts: u32, used: u32) {
    for (var e = t; e < (experts + 3u) / 4u * 4u; e += threads) {
        var key = 0u;
        if (e < experts) { key = float_key(logits[first + e]); }
        choice_keys[e / 4u][e % 4u] = key;
    }
    workgroupBarrier();
    for (var e = t; e < experts; e += threads) {
        let key = choice_keys[e / 4u][e % 4u];
        var before = vec4u();
        for (var i = 0u; i < experts; i += 4u) {
            let other = choice_keys[i / 4u];
            let is_first = vec4u(i) + vec4u(0u, 1u, 2u, 3u) < vec4u(e);
            before += select(vec4u(), vec4u(1u),
                             (other > vec4u(key)) | ((other == vec4u(key)) & is_first));
        }
        let rank = before.x + before.y + before.z + before.w;
        if (rank < used) {
            choice[rank] = e;
            choice_logits[rank] = key_value(key);
        }
    }
    workgroupBarrier();
}

fn choice_share(r: u32, used: u32) -> f32 {
    var sum = 0.0;
    for (var i = 0u; i < used; i++) { sum += exp(choice_logits[i] - choice_logits[0]); }
    return exp(choice_logits[r] - choice_logits[0]) / sum;
}
