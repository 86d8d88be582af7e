// choice.wgsl - a token's experts: the `used` largest of its router logits (ties: the lower index
// first; NaN counts as -infinity), and the softmax over these.
//
//   choice[r] = expert,  choice_share(r) = exp(l[r] - max l) / sum over r of that
//
// experts <= EXPERTS, used <= USED. A rank is the number of experts before one, so nothing is sorted.
// logits: array<u32>, bits of f32. Linked with key.wgsl.
const EXPERTS: u32 = 256u;
const USED: u32 = 16u;

var<workgroup> choice_keys: array<u32, EXPERTS>;     // 0 behind the last, to a multiple of four
var<workgroup> choice: array<u32, USED>;
var<workgroup> choice_parts: array<f32, USED>;       // exp(l - max l)

// By all `threads` of a workgroup; a barrier is behind. first: the token's first logit.
fn choose(t: u32, threads: u32, first: u32, experts: u32, used: u32) {
    for (var e = t; e < (experts + 3u) / 4u * 4u; e += threads) {
        var key = 0u;
        if (e < experts) { key = float_key(logits[first + e]); }
        choice_keys[e] = key;
    }
    workgroupBarrier();
    for (var e = t; e < experts; e += threads) {
        let key = choice_keys[e];
        var before = vec4u();
        var most = vec4u();
        for (var i = 0u; i < experts; i += 4u) {
            let other = vec4u(choice_keys[i], choice_keys[i + 1u], choice_keys[i + 2u],
                              choice_keys[i + 3u]);
            most = max(most, other);
            let is_first = vec4u(i) + vec4u(0u, 1u, 2u, 3u) < vec4u(e);
            before += select(vec4u(), vec4u(1u),
                             (other > vec4u(key)) | ((other == vec4u(key)) & is_first));
        }
        let rank = before.x + before.y + before.z + before.w;
        if (rank < used) {
            choice[rank] = e;
            let largest = max(max(most.x, most.y), max(most.z, most.w));
            choice_parts[rank] = exp(key_value(key) - key_value(largest));
        }
    }
    workgroupBarrier();
}

fn choice_share(r: u32, used: u32) -> f32 {
    var sum = 0.0;
    for (var i = 0u; i < used; i++) { sum += choice_parts[i]; }
    return choice_parts[r] / sum;
}
