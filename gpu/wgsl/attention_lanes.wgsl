// attention_lanes.wgsl - attention_token.wgsl by subgroups: what it computes, bindings, dims and
// grid are those, but that head_dim is 64, 128 or 256, for each of which there is a program.
//
// A team of `lanes` threads has KEYS keys at a time, eight elements of each a thread, and up to
// HEADS query heads: VALUES parts of scores a thread. They are added up and handed out in one go:
// a thread gives half of its numbers to another and gets the other's for the half that it keeps,
// three times, until an eighth of the scores is its own, repeated by every eight threads. Softmax
// is a team's own, with a running maximum; teams meet only at the end. So subgroups wait for no
// barrier, and for memory with the next keys asked for, K as soon as this K, V as this V is used;
// also beyond the last: branches around loads cost more. Their scores are not looked at, their V
// are 0, since a weight of 0 times NaN is NaN.
//
// Subgroups may have any size. Where one is smaller than a team what is exchanged goes through
// workgroup memory. Neighbouring threads of a workgroup are taken for neighbours in their subgroup,
// which WGSL does not promise: a device is tested before this is used on it.
// Linked with one_token.wgsl and one lanes/*.wgsl, which says how many threads WG, HEADS and KEYS
// there are, and writes what comes out. Source: Dao et al. 2022, algorithm 1.
override LANE_BITS: u32 = 4u;        // head_dim is 8 << LANE_BITS
const VALUES: u32 = HEADS * KEYS;    // [KEYS, HEADS]
const SCORES: u32 = VALUES / 8u;     // of a thread

var<workgroup> exchange: array<f32, WG>;
var<workgroup> parts: array<vec4f, 2u * HEADS * WG>;        // [troops, heads, head_dim / 4]
var<workgroup> totals: array<vec2f, WG / 8u * HEADS>;       // [troops, heads]: m, l

fn scaled(x: Eight, factor: f32) -> Eight { return Eight(factor * x.a, factor * x.b); }

fn times(x: Eight, y: Eight) -> Eight { return Eight(x.a * y.a, x.b * y.b); }

fn plus(x: Eight, y: Eight) -> Eight { return Eight(x.a + y.a, x.b + y.b); }

// v of the thread whose number differs in the bit `mask`. size: of a subgroup.
fn swap(v: f32, mask: u32, t: u32, size: u32) -> f32 {
    if (mask < size) { return subgroupShuffleXor(v, mask); }
    exchange[t] = v;
    workgroupBarrier();
    let other = exchange[t ^ mask];
    workgroupBarrier();
    return other;
}

fn swap8(v: Eight, mask: u32) -> Eight {
    return Eight(subgroupShuffleXor(v.a, mask), subgroupShuffleXor(v.b, mask));
}

// v of thread `at` of this one's eight.
fn fetch(v: f32, at: u32, t: u32, size: u32) -> f32 {
    if (size >= 8u) { return subgroupShuffle(v, (t & (size - 1u) & ~7u) + at); }
    exchange[t] = v;
    workgroupBarrier();
    let other = exchange[(t & ~7u) + at];
    workgroupBarrier();
    return other;
}

// The sum over the eights of a team.
fn over_eights(v: f32, t: u32, size: u32) -> f32 {
    var sum = v;
    if (LANE_BITS > 3u) { sum += swap(sum, 8u, t, size); }
    if (LANE_BITS > 4u) { sum += swap(sum, 16u, t, size); }
    return sum;
}

// The scores of a team's keys: thread i of each eight has SCORES of VALUES from SCORES i on.
fn scores_of(s: array<f32, VALUES>, t: u32, size: u32) -> array<f32, SCORES> {
    let by4 = (t & 4u) != 0u;
    let by2 = (t & 2u) != 0u;
    let by1 = (t & 1u) != 0u;
    var a: array<f32, VALUES / 2u>;
    for (var i = 0u; i < VALUES / 2u; i++) {
        let j = i + VALUES / 2u;
        a[i] = select(s[i], s[j], by4) + swap(select(s[j], s[i], by4), 4u, t, size);
    }
    var b: array<f32, VALUES / 4u>;
    for (var i = 0u; i < VALUES / 4u; i++) {
        let j = i + VALUES / 4u;
        b[i] = select(a[i], a[j], by2) + swap(select(a[j], a[i], by2), 2u, t, size);
    }
    var c: array<f32, SCORES>;
    for (var i = 0u; i < SCORES; i++) {
        let j = i + SCORES;
        let sum = select(b[i], b[j], by1) + swap(select(b[j], b[i], by1), 1u, t, size);
        c[i] = over_eights(sum, t, size);
    }
    return c;
}

// Among the threads of an eight that have scores of the same heads.
fn most(v: f32, t: u32, size: u32) -> f32 {
    var top = v;
    if (SCORES >= HEADS) { top = max(top, swap(top, 1u, t, size)); }
    if (2u * SCORES >= HEADS) { top = max(top, swap(top, 2u, t, size)); }
    return max(top, swap(top, 4u, t, size));
}

fn all(v: f32, t: u32, size: u32) -> f32 {
    var sum = v;
    if (SCORES >= HEADS) { sum += swap(sum, 1u, t, size); }
    if (2u * SCORES >= HEADS) { sum += swap(sum, 2u, t, size); }
    return sum + swap(sum, 4u, t, size);
}

// Those of a row that is rotated, by angles with these cosines and signed sines, and with NORM
// normalized before.
fn turned(row: u32, lane: u32, gain: u32, cosines: Eight, sines: Eight, t: u32,
          size: u32) -> Eight {
    var own = plain(row, lane);
    let far = lane ^ (dims.head_dim / 16u);
    var other = plain(row, far);
    if ((dims.flags & NORM) != 0u) {
        var sum = dot8(own, own);
        sum += swap(sum, 1u, t, size);
        sum += swap(sum, 2u, t, size);
        sum = over_eights(sum + swap(sum, 4u, t, size), t, size);
        let factor = 1.0 / sqrt(sum / f32(dims.head_dim) + dims.eps);
        own = scaled(times(own, gain8(gain + 8u * lane)), factor);
        other = scaled(times(other, gain8(gain + 8u * far)), factor);
    }
    return plus(times(own, cosines), times(other, sines));
}

// The slot of the ring, one turn of which may be too far.
fn slot_of(j: u32) -> u32 { return select(j, j - dims.slots, j >= dims.slots); }

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) t: u32,
        @builtin(subgroup_size) size: u32) {
    let kv_head = id.x;                              // of this buffer
    let first_head = (dims.kv_first + kv_head) * dims.group + id.z * HEADS;
    let heads = min(HEADS, dims.group - id.z * HEADS);
    let lanes = 1u << LANE_BITS;                // of a key
    let teams = WG >> LANE_BITS;
    let tile = KEYS * teams;
    let lane = t & (lanes - 1u);
    let team = t >> LANE_BITS;

    let position = state[0];
    let length = min(position + 1u, dims.context);
    let seen = min(length, dims.window);
    let share = max((seen + dims.splits - 1u) / dims.splits, tile);
    let begin = length - seen + min(id.y * share, seen);
    let end = min(begin + share, length);
    if (begin >= end) { return; }                    // all threads of a workgroup

    let there = min(end, position);                  // keys in the cache already
    let cache = 2u * kv_head * dims.slots * lanes + lane;
    let values = dims.slots * lanes;
    var base = begin % dims.slots;                   // of the tile
    var k_next: array<vec4u, KEYS>;
    var v_next: array<vec4u, KEYS>;
    for (var i = 0u; i < KEYS; i++) {
        let j = i * teams + team;
        let at = cache + slot_of(base + j) * lanes;
        k_next[i] = kv[at];
        v_next[i] = select(vec4u(), kv[at + values], begin + j < there);
    }

    let angle = position % dims.rope_rows * 2u * lanes + (lane & (lanes / 2u - 1u)) * 4u;
    let r = array<vec4f, 4>(rope[angle], rope[angle + 1u], rope[angle + 2u], rope[angle + 3u]);
    let sign = select(1.0, -1.0, lane < lanes / 2u);
    let cosines = Eight(vec4f(r[0].xz, r[1].xz), vec4f(r[2].xz, r[3].xz));
    let sines = Eight(sign * vec4f(r[0].yw, r[1].yw), sign * vec4f(r[2].yw, r[3].yw));
    var new_k: vec4u;
    var new_v: vec4u;
    if (end == length) {
        let row = dims.heads + dims.kv_first + kv_head;
        new_k = packed(turned(row, lane, dims.k_gain, cosines, sines, t, size));
        new_v = packed(plain(row + dims.kv_heads, lane));
        if (team == 0u && id.z == 0u) {
            let at = cache + position % dims.slots * lanes;
            kv[at] = new_k;
            kv[at + values] = new_v;
        }
    }
    var q: array<Eight, HEADS>;
    var o: array<Eight, HEADS>;
    for (var h = 0u; h < HEADS; h++) {
        let row = first_head + min(h, heads - 1u);
        q[h] = scaled(turned(row, lane, dims.q_gain, cosines, sines, t, size), dims.scale);
    }

    let own = (t & 7u) * SCORES;                     // the first of this thread's scores
    var tops: array<f32, SCORES>;
    var sums: array<f32, SCORES>;
    for (var c = 0u; c < SCORES; c++) {
        tops[c] = LOWEST;
        if (dims.sinks != NO_SINKS && id.y == 0u) {
            let h = min((own + c) % HEADS, heads - 1u);
            tops[c] = max(LOWEST, vectors[dims.sinks + first_head + h]);
            sums[c] = select(0.0, 1.0, team == 0u && own + c < HEADS);
        }
    }

    for (var first = begin; first < end; first += tile) {
        base += tile;
        if (base >= dims.slots) { base -= dims.slots; }
        var s: array<f32, VALUES>;
        for (var i = 0u; i < KEYS; i++) {
            let j = i * teams + team;
            if (first + j == position) {
                k_next[i] = new_k;
                v_next[i] = new_v;
            }
            let k = eight(k_next[i]);
            for (var h = 0u; h < HEADS; h++) { s[i * HEADS + h] = dot8(q[h], k); }
            k_next[i] = kv[cache + slot_of(base + j) * lanes];
        }
        var w = scores_of(s, t, size);
        var factors: array<f32, SCORES>;
        let has = first + own / HEADS * teams + team < end;
        for (var c = 0u; c < SCORES; c++) {
            let score = select(LOWEST, w[c], has);
            let top = max(tops[c], most(score, t, size));
            factors[c] = exp(tops[c] - top);
            w[c] = select(0.0, exp(score - top), has);
            sums[c] = sums[c] * factors[c] + w[c];
            tops[c] = top;
        }
        for (var h = 0u; h < HEADS; h++) {
            o[h] = scaled(o[h], fetch(factors[h % SCORES], h / SCORES, t, size));
        }
        for (var i = 0u; i < KEYS; i++) {
            let j = i * teams + team;
            let v = eight(v_next[i]);
            for (var h = 0u; h < HEADS; h++) {
                let n = i * HEADS + h;
                o[h] = plus(o[h], scaled(v, fetch(w[n % SCORES], n / SCORES, t, size)));
            }
            let next = kv[cache + slot_of(base + j) * lanes + values];
            v_next[i] = select(vec4u(), next, first + tile + j < there);
        }
    }

    for (var c = 0u; c < SCORES; c++) { sums[c] = all(sums[c], t, size); }
    for (var mask = lanes; mask < size; mask <<= 1u) {           // teams of a subgroup
        var factors: array<f32, SCORES>;
        for (var c = 0u; c < SCORES; c++) {
            let top = max(tops[c], subgroupShuffleXor(tops[c], mask));
            factors[c] = exp(tops[c] - top);
            tops[c] = top;
            sums[c] *= factors[c];
            sums[c] += subgroupShuffleXor(sums[c], mask);
        }
        for (var h = 0u; h < HEADS; h++) {
            o[h] = scaled(o[h], fetch(factors[h % SCORES], h / SCORES, t, size));
            o[h] = plus(o[h], swap8(o[h], mask));
        }
    }
    let troop = t / max(lanes, size);                // a team or a subgroup, which is larger
    let place = t % max(lanes, size);
    for (var c = 0u; c < SCORES; c++) {
        if (place < 8u && own + c < HEADS) {
            totals[troop * HEADS + own + c] = vec2f(tops[c], sums[c]);
        }
    }
    if (place < lanes) {
        for (var h = 0u; h < HEADS; h++) {
            let at = (troop * HEADS + h) * 2u * lanes + 2u * lane;
            parts[at] = o[h].a;
            parts[at + 1u] = o[h].b;
        }
    }
    workgroupBarrier();
    finish(id.y, first_head, heads, t, WG / max(lanes, size));
}

// m and l of a head over all troops.
fn total_of(head: u32, troops: u32) -> vec2f {
    var top = LOWEST;
    for (var i = 0u; i < troops; i++) { top = max(top, totals[i * HEADS + head].x); }
    var sum = 0.0;
    for (var i = 0u; i < troops; i++) {
        let total = totals[i * HEADS + head];
        sum += exp(total.x - top) * total.y;
    }
    return vec2f(top, sum);
}

// Elements 4 quad .. of a head over all troops, relative to m.
fn values_of(head: u32, quad: u32, top: f32, troops: u32) -> vec4f {
    let quads = 2u << LANE_BITS;
    var y = vec4f();
    for (var i = 0u; i < troops; i++) {
        let factor = exp(totals[i * HEADS + head].x - top);
        y += factor * parts[(i * HEADS + head) * quads + quad];
    }
    return y;
}
