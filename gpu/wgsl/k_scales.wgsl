// k_scales.wgsl - the header that blocks of q4_k and q5_k begin with. Linked with both, and with
// half_exact.wgsl. Source: ggml-quants.c, get_scale_min_k4.
//
//   word 0      d, dmin        f16 pair
//   words 1-3   8 x (sc, mn)   6 bits each

// (d * sc, dmin * mn) of run r of the block with this header. Bytes 0-3 and 4-7 of words 1-3 carry
// the low six bits of sc and mn of runs 0-3 and, in their top two bits, the high bits of runs 4-7,
// whose low nibbles are bytes 8-11.
fn k_scales(header: vec4u, r: u32) -> vec2f {
    let shift = 8u * (r & 3u);
    let early = vec2u(header.y >> shift, header.z >> shift) & vec2u(63u);
    let top   = vec2u(header.y >> (shift + 6u), header.z >> (shift + 6u)) & vec2u(3u);
    let late  = (vec2u(header.w >> shift, header.w >> (shift + 4u)) & vec2u(15u))
              | (top << vec2u(4u));
    return half_pair(header.x) * vec2f(select(late, early, r < 4u));
}

// The same of runs r and r + 1, r even: bytes side by side.
fn k_scales_pair(header: vec4u, r: u32) -> vec4f {
    let shift = 8u * (r & 3u);
    let a = vec2u(header.y, header.z) >> vec2u(shift);
    let c = header.w >> shift;
    let late = (vec2u(c, c >> 4u) & vec2u(0x0F0Fu)) | ((a >> vec2u(2u)) & vec2u(0x3030u));
    let both = select(late, a & vec2u(0x3F3Fu), r < 4u);
    return half_pair(header.x).xyxy
         * vec4f(vec4u(both & vec2u(255u), (both >> vec2u(8u)) & vec2u(255u)));
}
