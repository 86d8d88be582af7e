// matmul_packed.wgsl - matmul.wgsl for packed x and weights of 8 bits and fewer: products of int8.
//
//   y[t * y_stride + y_first + r] = (ADD: itself +) sum over i of W[m, r, i] x[t / share, i]
//                                   (+ BIAS: vectors[bias + m * rows + r])
//   over a run of 32: sum of W[r, i] x[t, i] = scale[r] xscale[t] sum of q[r, i] xq[t, i]
//                                            - minimum[r] xscale[t] sum of xq[t, i]
//   with HALVES each 16 of them have a scale[r] of their own
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
// A workgroup makes a tile of y, 8 x 4 values a thread, from runs of W and x in workgroup memory
// (12 KiB), where arrays are nested so that a thread's place is found once. Rows and tokens beyond
// the end repeat the last one; they are not stored. Linked with part.wgsl, one weights/*.wgsl and
// its bytes/*.wgsl. Needs packed_4x8_integer_dot_product.
const WG: u32 = 128u;
const ROWS: u32 = 64u;               // 16 threads along them, 4 each
const TOKENS: u32 = 64u;             // 8 threads along them, 8 each
const RUNS: u32 = 2u;                // at once
const LOADS: u32 = 3u;               // TOKENS * RUNS * 3 / WG, a thread's part of the tile of x

@group(0) @binding(0) var<storage, read> weights: array<vec4u>;
@group(0) @binding(1) var<storage, read> x: array<vec4u>;
@group(0) @binding(2) var<storage, read> vectors: array<f32>;
@group(0) @binding(3) var<storage, read> routing: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<uniform> dims: Dims;

// 32 weights of a row: w[i] = scale[i / 16] * (int8 i of low, high) - minimum.
struct Bytes { low: vec4u, high: vec4u, scale: vec2f, minimum: f32 }

// Each byte, < 128, less n.
fn bytes_less(q: vec4u, n: u32) -> vec4u {
    let top = vec4u(0x80808080u);
    return ((q | top) - vec4u(n * 0x01010101u)) ^ top;
}

// z + the sum of 16 products.
fn dot16(w: vec4u, q: vec4u, z: i32) -> i32 {
    return z + dot4I8Packed(w.x, q.x) + dot4I8Packed(w.y, q.y) + dot4I8Packed(w.z, q.z)
             + dot4I8Packed(w.w, q.w);
}

// The integer of which it is MAGIC more, exactly, where that is below 2^22: bits of the float
// 2^23 + 2^22 count its units.
const MAGIC: i32 = 0x4B400000;
fn whole(sum: i32) -> f32 { return bitcast<f32>(sum) - 12582912.0; }

// A run of a row times one of a token. s: scale, scale * (sum of the first 16 bytes), of the others.
fn run_dot(low: vec4u, high: vec4u, w: vec4f, a: vec4u, b: vec4u, s: vec4f) -> f32 {
    var v: f32;
    if (HALVES) {
        v = s.x * fma(w.x, whole(dot16(low, a, MAGIC)), w.y * whole(dot16(high, b, MAGIC)));
    } else {
        v = s.x * w.x * whole(dot16(low, a, dot16(high, b, MAGIC)));
    }
    if (MINIMUM) { v -= w.z * (s.y + s.z); }
    return v;
}

// [RUNS][low, high, scales][row / 16, token / 8][row % 16, token % 8]
var<workgroup> w_tile: array<array<array<array<vec4u, 16>, 4>, 3>, 2>;
var<workgroup> x_tile: array<array<array<array<vec4u, 8>, 8>, 3>, 2>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let part = part_of_tile(group.y, TOKENS);
    if (part.count == 0u) { return; }
    let runs = dims.k / 32u;
    let first_row = group.x * ROWS;
    let w_first = part.matrix * dims.rows;
    let row = t % 16u;               // this thread's rows: row + 16 j; tokens: token + 8 i
    let token = t / 16u;
    let brings = t % ROWS;           // the row of which it brings run t / ROWS
    let w_row = w_first + min(first_row + brings, dims.rows - 1u);
    var x_at: array<u32, LOADS>;     // what it brings to the tile of x
    for (var i = 0u; i < LOADS; i++) {
        let n = t + i * WG;
        let from_token = min(n / (3u * RUNS), part.count - 1u);
        x_at[i] = part_row(part, from_token) / dims.share * ((runs + 7u) / 8u * 24u)
                + n % (3u * RUNS);
    }
    var sum: array<vec4f, 8>;        // [i] over tokens, components over rows

    for (var run = 0u; run < runs; run += RUNS) {
        let w = w_bytes(w_row, min(run + t / ROWS, runs - 1u));
        w_tile[t / ROWS][0][brings / 16u][row] = w.low;
        w_tile[t / ROWS][1][brings / 16u][row] = w.high;
        w_tile[t / ROWS][2][brings / 16u][row] =
            bitcast<vec4u>(vec4f(w.scale, w.minimum, 0.0));
        for (var i = 0u; i < LOADS; i++) {
            let n = t + i * WG;
            let to = n / (3u * RUNS);
            let v = x[x_at[i] + 3u * run];
            x_tile[n / 3u % RUNS][n % 3u][to / 8u][to % 8u] = v;
        }
        workgroupBarrier();
        for (var h = 0u; h < min(RUNS, runs - run); h++) {
            var low: array<vec4u, 4>;
            var high: array<vec4u, 4>;
            var scales: array<vec4f, 4>;
            for (var j = 0u; j < 4u; j++) {
                low[j] = w_tile[h][0][j][row];
                high[j] = w_tile[h][1][j][row];
                scales[j] = bitcast<vec4f>(w_tile[h][2][j][row]);
            }
            for (var i = 0u; i < 8u; i++) {
                let a = x_tile[h][0][i][token];
                let b = x_tile[h][1][i][token];
                let s = bitcast<vec4f>(x_tile[h][2][i][token]);
                for (var j = 0u; j < 4u; j++) {
                    sum[i][j] += run_dot(low[j], high[j], scales[j], a, b, s);
                }
            }
        }
        workgroupBarrier();
    }

    for (var i = 0u; i < 8u; i++) {
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
