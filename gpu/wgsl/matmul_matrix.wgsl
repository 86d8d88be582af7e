// matmul_matrix.wgsl - matmul.wgsl by products of subgroup matrices, for x as f16 and weights of 8
// bits and fewer, rounded to f16; sums are f32.
//
//   y[t * y_stride + y_first + r] = (ADD: itself +) sum over i of f16(W[m, r, i]) x[t / share, i]
//                                   (+ BIAS: vectors[bias + m * rows + r])
//
//   binding  name     type         shape                 access
//   0        weights  a format     [matrices, rows, k]   read
//   1        x        a half form  [*] of [k] each       read
//   2        vectors  f32          [*]                   read
//   3        routing  u32          [order + slots]       read with EXPERTS
//   4        y        f32          [*]                   write, read with ADD
//   5        dims     uniform
//
// Dispatch: ceil(rows / ROWS), ceil(tokens / TOKENS) or with EXPERTS order / 3 tiles. k % 32 == 0.
// A product of subgroup matrices is [M, K] by [K, N]; a subgroup sums up a column of eight results
// [M, N] for all tokens of the tile, eight subgroups stand side by side. What they multiply is in
// workgroup memory, and that of the next step is read from the buffers before the products of this
// one, so that one waits while the other works. The results have names: an array of them, indexed
// in a loop, is not kept in registers (a quarter of the speed on an H200). Rows and tokens beyond
// the end repeat the last one; they are not stored. Linked with part.wgsl and one weights/*.wgsl.
// M, N and K are of the device's list; needs f16, subgroups of 32 and their ids.
const WG: u32 = 256u;
const TOKENS: u32 = 8u * M;
const ROWS: u32 = 8u * N;
const RUNS: u32 = 2u;                // of a step, a power of two
const EIGHTS: u32 = 4u * RUNS;       // vec4s of a row of a tile, eight f16 each
const STRIDE: u32 = EIGHTS + 1u;     // so that rows begin in different banks
const LOADS: u32 = TOKENS * EIGHTS / WG;     // a thread's part of the tile of x
const OUT_STRIDE: u32 = N / 4u + 1u; // vec4s of a row of results
const X_TILE: u32 = ROWS * STRIDE;

alias Left = subgroup_matrix_left<f16, K, M>;
alias Right = subgroup_matrix_right<f16, N, K>;
alias Sums = subgroup_matrix_result<f32, N, M>;

@group(0) @binding(0) var<storage, read> weights: array<vec4u>;
@group(0) @binding(1) var<storage, read> x: array<vec4u>;
@group(0) @binding(2) var<storage, read> vectors: array<f32>;
@group(0) @binding(3) var<storage, read> routing: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<uniform> dims: Dims;

var<workgroup> tile: array<vec4u, (ROWS + TOKENS) * STRIDE>;     // W, x; in the end results

// The nearest f16. Beyond 65504, where no model's weights are, that is infinity.
fn eight(a: vec4f, b: vec4f) -> vec4u {
    return vec4u(bitcast<vec2u>(vec4h(a)), bitcast<vec2u>(vec4h(b)));
}

struct Run { a: vec4u, b: vec4u, c: vec4u, d: vec4u }
fn run_of(row: u32, run: u32) -> Run {
    let w = w_run(row, run);
    return Run(eight(w[0], w[1]), eight(w[2], w[3]), eight(w[4], w[5]), eight(w[6], w[7]));
}

fn left_at(token: u32, at: u32) -> Left {
    return subgroupMatrixLoad<Left, row_major>(&tile, X_TILE + token * STRIDE + at, STRIDE);
}

// Two results, one below the other, which a subgroup left in the tile at `mine`: those of tokens
// token .. token + 2 M - 1 of a part and rows row .. row + N - 1.
fn put(part: Part, mine: u32, lane: u32, token: u32, row: u32) {
    let w_first = part.matrix * dims.rows;
    for (var e = lane; e < 2u * M * N / 4u; e += 32u) {
        let to_token = token + e / (N / 4u);
        let q = e % (N / 4u);
        if (to_token >= part.count) { continue; }
        let y_first = part_row(part, to_token) * dims.y_stride + dims.y_first;
        let v = bitcast<vec4f>(tile[mine + e / (N / 4u) * OUT_STRIDE + q]) * 64.0;
        for (var j = 0u; j < 4u; j++) {
            let r = row + 4u * q + j;
            if (r < dims.rows) {
                var total = v[j];
                if ((dims.flags & BIAS) != 0u) { total += vectors[dims.bias + w_first + r]; }
                if ((dims.flags & ADD) != 0u) { total += y[y_first + r]; }
                y[y_first + r] = total;
            }
        }
    }
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32,
        @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
    let part = part_of_tile(group.y, TOKENS);
    if (part.count == 0u) { return; }
    let runs = dims.k / 32u;
    let first_row = group.x * ROWS;
    let row = first_row + subgroup * N;      // of this subgroup's results
    // What this thread brings: a run of a row of W, one of those of a step; parts of x.
    let w_row = part.matrix * dims.rows + min(first_row + t / RUNS, dims.rows - 1u);
    let w_at = t % RUNS;
    let w_to = t / RUNS * STRIDE + t % RUNS * 4u;
    let x_run = t % EIGHTS / 4u;
    var x_at: array<u32, LOADS>;
    for (var i = 0u; i < LOADS; i++) {
        let from_token = min((t + i * WG) / EIGHTS, part.count - 1u);
        x_at[i] = part_row(part, from_token) / dims.share * ((runs + 7u) / 8u * 32u)
                + t % EIGHTS;
    }
    var s0: Sums; var s1: Sums; var s2: Sums; var s3: Sums;
    var s4: Sums; var s5: Sums; var s6: Sums; var s7: Sums;
    var w = run_of(w_row, min(w_at, runs - 1u));
    var v: array<vec4u, LOADS>;
    for (var i = 0u; i < LOADS; i++) { v[i] = x[x_at[i]]; }

    for (var run = 0u; run < runs; run += RUNS) {
        if (ROWS * RUNS >= WG || t < ROWS * RUNS) {
            tile[w_to] = w.a;
            tile[w_to + 1u] = w.b;
            tile[w_to + 2u] = w.c;
            tile[w_to + 3u] = w.d;
        }
        for (var i = 0u; i < LOADS; i++) {
            let n = t + i * WG;
            let within = run + x_run < runs;             // else whatever stands behind a row
            tile[X_TILE + n / EIGHTS * STRIDE + n % EIGHTS] = select(vec4u(), v[i], within);
        }
        workgroupBarrier();
        let next = min(run + RUNS, runs - 1u);
        w = run_of(w_row, min(next + w_at, runs - 1u));
        for (var i = 0u; i < LOADS; i++) { v[i] = x[x_at[i] + 4u * next]; }
        for (var at = 0u; at < EIGHTS; at += K / 8u) {
            let b = subgroupMatrixLoad<Right, col_major>(&tile, subgroup * N * STRIDE + at, STRIDE);
            s0 = subgroupMatrixMultiplyAccumulate(left_at(0u, at), b, s0);
            s1 = subgroupMatrixMultiplyAccumulate(left_at(M, at), b, s1);
            s2 = subgroupMatrixMultiplyAccumulate(left_at(2u * M, at), b, s2);
            s3 = subgroupMatrixMultiplyAccumulate(left_at(3u * M, at), b, s3);
            s4 = subgroupMatrixMultiplyAccumulate(left_at(4u * M, at), b, s4);
            s5 = subgroupMatrixMultiplyAccumulate(left_at(5u * M, at), b, s5);
            s6 = subgroupMatrixMultiplyAccumulate(left_at(6u * M, at), b, s6);
            s7 = subgroupMatrixMultiplyAccumulate(left_at(7u * M, at), b, s7);
        }
        workgroupBarrier();
    }

    let mine = subgroup * 2u * M * OUT_STRIDE;
    let second = mine + M * OUT_STRIDE;
    subgroupMatrixStore<row_major>(&tile, mine, s0, OUT_STRIDE);
    subgroupMatrixStore<row_major>(&tile, second, s1, OUT_STRIDE);
    workgroupBarrier();
    put(part, mine, lane, 0u, row);
    workgroupBarrier();
    subgroupMatrixStore<row_major>(&tile, mine, s2, OUT_STRIDE);
    subgroupMatrixStore<row_major>(&tile, second, s3, OUT_STRIDE);
    workgroupBarrier();
    put(part, mine, lane, 2u * M, row);
    workgroupBarrier();
    subgroupMatrixStore<row_major>(&tile, mine, s4, OUT_STRIDE);
    subgroupMatrixStore<row_major>(&tile, second, s5, OUT_STRIDE);
    workgroupBarrier();
    put(part, mine, lane, 4u * M, row);
    workgroupBarrier();
    subgroupMatrixStore<row_major>(&tile, mine, s6, OUT_STRIDE);
    subgroupMatrixStore<row_major>(&tile, second, s7, OUT_STRIDE);
    workgroupBarrier();
    put(part, mine, lane, 6u * M, row);
}
