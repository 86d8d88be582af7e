// attention_tile.wgsl - attention.wgsl for many tokens: a workgroup has a tile of queries, which
// read each key and value once.
//
//   s[r, j] = scale q[r] . K[j]                 r: a token and a query head of one KV head
//                                               j among the last `window` of 0 .. position + t
//   m[r] = max_j s,  o[r] = sum_j exp(s - m) V[j] / sum_j exp(s - m)
//
// With sinks the logit vectors[sinks + head] counts in m and the denominator, but has no V.
//
//   binding  name     type       shape                                          access
//   0        state    u32        [16], position first                           read
//   1        vectors  f32        [*], sinks [heads]                             read
//   2        qkv      f32        [tokens, heads + 2 kv_heads, head_dim]: q k v  read (q)
//   3        kv       KV format  [kv_count, 2, slots, head_dim]: K, V           read
//   4        out      f32        [tokens, heads, head_dim]                      write
//   5        dims     uniform
//
// Dispatch: kv_count, 1, ceil(tokens / (ROWS / group)), group = heads / kv_heads. splits == 1.
// head_dim <= 4 COLUMNS DIM_QUADS. Linked with one tile/*.wgsl and one kv/*.wgsl.
//
// Threads are a grid of ROW_THREADS x COLUMNS. One has 4 ROW_QUADS queries, row + ROW_THREADS i,
// and of them the scores of 4 KEY_QUADS keys of a tile, column + COLUMNS j, and DIM_QUADS vec4s of
// the output.
// Scores are made from slices of q and k, outputs from slices of values, both in workgroup memory;
// what the next slice needs is on its way from the cache meanwhile. A running maximum joins tiles
// (Dao et al. 2022, algorithm 1; Dao 2023). Tiles are those that any query of the workgroup sees;
// only where some do not, scores are masked one by one. Sums are matrices with names: of arrays
// this large, or with indices of loops, compilers lose hold and keep them in memory.
const ROW_THREADS: u32 = WG / COLUMNS;
const ROWS: u32 = ROW_THREADS * 4u * ROW_QUADS;
const P_QUADS: u32 = ROW_THREADS * ROW_QUADS;
const KEYS: u32 = COLUMNS * 4u * KEY_QUADS;
const V_QUADS: u32 = COLUMNS * DIM_QUADS;
const Q_LOADS: u32 = ROWS * SLICE / WG;              // vec4s that a thread brings
const K_LOADS: u32 = KEYS * SLICE / WG;
const V_LOADS: u32 = V_KEYS * V_QUADS / WG;
const K_AT: u32 = ROWS * SLICE;                      // in workgroup memory
const P_AT: u32 = V_KEYS * V_QUADS;
const TILE: u32 = max(K_AT + KEYS * SLICE, P_AT + COLUMNS * P_QUADS);
const LOWEST: f32 = -1e38;           // below any score; differences stay finite
const MASKED: f32 = -3e38;           // exp(MASKED - LOWEST) is 0
const NO_SINKS: u32 = 0xFFFFFFFFu;

struct Dims {
    heads: u32, kv_heads: u32, head_dim: u32, tokens: u32, context: u32, slots: u32,
    kv_first: u32, kv_count: u32, window: u32, splits: u32, sinks: u32, scale: f32
}
@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> vectors: array<f32>;
@group(0) @binding(2) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(3) var<storage, read> kv: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(5) var<uniform> dims: Dims;

// Either q [ROWS, SLICE] and k [KEYS, SLICE], or V [V_KEYS, V_QUADS] and what columns of threads
// leave for all, [COLUMNS, P_QUADS]: weights, those of V_KEYS or more keys; maxima; sums.
var<workgroup> tile: array<vec4f, TILE>;

// Where vec4 q of a row of a slice lies: neighbouring rows in different banks.
fn slice_at(row: u32, q: u32) -> u32 { return row * SLICE + (q ^ (row * SLICE / 8u % SLICE)); }

fn p_at(column: u32, i: u32) -> u32 {
    return P_AT + column * P_QUADS + (i ^ (column % min(8u, P_QUADS)));
}

// Place in the ring of the tile's key i, from the first one's.
fn ring(base: u32, i: u32) -> u32 {
    return base + i - select(0u, dims.slots, base + i >= dims.slots);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) t: u32) {
    let group = dims.heads / dims.kv_heads;
    let quads = dims.head_dim / 4u;
    let first_head = (dims.kv_first + id.x) * group;
    let first_token = id.z * (ROWS / group);
    let tokens = min(ROWS / group, dims.tokens - first_token);
    let position = state[0] + first_token;
    let shortest = min(position + 1u, dims.context);     // keys up to the first token's own
    let longest = min(position + tokens, dims.context);
    let begin = shortest - min(shortest, dims.window);
    let keys = 2u * id.x * dims.slots;                   // rows of the cache
    let values = keys + dims.slots;
    let row = t / COLUMNS;
    let column = t % COLUMNS;
    let p = row * ROW_QUADS;

    var q_at: array<u32, Q_LOADS>;
    for (var i = 0u; i < Q_LOADS; i++) {
        let r = min((t + i * WG) / SLICE, tokens * group - 1u);
        let token = first_token + r / group;
        q_at[i] = (token * (dims.heads + 2u * dims.kv_heads) + first_head + r % group) * quads;
    }
    var top0 = vec4f(LOWEST);                            // of 4 queries, then of 4 more
    var top1 = vec4f(LOWEST);
    var sum0 = vec4f();
    var sum1 = vec4f();
    if (dims.sinks != NO_SINKS) {
        top0 = sinks(first_head, row, group);
        top1 = sinks(first_head, row + 4u * ROW_THREADS, group);
        sum0 = vec4f(select(0.0, 1.0, column == 0u));
        sum1 = sum0;
    }
    var o00 = mat4x4f();                                 // [4 queries, 4 elements]
    var o01 = mat4x4f();
    var o10 = mat4x4f();
    var o11 = mat4x4f();

    var base = begin % dims.slots;
    var next_q: array<vec4f, Q_LOADS>;
    var next_k: array<KvRaw, K_LOADS>;
    var next_v: array<KvRaw, V_LOADS>;
    for (var i = 0u; i < Q_LOADS; i++) { next_q[i] = ask_q(q_at[i], t % SLICE); }
    for (var i = 0u; i < K_LOADS; i++) {
        next_k[i] = ask(keys, base, (t + i * WG) / SLICE, longest - begin, t % SLICE);
    }
    for (var first = begin; first < longest; first += KEYS) {
        let count = longest - first;                     // keys that there are
        var s00 = mat4x4f();                             // [4 keys, 4 queries]
        var s01 = mat4x4f();                             // the same queries, 4 more keys
        var s10 = mat4x4f();
        var s11 = mat4x4f();
        for (var slice = 0u; slice < quads; slice += SLICE) {
            workgroupBarrier();
            for (var i = 0u; i < Q_LOADS; i++) {
                tile[slice_at((t + i * WG) / SLICE, t % SLICE)] = next_q[i];
            }
            for (var i = 0u; i < K_LOADS; i++) {
                tile[K_AT + slice_at((t + i * WG) / SLICE, t % SLICE)] =
                    kv_value4(next_k[i], slice + t % SLICE);
            }
            workgroupBarrier();
            let next = slice + SLICE;
            if (next < quads) {
                for (var i = 0u; i < Q_LOADS; i++) { next_q[i] = ask_q(q_at[i], next + t % SLICE); }
                for (var i = 0u; i < K_LOADS; i++) {
                    next_k[i] = ask(keys, base, (t + i * WG) / SLICE, count, next + t % SLICE);
                }
            } else {
                for (var i = 0u; i < V_LOADS; i++) {
                    let at = t + i * WG;
                    next_v[i] = ask(values, base, at / V_QUADS, count, at % V_QUADS);
                }
            }
            for (var q = 0u; q < SLICE; q++) {
                let e0 = elements(row, q);
                let k0 = keys_of(column, q);
                s00 = scores(s00, e0, k0);
                let e1 = elements(row + (ROW_QUADS - 1u) * 4u * ROW_THREADS, q);
                if (ROW_QUADS > 1u) { s10 = scores(s10, e1, k0); }
                if (KEY_QUADS > 1u) {
                    let k1 = keys_of(column + 4u * COLUMNS, q);
                    s01 = scores(s01, e0, k1);
                    if (ROW_QUADS > 1u) { s11 = scores(s11, e1, k1); }
                }
            }
        }

        if (first + KEYS > shortest || first + dims.window < longest) {
            let r = row + 4u * ROW_THREADS;
            let key = first + column;
            s00 = masked(s00, key, position, row, group);
            s10 = masked(s10, key, position, r, group);
            s01 = masked(s01, key + 4u * COLUMNS, position, row, group);
            s11 = masked(s11, key + 4u * COLUMNS, position, r, group);
        }
        workgroupBarrier();
        tile[p_at(column, p)] = largest(s00, s01);
        if (ROW_QUADS > 1u) { tile[p_at(column, p + 1u)] = largest(s10, s11); }
        workgroupBarrier();
        var most0 = top0;
        var most1 = top1;
        for (var i = 0u; i < COLUMNS; i++) {
            most0 = max(most0, tile[p_at(i, p)]);
            if (ROW_QUADS > 1u) { most1 = max(most1, tile[p_at(i, p + 1u)]); }
        }
        let factor0 = exp(top0 - most0);
        let factor1 = exp(top1 - most1);
        top0 = most0;
        top1 = most1;
        s00 = exponentials(s00, top0);
        s10 = exponentials(s10, top1);
        sum0 = sum0 * factor0 + s00[0] + s00[1] + s00[2] + s00[3];
        sum1 = sum1 * factor1 + s10[0] + s10[1] + s10[2] + s10[3];
        if (KEY_QUADS > 1u) {
            s01 = exponentials(s01, top0);
            s11 = exponentials(s11, top1);
            sum0 += s01[0] + s01[1] + s01[2] + s01[3];
            sum1 += s11[0] + s11[1] + s11[2] + s11[3];
        }
        o00 = scaled(o00, factor0);
        o01 = scaled(o01, factor0);
        o10 = scaled(o10, factor1);
        o11 = scaled(o11, factor1);

        let next_base = ring(base, KEYS);
        for (var begun = 0u; begun < KEYS; begun += V_KEYS) {
            workgroupBarrier();
            if (begun % COLUMNS == 0u) {
                tile[p_at(column, p)] = s00[0];
                if (ROW_QUADS > 1u) { tile[p_at(column, p + 1u)] = s10[0]; }
                s00 = mat4x4f(s00[1], s00[2], s00[3], s01[0]);       // the next one comes first
                s10 = mat4x4f(s10[1], s10[2], s10[3], s11[0]);
                s01 = mat4x4f(s01[1], s01[2], s01[3], s01[0]);
                s11 = mat4x4f(s11[1], s11[2], s11[3], s11[0]);
            }
            for (var i = 0u; i < V_LOADS; i++) {
                tile[t + i * WG] = kv_value4(next_v[i], (t + i * WG) % V_QUADS);
            }
            workgroupBarrier();
            let next = begun + V_KEYS;
            if (next < KEYS) {
                for (var i = 0u; i < V_LOADS; i++) {
                    let at = t + i * WG;
                    next_v[i] = ask(values, base, next + at / V_QUADS, count, at % V_QUADS);
                }
            } else {
                let left = max(count, KEYS) - KEYS;
                for (var i = 0u; i < Q_LOADS; i++) { next_q[i] = ask_q(q_at[i], t % SLICE); }
                for (var i = 0u; i < K_LOADS; i++) {
                    next_k[i] = ask(keys, next_base, (t + i * WG) / SLICE, left, t % SLICE);
                }
            }
            for (var key = 0u; key < V_KEYS; key++) {
                let v0 = tile[key * V_QUADS + column];
                let w0 = tile[p_at(begun % COLUMNS + key, p)];
                o00 = joined(o00, w0, v0);
                let v1 = tile[key * V_QUADS + (DIM_QUADS - 1u) * COLUMNS + column];
                if (DIM_QUADS > 1u) { o01 = joined(o01, w0, v1); }
                if (ROW_QUADS > 1u) {
                    let w1 = tile[p_at(begun % COLUMNS + key, p + 1u)];
                    o10 = joined(o10, w1, v0);
                    if (DIM_QUADS > 1u) { o11 = joined(o11, w1, v1); }
                }
            }
        }
        base = next_base;
    }

    workgroupBarrier();
    tile[p_at(column, p)] = sum0;
    if (ROW_QUADS > 1u) { tile[p_at(column, p + 1u)] = sum1; }
    workgroupBarrier();
    var l0 = vec4f();
    var l1 = vec4f();
    for (var i = 0u; i < COLUMNS; i++) {
        l0 += tile[p_at(i, p)];
        if (ROW_QUADS > 1u) { l1 += tile[p_at(i, p + 1u)]; }
    }
    let to = first_token * dims.heads + first_head;
    store(o00, l0, to, row, tokens * group, column);
    if (DIM_QUADS > 1u) { store(o01, l0, to, row, tokens * group, column + COLUMNS); }
    if (ROW_QUADS > 1u) {
        store(o10, l1, to, row + 4u * ROW_THREADS, tokens * group, column);
        if (DIM_QUADS > 1u) {
            store(o11, l1, to, row + 4u * ROW_THREADS, tokens * group, column + COLUMNS);
        }
    }
}

fn ask_q(at: u32, quad: u32) -> vec4f {
    if (quad >= dims.head_dim / 4u) { return vec4f(); }
    return dims.scale * qkv[at + quad];
}

// vec4 quad of the tile's key i, zeros where there is none of either.
fn ask(rows: u32, base: u32, i: u32, count: u32, quad: u32) -> KvRaw {
    var raw = KvRaw();
    if (i < count && quad < dims.head_dim / 4u) { raw = kv_raw4(rows + ring(base, i), quad); }
    return raw;
}

// The four queries from r on.
fn queries(r: u32) -> vec4u {
    return vec4u(r, r + ROW_THREADS, r + 2u * ROW_THREADS, r + 3u * ROW_THREADS);
}

fn sinks(first_head: u32, r: u32, group: u32) -> vec4f {
    let head = dims.sinks + first_head + queries(r) % group;
    return max(vec4f(LOWEST),
               vec4f(vectors[head.x], vectors[head.y], vectors[head.z], vectors[head.w]));
}

// Elements 4 q .. of a slice, of four keys or, one behind the other, of four queries.
fn keys_of(key: u32, q: u32) -> mat4x4f {
    return mat4x4f(tile[K_AT + slice_at(key, q)], tile[K_AT + slice_at(key + COLUMNS, q)],
                   tile[K_AT + slice_at(key + 2u * COLUMNS, q)],
                   tile[K_AT + slice_at(key + 3u * COLUMNS, q)]);
}

fn elements(r: u32, q: u32) -> mat4x4f {
    let at = queries(r);
    return transpose(mat4x4f(tile[slice_at(at.x, q)], tile[slice_at(at.y, q)],
                             tile[slice_at(at.z, q)], tile[slice_at(at.w, q)]));
}

// s + q . k of four queries and keys, for four elements
fn scores(s: mat4x4f, e: mat4x4f, k: mat4x4f) -> mat4x4f {
    return mat4x4f(added(s[0], e, k[0]), added(s[1], e, k[1]), added(s[2], e, k[2]),
                   added(s[3], e, k[3]));
}

// s + e k
fn added(s: vec4f, e: mat4x4f, k: vec4f) -> vec4f {
    return fma(e[3], vec4f(k.w), fma(e[2], vec4f(k.z), fma(e[1], vec4f(k.y),
           fma(e[0], vec4f(k.x), s))));
}

// Scores where the query sees the key.
fn masked(s: mat4x4f, key: u32, position: u32, r: u32, group: u32) -> mat4x4f {
    let length = min(position + queries(r) / group + 1u, vec4u(dims.context));
    return mat4x4f(hidden(s[0], key, length), hidden(s[1], key + COLUMNS, length),
                   hidden(s[2], key + 2u * COLUMNS, length),
                   hidden(s[3], key + 3u * COLUMNS, length));
}

fn hidden(s: vec4f, key: u32, length: vec4u) -> vec4f {
    return select(s, vec4f(MASKED),
                  (vec4u(key) >= length) | (vec4u(key + dims.window) < length));
}

// Of each query, over its keys.
fn largest(s: mat4x4f, more: mat4x4f) -> vec4f {
    let most = max(max(s[0], s[1]), max(s[2], s[3]));
    if (KEY_QUADS == 1u) { return most; }
    return max(most, max(max(more[0], more[1]), max(more[2], more[3])));
}

fn exponentials(s: mat4x4f, top: vec4f) -> mat4x4f {
    return mat4x4f(exp(s[0] - top), exp(s[1] - top), exp(s[2] - top), exp(s[3] - top));
}

fn scaled(o: mat4x4f, factor: vec4f) -> mat4x4f {
    return mat4x4f(o[0] * factor.x, o[1] * factor.y, o[2] * factor.z, o[3] * factor.w);
}

// o + w v, v's elements for four queries with a weight each
fn joined(o: mat4x4f, w: vec4f, v: vec4f) -> mat4x4f {
    return mat4x4f(fma(vec4f(w.x), v, o[0]), fma(vec4f(w.y), v, o[1]), fma(vec4f(w.z), v, o[2]),
                   fma(vec4f(w.w), v, o[3]));
}

// Rows of out: those of the tokens' heads, from `to` on.
fn store(o: mat4x4f, l: vec4f, to: u32, r: u32, rows: u32, quad: u32) {
    if (quad >= dims.head_dim / 4u) { return; }
    store_row(o[0] / l.x, to, r, rows, quad);
    store_row(o[1] / l.y, to, r + ROW_THREADS, rows, quad);
    store_row(o[2] / l.z, to, r + 2u * ROW_THREADS, rows, quad);
    store_row(o[3] / l.w, to, r + 3u * ROW_THREADS, rows, quad);
}

fn store_row(o: vec4f, to: u32, r: u32, rows: u32, quad: u32) {
    let group = dims.heads / dims.kv_heads;
    if (r >= rows) { return; }
    out[(to + r / group * dims.heads + r % group) * (dims.head_dim / 4u) + quad] = o;
}
