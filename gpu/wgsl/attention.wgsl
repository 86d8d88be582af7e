// attention.wgsl - causal attention over the cache, for the query heads of one KV head at a time.
//
//   s[h, j] = scale q[h] . K[j]                 j in [begin, end), a split of the last `window`
//                                               of 0 .. position + t
//   m[h] = max_j s,  l[h] = sum_j exp(s - m),  o[h] = sum_j exp(s - m) V[j]
//
// With sinks the logit vectors[sinks + h] counts in m and l of split 0, but has no V.
//
//   binding  name     type       shape                                          access
//   0        state    u32        [16], position first                           read
//   1        vectors  f32        [*], sinks [heads]                             read
//   2        qkv      f32        [tokens, heads + 2 kv_heads, head_dim]: q k v  read (q)
//   3        kv       KV format  [kv_count, 2, slots, head_dim]: K, V           read
//   4        out      f32        splits == 1: [tokens, heads, head_dim] o / l   write
//                                else [tokens, splits, heads, head_dim + 2]: o, m, l
//   5        dims     uniform
//
// Dispatch: kv_count, splits, tokens; attention_fits() in gpu/dims.h. Linked with one kv/*.wgsl,
// which supplies kv_raw4() and kv_value4(). Key j is in slot j % slots. Keys are taken in tiles, with
// a running maximum (Dao et al. 2022, algorithm 1); a tile costs two barriers and three phases, in
// which a thread is
//   scores   one key and four heads: K is read once for each four heads
//   softmax  one head and a part of the keys; every part finds the same maximum by itself
//   values   four elements of the output of up to SLOTS heads: V is read once by each
// Where heads are fewer than threads, keys are dealt to `key_lanes` and added up at the end.
// Loops over BATCH have constant bounds so that compilers keep their arrays in registers, and most
// models need no more than two slots (4 heads of 128).
const WG: u32 = 64u;
const SLOTS: u32 = 8u;
const BATCH: u32 = 8u;               // loads that wait for memory together
const TILE_SCORES: u32 = 768u;       // heads * keys of a tile
const LOWEST: f32 = -1e38;           // below any score; differences stay finite
const NO_SINKS: u32 = 0xFFFFFFFFu;

struct Dims {
    heads: u32, kv_heads: u32, head_dim: u32, tokens: u32, context: u32, slots: u32,
    kv_first: u32, kv_count: u32, window: u32, splits: u32, sinks: u32, scale: f32
}
@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> vectors: array<f32>;
@group(0) @binding(2) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(3) var<storage, read> kv: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@group(0) @binding(5) var<uniform> dims: Dims;

var<workgroup> query: array<vec4f, 512>;             // [heads, head_dim / 4]; then partial sums
var<workgroup> scores: array<f32, TILE_SCORES>;      // [heads, tile]
var<workgroup> weights: array<f32, TILE_SCORES>;     // [heads, tile] exp(score - maximum)
var<workgroup> rescale: array<f32, 32>;              // [heads] of what was summed before
var<workgroup> maxima: array<f32, 32>;               // [heads]
var<workgroup> sums: array<f32, WG>;                 // [parts, heads]

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) t: u32) {
    let heads = dims.heads / dims.kv_heads;          // of this KV head
    let quads = dims.head_dim / 4u;
    let length = min(state[0] + id.z + 1u, dims.context);
    let seen = min(length, dims.window);
    let share = (seen + dims.splits - 1u) / dims.splits;
    let begin = length - seen + min(id.y * share, seen);
    let end = min(begin + share, length);
    let keys = 2u * id.x * dims.slots;               // rows of the cache
    let values = keys + dims.slots;
    let first_head = (dims.kv_first + id.x) * heads;

    let q = (id.z * (dims.heads + 2u * dims.kv_heads) + first_head) * quads;
    for (var i = t; i < heads * quads; i += WG) { query[i] = qkv[q + i] * dims.scale; }
    workgroupBarrier();

    let tile = min(WG, TILE_SCORES / heads);
    let head = t % heads;                            // softmax
    let part = t / heads;
    let parts = WG / heads;
    var maximum = LOWEST;
    var sum = 0.0;
    if (dims.sinks != NO_SINKS && id.y == 0u) {
        maximum = max(maximum, vectors[dims.sinks + first_head + head]);
        sum = select(0.0, 1.0, part == 0u);
    }

    let quad = t % quads;                            // values
    let lanes = WG / quads;
    let head_lanes = min(lanes, heads);
    let key_lanes = lanes / head_lanes;
    let head_lane = (t / quads) % head_lanes;
    let key_lane = t / quads / head_lanes;
    let slots = (heads + head_lanes - 1u) / head_lanes;
    var o: array<vec4f, SLOTS>;                      // heads head_lane + j * head_lanes
    var rows: array<u32, SLOTS>;                     // where their weights start
    for (var j = 0u; j < SLOTS; j++) {
        rows[j] = min(head_lane + j * head_lanes, heads - 1u) * tile;
    }

    var count = 0u;
    for (var first = begin; first < end; first += count) {
        let slot = first % dims.slots;               // a tile ends where the ring does
        count = min(min(tile, end - first), dims.slots - slot);
        for (var item = t; item < tile * ((heads + 3u) / 4u); item += WG) {
            let key = item % tile;
            let h = item / tile * 4u;
            if (key < count) {
                let s = score4(keys + slot + key, h, heads, quads);
                for (var i = 0u; i < 4u; i++) {
                    if (h + i < heads) { scores[(h + i) * tile + key] = s[i]; }
                }
            }
        }
        workgroupBarrier();
        if (part < parts) {
            var top = maximum;
            for (var i = 0u; i < count; i++) { top = max(top, scores[head * tile + i]); }
            let factor = exp(maximum - top);
            sum *= factor;
            for (var i = part; i < count; i += parts) {
                let w = exp(scores[head * tile + i] - top);
                weights[head * tile + i] = w;
                sum += w;
            }
            maximum = top;
            if (part == 0u) { rescale[head] = factor; }
        }
        workgroupBarrier();
        if (key_lane < key_lanes) {
            for (var j = 0u; j < SLOTS; j++) {
                if (j >= slots) { break; }
                o[j] *= rescale[rows[j] / tile];
            }
            let row = values + slot;
            var i = key_lane;
            for (; i + (BATCH - 1u) * key_lanes < count; i += BATCH * key_lanes) {
                var v: array<vec4f, BATCH>;
                for (var b = 0u; b < BATCH; b++) {
                    v[b] = kv_load4(row + i + b * key_lanes, quad);
                }
                for (var b = 0u; b < BATCH; b++) {
                    let key = i + b * key_lanes;
                    o[0] += weights[rows[0] + key] * v[b];
                    o[1] += weights[rows[1] + key] * v[b];
                    for (var j = 2u; j < SLOTS; j++) {
                        if (j >= slots) { break; }
                        o[j] += weights[rows[j] + key] * v[b];
                    }
                }
            }
            for (; i < count; i += key_lanes) {
                let v = kv_load4(row + i, quad);
                for (var j = 0u; j < SLOTS; j++) {
                    if (j >= slots) { break; }
                    o[j] += weights[rows[j] + i] * v;
                }
            }
        }
    }

    sums[t] = sum;
    if (part == 0u) { maxima[head] = maximum; }
    query[t] = o[0];                                 // key_lanes > 1 only where SLOTS 1.. are free
    workgroupBarrier();
    if (t >= head_lanes * quads) { return; }
    for (var k = 1u; k < key_lanes; k++) { o[0] += query[k * head_lanes * quads + t]; }
    for (var j = 0u; j < SLOTS; j++) {
        let h = head_lane + j * head_lanes;
        if (h >= heads) { break; }
        var l = 0.0;
        for (var p = 0u; p < parts; p++) { l += sums[p * heads + h]; }
        if (dims.splits == 1u) {
            store4((id.z * dims.heads + first_head + h) * dims.head_dim + 4u * quad, o[j] / l);
        } else {
            let row = (id.z * dims.splits + id.y) * dims.heads + first_head + h;
            let at = row * (dims.head_dim + 4u);
            store4(at + 4u * quad, o[j]);
            if (quad == 0u) {
                out[at + dims.head_dim] = maxima[h];
                out[at + dims.head_dim + 1u] = l;
            }
        }
    }
}

// Scores of heads h .. h + 3 against the key of a row; heads that do not exist repeat the last one.
fn score4(key: u32, h: u32, heads: u32, quads: u32) -> vec4f {
    let q = min(vec4u(h, h + 1u, h + 2u, h + 3u), vec4u(heads - 1u)) * quads;
    var s = vec4f(0.0);
    var i = 0u;
    for (; i + BATCH <= quads; i += BATCH) {
        var k: array<vec4f, BATCH>;
        for (var b = 0u; b < BATCH; b++) { k[b] = kv_load4(key, i + b); }
        for (var b = 0u; b < BATCH; b++) { s += dots(q + i + b, k[b]); }
    }
    for (; i < quads; i++) { s += dots(q + i, kv_load4(key, i)); }
    return s;
}

fn kv_load4(row: u32, quad: u32) -> vec4f { return kv_value4(kv_raw4(row, quad), quad); }

fn dots(q: vec4u, k: vec4f) -> vec4f {
    return vec4f(dot(query[q.x], k), dot(query[q.y], k), dot(query[q.z], k), dot(query[q.w], k));
}

fn store4(i: u32, v: vec4f) {
    out[i] = v.x;
    out[i + 1u] = v.y;
    out[i + 2u] = v.z;
    out[i + 3u] = v.w;
}
