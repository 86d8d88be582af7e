// bench_time.mjs - times of recorded dispatches on a GPU, and what the device gives kernels that do
// nothing but read, or nothing but multiply. Clocks are warmed up by work that is not measured;
// figures are medians.
// of a pass: so many dispatches at least, unless they take longer than that
const MEASURED = { rounds: 5, unmeasured: 2, dispatches: 100, passMs: 8, warmMs: 300 };
const SOFTWARE = { rounds: 1, unmeasured: 0, dispatches: 1, passMs: 8, warmMs: 0 };

// GPUBufferUsage and GPUMapMode, not global in Node
const MAP_READ = 1, COPY_SRC = 4, COPY_DST = 8, STORAGE = 0x80, RESOLVE = 0x200;

export const median = (values) => {
    const sorted = Float64Array.from(values).sort();
    return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
};

/** Times passes of dispatches { pipeline, group, x, y, z } on a GPUDevice with timestamps; where a
 *  CPU pretends to be a GPU, once and not again. */
export class PassTimer {
    #device; #plan; #querySet; #stamps; #mapped;

    constructor(device, software) {
        this.software = software;
        this.#device = device;
        this.#plan = software ? SOFTWARE : MEASURED;
        this.#querySet = device.createQuerySet({ type: 'timestamp', count: 2 });
        this.#stamps = device.createBuffer({ size: 16, usage: RESOLVE | COPY_SRC });
        this.#mapped = device.createBuffer({ size: 16, usage: MAP_READ | COPY_DST });
    }

    destroy() {
        this.#querySet.destroy();
        this.#stamps.destroy();
        this.#mapped.destroy();
    }

    /** Microseconds of one pass that runs the steps so many times. */
    async pass(steps, repeat) {
        const encoder = this.#device.createCommandEncoder();
        const pass = encoder.beginComputePass({ timestampWrites: { querySet: this.#querySet,
            beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 } });
        for (let r = 0; r < repeat; r++) {
            for (const { pipeline, group, x, y, z } of steps) {
                pass.setPipeline(pipeline);
                pass.setBindGroup(0, group);
                pass.dispatchWorkgroups(x, y, z);
            }
        }
        pass.end();
        encoder.resolveQuerySet(this.#querySet, 0, 2, this.#stamps, 0);
        encoder.copyBufferToBuffer(this.#stamps, 0, this.#mapped, 0, 16);
        this.#device.queue.submit([encoder.finish()]);
        await this.#mapped.mapAsync(MAP_READ);
        const [begin, end] = new BigUint64Array(this.#mapped.getMappedRange());
        const ns = Number(end - begin);
        this.#mapped.unmap();
        return ns / 1000;
    }

    /** Microseconds of one dispatch, among those of passes of `steps` over and over. */
    async each(steps) {
        const { rounds, unmeasured, dispatches, passMs } = this.#plan;
        const once = await this.pass(steps, 1);
        const repeat = Math.max(1, Math.min(Math.ceil(dispatches / steps.length),
            Math.floor(passMs * 1000 / Math.max(once, 1))));
        const times = [];
        for (let i = 0; i < unmeasured + rounds; i++) times.push(await this.pass(steps, repeat));
        return median(times.slice(unmeasured)) / repeat / steps.length;
    }

    /** Keeps the device busy until its clocks are up. */
    async warm(steps) {
        const start = performance.now();
        do { await this.pass(steps, 4); } while (performance.now() - start < this.#plan.warmMs);
    }
}

// ---- what the device gives

const readSource = (loads) => `
@group(0) @binding(0) var<storage, read> w: array<vec4u>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) t: u32) {
    let count = arrayLength(&w);
    let last = count - 1u;
    var all = vec4u();
    for (var i = group.x * ${256 * loads}u + t; i < count; i += groups.x * ${256 * loads}u) {
        ${Array.from({ length: loads }, (_, n) => `let v${n} = w[min(i + ${256 * n}u, last)];`)
        .join('\n        ')}
        all ^= ${Array.from({ length: loads }, (_, n) => `v${n}`).join(' ^ ')};
    }
    if ((all.x ^ all.y ^ all.z ^ all.w) == 0x12345678u) { y[group.x & 1023u] = 1u; }
}`;

const READ_LOADS = [2, 4, 8];        // of a thread, at once
const READ_GROUPS = [264, 528, 1056, 2112, 4224, 16896];
const BANDWIDTH_BYTES = 1 << 30;

/** Kernels that only read. */
export class Reader {
    #device; #timer; #out;
    #pipelines = new Map();          // number of loads -> GPUComputePipeline

    constructor(device, timer) {
        this.#device = device;
        this.#timer = timer;
        this.#out = device.createBuffer({ size: 4096, usage: STORAGE });
        for (const loads of timer.software ? [4] : READ_LOADS) {
            this.#pipelines.set(loads, device.createComputePipeline({ layout: 'auto',
                compute: { module: device.createShaderModule({ code: readSource(loads) }) } }));
        }
    }

    destroy() { this.#out.destroy(); }

    /** Microseconds in which the fastest of some kernels reads one of the ranges, rotating over
     *  all of them: [{ buffer, offset, size }]. */
    async each(ranges) {
        const most = Math.max(...ranges.map(({ size }) => size)) / 16;
        let best = Infinity;
        for (const [loads, pipeline] of this.#pipelines) {
            const groups = ranges.map((resource) => this.#device.createBindGroup({
                layout: pipeline.getBindGroupLayout(0), entries: [
                    { binding: 0, resource },
                    { binding: 1, resource: { buffer: this.#out } }] }));
            for (const x of this.#timer.software ? [16] : READ_GROUPS) {
                if (x > READ_GROUPS[0] && x * 256 * loads > 2 * most) continue;
                const steps = groups.map((group) => ({ pipeline, group, x, y: 1, z: 1 }));
                best = Math.min(best, await this.#timer.each(steps));
            }
        }
        return best;
    }

    /** TB/s of one large dispatch. */
    async bandwidth() {
        const { software } = this.#timer;
        const { maxStorageBufferBindingSize, maxBufferSize } = this.#device.limits;
        const size = Math.min(software ? BANDWIDTH_BYTES / 64 : BANDWIDTH_BYTES,
            maxStorageBufferBindingSize, maxBufferSize) >>> 24 << 24;
        const buffer = this.#device.createBuffer({ size, usage: STORAGE });
        const us = await this.each([{ buffer, offset: 0, size }]);
        buffer.destroy();
        return size / us / 1e6;
    }
}

// Chains of scalars, which share their factors: the same in vec4f, whose four have factors of their
// own, get half of it on an H200.
const MULTIPLY = { chains: 8, loops: 2048, groups: 8448, threads: 256 };
const MULTIPLY_KERNEL = `
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(${MULTIPLY.threads})
fn main(@builtin(global_invocation_id) id: vec3u) {
    let a = y[0];
    let b = y[1];
    ${Array.from({ length: MULTIPLY.chains }, (_, n) => `var v${n} = b + f32(id.x + ${n}u);`)
        .join('\n    ')}
    for (var i = 0u; i < ${MULTIPLY.loops}u; i++) {
        ${Array.from({ length: MULTIPLY.chains }, (_, n) => `v${n} = fma(v${n}, a, b);`)
        .join('\n        ')}
    }
    let all = ${Array.from({ length: MULTIPLY.chains }, (_, n) => `v${n}`).join(' + ')};
    if (all == 1234.5) { y[2] = all; }
}`;

// 16x16x16, the shape that NVIDIA's lists have; subgroups of 32.
const MATRIX_KERNEL = `
enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sums = subgroup_matrix_result<f32, 16, 16>;
@group(0) @binding(0) var<storage, read_write> y: array<u32>;
var<workgroup> tile: array<vec4u, 512>;
@compute @workgroup_size(${MULTIPLY.threads})
fn main(@builtin(local_invocation_index) t: u32, @builtin(subgroup_id) subgroup: u32) {
    tile[t] = vec4u(y[t]);
    tile[t + 256u] = vec4u(y[t]);
    workgroupBarrier();
    ${[0, 1, 2, 3].map((n) => `let a${n} = subgroupMatrixLoad<Left, row_major>(&tile, `
        + `${32 * n}u, 2u);`).join('\n    ')}
    ${[0, 1].map((n) => `let b${n} = subgroupMatrixLoad<Right, row_major>(&tile, `
        + `${128 + 32 * n}u, 2u);`).join('\n    ')}
    ${Array.from({ length: MULTIPLY.chains }, (_, n) => `var s${n}: Sums;`).join(' ')}
    for (var i = 0u; i < ${MULTIPLY.loops}u; i++) {
        ${Array.from({ length: MULTIPLY.chains }, (_, n) =>
        `s${n} = subgroupMatrixMultiplyAccumulate(a${n % 4}, b${n >> 2}, s${n});`)
        .join('\n        ')}
    }
    var all = 0u;
    ${Array.from({ length: MULTIPLY.chains }, (_, n) =>
        `subgroupMatrixStore<row_major>(&tile, 64u * subgroup, s${n}, 4u);
    workgroupBarrier();
    all ^= tile[t].x;
    workgroupBarrier();`).join('\n    ')}
    if (all == 1234u) { y[t] = all; }
}`;

// Operations of a group of threads of the kernel, a second, x 1e-12; undefined where it does not
// compile.
async function multiply(device, timer, code, flops) {
    device.pushErrorScope('validation');
    const y = device.createBuffer({ size: 4096, usage: STORAGE });
    const pipeline = device.createComputePipeline({ layout: 'auto',
        compute: { module: device.createShaderModule({ code }) } });
    const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0),
        entries: [{ binding: 0, resource: { buffer: y } }] });
    if (await device.popErrorScope()) return undefined;
    const x = timer.software ? 1 : MULTIPLY.groups;
    const step = { pipeline, group, x, y: 1, z: 1 };
    await timer.warm([step]);
    const us = await timer.each([step]);
    y.destroy();
    return x * flops / us / 1e6;
}

/** TFLOP/s of kernels that do nothing but multiply and add, both counted: in f32, and where the
 *  device has them by subgroup matrices of f16 that add to f32. */
export async function multiplyCeilings(device, timer) {
    const f32 = await multiply(device, timer, MULTIPLY_KERNEL,
        MULTIPLY.threads * MULTIPLY.loops * MULTIPLY.chains * 2);
    const needed = ['shader-f16', 'subgroups', 'chromium-experimental-subgroup-matrix'];
    const matrix = needed.every((name) => device.features.has(name))
        ? await multiply(device, timer, MATRIX_KERNEL, MULTIPLY.threads / 32 * MULTIPLY.loops
            * MULTIPLY.chains * 2 * 16 ** 3) : undefined;
    return { multiplyTFLOPs: f32, matrixTFLOPs: matrix };
}
