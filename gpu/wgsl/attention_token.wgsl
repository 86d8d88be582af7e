// attention_token.wgsl - attention of one decoded token over a cache in f16, in as few waits for
// memory as there can be: a tile's keys and values are all asked for at once, sixteen bytes a load,
// while the tile before is worked on.
//
//   q and k rotated as in rope_kv.wgsl, with NORM normalized before, k and v written to the cache,
//   on the way
//   s[h, j] = scale q[h] . K[j]                 j in [begin, end), a split of the last `window`
//                                               of 0 .. position
//   m[h] = max_j s,  l[h] = sum_j exp(s - m),  o[h] = sum_j exp(s - m) V[j]
//
// With sinks the logit vectors[sinks + h] counts in m and l of split 0, but has no V.
//
//   binding  name     type  shape                                           access
//   0        state    u32   [16], position first                            read
//   1        rope     f32   [rope_rows, head_dim / 2, 2]: cos, sin          read
//   2        vectors  f32   [*], sinks [heads], gains [head_dim]            read
//   3        qkv      f32   [heads + 2 kv_heads, head_dim]: q k v           read
//   4        kv       f16   [kv_count, 2, slots, head_dim]: K, V            read, write
//   5        out      f32   [splits, heads, head_dim + 4]: o, m, l, 0, 0    write
//   6        dims     uniform
//
// Dispatch: kv_count, splits, ceil(group / HEADS). head_dim is 16, 32 .. 256; 8 << lane_bits; group
// is heads / kv_heads: dividing by variables takes longer than all else here. A workgroup has up to
// HEADS query heads of one KV head; more of them read K and V again. Key j is
// in slot j % slots. A split has at least a tile of keys, so that the first ones have all of few;
// one without keys writes nothing.
// Threads of a tile: `lanes` for a key, eight elements each; ROUNDS keys a thread. The threads of
// the new key make it themselves. A running maximum joins tiles. Linked with one_token.wgsl.
// Sources: Dao et al. 2022, algorithm 1; Su et al. 2021, section 3.4.2.
const WG: u32 = 128u;
const HEADS: u32 = 4u;               // components of a score
const ROUNDS: u32 = 2u;

@group(0) @binding(5) var<storage, read_write> out: array<vec4f>;

var<workgroup> parts: array<vec4f, 512>;             // [ROUNDS, WG] scores of a part of a key;
                                                     // then [WG, 4] sums
var<workgroup> scores: array<vec4f, WG>;             // [keys of a tile], components: heads

fn scaled(x: Eight) -> Eight { return Eight(x.a * dims.scale, x.b * dims.scale); }

fn joined(o: Eight, factor: f32, v: Eight, w: f32, u: Eight, x: f32) -> Eight {
    return Eight(o.a * factor + w * v.a + x * u.a, o.b * factor + w * v.b + x * u.b);
}

// K and V of a thread's two keys, in these slots, which may be one turn of the ring too far; zeros
// where there is none. Written out, not looped over, so that all stays in registers.
struct Asked { ka: vec4u, kb: vec4u, va: vec4u, vb: vec4u }

fn ask(cache: u32, a: u32, b: u32, has_a: bool, has_b: bool) -> Asked {
    let lanes = 1u << dims.lane_bits;
    let values = dims.slots * lanes;
    let at = cache + select(a, a - dims.slots, a >= dims.slots) * lanes;
    let bt = cache + select(b, b - dims.slots, b >= dims.slots) * lanes;
    var asked: Asked;
    if (has_a) {
        asked.ka = kv[at];
        asked.va = kv[at + values];
    }
    if (has_b) {
        asked.kb = kv[bt];
        asked.vb = kv[bt + values];
    }
    return asked;
}

fn times(x: Eight, y: Eight, factor: f32) -> Eight {
    return Eight(factor * x.a * y.a, factor * x.b * y.b);
}

// Those of a row that is rotated, by angles with these cosines and signed sines, and with NORM
// times a gain and a factor.
fn turned(row: u32, lane: u32, gain: u32, factor: f32, cosines: Eight, sines: Eight) -> Eight {
    var own = plain(row, lane);
    let half = dims.head_dim / 16u;
    var other = plain(row, lane ^ half);
    if ((dims.flags & NORM) != 0u) {
        own = times(own, gain8(gain + 8u * lane), factor);
        other = times(other, gain8(gain + 8u * (lane ^ half)), factor);
    }
    return Eight(own.a * cosines.a + other.a * sines.a, own.b * cosines.b + other.b * sines.b);
}

// 1 / root mean square of a row, of each team's threads.
fn norm_factor(t: u32, x: Eight) -> f32 {
    scores[t].x = dot8(x, x);
    workgroupBarrier();
    let lanes = 1u << dims.lane_bits;
    var sum = 0.0;
    for (var i = 0u; i < lanes; i++) { sum += scores[(t & ~(lanes - 1u)) + i].x; }
    workgroupBarrier();
    return 1.0 / sqrt(sum / f32(dims.head_dim) + dims.eps);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) t: u32) {
    let kv_head = id.x;                              // of this buffer
    let first_head = (dims.kv_first + kv_head) * dims.group + id.z * HEADS;
    let heads = min(HEADS, dims.group - id.z * HEADS);
    let lanes = 1u << dims.lane_bits;                // of a key
    let keys = WG >> dims.lane_bits;                 // of a round
    let tile = ROUNDS * keys;
    let lane = t & (lanes - 1u);
    let key = t >> dims.lane_bits;

    let position = state[0];
    let length = min(position + 1u, dims.context);
    let seen = min(length, dims.window);
    let share = max((seen + dims.splits - 1u) / dims.splits, tile);
    let begin = length - seen + min(id.y * share, seen);
    let end = min(begin + share, length);
    if (begin >= end) { return; }                    // all threads of a workgroup

    let angle = position % dims.rope_rows * 2u * lanes + (lane & (lanes / 2u - 1u)) * 4u;
    let r = array<vec4f, 4>(rope[angle], rope[angle + 1u], rope[angle + 2u], rope[angle + 3u]);
    let sign = select(1.0, -1.0, lane < lanes / 2u);
    let cosines = Eight(vec4f(r[0].xz, r[1].xz), vec4f(r[2].xz, r[3].xz));
    let sines = Eight(sign * vec4f(r[0].yw, r[1].yw), sign * vec4f(r[2].yw, r[3].yw));
    var sums = vec4f();
    var maxima = vec4f(LOWEST);
    if (dims.sinks != NO_SINKS && id.y == 0u) {
        for (var h = 0u; h < HEADS; h++) {
            maxima[h] = max(LOWEST, vectors[dims.sinks + first_head + min(h, heads - 1u)]);
        }
        sums = vec4f(select(0.0, 1.0, t == 0u));
    }

    let cache = 2u * kv_head * dims.slots * lanes + lane;        // V is slots * lanes further
    var base = begin % dims.slots;
    var next = ask(cache, base + key, base + keys + key, begin + key < end,
                   begin + keys + key < end);
    let rows = first_head + min(vec4u(0u, 1u, 2u, 3u), vec4u(heads - 1u));
    let k_row = dims.heads + dims.kv_first + kv_head;
    var factors = vec4f();
    var k_factor = 0.0;
    if ((dims.flags & NORM) != 0u) {
        for (var h = 0u; h < 4u; h++) { factors[h] = norm_factor(t, plain(rows[h], lane)); }
        k_factor = norm_factor(t, plain(k_row, lane));
    }
    let q0 = scaled(turned(rows.x, lane, dims.q_gain, factors.x, cosines, sines));
    let q1 = scaled(turned(rows.y, lane, dims.q_gain, factors.y, cosines, sines));
    let q2 = scaled(turned(rows.z, lane, dims.q_gain, factors.z, cosines, sines));
    let q3 = scaled(turned(rows.w, lane, dims.q_gain, factors.w, cosines, sines));
    var o0: Eight;
    var o1: Eight;
    var o2: Eight;
    var o3: Eight;
    for (var first = begin; first < end; first += tile) {
        var now = next;
        let a = first + key;                         // this thread's keys
        let b = a + keys;
        if (a == position || b == position) {
            let at = cache + position % dims.slots * lanes;
            let k = packed(turned(k_row, lane, dims.k_gain, k_factor, cosines, sines));
            let v = packed(plain(k_row + dims.kv_heads, lane));
            kv[at] = k;
            kv[at + dims.slots * lanes] = v;
            if (a == position) {
                now.ka = k;
                now.va = v;
            } else {
                now.kb = k;
                now.vb = v;
            }
        }
        let xa = eight(now.ka);
        parts[t] = vec4f(dot8(q0, xa), dot8(q1, xa), dot8(q2, xa), dot8(q3, xa));
        let xb = eight(now.kb);
        parts[WG + t] = vec4f(dot8(q0, xb), dot8(q1, xb), dot8(q2, xb), dot8(q3, xb));
        base += tile;
        if (base >= dims.slots) { base -= dims.slots; }
        next = ask(cache, base + key, base + keys + key, a + tile < end, b + tile < end);
        workgroupBarrier();
        for (var i = t; i < tile; i += WG) {
            var s = vec4f();
            let at = i << dims.lane_bits;            // begun elsewhere by each: other banks
            for (var p = 0u; p < lanes; p++) { s += parts[at + ((p + i) & (lanes - 1u))]; }
            scores[i] = select(vec4f(LOWEST), s, first + i < end);
        }
        workgroupBarrier();
        var top = maxima;
        for (var i = 0u; i < tile; i++) { top = max(top, scores[i]); }
        let factor = exp(maxima - top);
        maxima = top;
        // 0 beyond the end, where V is zeros as well
        let wa = select(vec4f(), exp(scores[key] - top), a < end);
        let wb = select(vec4f(), exp(scores[keys + key] - top), b < end);
        sums = sums * factor + wa + wb;
        let va = eight(now.va);
        let vb = eight(now.vb);
        o0 = joined(o0, factor.x, va, wa.x, vb, wb.x);
        o1 = joined(o1, factor.y, va, wa.y, vb, wb.y);
        o2 = joined(o2, factor.z, va, wa.z, vb, wb.z);
        o3 = joined(o3, factor.w, va, wa.w, vb, wb.w);
    }
    let to = id.y * dims.heads + first_head;
    finish(to, heads, 0u, t, o0, o1, sums, maxima);
    if (heads > 2u) { finish(to, heads, 2u, t, o2, o3, sums, maxima); }
}

// Sums of two heads over the keys of a round, whose threads hold a part each. to: row of out of
// the workgroup's first head.
fn finish(to: u32, heads: u32, h: u32, t: u32, o: Eight, p: Eight, sums: vec4f, maxima: vec4f) {
    let lanes = 1u << dims.lane_bits;
    let keys = WG >> dims.lane_bits;
    workgroupBarrier();
    parts[t] = o.a;
    parts[WG + t] = o.b;
    parts[2u * WG + t] = p.a;
    parts[3u * WG + t] = p.b;
    scores[t] = sums;
    workgroupBarrier();
    for (var i = t; i < 4u * lanes; i += WG) {           // of [2 heads, 2, lanes]
        let quarter = i >> dims.lane_bits;
        let lane = i & (lanes - 1u);
        let head = h + quarter / 2u;
        if (head >= heads) { break; }
        var sum = vec4f();
        for (var j = 0u; j < keys; j++) { sum += parts[quarter * WG + j * lanes + lane]; }
        let row = (to + head) * (2u * lanes + 1u);
        out[row + 2u * lane + (quarter & 1u)] = sum;
        if ((i & (2u * lanes - 1u)) == 0u) {
            var l = 0.0;
            for (var j = 0u; j < keys; j++) { l += scores[j * lanes][head]; }
            out[row + 2u * lanes] = vec4f(maxima[head], l, 0.0, 0.0);
        }
    }
}
