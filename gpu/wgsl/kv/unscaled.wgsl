// kv/unscaled.wgsl - linked with the KV formats that have no scales.
const KV_SCALED: bool = false;

fn kv_scale_word(row: u32, quad: u32) -> u32 { return 0u; }
fn kv_scale_bits(largest: f32) -> u32 { return 0u; }
