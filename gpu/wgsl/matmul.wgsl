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
// the end repeat the last one; they are not stored. Linked with part.wgsl,
// tile_store.wgsl and one weights/*.wgsl.
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
    // A sum for each token, components over rows. Not an array: that would be kept in memory.
    var s0: vec4f; var s1: vec4f; var s2: vec4f; var s3: vec4f;
    var s4: vec4f; var s5: vec4f; var s6: vec4f; var s7: vec4f;

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
            s0 = fma(vec4f(a.x), w, s0);
            s1 = fma(vec4f(a.y), w, s1);
            s2 = fma(vec4f(a.z), w, s2);
            s3 = fma(vec4f(a.w), w, s3);
            s4 = fma(vec4f(b.x), w, s4);
            s5 = fma(vec4f(b.y), w, s5);
            s6 = fma(vec4f(b.z), w, s6);
            s7 = fma(vec4f(b.w), w, s7);
        }
        workgroupBarrier();
    }

    var sums = array<vec4f, 8>(s0, s1, s2, s3, s4, s5, s6, s7);
    for (var i = 0u; i < 8u; i++) {
        tile_store(part, 8u * line + i, first_row + 4u * row, 1u, sums[i]);
    }
}
