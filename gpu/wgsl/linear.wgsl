// linear.wgsl - y = W x for one token of a decode step, with what stands around it folded in: the
// norm before it, the bias, the gated activation or the residual behind it, and the form that the
// next projection reads.
//
//   d[r] = s sum over i of W[r, i] x[i] (+ BIAS: vectors[bias + r])
//          s = 1, with NORM 1 / sqrt(sum of x's squares / k + eps)
//   v[r] = d[r];  ACT: act(d[r]) * d[up + r];  ADD: d[r] + y[y_first + r]
//   y[y_first + r] = v[r], not with ACT
//   FORM: out = form(v * (GAIN: vectors[gain + r]))
//
//   binding  name     type      shape       access
//   0        weights  a format  [*, k]      read
//   1        x        a form    [k]         read
//   2        vectors  f32       [*]         read
//   3        y        f32       [*]         write, read with ADD
//   4        out      a form    [out_k]     write
//   last     dims     uniform
//
// Dispatch: ceil(rows / ROWS) workgroups, spread over x and y. k % 32 == 0, with FORM y_first % 32
// == 0. A workgroup makes ROWS rows, a run of the next x, with ACT of twice as many of W, in teams
// of threads with R rows each. The norm's gain is in x already, its squares are of x before the
// gain; so the norm is one factor, found on the way. Linked with linear_dense.wgsl, or
// linear_experts.wgsl where W and x are those of a token's experts; one weights/*.wgsl, one
// forms/*.wgsl, which says how many rows R are, with its forms/*_store.wgsl, one reduce/*.wgsl and
// activation.wgsl; where x is packed or digits, with packed/*.wgsl for the format too.
// Source: Zhang and Sennrich 2019, equation 4.
override WG: u32 = 256u;
const ROWS: u32 = 32u;
const VALUES: u32 = R + 1u;          // that a team adds up: rows, squares
const FORM_RUNS: u32 = 1u;           // that a workgroup writes
const NORM: u32 = 1u;
const BIAS: u32 = 2u;
const ACT: u32 = 4u;
const ADD: u32 = 8u;
const FORM: u32 = 16u;
const GAIN: u32 = 32u;

struct Dims {
    rows: u32, k: u32, y_first: u32, out_k: u32, up: u32, bias: u32, gain: u32,
    activation: u32, flags: u32, eps: f32, limit: f32, experts: u32, used: u32
}
@group(0) @binding(0) var<storage, read> weights: array<vec4u>;
@group(0) @binding(1) var<storage, read> x: array<vec4u>;
@group(0) @binding(2) var<storage, read> vectors: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<u32>;

fn vector4(i: u32) -> vec4f {
    return vec4f(vectors[i], vectors[i + 1u], vectors[i + 2u], vectors[i + 3u]);
}

// Sums of rows r .. r + 3 of the workgroup's, those behind `up` from ROWS on.
fn dots4(r: u32) -> vec4f {
    var d: vec4f;
    for (var i = 0u; i < 4u; i++) { d[i] = team_total((r + i) / R, (r + i) % R); }
    return d;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) t: u32) {
    let first = (group.y * groups.x + group.x) * ROWS;
    let is_act = (dims.flags & ACT) != 0u;
    let team = WG * R / select(ROWS, 2u * ROWS, is_act); // its threads
    let own = t / team * R;                              // its first row of the workgroup's
    let base = select(0u, dims.up, own >= ROWS);
    let row = first + own % ROWS;
    let last = dims.rows - 1u;                           // computed twice rather than branched on
    let pieces = piece_count();
    let r = first + 4u * t;                              // of the threads that have four rows
    let works = t < 8u && r < dims.rows;
    var gain = vec4f(1.0);
    var bias = vec4f();
    var second_bias = vec4f();
    var v = vec4f();
    if (works) {                                         // asked for early: it takes a while
        if ((dims.flags & GAIN) != 0u) { gain = vector4(dims.gain + r); }
        if ((dims.flags & ADD) != 0u) {
            for (var i = 0u; i < 4u; i++) { v[i] = y[dims.y_first + min(r + i, last)]; }
        }
    }
    part_begin(t, group.z);
    if (works && (dims.flags & BIAS) != 0u) {
        bias = part_bias(r);
        if (is_act) { second_bias = part_bias(dims.up + r); }
    }
    var sums: array<f32, VALUES>;
    let lanes = part_lanes(team);                        // threads of a part's
    for (var part = part_of(t % team, lanes); part < part_count(); part += part_step(team)) {
        let w = base + part_row(part);
        let x_piece = part_piece(part);
        let lane = part_lane(t % team, lanes);
        for (var j = 0u; j < R; j++) { sums[j] += part_sum_bias(part, lane, w + min(row + j, last)); }
        for (var i = lane; i < pieces; i += lanes) {
            var piece = piece_load(x_piece + i);
            for (var j = 0u; j < R; j++) { sums[j] += piece_dot(w + min(row + j, last), i, &piece); }
        }
    }
    if ((dims.flags & NORM) != 0u && t < team) {         // here they cost the loop no registers
        for (var i = t; 128u * i < dims.k; i += team) { sums[R] += dot(x_squares(i), vec4f(1.0)); }
    }
    team_store(t, team, &sums);
    workgroupBarrier();

    if (works) {
        let norm = 1.0 / sqrt(team_total(0u, R) / f32(dims.k) + dims.eps);
        let scale = select(1.0, norm, (dims.flags & NORM) != 0u);
        v += scale * dots4(4u * t) + bias;
        if (is_act) {
            let second = scale * dots4(ROWS + 4u * t) + second_bias;
            v = activate(dims.activation, v, second, dims.limit) * part_share();
        }
        for (var i = 0u; i < 4u; i++) {
            if (r + i >= dims.rows) {
                v[i] = 0.0;
            } else if (!is_act) {
                y[dims.y_first + r + i] = v[i];
            }
        }
    }
    if ((dims.flags & FORM) != 0u) {
        form_store(t < 8u, 0u, t, 0u, part_run() + (dims.y_first + first) / 32u, part_out_k(),
                   v * gain, dot(v, v));
    }
}
