// layout_formats.mjs - the weight formats that layouts.mjs measures.
//
// The bytes of a matrix, and their meaning in double arithmetic.
//
// A format stores `block` weights in `quads` groups of 16 bytes and, apart from them, at most one
// word of high bits and one scale (f16 or E8M0). random() fills these; dequant() gives weight i of
// a block.
// `pieces` is WGSL: how one thread multiplies one piece of a row, `span` weights of it.

const f16Value = (h) => {
    const sign = h & 0x8000 ? -1 : 1, exponent = (h >> 10) & 31, mantissa = h & 1023;
    return exponent === 0 ? sign * mantissa * 2 ** -24
        : sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
};

let seed = 0x2545f491;
export const random32 = () => {
    seed ^= seed << 13;
    seed ^= seed >>> 17;
    seed ^= seed << 5;
    return seed >>> 0;
};
const randomWords = (count) => {
    const words = new Uint32Array(count);
    for (let i = 0; i < count; i++) words[i] = random32();
    return words;
};
// Positive or negative f16 scales: around 2^-10, or subnormal.
const randomHalf = (subnormal) =>
    (random32() & 0x83ff) | (subnormal ? 1 : 0x1400 + ((random32() & 1) << 10));
const randomHalves = (count, subnormal) => {
    const halves = new Uint16Array(count);
    for (let i = 0; i < count; i++) halves[i] = randomHalf(subnormal);
    return halves;
};

const LAYOUTS = ['block4', 'block16', 'tensor', 'row'];
const MATHS = ['f32', 'packed'];

const Q4_K_SCALES = /* wgsl */`
// (scale, min) of a run of 32, from the block's first quad.
fn scale_min(h: vec4u, run: u32) -> vec2f {
    let shift = 8u * (run & 3u);
    let lo = (vec2u(h.y, h.z) >> vec2u(shift)) & vec2u(63u);
    let hi = ((vec2u(h.w, h.w >> 4u) >> vec2u(shift)) & vec2u(15u))
           | (((vec2u(h.y, h.z) >> vec2u(shift + 6u)) & vec2u(3u)) << vec2u(4u));
    return vec2f(select(hi, lo, run < 4u));
}`;

const E2M1 = /* wgsl */`
struct Codes { lo: vec4u, hi: vec4u }
fn e2m1(q: vec4u) -> Codes {
    let low = q & (((q >> vec4u(2u)) & vec4u(0x11111111u)) * vec4u(3u));
    let twice = (q & vec4u(0x77777777u)) + low
        + ((low & (low >> vec4u(1u)) & vec4u(0x11111111u)) << vec4u(1u));
    let negative = twice & (((q >> vec4u(3u)) & vec4u(0x11111111u)) * vec4u(15u));
    let bytes = vec4u(0x0f0f0f0fu);
    return Codes(
        vec4u(0x0c0c0c0cu) + (twice & bytes) - ((negative & bytes) << vec4u(1u)),
        vec4u(0x0c0c0c0cu) + ((twice >> vec4u(4u)) & bytes)
            - ((negative >> vec4u(3u)) & (bytes << vec4u(1u))));
}`;

const Q5_0 = /* wgsl */`
struct Codes { lo: vec4u, hi: vec4u }
fn fifth(high: u32) -> vec4u {
    let four = (vec4u(high) >> vec4u(0u, 4u, 8u, 12u)) & vec4u(15u);
    return ((four * vec4u(0x00204081u)) & vec4u(0x01010101u)) << vec4u(4u);
}
fn q5(q: vec4u, high: u32) -> Codes {
    let nibbles = vec4u(0x0f0f0f0fu);
    return Codes((q & nibbles) | fifth(high),
        ((q >> vec4u(4u)) & nibbles) | fifth(high >> 16u));
}`;

const SIXTEEN_BITS = /* wgsl */`
struct Slice { a: Part }
fn slice(s: u32) -> Slice { return Slice(part(s)); }
fn piece(row: u32, s: u32, x: Slice) -> f32 {
    let q = quad(row, s, 0u);
    let r = quad(row, s, 1u);
    return dot(four(q.x, q.y), x.a.x0) + dot(four(q.z, q.w), x.a.x1)
         + dot(four(r.x, r.y), x.a.x2) + dot(four(r.z, r.w), x.a.x3);
}`;

export const FORMATS = {
    // 256 weights: ql 8 quads, qh 4, 16 int8 scales (ggml's order), d.
    q6_k: {
        block: 256, quads: 13, scale: 'f16', layouts: LAYOUTS, maths: MATHS, checkCols: 768,
        random: (blocks, subnormal) => ({
            quants: randomWords(blocks * 52), scales: randomHalves(blocks, subnormal) }),
        dequant({ bytes, scales }, block, i) {
            const at = block * 208, half = i >> 7, run = (i >> 5) & 3, l = i & 31;
            const ql = bytes[at + 64 * half + 32 * (run & 1) + l] >> (4 * (run >> 1)) & 15;
            const qh = bytes[at + 128 + 32 * half + l] >> (2 * run) & 3;
            const sc = bytes[at + 192 + (i >> 4)] << 24 >> 24;
            return f16Value(scales[block]) * sc * ((ql | qh << 4) - 32);
        },
        pieces: {
            // One quad of ql: 16 weights in low nibbles, the 16 that are 64 further in high ones.
            32: /* wgsl */`
struct Slice { a: Part, b: Part }
fn slice(s: u32) -> Slice {
    let p = (s >> 3u) * 16u + ((s & 4u) << 1u) + (s & 3u);
    return Slice(part(p), part(p + 4u));
}
fn piece(row: u32, s: u32, x: Slice) -> f32 {
    let block = s >> 3u;
    let half2 = (s >> 2u) & 1u;
    let ql = quad(row, block, s & 7u);
    let qh = quad(row, block, 8u + 2u * half2 + (s & 1u)) >> vec4u(s & 2u);
    let scales = quad(row, block, 12u);
    let sc = select(scales.xy, scales.zw, half2 == 1u);
    let lo = (ql & vec4u(0x0f0f0f0fu)) | ((qh & vec4u(0x03030303u)) << vec4u(4u));
    let hi = ((ql >> vec4u(4u)) & vec4u(0x0f0f0f0fu)) | (qh & vec4u(0x30303030u));
    let at = 8u * (s & 3u);
    return half(scale_bits(row, block)) * (
        int8_at(sc.x, at) * (dot_u8(lo, x.a) - 32.0 * x.a.sum)
      + int8_at(sc.y, at) * (dot_u8(hi, x.b) - 32.0 * x.b.sum));
}`,
            // Both quads of ql that share a quad of qh.
            64: /* wgsl */`
struct Slice { a: Part, b: Part, c: Part, d: Part }
fn slice(s: u32) -> Slice {
    let p = (s >> 2u) * 16u + ((s & 2u) << 2u) + (s & 1u);
    return Slice(part(p), part(p + 2u), part(p + 4u), part(p + 6u));
}
fn piece(row: u32, s: u32, x: Slice) -> f32 {
    let block = s >> 2u;
    let half2 = (s >> 1u) & 1u;
    let i = 4u * half2 + (s & 1u);
    let l0 = quad(row, block, i);
    let l1 = quad(row, block, i + 2u);
    let qh = quad(row, block, 8u + 2u * half2 + (s & 1u));
    let scales = quad(row, block, 12u);
    let sc = select(scales.xy, scales.zw, half2 == 1u);
    let a = (l0 & vec4u(0x0f0f0f0fu)) | ((qh << vec4u(4u)) & vec4u(0x30303030u));
    let b = (l1 & vec4u(0x0f0f0f0fu)) | ((qh << vec4u(2u)) & vec4u(0x30303030u));
    let c = ((l0 >> vec4u(4u)) & vec4u(0x0f0f0f0fu)) | (qh & vec4u(0x30303030u));
    let d = ((l1 >> vec4u(4u)) & vec4u(0x0f0f0f0fu)) | ((qh >> vec4u(2u)) & vec4u(0x30303030u));
    let at = 8u * (s & 1u);
    return half(scale_bits(row, block)) * (
        int8_at(sc.x, at) * (dot_u8(a, x.a) - 32.0 * x.a.sum)
      + int8_at(sc.x, at + 16u) * (dot_u8(b, x.b) - 32.0 * x.b.sum)
      + int8_at(sc.y, at) * (dot_u8(c, x.c) - 32.0 * x.c.sum)
      + int8_at(sc.y, at + 16u) * (dot_u8(d, x.d) - 32.0 * x.d.sum));
}`,
        },
    },

    // 32 int8 weights, d.
    q8_0: {
        block: 32, quads: 2, scale: 'f16', layouts: LAYOUTS, maths: MATHS, checkCols: 2880,
        random: (blocks, subnormal) => ({
            quants: randomWords(blocks * 8), scales: randomHalves(blocks, subnormal) }),
        dequant: ({ bytes, scales }, block, i) =>
            f16Value(scales[block]) * (bytes[block * 32 + i] << 24 >> 24),
        pieces: {
            16: /* wgsl */`
struct Slice { a: Part }
fn slice(s: u32) -> Slice { return Slice(part(s)); }
fn piece(row: u32, s: u32, x: Slice) -> f32 {
    return half(scale_bits(row, s >> 1u)) * dot_i8(quad(row, s >> 1u, s & 1u), x.a);
}`,
            32: /* wgsl */`
struct Slice { a: Part, b: Part }
fn slice(s: u32) -> Slice { return Slice(part(2u * s), part(2u * s + 1u)); }
fn piece(row: u32, s: u32, x: Slice) -> f32 {
    return half(scale_bits(row, s))
        * (dot_i8(quad(row, s, 0u), x.a) + dot_i8(quad(row, s, 1u), x.b));
}`,
        },
    },

    // 32 weights of 5 bits: low nibbles in mxfp4's order, a word of high bits, d.
    q5_0: {
        block: 32, quads: 1, high: true, scale: 'f16', layouts: LAYOUTS, maths: MATHS,
        checkCols: 2880,
        random: (blocks, subnormal) => ({
            quants: randomWords(blocks * 4), high: randomWords(blocks),
            scales: randomHalves(blocks, subnormal) }),
        dequant({ bytes, high, scales }, block, i) {
            const low = bytes[block * 16 + (i & 15)] >> (4 * (i >> 4)) & 15;
            return f16Value(scales[block]) * ((low | (high[block] >>> i & 1) << 4) - 16);
        },
        pieces: {
            // Four bits times 0x204081 are one in each byte.
            32: Q5_0 + /* wgsl */`
struct Slice { a: Part, b: Part }
fn slice(s: u32) -> Slice { return Slice(part(2u * s), part(2u * s + 1u)); }
fn piece(row: u32, s: u32, x: Slice) -> f32 {
    let c = q5(quad(row, s, 0u), high_bits(row, s));
    return half(scale_bits(row, s))
        * (dot_u8(c.lo, x.a) + dot_u8(c.hi, x.b) - 16.0 * (x.a.sum + x.b.sum));
}`,
            64: Q5_0 + /* wgsl */`
struct Slice { a: Part, b: Part, c: Part, d: Part }
fn slice(s: u32) -> Slice {
    return Slice(part(4u * s), part(4u * s + 1u), part(4u * s + 2u), part(4u * s + 3u));
}
fn piece(row: u32, s: u32, x: Slice) -> f32 {
    let c = q5(quad(row, 2u * s, 0u), high_bits(row, 2u * s));
    let d = q5(quad(row, 2u * s + 1u, 0u), high_bits(row, 2u * s + 1u));
    return half(scale_bits(row, 2u * s))
            * (dot_u8(c.lo, x.a) + dot_u8(c.hi, x.b) - 16.0 * (x.a.sum + x.b.sum))
        + half(scale_bits(row, 2u * s + 1u))
            * (dot_u8(d.lo, x.c) + dot_u8(d.hi, x.d) - 16.0 * (x.c.sum + x.d.sum));
}`,
        },
    },

    // 32 E2M1 weights, E8M0 scale. Weights 0-15 of a block are the low nibbles of its 16 bytes,
    // 16-31 the high ones (ggml's order), so a mask and a shift give two runs of 16 in order.
    mxfp4: {
        block: 32, quads: 1, scale: 'e8m0', layouts: LAYOUTS, maths: MATHS, checkCols: 2880,
        random(blocks) {
            const scales = new Uint8Array(blocks);
            for (let i = 0; i < blocks; i++) scales[i] = 116 + (random32() & 7);
            return { quants: randomWords(blocks * 4), scales };
        },
        dequant({ bytes, scales }, block, i) {
            const nibble = bytes[block * 16 + (i & 15)] >> (4 * (i >> 4)) & 15;
            const value = [0, 0.5, 1, 1.5, 2, 3, 4, 6][nibble & 7] * (nibble & 8 ? -1 : 1);
            return value * 2 ** (scales[block] - 127);
        },
        pieces: {
            // E2M1 codes are decoded eight to a word, in place: twice the magnitude is m for
            // m < 4, then 4 6 8 12 = m + (0 1 2 5), and fits its nibble. Bytes then get 12 + twice
            // the value, never negative (no carries, no -0); the 12 leaves through the sum of x.
            // E8M0 0 gives 0, since 2^-127 is subnormal.
            32: E2M1 + /* wgsl */`
struct Slice { a: Part, b: Part }
fn slice(s: u32) -> Slice { return Slice(part(2u * s), part(2u * s + 1u)); }
fn piece(row: u32, s: u32, x: Slice) -> f32 {
    let c = e2m1(quad(row, s, 0u));
    return 0.5 * bitcast<f32>(scale_bits(row, s) << 23u)
        * (dot_u8(c.lo, x.a) + dot_u8(c.hi, x.b) - 12.0 * (x.a.sum + x.b.sum));
}`,
            64: E2M1 + /* wgsl */`
struct Slice { a: Part, b: Part, c: Part, d: Part }
fn slice(s: u32) -> Slice {
    return Slice(part(4u * s), part(4u * s + 1u), part(4u * s + 2u), part(4u * s + 3u));
}
fn piece(row: u32, s: u32, x: Slice) -> f32 {
    let c = e2m1(quad(row, 2u * s, 0u));
    let d = e2m1(quad(row, 2u * s + 1u, 0u));
    let e = vec2f(bitcast<f32>(scale_bits(row, 2u * s) << 23u),
        bitcast<f32>(scale_bits(row, 2u * s + 1u) << 23u));
    return 0.5 * dot(e, vec2f(
        dot_u8(c.lo, x.a) + dot_u8(c.hi, x.b) - 12.0 * (x.a.sum + x.b.sum),
        dot_u8(d.lo, x.c) + dot_u8(d.hi, x.d) - 12.0 * (x.c.sum + x.d.sum)));
}`,
        },
    },

    // ggml's block as it is: d, dmin, 8 x (6-bit scale, 6-bit min), 128 bytes of nibbles.
    q4_k: {
        block: 256, quads: 9, layouts: ['block16'], maths: MATHS, checkCols: 768,
        random(blocks, subnormal) {
            const quants = randomWords(blocks * 36);
            for (let i = 0; i < blocks; i++)
                quants[i * 36] = (randomHalf(subnormal) << 16 | randomHalf(subnormal)) >>> 0;
            return { quants };
        },
        dequant({ quants, bytes }, block, i) {
            const at = block * 144, s = at + 4, run = i >> 5;
            const sc = run < 4 ? bytes[s + run] & 63
                : (bytes[s + run + 4] & 15) | (bytes[s + run - 4] >> 6) << 4;
            const mn = run < 4 ? bytes[s + run + 4] & 63
                : (bytes[s + run + 4] >> 4) | (bytes[s + run] >> 6) << 4;
            const q = bytes[at + 16 + 32 * (run >> 1) + (i & 31)] >> (4 * (run & 1)) & 15;
            const d = quants[block * 36];
            return f16Value(d & 0xffff) * sc * q - f16Value(d >>> 16) * mn;
        },
        pieces: {
            32: Q4_K_SCALES + /* wgsl */`
struct Slice { a: Part, b: Part }
fn slice(s: u32) -> Slice {
    let p = (s >> 3u) * 16u + ((s & 6u) << 1u) + (s & 1u);
    return Slice(part(p), part(p + 2u));
}
fn piece(row: u32, s: u32, x: Slice) -> f32 {
    let block = s >> 3u;
    let run = s & 6u;
    let h = quad(row, block, 0u);
    let q = quad(row, block, 1u + (s & 7u));
    let d = halves(h.x);
    let a = d * scale_min(h, run);
    let b = d * scale_min(h, run + 1u);
    return a.x * dot_u8(q & vec4u(0x0f0f0f0fu), x.a) - a.y * x.a.sum
         + b.x * dot_u8((q >> vec4u(4u)) & vec4u(0x0f0f0f0fu), x.b) - b.y * x.b.sum;
}`,
            // Both quads that share a pair of scales.
            64: Q4_K_SCALES + /* wgsl */`
struct Slice { a: Part, b: Part, c: Part, d: Part }
fn slice(s: u32) -> Slice {
    return Slice(part(4u * s), part(4u * s + 1u), part(4u * s + 2u), part(4u * s + 3u));
}
fn piece(row: u32, s: u32, x: Slice) -> f32 {
    let block = s >> 2u;
    let run = 2u * (s & 3u);
    let h = quad(row, block, 0u);
    let q = quad(row, block, 1u + run);
    let r = quad(row, block, 2u + run);
    let d = halves(h.x);
    let a = d * scale_min(h, run);
    let b = d * scale_min(h, run + 1u);
    return a.x * (dot_u8(q & vec4u(0x0f0f0f0fu), x.a) + dot_u8(r & vec4u(0x0f0f0f0fu), x.b))
         - a.y * (x.a.sum + x.b.sum) - b.y * (x.c.sum + x.d.sum)
         + b.x * (dot_u8((q >> vec4u(4u)) & vec4u(0x0f0f0f0fu), x.c)
                + dot_u8((r >> vec4u(4u)) & vec4u(0x0f0f0f0fu), x.d));
}`,
        },
    },

    f16: {
        block: 16, quads: 2, layouts: ['block16'], maths: ['f32'], checkCols: 2880,
        random(blocks, subnormal) {
            const quants = randomWords(blocks * 8);
            for (let i = 0; i < quants.length; i++)
                quants[i] = (quants[i] & 0x8fff8fff | (subnormal ? 0 : 0x20002000))
                    & (subnormal ? 0x83ff83ff : ~0);
            return { quants };
        },
        dequant: ({ halves }, block, i) => f16Value(halves[block * 16 + i]),
        pieces: {
            16: SIXTEEN_BITS + /* wgsl */`
fn four(u: u32, v: u32) -> vec4f { return vec4f(halves(u), halves(v)); }`,
        },
    },

    bf16: {
        block: 16, quads: 2, layouts: ['block16'], maths: ['f32'], checkCols: 2880,
        random(blocks) {
            const quants = randomWords(blocks * 8);
            for (let i = 0; i < quants.length; i++)
                quants[i] = quants[i] & 0x80ff80ff | 0x3c003c00;
            return { quants };
        },
        dequant: ({ halves }, block, i) =>
            new Float32Array(new Uint32Array([halves[block * 16 + i] << 16]).buffer)[0],
        pieces: {
            16: SIXTEEN_BITS + /* wgsl */`
fn four(u: u32, v: u32) -> vec4f {
    return bitcast<vec4f>(vec4u(u << 16u, u & 0xffff0000u, v << 16u, v & 0xffff0000u));
}`,
        },
    },
};
