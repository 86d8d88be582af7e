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
// of x, half a run, in workgroup memory (16 KiB with 256 threads). There rows and tokens of a column
// are neighbours; nested arrays let a thread find its place in them once. Rows and tokens beyond
// the end repeat the last one; they are not stored. Linked with part.wgsl and one weights/*.wgsl.
override WG: u32 = 64u;
override TOKENS: u32 = WG / 2u;      // WG / 16 threads along them, 8 each
const ROWS: u32 = 64u;               // 16 threads along them, 4 each

@group(0) @binding(0) var<storage, read> weights: array<vec4u>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> vectors: array<f32>;
@group(0) @binding(3) var<storage, read> routing: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<uniform> dims: Dims;

// Of half a run, column 4 q + c is in place 4 c + q, and there pairs of 8 tokens change places for
// q > 1: so the threads that bring x store to different banks.
var<workgroup> w_tile: array<array<array<vec4f, 16>, 16>, 2>;    // [half][place][row / 4]
var<workgroup> x_tile: array<array<array<array<vec4f, 2>, 2>, 16>, WG / 32u>;
                                     // [token / 16][place][token / 8 % 2][token / 4 % 2]

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let part = part_of_tile(group.y, TOKENS);
    if (part.count == 0u) { return; }
    let quads = dims.k / 4u;
    let first_row = group.x * ROWS;
    let w_first = part.matrix * dims.rows;
    let w_row = w_first + min(first_row + t, dims.rows - 1u);
    let row = t % 16u;               // this thread's rows: 4 row + j
    let line = t / 16u;              // and tokens: 8 line + i
    let pair = line / 2u;
    let even = line % 2u;
    let odd = 1u - even;
    let brings = t / 4u;             // of x: column quad t % 4 of two tokens
    let also = brings + WG / 4u;
    let last = part.count - 1u;
    let x_at = part_row(part, min(brings, last)) / dims.share * quads + t % 4u;
    let also_at = part_row(part, min(also, last)) / dims.share * quads + t % 4u;
    let side = brings / 8u + t % 4u / 2u;            // of which one bit counts
    let also_side = also / 8u + t % 4u / 2u;
    var u = x[x_at];
    var v = x[also_at];
    var sum: array<vec4f, 8>;        // [i], components over rows

    for (var step = 0u; step < quads; step += 4u) {
        let half = step / 4u % 2u;
        if (half == 0u && t < ROWS) {
            let w = w_run(w_row, step / 8u);
            for (var q = 0u; q < 8u; q++) {
                for (var c = 0u; c < 4u; c++) {
                    w_tile[q / 4u][4u * c + q % 4u][t / 4u][t % 4u] = w[q][c];
                }
            }
        }
        for (var c = 0u; c < 4u; c++) {
            let to = 4u * c + t % 4u;
            x_tile[brings / 16u][to][side % 2u][brings / 4u % 2u][brings % 4u] = u[c];
            x_tile[also / 16u][to][also_side % 2u][also / 4u % 2u][also % 4u] = v[c];
        }
        workgroupBarrier();
        let next = min(step + 4u, quads - 4u);       // asked for early
        u = x[x_at + next];
        v = x[also_at + next];
        for (var place = 0u; place < 16u; place++) {
            let w = w_tile[half][place][row];
            let at = select(even, odd, place % 4u > 1u);
            let a = x_tile[pair][place][at][0];
            let b = x_tile[pair][place][at][1];
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
        if (8u * line + i > last) { continue; }
        let y_first = part_row(part, 8u * line + i) * dims.y_stride + dims.y_first;
        for (var j = 0u; j < 4u; j++) {
            let r = first_row + 4u * row + j;
            if (r < dims.rows) {
                var total = sum[i][j];
                if ((dims.flags & BIAS) != 0u) { total += vectors[dims.bias + w_first + r]; }
                if ((dims.flags & ADD) != 0u) { total += y[y_first + r]; }
                y[y_first + r] = total;
            }
        }
    }
}
