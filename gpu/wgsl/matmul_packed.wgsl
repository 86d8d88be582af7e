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
// others still work. Rows and tokens beyond the end repeat the last one; they are not stored.
// Linked with part.wgsl, bytes.wgsl, one weights/*.wgsl and its bytes/*.wgsl.
override WG: u32 = 64u;
override LINES: u32 = WG / 16u;      // threads along tokens; 16 along rows
override TOKENS: u32 = LINES * 8u;
const ROWS: u32 = 64u;

@group(0) @binding(0) var<storage, read> weights: array<vec4u>;
@group(0) @binding(1) var<storage, read> x: array<vec4u>;
@group(0) @binding(2) var<storage, read> vectors: array<f32>;
@group(0) @binding(3) var<storage, read> routing: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<uniform> dims: Dims;

// [turn][low, high][row] and [turn][row]; row: of thread line r, number j: 16 j + r; tokens alike
var<workgroup> w_tile: array<vec4u, 4u * ROWS>;
var<workgroup> w_scales: array<vec2f, 2u * ROWS>;
var<workgroup> x_tile: array<vec4u, 4u * TOKENS>;
var<workgroup> x_scales: array<vec2f, 2u * TOKENS>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let part = part_of_tile(group.y, TOKENS);
    if (part.count == 0u) { return; }
    let runs = dims.k / 32u;
    let first_row = group.x * ROWS;
    let w_first = part.matrix * dims.rows;
    let row = t % 16u;
    let token = t / 16u;
    let w_row = w_first + min(first_row + t, dims.rows - 1u);
    let x_at = part_row(part, min(t, part.count - 1u)) / dims.share * ((runs + 7u) / 8u * 24u);
    var sum: array<vec4f, 8>;        // [i] over tokens, components over rows

    for (var step = 0u; step <= runs; step++) {
        if (step < runs) {           // brings a run of a row and of a token
            let turn = step % 2u;
            if (t < ROWS) {
                let w = w_bytes(w_row, step);
                w_tile[2u * turn * ROWS + t] = w.low;
                w_tile[(2u * turn + 1u) * ROWS + t] = w.high;
                w_scales[turn * ROWS + t] = w.scales;
            }
            if (t < TOKENS) {
                let s = bitcast<vec4f>(x[x_at + 3u * step + 2u]);
                x_tile[2u * turn * TOKENS + t] = x[x_at + 3u * step];
                x_tile[(2u * turn + 1u) * TOKENS + t] = x[x_at + 3u * step + 1u];
                x_scales[turn * TOKENS + t] = vec2f(s.x, s.y + s.z);
            }
        }
        if (step > 0u) {
            let turn = (step - 1u) % 2u;
            let w_at = 2u * turn * ROWS + row;
            let x_at = 2u * turn * TOKENS + token;
            var low: array<vec4u, 4>;
            var high: array<vec4u, 4>;
            var scales: array<vec2f, 4>;
            for (var j = 0u; j < 4u; j++) {
                low[j] = w_tile[w_at + 16u * j];
                high[j] = w_tile[w_at + ROWS + 16u * j];
                scales[j] = w_scales[turn * ROWS + row + 16u * j];
            }
            for (var i = 0u; i < 8u; i++) {
                let a = x_tile[x_at + LINES * i];
                let b = x_tile[x_at + TOKENS + LINES * i];
                let s = x_scales[turn * TOKENS + token + LINES * i];
                for (var j = 0u; j < 4u; j++) {
                    sum[i][j] = run_dot(low[j], high[j], scales[j], a, b, s, sum[i][j]);
                }
            }
        }
        workgroupBarrier();
    }

    for (var i = 0u; i < 8u; i++) {
        let to_token = token + LINES * i;
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
