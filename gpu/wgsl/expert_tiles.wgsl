// expert_tiles.wgsl - slots sorted by expert and cut into tiles, for matmul.wgsl.
//
//   c[e] = slots s with ids[s] == e;  expert e has ceil(c[e] / tile) tiles
//   routing[3 i ..] = expert, first, count of tile i, the experts in order; count 0 where no more
//   routing[3 tiles ..] = the slots, those of an expert side by side, in any order
//   a tile's slots are number first .. first + count - 1 of these
//
//   binding  name     type  shape                access
//   0        ids      u32   [slots]              read
//   1        routing  u32   [3 tiles + slots]    write
//   2        dims     uniform
//
// Dispatch: 1. experts <= WG; tiles as expert_tile_count() of gpu/dims.h says. Count, prefix sum
// and scatter by one workgroup, a thread for each expert: a step has a few thousand slots.
const WG: u32 = 256u;

struct Dims { slots: u32, experts: u32, tile: u32, tiles: u32 }
@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read_write> routing: array<u32>;
@group(0) @binding(2) var<uniform> dims: Dims;

var<workgroup> counts: array<atomic<u32>, WG>;       // then where an expert's next slot goes
var<workgroup> needed: u32;                          // tiles

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) t: u32) {
    atomicStore(&counts[t], 0u);
    workgroupBarrier();
    for (var s = t; s < dims.slots; s += WG) { atomicAdd(&counts[ids[s]], 1u); }
    workgroupBarrier();
    var first = 0u;
    var tile = 0u;
    for (var e = 0u; e < min(t, dims.experts); e++) {
        let n = atomicLoad(&counts[e]);
        first += n;
        tile += (n + dims.tile - 1u) / dims.tile;
    }
    let count = atomicLoad(&counts[t]);
    workgroupBarrier();
    atomicStore(&counts[t], first);
    for (var i = 0u; i < count; i += dims.tile) {
        routing[3u * tile] = t;
        routing[3u * tile + 1u] = first + i;
        routing[3u * tile + 2u] = min(dims.tile, count - i);
        tile++;
    }
    if (t == WG - 1u) { needed = tile; }
    workgroupBarrier();
    for (var i = 3u * needed + t; i < 3u * dims.tiles; i += WG) { routing[i] = 0u; }
    for (var s = t; s < dims.slots; s += WG) {
        routing[3u * dims.tiles + atomicAdd(&counts[ids[s]], 1u)] = s;
    }
}
