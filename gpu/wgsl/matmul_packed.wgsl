// matmul_packed.wgsl - matmul.wgsl for packed x and weights of 8 bits and fewer: products of int8.
//
//   y[t * y_stride + y_first + r] = (ADD: itself +) sum over i of W[m, r, i] x[t / share, i]
//                                   (+ BIAS: vectors[bias + m * rows + r])
//   over a run: sum of W[r, i] x[t, i] = xscale[t] (scale[r] sum of q[r, i] xq[t, i])
//                                      - minimum[r] xscale[t] sum of xq[t, i]
//   with HALVES each 16 of a run have a scale[r] of their own
//
//   binding  name     type           shape                 access
//   0        weights  a format       [matrices, rows, k]   read
//   1        x        a packed form  [*] of [k] each       read
//   2        vectors  f32            [*]                   read
//   3        routing  u32            [order + slots]       read with EXPERTS
//   4        y        f32            [*]                   write, read with ADD
//   5        dims     uniform
//
// Dispatch: ceil(rows / ROWS), ceil(tokens / TOKENS) or with EXPERTS order / 3 tiles. k % 32 == 0.
// A workgroup makes a tile of y, 8 tokens x 4 rows a thread, from one run of W and x at a time in
// workgroup memory (15 KiB with 256 threads): two in turn, so that threads bring the next while
// others still work. Nested arrays let a thread find its place in them once. Rows and tokens beyond
// the end repeat the last one; they are not stored. Linked with part.wgsl, tile_store.wgsl,
// bytes.wgsl, one weights/*.wgsl and its bytes/*.wgsl.
override WG: u32 = 128u;
override TOKENS: u32 = WG / 2u;      // WG / 16 threads along them, 8 each
const ROWS: u32 = 64u;               // 16 threads along them, 4 each

@group(0) @binding(0) var<storage, read> weights: array<vec4u>;
@group(0) @binding(1) var<storage, read> x: array<vec4u>;
@group(0) @binding(2) var<storage, read> vectors: array<f32>;
@group(0) @binding(3) var<storage, read> routing: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<uniform> dims: Dims;

// Row 16 j + r: [turn][low, high][j][r]; token 8 l + i: [l / 2][turn][low, high][i][l % 2].
var<workgroup> w_tile: array<array<array<array<vec4u, 16>, 4>, 2>, 2>;
var<workgroup> w_scales: array<array<array<vec2f, 16>, 4>, 2>;
var<workgroup> x_tile: array<array<array<array<array<vec4u, 2>, 8>, 2>, 2>, WG / 32u>;
var<workgroup> x_scales: array<array<array<array<vec2f, 2>, 8>, 2>, WG / 32u>;

// The run of a row that a thread brings, t < ROWS.
fn bring_w(t: u32, turn: u32, row: u32, run: u32) {
    let w = w_bytes(row, run);
    w_tile[turn][0][t / 16u][t % 16u] = w.low;
    w_tile[turn][1][t / 16u][t % 16u] = w.high;
    w_scales[turn][t / 16u][t % 16u] = w.scales;
}

// A third of the run of a token that a thread brings: 16 bytes, or what goes with the run.
fn bring_x(token: u32, run: u32, third: u32, row: u32) {
    let turn = run % 2u;
    let v = x[row + run / 2u * 5u + select(2u * turn + third, 4u, third == 2u)];
    if (third < 2u) {
        x_tile[token / 16u][turn][third][token % 8u][token / 8u % 2u] = v;
    } else {
        let s = run_tail(v, turn == 1u);
        x_scales[token / 16u][turn][token % 8u][token / 8u % 2u] = vec2f(s.x, s.x * s.y);
    }
}

// The four rows of a thread.
struct Rows {
    low0: vec4u, low1: vec4u, low2: vec4u, low3: vec4u,
    high0: vec4u, high1: vec4u, high2: vec4u, high3: vec4u,
    scales0: vec2f, scales1: vec2f, scales2: vec2f, scales3: vec2f
}

fn rows_of(turn: u32, row: u32) -> Rows {
    return Rows(
        w_tile[turn][0][0][row], w_tile[turn][0][1][row], w_tile[turn][0][2][row],
        w_tile[turn][0][3][row], w_tile[turn][1][0][row], w_tile[turn][1][1][row],
        w_tile[turn][1][2][row], w_tile[turn][1][3][row], w_scales[turn][0][row],
        w_scales[turn][1][row], w_scales[turn][2][row], w_scales[turn][3][row]);
}

// sum + those rows times token i of a thread.
fn dots(r: Rows, pair: u32, turn: u32, i: u32, side: u32, sum: vec4f) -> vec4f {
    let a = x_tile[pair][turn][0][i][side];
    let b = x_tile[pair][turn][1][i][side];
    let s = x_scales[pair][turn][i][side];
    return vec4f(run_dot(r.low0, r.high0, r.scales0, a, b, s, sum.x),
                 run_dot(r.low1, r.high1, r.scales1, a, b, s, sum.y),
                 run_dot(r.low2, r.high2, r.scales2, a, b, s, sum.z),
                 run_dot(r.low3, r.high3, r.scales3, a, b, s, sum.w));
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let part = part_of_tile(group.y, TOKENS);
    if (part.count == 0u) { return; }
    let runs = dims.k / 32u;
    let x_row = (runs + 7u) / 8u * 22u;
    let first_row = group.x * ROWS;
    let w_first = part.matrix * dims.rows;
    let w_row = w_first + min(first_row + t, dims.rows - 1u);
    let row = t % 16u;
    let pair = t / 32u;
    let side = t / 16u % 2u;
    let last = part.count - 1u;
    let third = t % 4u;              // one thread in four brings nothing
    let token = t / 4u;
    let also = token + WG / 4u;
    let x_at = part_row(part, min(token, last)) / dims.share * x_row;
    let also_at = part_row(part, min(also, last)) / dims.share * x_row;
    // A sum for each token, components over rows. Not an array: that would be kept in memory.
    var s0: vec4f; var s1: vec4f; var s2: vec4f; var s3: vec4f;
    var s4: vec4f; var s5: vec4f; var s6: vec4f; var s7: vec4f;

    for (var step = 0u; step <= runs; step++) {
        if (step < runs) {
            if (third < 3u) {
                bring_x(token, step, third, x_at);
                bring_x(also, step, third, also_at);
            }
            if (t < ROWS) { bring_w(t, step % 2u, w_row, step); }
        }
        if (step > 0u) {
            let turn = (step - 1u) % 2u;
            let r = rows_of(turn, row);
            s0 = dots(r, pair, turn, 0u, side, s0);
            s1 = dots(r, pair, turn, 1u, side, s1);
            s2 = dots(r, pair, turn, 2u, side, s2);
            s3 = dots(r, pair, turn, 3u, side, s3);
            s4 = dots(r, pair, turn, 4u, side, s4);
            s5 = dots(r, pair, turn, 5u, side, s5);
            s6 = dots(r, pair, turn, 6u, side, s6);
            s7 = dots(r, pair, turn, 7u, side, s7);
        }
        workgroupBarrier();
    }

    var sums = array<vec4f, 8>(s0, s1, s2, s3, s4, s5, s6, s7);
    for (var i = 0u; i < 8u; i++) {
        tile_store(part, t / 16u * 8u + i, first_row + row, 16u, sums[i]);
    }
}
