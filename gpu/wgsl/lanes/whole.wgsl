// lanes/whole.wgsl - attention_lanes.wgsl over all keys at once, where these are few: splits is 1,
// z a head of a group, `out` the form of [heads * head_dim] that the next projection reads. Nothing
// is left to merge. Linked with one forms/*_store.wgsl.
const WG: u32 = 128u;
const HEADS: u32 = 1u;
const KEYS: u32 = 8u;                // of a team
const FORM_RUNS: u32 = 8u;           // that a workgroup writes
@group(0) @binding(5) var<storage, read_write> out: array<u32>;

fn finish(split: u32, first_head: u32, heads: u32, t: u32, troops: u32) {
    let quads = 2u << LANE_BITS;                // of a head
    let works = t < quads;
    var y = vec4f();
    if (works) {
        let total = total_of(0u, troops);
        y = values_of(0u, t, total.x, troops) / total.y;
    }
    form_store(works, t / 8u, t % 8u, 0u, first_head * quads / 8u + t / 8u,
               dims.heads * dims.head_dim, y, dot(y, y));
}
