// tile/64.wgsl - the shape of attention_tile.wgsl for heads of up to 64.
const WG: u32 = 128u;
const COLUMNS: u32 = 16u;
const ROW_QUADS: u32 = 2u;
const KEY_QUADS: u32 = 1u;
const DIM_QUADS: u32 = 1u;
const SLICE: u32 = 4u;
const V_KEYS: u32 = 16u;
