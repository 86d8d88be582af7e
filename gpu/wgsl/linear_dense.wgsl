// linear_dense.wgsl - a workgroup of linear.wgsl works on one matrix and one x.
@group(0) @binding(5) var<uniform> dims: Dims;

fn part_begin(t: u32, slot: u32) {}
fn part_count() -> u32 { return 1u; }
fn part_lanes(team: u32) -> u32 { return team; }
fn part_of(lane: u32, lanes: u32) -> u32 { return 0u; }
fn part_lane(lane: u32, lanes: u32) -> u32 { return lane; }
fn part_step(team: u32) -> u32 { return 1u; }
fn part_row(part: u32) -> u32 { return 0u; }
fn part_piece(part: u32) -> u32 { return 0u; }
fn part_bias(r: u32) -> vec4f { return vector4(dims.bias + r); }
fn part_sum_bias(part: u32, lane: u32, row: u32) -> f32 { return 0.0; }
fn part_share() -> f32 { return 1.0; }
fn part_run() -> u32 { return 0u; }
fn part_out_k() -> u32 { return dims.out_k; }
