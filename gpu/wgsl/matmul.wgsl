// matmul.wgsl - Y = X W^T for many tokens.
//
//   y[t * y_stride + y_first + r] = (ADD: itself +) sum over i of W[r, i] x[t, i]
//                                   (+ BIAS: vectors[bias + r])
//
//   binding  name     type      shape         access
//   0        weights  a format  [rows, k]     read
//   1        x        f32       [tokens, k]   read
//   2        vectors  f32       [*]           read
//   3        y        f32       [*]           write, read with ADD
//   4        dims     uniform
//
// Dispatch: ceil(rows / TILE), ceil(tokens / TILE). k % 32 == 0. A workgroup makes a TILE x TILE
// tile of y, 4 x 4 values a thread, from two tiles of STEP columns in workgroup memory (16 KiB);
// each thread decodes one run of weights a step. Linked with one weights/*.wgsl.
const WG: u32 = 64u;
const TILE: u32 = 32u;               // rows, and tokens
const QUADS: u32 = 16u;              // STEP = 64 columns, in vec4s
const BIAS: u32 = 1u;
const ADD: u32 = 2u;

struct Dims {
    rows: u32, k: u32, tokens: u32, y_first: u32, y_stride: u32, bias: u32, flags: u32
}
@group(0) @binding(0) var<storage, read> weights: array<vec4u>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> vectors: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> dims: Dims;

var<workgroup> w_tile: array<vec4f, 512>;    // [TILE, QUADS]
var<workgroup> x_tile: array<vec4f, 512>;

// Where quad q of a tile's row lies. Threads read the same q of different rows: exclusive or
// spreads those over the banks.
fn tile_at(row: u32, q: u32) -> u32 { return row * QUADS + (q ^ (row % QUADS)); }

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let quads = dims.k / 4u;
    let first_row = group.x * TILE;
    let first_token = group.y * TILE;
    let row = t % 8u;                // this thread's rows: row + 8 j; tokens: token + 8 i
    let token = t / 8u;
    var sum: array<vec4f, 4>;        // [i] over tokens, components over rows

    for (var step = 0u; step < quads; step += QUADS) {
        let run = step / 8u + t % 2u;
        let decoded = first_row + t / 2u;
        var w: array<vec4f, 8>;
        if (decoded < dims.rows && run < quads / 8u) { w = w_run(decoded, run); }
        for (var i = 0u; i < 8u; i++) { w_tile[tile_at(t / 2u, t % 2u * 8u + i)] = w[i]; }
        for (var i = t; i < TILE * QUADS; i += WG) {
            let r = i / QUADS;
            let q = i % QUADS;
            var v = vec4f();
            if (first_token + r < dims.tokens && step + q < quads) {
                v = x[(first_token + r) * quads + step + q];
            }
            x_tile[tile_at(r, q)] = v;
        }
        workgroupBarrier();
        for (var q = 0u; q < QUADS; q++) {
            let w0 = w_tile[tile_at(row, q)];
            let w1 = w_tile[tile_at(row + 8u, q)];
            let w2 = w_tile[tile_at(row + 16u, q)];
            let w3 = w_tile[tile_at(row + 24u, q)];
            for (var i = 0u; i < 4u; i++) {
                let v = x_tile[tile_at(token + 8u * i, q)];
                sum[i] += vec4f(dot(w0, v), dot(w1, v), dot(w2, v), dot(w3, v));
            }
        }
        workgroupBarrier();
    }

    for (var i = 0u; i < 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
            let r = first_row + row + 8u * j;
            let at = (first_token + token + 8u * i) * dims.y_stride + dims.y_first + r;
            if (r < dims.rows && first_token + token + 8u * i < dims.tokens) {
                var total = sum[i][j];
                if ((dims.flags & BIAS) != 0u) { total += vectors[dims.bias + r]; }
                if ((dims.flags & ADD) != 0u) { total += y[at]; }
                y[at] = total;
            }
        }
    }
}
