// argmax.wgsl - the most likely token: the lowest index of the largest logit after penalties.
//
// Bindings and dims: logits.wgsl, with which it is linked. Dispatch: rows.
var<workgroup> best_key: array<u32, WG>;
var<workgroup> best_id: array<u32, WG>;

// The best of `count` entries from `first`, `step` apart, into entry `first`.
fn reduce(first: u32, count: u32, step: u32) {
    var key = best_key[first];
    var id = best_id[first];
    for (var i = 1u; i < count; i++) {
        let k = best_key[first + i * step];
        let j = best_id[first + i * step];
        if (k > key || (k == key && j < id)) {
            key = k;
            id = j;
        }
    }
    best_key[first] = key;
    best_id[first] = id;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    var key = 0u;                                    // below every logit's
    var id = 0xFFFFFFFFu;
    for (var i = t; i < dims.vocab; i += BATCH * WG) {
        var keys = logit_keys(group.x, i);
        for (var j = 0u; j < BATCH; j++) {
            if (keys[j] > key) {
                key = keys[j];
                id = i + j * WG;
            }
        }
    }
    best_key[t] = key;
    best_id[t] = id;
    workgroupBarrier();
    if (t < 16u) { reduce(t, 16u, 16u); }
    workgroupBarrier();
    if (t == 0u) {
        reduce(0u, 16u, 1u);
        finish(group.x, best_id[0]);
    }
}
