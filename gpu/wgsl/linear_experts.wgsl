// linear_experts.wgsl - which matrices and which x a workgroup of linear.wgsl works on, where they
// are those of a token's experts.
//
// Slot s is the s-th of the token's `used` experts, by logit; p[s] its share, see choice.wgsl. The
// weights bound are [experts, rows of one, k], rows of one = 2 * rows with ACT, else rows; biases
// [experts, rows of one]. What goes from slot to slot is one x [slots, k], each padded to whole
// groups of eight runs.
//
//   with ACT     a workgroup has the slot that is its z: x is shared, out[s, :] = p[s] v
//   without ACT  all slots: d = sum over s of W[s] x[s, :] (+ p[s] bias[s])
//
//   binding  name     type      shape       access
//   5        logits   f32       [experts]   read
//   6        dims     uniform
//
// So p is in x before W is, and sums go by falling logit. Linked with choice.wgsl.
@group(0) @binding(5) var<storage, read> logits: array<u32>;
@group(0) @binding(6) var<uniform> dims: Dims;

var<private> part_slot: u32;         // with ACT

fn part_begin(t: u32, slot: u32) {
    choose(t, WG, 0u, dims.experts, dims.used);
    part_slot = slot;
}

fn part_is_one() -> bool { return (dims.flags & ACT) != 0u; }

fn part_count() -> u32 { return select(dims.used, 1u, part_is_one()); }

// A team's threads go through as many parts at once as there are, `part_lanes` of them a part; those
// that are left over have none.
fn part_step(team: u32) -> u32 { return min(part_count(), team); }
fn part_lanes(team: u32) -> u32 { return team / part_step(team); }
fn part_of(lane: u32, lanes: u32) -> u32 { return lane / lanes; }
fn part_lane(lane: u32, lanes: u32) -> u32 { return lane % lanes; }

// First row of a part's matrix.
fn part_row(part: u32) -> u32 {
    if (part_is_one()) { return choice[part_slot] * 2u * dims.rows; }
    return choice[part] * dims.rows;
}

// First piece of a part's x.
fn part_piece(part: u32) -> u32 { return piece_of_group(part * ((dims.k + 255u) / 256u)); }

// Of rows r .. r + 3; where parts are added up it is each part's own.
fn part_bias(r: u32) -> vec4f {
    if (!part_is_one()) { return vec4f(); }
    return vector4(dims.bias + part_row(0u) + r);
}

// Of a row of W, from the first of a part's threads.
fn part_sum_bias(part: u32, lane: u32, row: u32) -> f32 {
    if (part_is_one() || lane > 0u || (dims.flags & BIAS) == 0u) { return 0.0; }
    return choice_share(part, dims.used) * vectors[dims.bias + row];
}

// What v is multiplied by, with ACT.
fn part_share() -> f32 { return choice_share(part_slot, dims.used); }

// Where out begins, and the length of all of it.
fn part_run() -> u32 { return part_slot * ((dims.out_k + 255u) / 256u * 8u); }

fn part_out_k() -> u32 {
    if (!part_is_one()) { return dims.out_k; }
    return dims.used * ((dims.out_k + 255u) / 256u * 256u);
}
