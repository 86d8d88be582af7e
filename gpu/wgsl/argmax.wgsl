// argmax.wgsl - the most likely token: the lowest index of the largest logit after penalties.
//
// Bindings and dims: logits.wgsl, with which it is linked. Dispatch: rows; with PART, which leaves
// the best key and id of PART_TOKENS tokens in parts, ceil(vocab / PART_TOKENS) by rows, and then
// with JOIN, which finds the best of those, rows.
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
    let is_part = (dims.flags & PART) != 0u;
    let row = select(group.x, group.y, is_part);
    let count = (dims.vocab + PART_TOKENS - 1u) / PART_TOKENS;
    let first = select(0u, group.x * PART_TOKENS, is_part);
    let end = select(dims.vocab, min(first + PART_TOKENS, dims.vocab), is_part);
    var key = 0u;                                    // below every logit's
    var id = 0xFFFFFFFFu;
    if ((dims.flags & JOIN) != 0u) {
        for (var i = row * count + t; i < (row + 1u) * count; i += WG) {    // lower ids first
            let best = atomicLoad(&parts[2u * i]);
            if (best > key) {
                key = best;
                id = atomicLoad(&parts[2u * i + 1u]);
            }
        }
    } else {
        for (var i = first + t; i < end; i += BATCH * WG) {
            var keys = logit_keys(row, i);
            for (var j = 0u; j < BATCH; j++) {
                if (keys[j] > key) {
                    key = keys[j];
                    id = i + j * WG;
                }
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
        if (is_part) {
            atomicStore(&parts[2u * (row * count + group.x)], best_key[0]);
            atomicStore(&parts[2u * (row * count + group.x) + 1u], best_id[0]);
        } else {
            finish(row, best_id[0]);
        }
    }
}
