// matmul.wgsl - Y = X W^T for many tokens, or for slots, each with its expert's W.
//
//   y[t * y_stride + y_first + r] = (ADD: itself +) sum over i of W[m, r, i] x[t / share, i]
//                                   (+ BIAS: vectors[bias + m * rows + r])
//   t, m: row of y and its matrix; without EXPERTS tokens and 0; see part.wgsl
//
//   binding  name     type      shape                 access
//   0        weights  a format  [matrices, rows, k]   read
//   1        x        f32       [*, k]                read
//   2        vectors  f32       [*]                   read
//   3        routing  u32       [order + slots]       read with EXPERTS
//   4        y        f32       [*]                   write, read with ADD
//   5        dims     uniform
//
// Dispatch: ceil(rows / ROWS), ceil(tokens / TOKENS) or with EXPERTS order / 3 tiles. k % 32 == 0.
// A workgroup makes a tile of y, 4 x 4 values a thread, from tiles of W and x of one run of columns
// in workgroup memory (12 KiB). Rows and tokens beyond the end repeat the last one; they are not
// stored. Linked with part.wgsl and one weights/*.wgsl.
const WG: u32 = 128u;
const ROWS: u32 = 64u;               // 16 threads along them
const TOKENS: u32 = 32u;             // 8 threads along them
const QUADS: u32 = 8u;               // vec4s of a run
const LOADS: u32 = 2u;               // TOKENS * QUADS / WG, a thread's part of the tile of x

@group(0) @binding(0) var<storage, read> weights: array<vec4u>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> vectors: array<f32>;
@group(0) @binding(3) var<storage, read> routing: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<uniform> dims: Dims;

var<workgroup> w_tile: array<vec4f, 512>;    // [ROWS, QUADS]
var<workgroup> x_tile: array<vec4f, 256>;    // [TOKENS, QUADS]

// Where quad q of a tile's row lies. Threads read the same q of different rows: exclusive or
// spreads those over the banks.
fn tile_at(row: u32, q: u32) -> u32 { return row * QUADS + (q ^ (row % QUADS)); }

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let part = part_of_tile(group.y, TOKENS);
    if (part.count == 0u) { return; }
    let quads = dims.k / 4u;
    let first_row = group.x * ROWS;
    let w_first = part.matrix * dims.rows;
    let row = t % 16u;               // this thread's rows: row + 16 j; tokens: token + 8 i
    let token = t / 16u;
    var sum: array<vec4f, 4>;        // [i] over tokens, components over rows
    var x_at: array<u32, LOADS>;     // what this thread brings to the tile of x
    for (var i = 0u; i < LOADS; i++) {
        let from_token = min((t + i * WG) / QUADS, part.count - 1u);
        x_at[i] = part_row(part, from_token) / dims.share * quads + t % QUADS;
    }

    for (var step = 0u; step < quads; step += QUADS) {
        if (t < ROWS) {
            let w = w_run(w_first + min(first_row + t, dims.rows - 1u), step / QUADS);
            for (var i = 0u; i < QUADS; i++) { w_tile[tile_at(t, i)] = w[i]; }
        }
        for (var i = 0u; i < LOADS; i++) {
            x_tile[tile_at((t + i * WG) / QUADS, t % QUADS)] = x[x_at[i] + step];
        }
        workgroupBarrier();
        for (var q = 0u; q < QUADS; q++) {
            let w0 = w_tile[tile_at(row, q)];
            let w1 = w_tile[tile_at(row + 16u, q)];
            let w2 = w_tile[tile_at(row + 32u, q)];
            let w3 = w_tile[tile_at(row + 48u, q)];
            let a = vec4f(w0.x, w1.x, w2.x, w3.x);
            let b = vec4f(w0.y, w1.y, w2.y, w3.y);
            let c = vec4f(w0.z, w1.z, w2.z, w3.z);
            let d = vec4f(w0.w, w1.w, w2.w, w3.w);
            for (var i = 0u; i < 4u; i++) {
                let v = x_tile[tile_at(token + 8u * i, q)];
                sum[i] = fma(d, vec4f(v.w), fma(c, vec4f(v.z), fma(b, vec4f(v.y),
                         fma(a, vec4f(v.x), sum[i]))));
            }
        }
        workgroupBarrier();
    }

    for (var i = 0u; i < 4u; i++) {
        let to_token = token + 8u * i;
        if (to_token >= part.count) { continue; }
        let y_first = part_row(part, to_token) * dims.y_stride + dims.y_first;
        for (var j = 0u; j < 4u; j++) {
            let r = first_row + row + 16u * j;
            if (r < dims.rows) {
                var total = sum[i][j];
                if ((dims.flags & BIAS) != 0u) { total += vectors[dims.bias + w_first + r]; }
                if ((dims.flags & ADD) != 0u) { total += y[y_first + r]; }
                y[y_first + r] = total;
            }
        }
    }
}
