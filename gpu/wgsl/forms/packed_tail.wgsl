// forms/packed_tail.wgsl - what goes with the int8 of two runs of forms/packed.wgsl, one vec4.
//
//   words 0, 2   f32   scale of the first run, of the second
//   words 1, 3   i16   sum of the first 16 integers of a run; of all 32, in the upper half

// Scale, sum of all integers, of the first 16, of the others.
fn run_tail(tail: vec4u, odd: bool) -> vec4f {
    let words = select(tail.xy, tail.zw, odd);
    let sums = bitcast<i32>(words.y);
    let low = (sums << 16u) >> 16u;
    let all = sums >> 16u;
    return vec4f(bitcast<f32>(words.x), f32(all), f32(low), f32(all - low));
}
