// fill.wgsl - random weights: words of a matrix, made of a hash of where they stand.
//
//   word at of row r is  head  where at is the first word of a unit, in front of scales_from
//                        unit  elsewhere in front of scales_from
//                        scale from there on
//   each of these:       (hash & its keep) | its set
//
//   binding  name   type        shape              access
//   0        out    packed u32  [words]            write
//   1        dims   as below    first: the number of out[0] among all words; words, row_words and
//                               unit_words (0: no heads) are those of the matrix
//
// Dispatch: ceil(words / 4 / WG) workgroups, as two dimensions of a grid. words % 4 == 0.
override WG: u32 = 256;

struct Dims {
    first: u32, words: u32, seed: u32, row_words: u32, unit_words: u32, scales_from: u32,
    unit: vec2u, head: vec2u, scale: vec2u     // keep, set
}
@group(0) @binding(0) var<storage, read_write> out: array<vec4u>;
@group(0) @binding(1) var<uniform> dims: Dims;

// Wellons' lowbias32 (nullprogram.com/blog/2018/07/31).
fn hash(n: u32) -> u32 {
    var h = n;
    h = (h ^ (h >> 16u)) * 0x7FEB352Du;
    h = (h ^ (h >> 15u)) * 0x846CA68Bu;
    return h ^ (h >> 16u);
}

fn word(n: u32) -> u32 {
    let at = n % dims.row_words;
    var part = dims.unit;
    if (at >= dims.scales_from) {
        part = dims.scale;
    } else if (dims.unit_words > 0u && at % dims.unit_words == 0u) {
        part = dims.head;
    }
    return (hash(n ^ dims.seed) & part.x) | part.y;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) t: u32) {
    let i = (group.y * groups.x + group.x) * WG + t;
    if (i >= dims.words / 4u) { return; }
    let n = dims.first + 4u * i;
    out[i] = vec4u(word(n), word(n + 1u), word(n + 2u), word(n + 3u));
}
