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
// A workgroup makes a tile of y, 8 tokens x 4 rows a thread, from tiles of W, a run of columns, and
// of x, half a run, in workgroup memory (16 KiB with 256 threads), column by column. Rows and
// tokens beyond the end repeat the last one; they are not stored. Linked with part.wgsl and one
// weights/*.wgsl.
override WG: u32 = 64u;
override LINES: u32 = WG / 16u;      // threads along tokens; 16 along rows
override TOKENS: u32 = LINES * 8u;   // of thread line l: 4 l + e, and TOKENS / 2 more
const ROWS: u32 = 64u;
const RUN: u32 = 32u;
const COLUMNS: u32 = 16u;            // of x at once

@group(0) @binding(0) var<storage, read> weights: array<vec4u>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> vectors: array<f32>;
@group(0) @binding(3) var<storage, read> routing: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<uniform> dims: Dims;

var<workgroup> w_tile: array<vec4f, RUN * ROWS / 4u>;            // [RUN][ROWS / 4]
var<workgroup> x_tile: array<vec4f, COLUMNS * TOKENS / 4u>;      // [COLUMNS][TOKENS / 4]

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let part = part_of_tile(group.y, TOKENS);
    if (part.count == 0u) { return; }
    let quads = dims.k / 4u;
    let first_row = group.x * ROWS;
    let w_first = part.matrix * dims.rows;
    let w_row = w_first + min(first_row + t, dims.rows - 1u);
    let tx = t % 16u;                // this thread's rows: 4 tx + j
    let ty = t / 16u;
    let brings = t % TOKENS;         // of x two vec4s of this token
    let quad = t / TOKENS * 2u;
    let x_at = part_row(part, min(brings, part.count - 1u)) / dims.share * quads + quad;
    var v0 = x[x_at];
    var v1 = x[x_at + 1u];
    var sum: array<vec4f, 8>;        // [4 i + e] over tokens, components over rows

    for (var step = 0u; step < quads; step += COLUMNS / 4u) {
        let second = step % (RUN / 4u);              // half of the run
        if (second == 0u && t < ROWS) {
            let w = w_run(w_row, step * 4u / RUN);
            for (var i = 0u; i < 8u; i++) {
                for (var c = 0u; c < 4u; c++) {
                    w_tile[(4u * i + c) * (ROWS / 4u) + t / 4u][t % 4u] = w[i][c];
                }
            }
        }
        for (var c = 0u; c < 4u; c++) {
            x_tile[(4u * quad + c) * (TOKENS / 4u) + brings / 4u][brings % 4u] = v0[c];
            x_tile[(4u * quad + 4u + c) * (TOKENS / 4u) + brings / 4u][brings % 4u] = v1[c];
        }
        workgroupBarrier();
        let next = min(step + COLUMNS / 4u, quads - COLUMNS / 4u);   // asked for early
        v0 = x[x_at + next];
        v1 = x[x_at + next + 1u];
        for (var c = 0u; c < COLUMNS; c++) {
            let w = w_tile[(4u * second + c) * (ROWS / 4u) + tx];
            let a = x_tile[c * (TOKENS / 4u) + ty];
            let b = x_tile[c * (TOKENS / 4u) + LINES + ty];
            sum[0] = fma(vec4f(a.x), w, sum[0]);
            sum[1] = fma(vec4f(a.y), w, sum[1]);
            sum[2] = fma(vec4f(a.z), w, sum[2]);
            sum[3] = fma(vec4f(a.w), w, sum[3]);
            sum[4] = fma(vec4f(b.x), w, sum[4]);
            sum[5] = fma(vec4f(b.y), w, sum[5]);
            sum[6] = fma(vec4f(b.z), w, sum[6]);
            sum[7] = fma(vec4f(b.w), w, sum[7]);
        }
        workgroupBarrier();
    }

    for (var i = 0u; i < 8u; i++) {
        let to_token = i / 4u * (TOKENS / 2u) + 4u * ty + i % 4u;
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
