// half_unpack.wgsl - as half_exact.wgsl, on devices whose unpack2x16float was seen to be exact for
// every half (GPU_EXACT_HALF).
fn half_to_float(h: u32) -> f32 { return unpack2x16float(h).x; }

fn half_pair(word: u32) -> vec2f { return unpack2x16float(word); }
