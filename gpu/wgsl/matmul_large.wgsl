// matmul_large.wgsl - matmul.wgsl for more tokens: y, bindings and dims are the same.
//
//   y[t * y_stride + y_first + r] = (ADD: itself +) sum over i of W[m, r, i] x[t / share, i]
//                                   (+ BIAS: vectors[bias + m * rows + r])
//
// Dispatch: ceil(rows / ROWS), ceil(tokens / TOKENS) or with EXPERTS order / 3 tiles. k % 32 == 0.
// A workgroup makes a tile of y, 8 x 4 values a thread, from tiles of W, a run of columns, and of
// x, half a run, in workgroup memory (16 KiB): column by column, so that a thread's values are
// neighbours, and as nested arrays, so that its place in a column is found once. Rows and tokens
// beyond the end repeat the last one; they are not stored. Linked with part.wgsl and one
// weights/*.wgsl.
const WG: u32 = 256u;
const ROWS: u32 = 64u;               // 16 threads along them, 4 each
const TOKENS: u32 = 128u;            // 16 threads along them, 2 times 4 each
const RUN: u32 = 32u;
const COLUMNS: u32 = 16u;            // of x at once
const LOADS: u32 = 2u;               // TOKENS * COLUMNS / 4 / WG, a thread's part of the tile of x

@group(0) @binding(0) var<storage, read> weights: array<vec4u>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> vectors: array<f32>;
@group(0) @binding(3) var<storage, read> routing: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<uniform> dims: Dims;

var<workgroup> w_tile: array<array<vec4f, 16>, 32>;              // [RUN][ROWS / 4]
var<workgroup> x_tile: array<array<array<vec4f, 16>, 2>, 16>;    // [COLUMNS][2][TOKENS / 8]

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let part = part_of_tile(group.y, TOKENS);
    if (part.count == 0u) { return; }
    let quads = dims.k / 4u;
    let first_row = group.x * ROWS;
    let w_first = part.matrix * dims.rows;
    let w_row = w_first + min(first_row + t % ROWS, dims.rows - 1u);
    let tx = t % 16u;                // this thread's rows: 4 tx + j; tokens: 4 ty + e + 64 i
    let ty = t / 16u;
    let brings = t % TOKENS;           // the token of which it brings x
    let x_at = part_row(part, min(brings, part.count - 1u)) / dims.share * quads + t / TOKENS * 2u;
    var sum: array<vec4f, 8>;        // [4 i + e] over tokens, components over rows

    for (var step = 0u; step < dims.k; step += COLUMNS) {
        if (step % RUN == 0u && t < ROWS) {
            let w = w_run(w_row, step / RUN);
            for (var i = 0u; i < 8u; i++) {
                for (var c = 0u; c < 4u; c++) { w_tile[4u * i + c][t / 4u][t % 4u] = w[i][c]; }
            }
        }
        for (var i = 0u; i < LOADS; i++) {
            let v = x[x_at + step / 4u + i];
            let column = (t / TOKENS * 2u + i) * 4u;
            for (var c = 0u; c < 4u; c++) {
                x_tile[column + c][brings / 64u][brings / 4u % 16u][brings % 4u] = v[c];
            }
        }
        workgroupBarrier();
        let half = step % RUN;
        for (var c = 0u; c < COLUMNS; c++) {
            let w = w_tile[half + c][tx];
            let a = x_tile[c][0][ty];
            let b = x_tile[c][1][ty];
            for (var e = 0u; e < 4u; e++) {
                sum[e] = fma(vec4f(a[e]), w, sum[e]);
                sum[4u + e] = fma(vec4f(b[e]), w, sum[4u + e]);
            }
        }
        workgroupBarrier();
    }

    for (var i = 0u; i < 8u; i++) {
        let to_token = 64u * (i / 4u) + 4u * ty + i % 4u;
        if (to_token >= part.count) { continue; }
        let y_first = part_row(part, to_token) * dims.y_stride + dims.y_first;
        for (var j = 0u; j < 4u; j++) {
            let r = first_row + 4u * tx + j;
            if (r < dims.rows) {
                var total = sum[i][j];
                if ((dims.flags & BIAS) != 0u) { total += vectors[dims.bias + w_first + r]; }
                if ((dims.flags & ADD) != 0u) { total += y[y_first + r]; }
                y[y_first + r] = total;
            }
        }
    }
}
