// layouts.mjs - which storage layout of a weight format does a GPU read fastest?
//
//   node bench/layouts.mjs [--quick] [--only q6_k,q8_0] [--no-subgroups] [--json FILE]
//
// Measures y = W x, the decode-time projection, for every weight format x layout x arithmetic x
// workgroup shape, beside a kernel that only reads the same bytes. Needs npm `webgpu` (Dawn).
//
//   layout   block4    quants, scale, zero padding to 4 bytes (16-byte loads impossible)
//            block16   quants, scale, zero padding to 16 bytes
//            tensor    all quants of the tensor, then all scales
//            row       all quants of a row, then its scales, then zero padding to 16 bytes
//   math     f32       weights converted to f32, f32 multiply-add ('exact')
//            packed    x quantized beforehand to int8 (a scale per 32), dot4I8Packed ('fast')
//   x        plain     f32 in order
//            swizzled  f32, the chunks that neighbouring threads read together in distinct banks
//            int8      (packed)
//   half     how an f16 becomes f32: unpack2x16float, or exactly by integer operations
//   team     subgroup  each subgroup owns R rows
//            workgroup each workgroup owns R rows; subgroupAdd, then partial sums
//            shared    each workgroup owns R rows; tree in workgroup memory, no subgroups needed
//
// Every kernel is first checked on a small matrix whose f16 scales are all subnormal, on all rows,
// then on each measured shape: some rows against double arithmetic, all rows against the first
// kernel found right. y is poisoned with NaN before each check. A wrong kernel is never timed.
//
// Timing: timestamps around a compute pass of many dependent dispatches that rotate over at least
// 512 MB of weights. A sweep finds the best workgroup shapes; those are then measured again in
// interleaved rounds, and the medians of these rounds are reported.
// --quick does the small checks only, on few workgroup shapes (any adapter, SwiftShader too).
import { createRequire } from 'node:module';
import { writeFileSync } from 'node:fs';
import { random32, FORMATS } from './layout_formats.mjs';

const require = createRequire(import.meta.url);
const { create, globals } = require('webgpu');
Object.assign(globalThis, globals);

const ROTATED_BYTES = 512e6;
const SHAPES = [[4096, 4096], [14336, 4096], [4096, 14336]];
const TOLERANCE = 1e-4;
const SWEEP = { dispatches: 96, passes: 3 };
const FINAL = { dispatches: 240, rounds: 11 };

// ---------------------------------------------------------------------------------------------
// Layouts: bytes on the host, addresses in WGSL.

const align = (value, to) => Math.ceil(value / to) * to;

// Where the parts of a [rows, cols] matrix lie, in bytes.
function geometry(format, layout, rows, cols) {
    const blocks = cols / format.block, quantBytes = format.quads * 16;
    const scaleBytes = { f16: 2, e8m0: 1 }[format.scale] ?? 0, highBytes = format.high ? 4 : 0;
    const apart = highBytes + scaleBytes;
    const blockBytes = layout === 'tensor' || layout === 'row' ? quantBytes
        : align(quantBytes + apart, layout === 'block4' ? 4 : 16);
    const rowBytes = layout === 'row' ? align(blocks * (quantBytes + apart), 16)
        : blocks * blockBytes;
    const planeBytes = layout === 'tensor' ? align(rows * blocks * apart, 16) : 0;
    return { blocks, scaleBytes, highBytes, blockBytes, rowBytes,
        bytes: rows * rowBytes + planeBytes };
}

// The matrix's bytes in a layout.
function pack(format, layout, rows, cols, { quants, high, scales }) {
    const { blocks, scaleBytes, highBytes, blockBytes, rowBytes, bytes } =
        geometry(format, layout, rows, cols);
    const words = new Uint32Array(align(bytes, 256) / 4), quantWords = format.quads * 4;
    const narrow = scaleBytes === 2 ? new Uint16Array(words.buffer) : new Uint8Array(words.buffer);
    for (let row = 0; row < rows; row++) {
        for (let b = 0; b < blocks; b++) {
            const block = row * blocks + b, at = row * rowBytes + b * blockBytes;
            for (let i = 0, to = at / 4, from = block * quantWords; i < quantWords; i++)
                words[to + i] = quants[from + i];
            if (!scales) continue;
            // Of the planes apart: where they start, how many blocks they have, which is this.
            const [start, count, i] = layout === 'tensor' ? [rows * rowBytes, rows * blocks, block]
                : layout === 'row' ? [row * rowBytes + blocks * blockBytes, blocks, b]
                    : [at + quantWords * 4, 1, 0];
            narrow[(start + count * highBytes + i * scaleBytes) / scaleBytes] = scales[block];
            if (high) words[(start + i * highBytes) / 4] = high[block];
        }
    }
    return words;
}

// quad(): the i-th 16 bytes of a block's quants. scale_bits(): its scale, in the low bits.
function addressing(format, layout) {
    const bits = format.scale === 'f16' ? 16 : 8, perWord = 32 / bits;
    const planeScale = (word) => /* wgsl */`
    let word = ${word};
    return extractBits(w[word >> 2u][word & 3u], ${bits}u * (block_at % ${perWord}u), ${bits}u);`;
    const units = layout === 'block4' ? 4 : 16;
    const quad = layout === 'block4' ? 'vec4u(w[at], w[at + 1u], w[at + 2u], w[at + 3u])' : 'w[at]';
    // Where the planes apart start, in words, how many blocks they have, which is this.
    const [start, count, at] = layout === 'tensor'
        ? ['dims.rows * dims.row_units * 4u', 'dims.rows * (dims.cols / BLOCK)',
            'row * (dims.cols / BLOCK) + block']
        : ['(row * dims.row_units + dims.cols / BLOCK * BLOCK_UNITS) * 4u', 'dims.cols / BLOCK',
            'block'];
    const inBlock = 'row * dims.row_units + block * BLOCK_UNITS';
    const scaleBits = {
        block4: `return w[${inBlock} + ${4 * format.quads + (format.high ? 1 : 0)}u];`,
        block16: `return w[${inBlock} + ${format.quads}u].${format.high ? 'y' : 'x'};`,
    }[layout] ?? `let block_at = ${at};` + planeScale(`${start}`
        + `${format.high ? ` + ${count}` : ''} + block_at / ${perWord}u`);
    const highBits = {
        block4: `return w[${inBlock} + ${4 * format.quads}u];`,
        block16: `return w[${inBlock} + ${format.quads}u].x;`,
    }[layout] ?? `let word = ${start} + ${at}; return w[word >> 2u][word & 3u];`;
    const blockUnits = geometry(format, layout, 1, format.block).blockBytes / units;
    return /* wgsl */`
@group(0) @binding(0) var<storage, read> w: array<${layout === 'block4' ? 'u32' : 'vec4u'}>;
const BLOCK = ${format.block}u;
const BLOCK_UNITS = ${blockUnits}u;
fn quad(row: u32, block: u32, i: u32) -> vec4u {
    let at = row * dims.row_units + block * BLOCK_UNITS + ${layout === 'block4' ? '4u * i' : 'i'};
    return ${quad};
}
${format.scale ? `fn scale_bits(row: u32, block: u32) -> u32 { ${scaleBits} }` : ''}
${format.high ? `fn high_bits(row: u32, block: u32) -> u32 { ${highBits} }` : ''}`;
}

// ---------------------------------------------------------------------------------------------
// The other halves of a kernel: f16 decoding, arithmetic, reduction.

// half(): the f16 in the low 16 bits of a word that holds nothing else; never Inf or NaN.
// m: its exponent and mantissa, where f32 has them. A subnormal's value is m's bits x 2^-24.
const exactHalf = (subnormal) => /* wgsl */`
fn half(bits: u32) -> f32 {
    let m = (bits & 0x7fffu) << 13u;
    let value = select(bitcast<f32>(m + 0x38000000u), ${subnormal}, m < 0x00800000u);
    return bitcast<f32>(bitcast<u32>(value) | ((bits & 0x8000u) << 16u));
}
fn halves(bits: u32) -> vec2f { return vec2f(half(bits & 0xffffu), half(bits >> 16u)); }`;

const HALF_DECODERS = {
    unpack: /* wgsl */`
fn half(bits: u32) -> f32 { return unpack2x16float(bits).x; }
fn halves(bits: u32) -> vec2f { return unpack2x16float(bits); }`,
    convert: exactHalf('f32(bits & 0x3ffu) * 0x1p-24'),
    // The smallest normal's exponent is put in front, and that normal subtracted again.
    subtract: exactHalf('bitcast<f32>(m + 0x38800000u) - 0x1p-14'),
};

// Part: 16 consecutive values of x. dot_u8 / dot_i8: with 16 bytes of weights.
const F32_X = {
    plain: /* wgsl */`
fn part(i: u32) -> Part {
    let a = x[4u * i]; let b = x[4u * i + 1u]; let c = x[4u * i + 2u]; let d = x[4u * i + 3u];
    return Part(a, b, c, d, dot(a + b + c + d, vec4f(1.0)));
}`,
    swizzled: /* wgsl */`
fn part(i: u32) -> Part {
    let at = (i >> 4u) * 64u + ((i & 15u) ^ (((i >> 3u) & 1u) * 7u));
    let a = x_swizzled[at]; let b = x_swizzled[at + 16u];
    let c = x_swizzled[at + 32u]; let d = x_swizzled[at + 48u];
    return Part(a, b, c, d, dot(a + b + c + d, vec4f(1.0)));
}`,
};

const ARITHMETIC = {
    f32: /* wgsl */`
struct Part { x0: vec4f, x1: vec4f, x2: vec4f, x3: vec4f, sum: f32 }
fn u8x4(v: u32) -> vec4f {
    return vec4f((vec4u(v) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(0xffu));
}
fn i8x4(v: u32) -> vec4f {
    return vec4f(bitcast<vec4i>(vec4u(v) << vec4u(24u, 16u, 8u, 0u)) >> vec4u(24u));
}
fn dot_u8(q: vec4u, p: Part) -> f32 {
    return dot(u8x4(q.x), p.x0) + dot(u8x4(q.y), p.x1) + dot(u8x4(q.z), p.x2)
         + dot(u8x4(q.w), p.x3);
}
fn dot_i8(q: vec4u, p: Part) -> f32 {
    return dot(i8x4(q.x), p.x0) + dot(i8x4(q.y), p.x1) + dot(i8x4(q.z), p.x2)
         + dot(i8x4(q.w), p.x3);
}`,
    packed: /* wgsl */`
struct Part { q: vec4u, scale: f32, sum: f32 }
fn part(i: u32) -> Part { let s = x_scales[i]; return Part(x_int8[i], s.x, s.y); }
fn dot_i8(q: vec4u, p: Part) -> f32 {
    return p.scale * f32(dot4I8Packed(q.x, p.q.x) + dot4I8Packed(q.y, p.q.y)
                       + dot4I8Packed(q.z, p.q.z) + dot4I8Packed(q.w, p.q.w));
}
fn dot_u8(q: vec4u, p: Part) -> f32 { return dot_i8(q, p); }`,
};

const BINDINGS = /* wgsl */`
struct Dims { rows: u32, cols: u32, row_units: u32, pad: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> x_int8: array<vec4u>;
@group(0) @binding(3) var<storage, read> x_scales: array<vec2f>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<uniform> dims: Dims;
@group(0) @binding(6) var<storage, read> x_swizzled: array<vec4f>;`;

// Partial sums of R rows over the pieces first, first + step, ...; the loop over pieces is the
// only one whose length differs between threads, and nothing is exchanged inside it.
const ROWS = /* wgsl */`
fn int8_at(word: u32, bit: u32) -> f32 {
    return f32(bitcast<i32>(word << (24u - bit)) >> 24u);
}
fn rows_dot(row: u32, first: u32, step: u32) -> array<f32, R> {
    var sums: array<f32, R>;
    for (var s = first; s < dims.cols / SPAN; s += step) {
        let values = slice(s);
        for (var r = 0u; r < R; r++) { sums[r] += piece(row + r, s, values); }
    }
    return sums;
}`;

const TEAMS = {
    subgroup: /* wgsl */`
@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32,
        @builtin(subgroup_invocation_id) lane: u32, @builtin(subgroup_size) lanes: u32) {
    let row = (group.x * (WG / lanes) + t / lanes) * R;
    var sums = rows_dot(row, lane, lanes);
    for (var r = 0u; r < R; r++) { sums[r] = subgroupAdd(sums[r]); }
    if (lane == 0u) {
        for (var r = 0u; r < R; r++) { if (row + r < dims.rows) { y[row + r] = sums[r]; } }
    }
}`,
    workgroup: /* wgsl */`
var<workgroup> partial: array<f32, WG / 4u * R>;
@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32,
        @builtin(subgroup_invocation_id) lane: u32, @builtin(subgroup_size) lanes: u32) {
    let row = group.x * R;
    var sums = rows_dot(row, t, WG);
    for (var r = 0u; r < R; r++) { sums[r] = subgroupAdd(sums[r]); }
    if (lane == 0u) {
        for (var r = 0u; r < R; r++) { partial[t / lanes * R + r] = sums[r]; }
    }
    workgroupBarrier();
    if (t < R && row + t < dims.rows) {
        var sum = 0.0;
        for (var i = 0u; i < WG / lanes; i++) { sum += partial[i * R + t]; }
        y[row + t] = sum;
    }
}`,
    shared: /* wgsl */`
var<workgroup> partial: array<array<f32, R>, WG>;
@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let row = group.x * R;
    partial[t] = rows_dot(row, t, WG);
    workgroupBarrier();
    for (var step = WG / 2u; step > 0u; step /= 2u) {
        if (t < step) {
            for (var r = 0u; r < R; r++) { partial[t][r] += partial[t + step][r]; }
        }
        workgroupBarrier();
    }
    if (t < R && row + t < dims.rows) { y[row + t] = partial[0][t]; }
}`,
};

// Reads each 16 bytes of the matrix once, four loads in flight a thread.
const readSource = (config) => /* wgsl */`
${BINDINGS}
@group(0) @binding(0) var<storage, read> w: array<vec4u>;
const WG = ${config.wg}u;
@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) t: u32) {
    let share = (arrayLength(&w) + groups.x - 1u) / groups.x;
    let end = min((group.x + 1u) * share, arrayLength(&w));
    var all = vec4u(0u);
    for (var i = group.x * share + t; i < end; i += 4u * WG) {
        let a = w[i];
        let b = w[min(i + WG, end - 1u)];
        let c = w[min(i + 2u * WG, end - 1u)];
        let d = w[min(i + 3u * WG, end - 1u)];
        all = all ^ a ^ (b * vec4u(3u)) ^ (c * vec4u(5u)) ^ (d * vec4u(7u));
    }
    if ((all.x ^ all.y ^ all.z ^ all.w) == 0x12345678u) { y[group.x] = 1.0; }
}`;

function matvecSource(format, config) {
    return [
        config.team === 'shared' ? ''
            : 'enable subgroups;\ndiagnostic(off, subgroup_uniformity);',
        config.math === 'packed' ? 'requires packed_4x8_integer_dot_product;' : '',
        `const WG = ${config.wg}u;\nconst R = ${config.r}u;\nconst SPAN = ${config.span}u;`,
        BINDINGS,
        addressing(format, config.layout),
        HALF_DECODERS[config.half],
        ARITHMETIC[config.math],
        F32_X[config.x] ?? '',
        format.pieces[config.span],
        ROWS,
        TEAMS[config.team],
    ].join('\n');
}

// ---------------------------------------------------------------------------------------------
// The device.

async function openDevice(wantSubgroups) {
    const instance = create(['enable-dawn-features=allow_unsafe_apis',
        'disable-dawn-features=timestamp_quantization']);
    const adapter = await instance.requestAdapter({ powerPreference: 'high-performance' });
    if (!adapter) throw new Error('no WebGPU adapter');
    const has = (name) => adapter.features.has(name);
    const subgroups = wantSubgroups && has('subgroups'), timestamps = has('timestamp-query');
    const limits = {};
    for (const name of ['maxStorageBufferBindingSize', 'maxBufferSize',
        'maxComputeInvocationsPerWorkgroup', 'maxComputeWorkgroupSizeX',
        'maxComputeWorkgroupStorageSize']) limits[name] = adapter.limits[name];
    const device = await adapter.requestDevice({
        requiredFeatures: [...(subgroups ? ['subgroups'] : []),
            ...(timestamps ? ['timestamp-query'] : [])],
        requiredLimits: limits,
    });
    device.addEventListener('uncapturederror', ({ error }) => {
        console.error(`GPU error: ${error.message}`);
        process.exit(1);
    });
    const packed = instance.wgslLanguageFeatures.has('packed_4x8_integer_dot_product');
    const lanes = subgroups ? adapter.info.subgroupMinSize : 0;
    console.log(`${adapter.info.vendor} ${adapter.info.description}: `
        + `subgroups ${lanes || 'no'}, packed dots ${packed ? 'yes' : 'no'}, `
        + `timestamps ${timestamps ? 'yes' : 'no'}`);
    const layout = device.createBindGroupLayout({
        entries: [...Array(4).fill('read-only-storage'), 'storage', 'uniform', 'read-only-storage']
            .map((type, binding) => ({
                binding, visibility: GPUShaderStage.COMPUTE, buffer: { type } })),
    });
    const passes = SWEEP.passes;
    const queries = timestamps && {
        set: device.createQuerySet({ type: 'timestamp', count: 2 * passes }),
        resolved: device.createBuffer({ size: 16 * passes,
            usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC }),
        mapped: device.createBuffer({ size: 16 * passes,
            usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST }),
    };
    // Dawn dies when its instance is collected before the device: keep it.
    return { instance, device, layout, queries, packed, lanes,
        pipelineLayout: device.createPipelineLayout({ bindGroupLayouts: [layout] }) };
}

const compile = ({ device, pipelineLayout }, code) => device.createComputePipelineAsync({
    layout: pipelineLayout,
    compute: { module: device.createShaderModule({ code }), entryPoint: 'main' },
});

function upload(device, data) {
    const buffer = device.createBuffer({ size: data.byteLength,
        usage: GPUBufferUsage.STORAGE | GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST });
    device.queue.writeBuffer(buffer, 0, data);
    return buffer;
}

// One buffer of `copies` matrices in a layout, and a bind group for each.
function uploadMatrix(gpu, problem, layoutName) {
    const { device, layout } = gpu, { format, rows, cols, inputs } = problem;
    const { rowBytes, bytes } = geometry(format, layoutName, rows, cols);
    const words = pack(format, layoutName, rows, cols, problem.source);
    const stride = words.byteLength, copies = Math.ceil(problem.rotatedBytes / stride);
    const buffer = device.createBuffer({ size: stride * copies, usage: GPUBufferUsage.STORAGE
        | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST });
    const first = device.createBuffer({ size: stride,
        usage: GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST });
    device.queue.writeBuffer(first, 0, words);
    const encoder = device.createCommandEncoder();
    for (let i = 0; i < copies; i++)
        encoder.copyBufferToBuffer(first, 0, buffer, i * stride, stride);
    device.queue.submit([encoder.finish()]);
    first.destroy();
    const units = layoutName === 'block4' ? 4 : 16;
    const dims = upload(device, new Uint32Array([rows, cols, rowBytes / units, 0]));
    const groups = Array.from({ length: copies }, (_, i) => device.createBindGroup({
        layout,
        entries: [{ buffer, offset: i * stride, size: bytes }, ...[inputs.x, inputs.int8,
            inputs.scales, inputs.y, dims, inputs.swizzled].map((b) => ({ buffer: b }))]
            .map((resource, binding) => ({ binding, resource })),
    }));
    return { bytes, groups, destroy() { buffer.destroy(); dims.destroy(); } };
}

const groupCount = (gpu, config, rows) => Math.ceil(rows / config.r
    / (config.team === 'subgroup' ? config.wg / gpu.lanes : 1));

function encodePass(pass, kernel, matrix, groups, dispatches) {
    pass.setPipeline(kernel.pipeline);
    for (let i = 0; i < dispatches; i++) {
        pass.setBindGroup(0, matrix.groups[i % matrix.groups.length]);
        pass.dispatchWorkgroups(groups);
    }
    pass.end();
}

// Microseconds per dispatch of each pass; a pass before them is not counted.
async function time(gpu, kernel, matrix, groups, passes, dispatches) {
    const { device, queries } = gpu, encoder = device.createCommandEncoder();
    encodePass(encoder.beginComputePass(), kernel, matrix, groups, dispatches);
    for (let i = 0; i < passes; i++) {
        encodePass(encoder.beginComputePass({ timestampWrites: { querySet: queries.set,
            beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 } }),
        kernel, matrix, groups, dispatches);
    }
    encoder.resolveQuerySet(queries.set, 0, 2 * passes, queries.resolved, 0);
    encoder.copyBufferToBuffer(queries.resolved, 0, queries.mapped, 0, 16 * passes);
    device.queue.submit([encoder.finish()]);
    await queries.mapped.mapAsync(GPUMapMode.READ, 0, 16 * passes);
    const ticks = new BigUint64Array(queries.mapped.getMappedRange(0, 16 * passes));
    const times = Array.from({ length: passes }, (_, i) =>
        Number(ticks[2 * i + 1] - ticks[2 * i]) / 1000 / dispatches);
    queries.mapped.unmap();
    return times;
}

// y of one dispatch over the first copy of the matrix.
async function result(gpu, kernel, matrix, groups, problem) {
    const { device } = gpu, { inputs, rows } = problem;
    device.queue.writeBuffer(inputs.y, 0, new Float32Array(rows).fill(NaN));
    const encoder = device.createCommandEncoder();
    encodePass(encoder.beginComputePass(), kernel, matrix, groups, 1);
    encoder.copyBufferToBuffer(inputs.y, 0, inputs.mapped, 0, rows * 4);
    device.queue.submit([encoder.finish()]);
    await inputs.mapped.mapAsync(GPUMapMode.READ);
    const y = new Float32Array(inputs.mapped.getMappedRange()).slice();
    inputs.mapped.unmap();
    return y;
}

// ---------------------------------------------------------------------------------------------
// Problems: a random matrix, x in both forms, and what y must be.

function quantizeX(x) {
    const int8 = new Int8Array(x.length), scales = new Float32Array(x.length / 8);
    for (let run = 0; run < x.length; run += 32) {
        let largest = 0;
        for (let i = run; i < run + 32; i++) largest = Math.max(largest, Math.abs(x[i]));
        const scale = Math.fround(largest / 127);
        for (let i = run; i < run + 32; i++) int8[i] = Math.round(x[i] / scale);
        for (let i = run; i < run + 32; i += 16) {
            const sum = int8.subarray(i, i + 16).reduce((a, b) => a + b, 0);
            scales.set([scale, scale * sum], i / 8);
        }
    }
    return { int8, scales };
}

// x so that the k-th 16 bytes of eight parts that eight neighbouring threads read lie in eight
// different banks, in every format: a group of 16 parts holds all first quarters, all second ...,
// and its upper eight parts are reversed.
function swizzleX(x) {
    const swizzled = new Float32Array(align(x.length, 256));
    for (let i = 0; i < x.length; i++) {
        const part = i >> 4, place = (part & 15) ^ (part & 8 ? 7 : 0);
        swizzled[(part >> 4) * 256 + (i >> 2 & 3) * 64 + place * 4 + (i & 3)] = x[i];
    }
    return swizzled;
}

function createProblem(gpu, format, rows, cols, { subnormal, rotatedBytes, checkedRows }) {
    const { device } = gpu, blocks = cols / format.block;
    const source = format.random(rows * blocks, subnormal);
    source.bytes = new Uint8Array(source.quants.buffer);
    source.halves = new Uint16Array(source.quants.buffer);
    const x = Float32Array.from({ length: cols }, () => random32() / 2 ** 31 - 1);
    const { int8, scales } = quantizeX(x);
    const expected = checkedRows.map((row) => {
        const sums = { row, f32: 0, packed: 0 };
        for (let i = 0; i < cols; i++) {
            const block = row * blocks + Math.floor(i / format.block);
            const weight = format.dequant(source, block, i % format.block);
            sums.f32 += weight * x[i];
            sums.packed += weight * int8[i] * scales[2 * (i >> 4)];
        }
        return sums;
    });
    const inputs = {
        x: upload(device, x), swizzled: upload(device, swizzleX(x)),
        int8: upload(device, int8), scales: upload(device, scales),
        y: device.createBuffer({ size: rows * 4, usage: GPUBufferUsage.STORAGE
            | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST }),
        mapped: device.createBuffer({ size: rows * 4,
            usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST }),
    };
    return { format, rows, cols, source, inputs, expected, rotatedBytes, right: {} };
}

// Largest error relative to the largest value; NaN anywhere gives NaN.
function relativeError(pairs) {
    let largest = 0, error = 0;
    for (const [got, want] of pairs) {
        largest = Math.max(largest, Math.abs(want));
        error = Math.max(error, Math.abs(got - want));
    }
    return error / largest;
}

async function check(gpu, kernel, matrix, problem) {
    const { config } = kernel, groups = groupCount(gpu, config, problem.rows);
    const y = await result(gpu, kernel, matrix, groups, problem);
    let error = relativeError(problem.expected.map((e) => [y[e.row], e[config.math]]));
    const right = problem.right[config.math];
    if (right) error = Math.max(error, relativeError(Array.from(y, (v, i) => [v, right[i]])));
    else if (error < TOLERANCE) problem.right[config.math] = y;
    return error;
}

// ---------------------------------------------------------------------------------------------
// The measurement.

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
const byTime = (a, b) => a.us - b.us;
const shapeName = (c) => `${c.team} WG ${c.wg} R ${c.r} span ${c.span} x ${c.x}`;
const kernelName = (c) => `${c.layout} ${c.math} ${c.half} ${shapeName(c)}`;

function workgroupShapes(gpu, quick) {
    const shapes = [], add = (team, sizes, rows) => {
        for (const wg of sizes) for (const r of rows) shapes.push({ team, wg, r });
    };
    if (quick) {
        add('shared', [32], [2]);
        if (gpu.lanes) for (const team of ['subgroup', 'workgroup']) add(team, [64], [4]);
        return shapes;
    }
    add('shared', [64, 128], [1, 2, 4]);
    if (!gpu.lanes) return shapes;
    add('subgroup', [128, 256], [1, 2, 4]);
    add('workgroup', [32, 64, 128], [1, 2, 4, 8]);
    return shapes;
}

// x in its natural order is measured on one layout only.
const xOrders = (format, layout, math) => math === 'packed' ? ['int8']
    : layout === format.layouts.at(-1) ? ['swizzled', 'plain'] : ['swizzled'];

function matvecConfigs(gpu, format, quick) {
    const configs = [];
    for (const layout of format.layouts)
        for (const math of format.maths.filter((m) => m === 'f32' || gpu.packed))
            for (const span of Object.keys(format.pieces))
                for (const x of xOrders(format, layout, math))
                    for (const shape of workgroupShapes(gpu, quick))
                        configs.push({ layout, math, x, span: Number(span), half: 'subtract',
                            ...shape });
    return configs;
}

const compileMatvecs = (gpu, format, configs) => Promise.all(configs.map(async (config) =>
    ({ config, pipeline: await compile(gpu, matvecSource(format, config)) })));

// The kernels that compute the small matrix right, subnormal scales included.
async function checkSmall(gpu, name, kernels) {
    const format = FORMATS[name], rows = 37;
    const problem = createProblem(gpu, format, rows, format.checkCols, {
        subnormal: true, rotatedBytes: 1, checkedRows: Array.from({ length: rows }, (_, i) => i) });
    const right = [];
    let worst = 0;
    for (const layout of format.layouts) {
        const matrix = uploadMatrix(gpu, problem, layout);
        for (const kernel of kernels.filter((k) => k.config.layout === layout)) {
            const error = await check(gpu, kernel, matrix, problem);
            if (error < TOLERANCE) {
                right.push(kernel);
                worst = Math.max(worst, error);
            } else {
                console.log(`WRONG ${name} ${kernelName(kernel.config)}: error ${error}`);
            }
        }
        matrix.destroy();
    }
    console.log(`${name}: ${right.length} of ${kernels.length} kernels right, `
        + `largest error ${worst.toExponential(1)}`);
    return right;
}

// The kernels that are right on this problem, with their sweep times.
async function sweep(gpu, problem, matrices, kernels) {
    const swept = [];
    for (const kernel of kernels) {
        const matrix = matrices[kernel.config.layout];
        const error = await check(gpu, kernel, matrix, problem);
        if (!(error < TOLERANCE)) {
            console.log(`WRONG ${problem.rows}x${problem.cols} ${kernelName(kernel.config)}: `
                + `error ${error}`);
            continue;
        }
        const groups = groupCount(gpu, kernel.config, problem.rows);
        const us = median(await time(gpu, kernel, matrix, groups, SWEEP.passes,
            SWEEP.dispatches));
        swept.push({ kernel, matrix, groups, us });
    }
    return swept.sort(byTime);
}

async function sweepReads(gpu, readKernels, layout, matrix, rows) {
    const swept = [];
    for (const kernel of readKernels) {
        for (const share of [1, 2, 4, 8]) {
            const groups = Math.ceil(rows / share);
            const us = median(await time(gpu, kernel, matrix, groups, SWEEP.passes,
                SWEEP.dispatches));
            const config = { ...kernel.config, layout, share };
            swept.push({ kernel: { ...kernel, config }, matrix, groups, us });
        }
    }
    return swept.sort(byTime);
}

// Interleaved rounds, so that a drift of the clocks meets every candidate.
async function finals(gpu, candidates) {
    const times = candidates.map(() => []);
    for (let round = 0; round < FINAL.rounds; round++) {
        for (const [i, { kernel, matrix, groups }] of candidates.entries())
            times[i].push(...await time(gpu, kernel, matrix, groups, 1, FINAL.dispatches));
    }
    return candidates.map((candidate, i) => {
        const sorted = times[i].toSorted((a, b) => a - b);
        return { ...candidate, us: median(sorted), low: sorted[1], high: sorted.at(-2) };
    });
}

// For each layout and arithmetic the best kernels, the best without subgroups, the best on plain x;
// for the row layout (or the only one) the other f16 decoders too; reading.
async function measureShape(gpu, name, kernels, readKernels, rows, cols) {
    const format = FORMATS[name];
    const checkedRows = [...new Set([0, 1, rows - 2, rows - 1,
        ...Array.from({ length: 28 }, () => random32() % rows)])];
    const problem = createProblem(gpu, format, rows, cols,
        { subnormal: false, rotatedBytes: ROTATED_BYTES, checkedRows });
    const matrices = {};
    for (const layout of format.layouts) matrices[layout] = uploadMatrix(gpu, problem, layout);
    const swept = await sweep(gpu, problem, matrices, kernels);

    const candidates = [];
    for (const layout of format.layouts) {
        for (const math of format.maths) {
            const of = swept.filter(({ kernel: { config } }) =>
                config.layout === layout && config.math === math);
            candidates.push(...of.slice(0, 3));
            for (const wanted of [(c) => c.team === 'shared', (c) => c.x === 'plain']) {
                const found = of.find(({ kernel }) => wanted(kernel.config));
                if (found && !candidates.includes(found)) candidates.push(found);
            }
            const decodes = format.scale === 'f16' || name === 'q4_k' || name === 'f16';
            if (!decodes || layout !== format.layouts.at(-1)) continue;
            const configs = of.slice(0, 2).flatMap(({ kernel: { config } }) =>
                ['unpack', 'convert'].map((half) => ({ ...config, half })));
            const others = await compileMatvecs(gpu, format, configs);
            candidates.push(...await sweep(gpu, problem, matrices, others));
        }
        candidates.push((await sweepReads(gpu, readKernels, layout, matrices[layout], rows))[0]);
    }
    const measured = (await finals(gpu, candidates)).map((m) => ({
        format: name, rows, cols, ...m.kernel.config, bytes: m.matrix.bytes,
        us: m.us, low: m.low, high: m.high }));
    for (const matrix of Object.values(matrices)) matrix.destroy();
    for (const buffer of Object.values(problem.inputs)) buffer.destroy();
    const sweepTimes = swept.map(({ kernel, us }) => ({ format: name, rows, cols,
        ...kernel.config, us }));
    return { measured, sweepTimes };
}

function printShape(measured) {
    for (const m of measured.toSorted((a, b) => a.layout.localeCompare(b.layout)
        || a.math.localeCompare(b.math) || a.us - b.us)) {
        const shape = m.math === 'read' ? `WG ${m.wg}, ${m.share} rows a workgroup` : shapeName(m);
        console.log(`${m.format} ${m.rows}x${m.cols} ${m.layout.padEnd(7)} ${m.math.padEnd(6)} `
            + `${(m.half ?? '').padEnd(8)} ${m.us.toFixed(2).padStart(6)} us `
            + `(${m.low.toFixed(2)}-${m.high.toFixed(2)}) `
            + `${(m.bytes / m.us / 1e6).toFixed(2)} TB/s  ${shape}`);
    }
}

async function main(args) {
    const option = (name) => args[args.indexOf(name) + 1];
    const quick = args.includes('--quick');
    const names = args.includes('--only') ? option('--only').split(',') : Object.keys(FORMATS);
    const gpu = await openDevice(!args.includes('--no-subgroups'));
    if (!quick && !gpu.queries) throw new Error('no timestamp-query: only --quick can run here');
    const readKernels = quick ? [] : await Promise.all([64, 128, 256].map(async (wg) => {
        const config = { math: 'read', wg };
        return { config, pipeline: await compile(gpu, readSource(config)) };
    }));
    const report = { measured: [], sweepTimes: [] };
    let wrong = 0;
    for (const name of names) {
        const started = performance.now();
        const configs = matvecConfigs(gpu, FORMATS[name], quick);
        const kernels = await compileMatvecs(gpu, FORMATS[name], configs);
        const compiled = performance.now();
        const right = await checkSmall(gpu, name, kernels);
        wrong += kernels.length - right.length;
        if (!quick && FORMATS[name].scale !== 'e8m0' && name !== 'bf16') {
            // Does this device's unpack2x16float keep subnormals? (Says so when it does not.)
            const unpack = { ...configs.at(-1), half: 'unpack' };
            await checkSmall(gpu, name, await compileMatvecs(gpu, FORMATS[name], [unpack]));
        }
        for (const [rows, cols] of quick ? [] : SHAPES) {
            const { measured, sweepTimes } =
                await measureShape(gpu, name, right, readKernels, rows, cols);
            printShape(measured);
            report.measured.push(...measured);
            report.sweepTimes.push(...sweepTimes);
            if (args.includes('--json')) writeFileSync(option('--json'), JSON.stringify(report));
        }
        console.log(`${name}: compiled in ${((compiled - started) / 1000).toFixed(1)} s, `
            + `all in ${((performance.now() - started) / 1000).toFixed(1)} s`);
    }
    return wrong ? 1 : 0;
}

process.exit(await main(process.argv.slice(2)));
