// lanes/split.wgsl - attention_lanes.wgsl over a split of the keys: `out` is what
// attention_token.wgsl leaves, for attention_merge.wgsl.
const WG: u32 = 64u;
const HEADS: u32 = 4u;
const KEYS: u32 = 4u;                // of a team
@group(0) @binding(5) var<storage, read_write> out: array<vec4f>;

fn finish(split: u32, first_head: u32, heads: u32, t: u32, troops: u32) {
    let quads = 2u << LANE_BITS;                // of a head
    for (var i = t; i < heads * quads; i += WG) {
        let head = i / quads;
        let total = total_of(head, troops);
        let row = (split * dims.heads + first_head + head) * (quads + 1u);
        out[row + i % quads] = values_of(head, i % quads, total.x, troops);
        if (i % quads == 0u) { out[row + quads] = vec4f(total, 0.0, 0.0); }
    }
}
