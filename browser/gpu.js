// gpu.js - gpu/gpu.h over WebGPU: the functions that gpu/gpu_web.c imports. The same file serves
// browsers, Node (npm `webgpu`, which is Dawn) and Deno.
//
//   const opened = await openDevice();              // throws a DopplerError NO_GPU
//   const gpu = new GpuHost(opened);
//   const wasm = await instantiate(url, { gpu });   // wasm.js
//
// C gives out the handles and has checked each call; structs are read in place from wasm memory
// at the offsets that gpu_web.c asserts. Whatever can be prepared is prepared when a list is
// recorded: a submit makes an encoder, a pass and a command buffer, and nothing else.
import { DopplerError } from './error.js';

// doppler_status and gpu_feature, as far as they matter here
const OK = 0, NO_MEMORY = 1, DEVICE_LOST = 3, GPU_ERROR = 4;
const MATRIX = 'chromium-experimental-subgroup-matrix';
const FEATURES = [
    [1, 'subgroups'], [2, 'shader-f16'], [8, MATRIX],
    [16, 'timestamp-query'],
];
const PACKED_DOT = [4, 'packed_4x8_integer_dot_product'];
/** Names of what makes kernels differ. */
export const VARYING_FEATURES = ['subgroups', 'shader-f16', MATRIX, PACKED_DOT[1]];
const EXACT_HALF = 32;
// gpu_matrix: component and result type of a product of subgroup matrices, M x N x K
const MATRICES = [
    [1, 'f16 f32 16x16x16'], [2, 'f16 f32 16x8x16'], [4, 'f16 f32 16x8x8'],
    [8, 'f16 f32 8x16x16'],
];
const MATRIX_SUBGROUP = 32;          // kernels of subgroup matrices count on it

// GPUBufferUsage, GPUMapMode and GPUShaderStage: fixed by the specification, not global in Node
const MAP_READ = 0x1, COPY_SRC = 0x4, COPY_DST = 0x8, UNIFORM = 0x40, STORAGE = 0x80;
const QUERY_RESOLVE = 0x200;
const READ = 0x1, COMPUTE = 0x4;

const DIMS_SLOT_BYTES = 256;         // GPU_MAX_DIMS_BYTES, and the largest alignment there is
const POOLED_BYTES = 4 << 20;        // larger staging buffers are not kept
const MAX_SOURCES = 16;              // of a program
const TIMED_PER_SET = 2048;          // a query set holds at most 4096 timestamps

const LIMITS = [
    'maxBufferSize', 'maxStorageBufferBindingSize', 'maxComputeWorkgroupStorageSize',
    'maxComputeInvocationsPerWorkgroup', 'maxComputeWorkgroupSizeX', 'maxComputeWorkgroupSizeY',
];
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|softpipe|basic render/i;

const firstLine = (text) => text.trim().split('\n')[0];
const noGpu = (message) => new DopplerError('NO_GPU', message);

function assert(condition, message) {
    if (!condition) throw new Error(`gpu.js: ${message}`);
}

// ---- opening a device

// Dawn's instances by their options. An instance that is collected before its devices crashes
// Node, hence kept as long as the process.
const dawnInstances = new Map();

async function findGpu(nodeOptions) {
    if (globalThis.navigator?.gpu) return globalThis.navigator.gpu;
    if (!globalThis.process?.versions?.node) throw noGpu('this browser has no WebGPU');
    const key = nodeOptions.join('\n');
    if (!dawnInstances.has(key)) {
        const name = 'webgpu';       // a variable, so that bundlers leave it alone
        const dawn = await import(/* webpackIgnore: true */ /* @vite-ignore */ name)
            .catch((e) => e);
        if (!dawn.create) throw noGpu(`no npm package webgpu: ${firstLine(dawn.message)}`);
        dawnInstances.set(key, dawn.create(nodeOptions));
    }
    return dawnInstances.get(key);
}

/** @typedef {{vendor: string, architecture: string, device: string, description: string,
 *             software: boolean}} AdapterInfo  software: a CPU pretends to be a GPU */

/** @returns {AdapterInfo} */
function describeAdapter(adapter) {
    const { vendor = '', architecture = '', device = '', description = '' } = adapter.info ?? {};
    const names = [vendor, architecture, device, description].join(' ');
    const fallback = adapter.info?.isFallbackAdapter || adapter.isFallbackAdapter;
    const software = Boolean(fallback) || SOFTWARE.test(names);
    return { vendor, architecture, device, description, software };
}

const UNPACK_HALVES = `
@group(0) @binding(0) var<storage, read_write> y: array<vec2f>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
    y[id.x] = unpack2x16float(0x00010000u + 0x00020002u * id.x);
}`;

/** The bits of the float that half h is; NaN: 0. */
function halfBits(h) {
    const exponent = (h >> 10) & 31, mantissa = h & 1023;
    if (exponent === 31 && mantissa) return 0;
    const size = exponent === 31 ? Infinity
        : exponent ? (1024 + mantissa) * 2 ** (exponent - 25) : mantissa * 2 ** -24;
    return new Uint32Array(new Float32Array([h & 0x8000 ? -size : size]).buffer)[0];
}

/** Whether unpack2x16float is exact on a device for all 65,536 halves, NaNs aside: WGSL lets it
 *  flush subnormals, which most block scales of small-valued tensors are. */
async function unpacksHalvesExactly(device) {
    const bytes = 4 * 65536;
    const y = device.createBuffer({ size: bytes, usage: STORAGE | COPY_SRC });
    const staging = device.createBuffer({ size: bytes, usage: MAP_READ | COPY_DST });
    try {
        const pipeline = await device.createComputePipelineAsync({ layout: 'auto',
            compute: { module: device.createShaderModule({ code: UNPACK_HALVES }) } });
        const encoder = device.createCommandEncoder(), pass = encoder.beginComputePass();
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0),
            entries: [{ binding: 0, resource: { buffer: y } }] }));
        pass.dispatchWorkgroups(65536 / 2 / 64);
        pass.end();
        encoder.copyBufferToBuffer(y, 0, staging, 0, bytes);
        device.queue.submit([encoder.finish()]);
        await staging.mapAsync(READ);
        return new Uint32Array(staging.getMappedRange()).every((bits, h) => {
            const want = halfBits(h);
            return bits === want || (want === 0 && h !== 0);
        });
    } catch {
        return false;
    } finally {
        y.destroy();
        staging.destroy();
    }
}

/** Opens a GPU with all it offers. Throws a DopplerError NO_GPU.
 *  @param {{powerPreference?: 'high-performance' | 'low-power', force?: boolean,
 *           limits?: 'adapter' | 'default', timing?: boolean, without?: string[],
 *           nodeOptions?: string[]}} options
 *    force: take a software adapter too; the CPU backend is faster than most.
 *    limits: 'default' asks for no more than every WebGPU device has, and trusts it no further.
 *    timing: timestamps as fine as the device's, in Node; 65 us apart by default.
 *    without: features that are left alone.
 *    nodeOptions: handed to Dawn in Node. By default it does not clear workgroup memory, which
 *      no kernel reads before writing: SwiftShader unrolls that, 6 s of compilation a program; and
 *      it offers subgroup matrices and, on NVIDIA too, f16, as a browser does when told to.
 *  @returns {Promise<{device: GPUDevice, adapter: AdapterInfo, languageFeatures: Set<string>,
 *                     exactHalf: boolean, matrices: number}>}  matrices: bits of gpu_matrix */
export async function openDevice({ powerPreference = 'high-performance', force = false,
    limits = 'adapter', timing = false, without = [],
    nodeOptions = ['enable-dawn-features=disable_workgroup_init,allow_unsafe_apis,'
        + 'vulkan_enable_f16_on_nvidia',
        ...(timing ? ['disable-dawn-features=timestamp_quantization'] : [])] } = {}) {
    const gpu = await findGpu(nodeOptions);
    const adapter = await gpu.requestAdapter({ powerPreference });
    if (!adapter) throw noGpu('no usable WebGPU adapter');
    const info = describeAdapter(adapter);
    if (info.software && !force) {
        throw noGpu(`only a software adapter: ${info.description || info.architecture}`);
    }
    const names = limits === 'default' ? [] : LIMITS;
    const requiredLimits = Object.fromEntries(names.map((name) => [name, adapter.limits[name]]));
    const wanted = (name) => !without.includes(name);
    const requiredFeatures = FEATURES.map(([, name]) => name)
        .filter((name) => adapter.features.has(name) && wanted(name));
    try {
        const device = await adapter.requestDevice({ requiredFeatures, requiredLimits });
        const languageFeatures = new Set([...gpu.wgslLanguageFeatures ?? []].filter(wanted));
        const exactHalf = limits === 'adapter' && await unpacksHalvesExactly(device);
        const matrices = await matricesOf(device, adapter.info);
        return { device, adapter: info, languageFeatures, exactHalf, matrices };
    } catch (e) {
        throw noGpu(`the adapter gives no device: ${firstLine(e.message)}`);
    }
}

// Bits of gpu_matrix. An experimental feature: other versions of a browser write its builtins in
// other ways, so that a text in ours must compile.
async function matricesOf(device, { subgroupMinSize, subgroupMaxSize, subgroupMatrixConfigs }) {
    if (!device.features.has(MATRIX) || !device.features.has('subgroups')) return 0;
    if (subgroupMinSize !== MATRIX_SUBGROUP || subgroupMaxSize !== MATRIX_SUBGROUP) return 0;
    device.pushErrorScope('validation');
    device.createShaderModule({ label: 'subgroup matrices', code: MATRIX_PROBE });
    if (await device.popErrorScope()) return 0;
    const has = new Set([...subgroupMatrixConfigs ?? []].map((c) => (
        `${c.componentType} ${c.resultComponentType} ${c.M}x${c.N}x${c.K}`)));
    const f16 = device.features.has('shader-f16');
    return MATRICES.filter(([, name]) => has.has(name) && (f16 || !name.startsWith('f16')))
        .reduce((bits, [bit]) => bits | bit, 0);
}
const MATRIX_PROBE = `enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
alias M = subgroup_matrix_result<f32, 16, 16>;
var<workgroup> tile: array<vec4u, 64>;
@compute @workgroup_size(32) fn main(@builtin(subgroup_id) s: u32) {
    let m = subgroupMatrixLoad<M, row_major>(&tile, s, 4u);
    subgroupMatrixStore<row_major>(&tile, s, m, 4u);
}`;

// ---- the imports

/** One device, as C sees it. Serves one wasm instance, and in it one gpu at a time. */
export class GpuHost {
    /** Wasm imports of module "gpu": the methods below that start with _. */
    imports;
    /** What the host has done so far; objects: those made for a submit beside its encoder, pass
     *  and command buffer. encodeMs: time in submits. */
    counters = { submits: 0, dispatches: 0, objects: 0, readbackBytes: 0, encodeMs: 0 };
    /** The dispatches that were timed last: { label, dims, sizes, grid }. */
    timed = [];
    #device;
    #languageFeatures;
    #exactHalf;
    #matrices;
    #onCrash;
    #wasm = null;
    #self = 0;                       // C's gpu *, 0: none
    #message = { at: 0, bytes: 0 };
    #woken = false;
    #lost = null;                    // why, once the device is lost
    #failure = null;                 // first uncaptured error, until an operation reports it
    #outstanding = new Set();        // operations, in the order in which they began
    #buffers = [];                   // by handle
    #programs = [];
    #lists = [];
    #recording = null;
    #layouts = new Map();            // of bind groups and pipelines, by access string
    #staging = new Map();            // idle MAP_READ buffers, by size

    /** @param {{device: GPUDevice, languageFeatures?: Set<string>, exactHalf?: boolean,
     *           matrices?: number, onCrash?: (error: Error) => void}} options
     *    device, languageFeatures, exactHalf, matrices: as openDevice returned them.
     *    onCrash: told when a callback into wasm throws (an assertion); else it is rethrown. */
    constructor({ device, languageFeatures = new Set(), exactHalf = false, matrices = 0,
        onCrash }) {
        this.#device = device;
        this.#languageFeatures = languageFeatures;
        this.#exactHalf = exactHalf;
        this.#matrices = matrices;
        this.#onCrash = onCrash;
        device.addEventListener('uncapturederror', (e) => {
            this.#failure ??= firstLine(e.error.message);
        });
        device.lost.then((info) => this.#lose(info));
        this.imports = Object.fromEntries(Object.getOwnPropertyNames(GpuHost.prototype)
            .filter((name) => name.startsWith('_'))
            .map((name) => [name.slice(1), this[name].bind(this)]));
    }

    /** Called by instantiate(): the instance whose gpu this is. */
    attach(wasm) { this.#wasm = wasm; }

    /** @returns {GPUDevice} */
    get device() { return this.#device; }

    /** The buffer behind a handle of C. @returns {GPUBuffer} */
    buffer(handle) { return this.#buffers[handle]; }

    /** The dispatches of a list, for tools that time them: { pipeline, group, x, y, z, label, dims,
     *  ranges: [[buffer's handle, offset, bytes]] }. */
    steps(list) { return this.#lists[list].steps; }

    /** Writes into a buffer of C without passing through wasm memory; offset and length are
     *  multiples of 4. C may have destroyed the buffer while the bytes were on their way.
     *  @param {Uint8Array} bytes */
    write(handle, offset, bytes) {
        const buffer = this.#buffers[handle];
        if (buffer) this.#device.queue.writeBuffer(buffer, offset, bytes);
    }

    /** Destroys the device on purpose: C is not told that it was lost. */
    destroy() { this.#device.destroy(); }

    // ---- operations: what C waits for

    /* finish(ok), if any, is called just before C is told. Reads, submits and timings are ordered:
     * they end in the order in which they began, which WebGPU does not promise. */
    #begin(done, user, ordered, finish = null) {
        const operation = { done, user, ordered, finish, ended: false, status: OK, message: '' };
        this.#outstanding.add(operation);
        return operation;
    }

    #end(operation, status, message = '') {
        if (!this.#outstanding.has(operation)) return;           // the device or C's gpu is gone
        Object.assign(operation, { ended: true, status, message });
        if (!operation.ordered) return this.#report(operation);
        for (const o of this.#outstanding) {
            if (!o.ordered) continue;
            if (!o.ended) return;
            this.#report(o);
        }
    }

    #report(operation) {
        this.#outstanding.delete(operation);
        let { status, message } = operation;
        if (status === OK && this.#failure !== null) [status, message] = [GPU_ERROR, this.#failure];
        operation.finish?.(status === OK);
        if (status !== OK) {
            this.#failure = null;    // this one's own, or a consequence, as a write to no buffer
            this.#say(message);
        }
        this.#wasm.exports.gpu_web_done(this.#self, status, operation.done, operation.user);
    }

    #say(message) { this.#wasm.setString(this.#message.at, this.#message.bytes, message); }

    #lose({ reason, message }) {
        this.#lost = firstLine(message) || reason || 'no reason given';
        if (!this.#self) return;
        this.#say(this.#lost);
        this.#wasm.exports.gpu_web_lost(this.#self, reason === 'destroyed' ? 1 : 0);
        for (const operation of [...this.#outstanding]) {
            Object.assign(operation, { ended: true, status: DEVICE_LOST, message: this.#lost });
            this.#report(operation);
        }
    }

    // ---- device

    _open(self, limits, message, messageBytes) {
        assert(!this.#self, 'one gpu at a time');
        this.#self = self;
        this.#message = { at: message, bytes: messageBytes };
        const { limits: has, features } = this.#device;
        const wasm = this.#wasm;
        let bits = this.#languageFeatures.has(PACKED_DOT[1]) ? PACKED_DOT[0] : 0;
        for (const [bit, name] of FEATURES) if (features.has(name)) bits |= bit;
        if (this.#exactHalf) bits |= EXACT_HALF;
        wasm.setU64(limits, has.maxBufferSize);
        wasm.setU64(limits + 8, has.maxStorageBufferBindingSize);
        [has.minStorageBufferOffsetAlignment, has.maxComputeWorkgroupStorageSize,
            has.maxComputeInvocationsPerWorkgroup, has.maxComputeWorkgroupsPerDimension, bits,
            this.#matrices]
            .forEach((value, i) => wasm.setU32(limits + 16 + 4 * i, value));
        if (this.#lost !== null) this.#lose({ reason: 'unknown', message: this.#lost });
    }

    _close() {
        this.#self = 0;
        for (const operation of this.#outstanding) operation.finish?.(false);
        this.#outstanding.clear();
        for (const buffer of this.#buffers) buffer?.destroy();
        for (const list of this.#lists) list?.uniform?.destroy();
        for (const idle of this.#staging.values()) for (const buffer of idle) buffer.destroy();
        this.#staging.clear();
        [this.#buffers, this.#programs, this.#lists, this.#recording] = [[], [], [], null];
    }

    // C has queued a callback: have it called, from the event loop.
    _wake() {
        if (this.#woken) return;
        this.#woken = true;
        queueMicrotask(() => {
            this.#woken = false;
            if (!this.#self) return;
            try {
                this.#wasm.exports.gpu_web_poll(this.#self);
            } catch (e) {
                if (!this.#onCrash) throw e;
                this.#onCrash(e);
            }
        });
    }

    // ---- buffers

    _buffers_create(self, descs, count, handles, done, user) {
        const device = this.#device, wasm = this.#wasm;
        const operation = this.#begin(done, user, false);
        let total = 0;
        device.pushErrorScope('validation');
        device.pushErrorScope('out-of-memory');
        for (let i = 0; i < count; i++) {
            const at = descs + 16 * i, size = wasm.u64(at), label = wasm.u32(at + 8);
            total += size;
            this.#buffers[wasm.u32(handles + 4 * i)] = device.createBuffer({
                size, usage: STORAGE | COPY_SRC | COPY_DST, label: label ? wasm.string(label) : '',
            });
        }
        Promise.all([device.popErrorScope(), device.popErrorScope()]).then((errors) => {
            const error = errors.find((e) => e !== null);
            if (!error) return this.#end(operation, OK);
            this.#end(operation, error === errors[0] ? NO_MEMORY : GPU_ERROR,
                `${count} GPU buffers of ${total} bytes together: ${firstLine(error.message)}`);
        }, (e) => this.#rejected(operation, e));
    }

    _buffer_destroy(self, handle) {
        this.#buffers[handle]?.destroy();
        this.#buffers[handle] = undefined;
    }

    _write(self, handle, offset, data, bytes) {
        this.#device.queue.writeBuffer(this.#buffers[handle], offset, this.#wasm.memory.buffer,
            data >>> 0, bytes);
    }

    _copy(self, ranges, count) {
        const wasm = this.#wasm;
        const encoder = this.#device.createCommandEncoder();
        for (let at = ranges; at < ranges + 32 * count; at += 32) {
            encoder.copyBufferToBuffer(this.#buffers[wasm.u32(at)], wasm.u64(at + 8),
                this.#buffers[wasm.u32(at + 4)], wasm.u64(at + 16), wasm.u64(at + 24));
        }
        this.#device.queue.submit([encoder.finish()]);
    }

    _read(self, readback, done, user) {
        const encoder = this.#device.createCommandEncoder();
        this.#submitAndRead(encoder, this.#readback(readback), done, user);
    }

    // ---- reading back

    #readback(at) {
        const wasm = this.#wasm;
        return { source: this.#buffers[wasm.u32(at)], offset: wasm.u64(at + 8),
            bytes: wasm.u32(at + 16), out: wasm.u32(at + 20) };
    }

    // Copies source's range into a staging buffer, submits, and when the bytes are there hands
    // them to receive, or writes them to wasm memory at out.
    #submitAndRead(encoder, { source, offset, bytes, out, receive }, done, user) {
        const staging = this.#takeStaging(bytes);
        encoder.copyBufferToBuffer(source, offset, staging, 0, bytes);
        this.#device.queue.submit([encoder.finish()]);
        const operation = this.#begin(done, user, true, (ok) => {
            if (!ok) return staging.destroy();
            const mapped = staging.getMappedRange(0, bytes);
            if (receive) receive(mapped);
            else this.#wasm.u8.set(new Uint8Array(mapped), out);
            staging.unmap();
            this.#giveStaging(staging);
        });
        staging.mapAsync(READ, 0, bytes).then(() => this.#end(operation, OK),
            (e) => this.#rejected(operation, e));
    }

    // A promise was rejected. The device's loss may become known only after this.
    #rejected(operation, error) {
        if (this.#lost !== null || error.name === 'AbortError') {
            return this.#end(operation, DEVICE_LOST, this.#lost ?? 'the GPU device was lost');
        }
        this.#end(operation, GPU_ERROR, this.#failure ?? firstLine(error.message));
    }

    #takeStaging(bytes) {
        const size = bytes > POOLED_BYTES ? bytes : Math.max(256, 2 ** Math.ceil(Math.log2(bytes)));
        const idle = this.#staging.get(size)?.pop();
        this.counters.readbackBytes += bytes;
        if (idle) return idle;
        this.counters.objects++;
        return this.#device.createBuffer({ size, usage: MAP_READ | COPY_DST, label: 'staging' });
    }

    #giveStaging(staging) {
        if (staging.size > POOLED_BYTES) return staging.destroy();
        if (!this.#staging.has(staging.size)) this.#staging.set(staging.size, []);
        this.#staging.get(staging.size).push(staging);
    }

    // ---- programs

    _programs_create(self, descs, count, handles, done, user) {
        const wasm = this.#wasm;
        const operation = this.#begin(done, user, false);
        const compiled = [];
        for (let i = 0; i < count; i++) {
            const at = descs + 192 * i;
            let code = '';
            for (let s = 0; s < MAX_SOURCES && wasm.u32(at + 48 + 4 * s); s++) {
                code += wasm.string(wasm.u32(at + 48 + 4 * s));
            }
            const constants = {};
            for (let c = at + 120; c < at + 184 && wasm.u32(c); c += 16) {
                constants[wasm.string(wasm.u32(c))] = wasm.f64(c + 8);
            }
            const program = { label: wasm.string(at), access: wasm.string(wasm.u32(at + 112)),
                pipeline: null };
            this.#programs[wasm.u32(handles + 4 * i)] = program;
            compiled.push(this.#compile(program, code, constants));
        }
        Promise.all(compiled).then((failures) => {
            const failure = failures.find((f) => f !== null);
            this.#end(operation, failure === undefined ? OK : GPU_ERROR, failure);
        }, (e) => this.#rejected(operation, e));
    }

    // Bindings as gpu.h says: storage buffers in the order of access, then the dims.
    #layout(access) {
        let layout = this.#layouts.get(access);
        if (layout) return layout;
        const types = [...access].map((a) => (a === 'r' ? 'read-only-storage' : 'storage'));
        const group = this.#device.createBindGroupLayout({
            label: access,
            entries: [...types, 'uniform'].map((type, binding) => (
                { binding, visibility: COMPUTE, buffer: { type } })),
        });
        layout = { group,
            pipeline: this.#device.createPipelineLayout({ bindGroupLayouts: [group] }) };
        this.#layouts.set(access, layout);
        return layout;
    }

    // null, or why it failed
    async #compile(program, code, constants) {
        const device = this.#device, label = program.label;
        device.pushErrorScope('validation');
        const module = device.createShaderModule({ label, code });
        const layout = this.#layout(program.access).pipeline;
        const [invalid, pipeline] = await Promise.allSettled([device.popErrorScope(),
            device.createComputePipelineAsync({ label, layout, compute: { module, constants } })]);
        const problem = pipeline.reason ?? invalid.reason ?? invalid.value;
        if (!problem) {
            program.pipeline = pipeline.value;
            return null;
        }
        const { messages } = await module.getCompilationInfo();
        const error = messages.find((m) => m.type === 'error');
        return error ? `${label}:${error.lineNum}:${error.linePos}: ${firstLine(error.message)}`
            : `${label}: ${firstLine(problem.message)}`;
    }

    _program_destroy(self, handle) { this.#programs[handle] = undefined; }

    // ---- lists

    _record_begin() { this.#recording = []; }

    _dispatch(self, program, bindings, count, dims, dimsBytes, x, y, z) {
        const wasm = this.#wasm;
        const ranges = [];
        for (let at = bindings; at < bindings + 24 * count; at += 24) {
            ranges.push([wasm.u32(at), wasm.u64(at + 8), wasm.u64(at + 16)]);
        }
        this.#recording.push({ program: this.#programs[program], ranges, x, y, z,
            dims: wasm.u8.slice(dims >>> 0, (dims >>> 0) + dimsBytes) });
    }

    // All dims go into one uniform buffer, equal ones into one slot; equal bind groups are one.
    _record_end(self, handle) {
        const device = this.#device;
        const dispatches = this.#recording;
        this.#recording = null;
        const slots = new Map();             // dims as text -> their place in the uniform
        for (const { dims } of dispatches) {
            const key = dims.join();
            if (!slots.has(key)) slots.set(key, { dims, offset: slots.size * DIMS_SLOT_BYTES });
        }
        const contents = new Uint8Array(Math.max(slots.size, 1) * DIMS_SLOT_BYTES);
        for (const { dims, offset } of slots.values()) contents.set(dims, offset);
        const uniform = device.createBuffer({ label: 'dims', size: contents.length,
            usage: UNIFORM | COPY_DST });
        device.queue.writeBuffer(uniform, 0, contents);

        const groups = new Map();
        const steps = dispatches.map(({ program, ranges, dims, x, y, z }) => {
            const { label, access, pipeline } = program;
            assert(pipeline, `${label} is not compiled`);
            const { offset } = slots.get(dims.join());
            const key = `${access} ${offset} ${ranges.join()}`;
            if (!groups.has(key)) {
                const resources = ranges.map(([buffer, start, size]) => (
                    { buffer: this.#buffers[buffer], offset: start, size }));
                resources.push({ buffer: uniform, offset, size: DIMS_SLOT_BYTES });
                groups.set(key, device.createBindGroup({ label, layout: this.#layout(access).group,
                    entries: resources.map((resource, binding) => ({ binding, resource })) }));
            }
            return { pipeline, group: groups.get(key), x, y, z, label, dims, ranges };
        });
        this.#lists[handle] = { uniform, steps };
        return 1;
    }

    _list_destroy(self, handle) {
        this.#lists[handle]?.uniform.destroy();
        this.#lists[handle] = undefined;
    }

    _submit(self, list, first, count, repeat, readback, done, user) {
        const device = this.#device, start = performance.now();
        const encoder = device.createCommandEncoder();
        this.#replay(encoder.beginComputePass(), this.#lists[list].steps, first, count, repeat);
        if (readback) {
            this.#submitAndRead(encoder, this.#readback(readback), done, user);
        } else {
            device.queue.submit([encoder.finish()]);
        }
        this.counters.encodeMs += performance.now() - start;
        if (readback || !done) return;
        const operation = this.#begin(done, user, true);
        device.queue.onSubmittedWorkDone().then(() => this.#end(operation, OK),
            (e) => this.#rejected(operation, e));
    }

    // Dispatches [first, first + count) of a list.
    #replay(pass, steps, first, count, repeat) {
        let current = null;
        for (let r = 0; r < repeat; r++) {
            for (let i = first; i < first + count; i++) {
                const { pipeline, group, x, y, z } = steps[i];
                if (pipeline !== current) pass.setPipeline(current = pipeline);
                pass.setBindGroup(0, group);
                pass.dispatchWorkgroups(x, y, z);
            }
        }
        pass.end();
        this.counters.submits++;
        this.counters.dispatches += repeat * count;
    }

    // Browsers round timestamps, to 0.1 ms in some: worth it for passes of milliseconds.
    _measure(self, list, repeat, ns, done, user) {
        const device = this.#device;
        const querySet = device.features.has('timestamp-query')
            ? device.createQuerySet({ type: 'timestamp', count: 2 }) : null;
        const stamps = device.createBuffer({ label: 'timestamps', size: 16,
            usage: QUERY_RESOLVE | COPY_SRC });
        const encoder = device.createCommandEncoder();
        const { steps } = this.#lists[list];
        this.#replay(encoder.beginComputePass(querySet ? { timestampWrites: { querySet,
            beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 } } : {}), steps, 0, steps.length,
            repeat);
        if (querySet) encoder.resolveQuerySet(querySet, 0, 2, stamps, 0);
        const start = performance.now();
        const receive = (mapped) => {
            const [first, last] = new BigUint64Array(mapped, 0, 2);
            this.#wasm.setF64(ns, querySet ? Number(last - first)
                : 1e6 * (performance.now() - start));
            querySet?.destroy();
            stamps.destroy();
        };
        this.#submitAndRead(encoder, { source: stamps, offset: 0, bytes: 16, receive }, done, user);
    }

    // One pass for each dispatch, with a timestamp at either end.
    _time(self, list, ns, done, user) {
        const device = this.#device;
        const { steps } = this.#lists[list];
        this.timed = steps.map(({ label, dims, ranges, x, y, z }) => (
            { label, dims: Array.from(new Uint32Array(dims.slice().buffer)),
                sizes: ranges.map(([, , size]) => size), grid: [x, y, z] }));
        const stamps = device.createBuffer({ label: 'timestamps', usage: QUERY_RESOLVE | COPY_SRC,
            size: Math.max(16 * steps.length, 16) });
        const encoder = device.createCommandEncoder();
        const querySets = [];
        for (let first = 0; first < steps.length; first += TIMED_PER_SET) {
            const timed = steps.slice(first, first + TIMED_PER_SET);
            const querySet = device.createQuerySet({ type: 'timestamp', count: 2 * timed.length });
            querySets.push(querySet);
            timed.forEach(({ pipeline, group, x, y, z }, i) => {
                const pass = encoder.beginComputePass({ timestampWrites: { querySet,
                    beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 } });
                pass.setPipeline(pipeline);
                pass.setBindGroup(0, group);
                pass.dispatchWorkgroups(x, y, z);
                pass.end();
            });
            encoder.resolveQuerySet(querySet, 0, 2 * timed.length, stamps, 16 * first);
        }
        const receive = (mapped) => {
            const times = new BigUint64Array(mapped);
            for (let i = 0; i < steps.length; i++) {
                this.#wasm.setF64(ns + 8 * i, Number(times[2 * i + 1] - times[2 * i]));
            }
            for (const querySet of querySets) querySet.destroy();
            stamps.destroy();
        };
        this.#submitAndRead(encoder, { source: stamps, offset: 0, bytes: stamps.size, receive },
            done, user);
    }
}
