// bench.mjs - `doppler bench`: what decoding and reading a prompt cost, and which kernels cost it,
// beside what the device gives a kernel that only reads.
//
// Clocks are warmed up by unmeasured work; figures are medians. With --shape the weights are
// random and need no download.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Doppler, DopplerError } from '../browser/doppler.js';
import { openDevice } from '../browser/gpu.js';

const NATIVE = fileURLToPath(new URL('../build/doppler', import.meta.url));
const MEMORY = '/dev/shm';
const READ_BYTES = 1 << 30;
const WARM_MS = 300;
const LINEAR_ACT = 4;                // of gpu/dims.h

const median = (values) => {
    const sorted = Float64Array.from(values).sort();
    return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
};

// ---- what the device gives

const READ_KERNEL = `
@group(0) @binding(0) var<storage, read> w: array<vec4u>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) t: u32) {
    let share = arrayLength(&w) / groups.x;
    let first = group.x * share + t;
    var all = vec4u();
    for (var i = 0u; i < share; i += 1024u) {
        all ^= w[first + i] ^ w[first + i + 256u] ^ w[first + i + 512u] ^ w[first + i + 768u];
    }
    if ((all.x ^ all.y ^ all.z ^ all.w) == 0x12345678u) { y[group.x] = 1u; }
}`;

/** TB/s of a kernel that reads a buffer and does nothing else; null without timestamps. */
async function readCeiling(force) {
    const { device, adapter: { software } } = await openDevice({ force, timing: true });
    if (!device.features.has('timestamp-query')) return device.destroy() ?? null;
    const { maxStorageBufferBindingSize, maxBufferSize } = device.limits;
    const bytes = Math.min(READ_BYTES, software ? READ_BYTES / 64 : READ_BYTES,
        maxStorageBufferBindingSize, maxBufferSize) >>> 24 << 24;
    const STORAGE = 0x80, MAP_READ = 1, COPY_SRC = 4, COPY_DST = 8, RESOLVE = 0x200, rounds = 15;
    const w = device.createBuffer({ size: bytes, usage: STORAGE });
    const y = device.createBuffer({ size: 4096 * 4, usage: STORAGE });
    const pipeline = device.createComputePipeline({ layout: 'auto',
        compute: { module: device.createShaderModule({ code: READ_KERNEL }) } });
    const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries:
        [w, y].map((buffer, binding) => ({ binding, resource: { buffer } })) });
    const querySet = device.createQuerySet({ type: 'timestamp', count: 2 * rounds });
    const stamps = device.createBuffer({ size: 16 * rounds, usage: RESOLVE | COPY_SRC });
    const mapped = device.createBuffer({ size: 16 * rounds, usage: MAP_READ | COPY_DST });
    const encoder = device.createCommandEncoder();
    for (let i = 0; i < rounds; i++) {
        const pass = encoder.beginComputePass({ timestampWrites: { querySet,
            beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 } });
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, group);
        pass.dispatchWorkgroups(1024);
        pass.end();
    }
    encoder.resolveQuerySet(querySet, 0, 2 * rounds, stamps, 0);
    encoder.copyBufferToBuffer(stamps, 0, mapped, 0, 16 * rounds);
    device.queue.submit([encoder.finish()]);
    await mapped.mapAsync(MAP_READ);
    const ticks = new BigUint64Array(mapped.getMappedRange());
    const ns = Array.from({ length: rounds }, (_, i) => Number(ticks[2 * i + 1] - ticks[2 * i]));
    device.destroy();
    return bytes / median(ns.slice(5)) / 1000;
}

// ---- kernels of a step

// Bytes of weights and multiplications of a dispatch, of the kernels whose work these are.
function work({ label, dims, sizes }) {
    const kernel = label.split(' ')[0];
    if (!/^(matvec|matmul|linear)/.test(kernel)) {
        return { shape: '', bytes: 0, flops: 0 };
    }
    const tokens = kernel.startsWith('linear') ? 1 : dims[2];
    const rows = dims[0] * (kernel.startsWith('linear') && dims[8] & LINEAR_ACT ? 2 : 1);
    return { shape: `${rows}x${dims[1]}`, bytes: sizes[0], flops: 2 * rows * dims[1] * tokens };
}

/** Median times of a step's dispatches, those of one kind and shape together: descending. */
async function kernelsOf(session, step, rounds) {
    const times = [];
    for (let i = 0; i < rounds + 2; i++) times.push(await session.profile(step));
    times.splice(0, 2);
    const kinds = new Map();
    for (const [i, dispatch] of times[0].entries()) {
        const ns = median(times.map((round) => round[i].ns));
        const { label = 'a kernel' } = dispatch;
        const { shape, bytes, flops } = work({ ...dispatch, label });
        const key = `${label} ${shape} ${dispatch.grid}`;
        const kind = kinds.get(key) ?? { kernel: label, shape, grid: dispatch.grid,
            count: 0, us: 0, bytes: 0, flops: 0 };
        kind.count++;
        kind.us += ns / 1000;
        kind.bytes += bytes;
        kind.flops += flops;
        kinds.set(key, kind);
    }
    return [...kinds.values()].sort((a, b) => b.us - a.us);
}

// ---- steps of a session

// Random ids, different each time, so that nothing is reused.
function promptOf(tokens, vocab) {
    return Array.from({ length: tokens }, () => Math.floor(Math.random() * Math.min(vocab, 2000)));
}

async function generate(session, prompt, tokens) {
    const tale = session.generate(prompt, { maxTokens: tokens, bos: false });
    while (!(await tale.next()).done) continue;
    return tale.stats;
}

/** Milliseconds to the first token, tokens a second behind it, and what the host did for one. */
async function measure(doppler, session, vocab, { prompt, tokens, rounds }) {
    const start = performance.now();
    do { await generate(session, promptOf(prompt, vocab), 8); }
    while (performance.now() - start < WARM_MS);
    const first = [], decode = [];
    let host = null;
    for (let i = 0; i < rounds; i++) {
        const before = await doppler.counters();
        const stats = await generate(session, promptOf(prompt, vocab), tokens);
        const after = await doppler.counters();
        first.push(stats.timeToFirstToken);
        if (stats.tokensPerSecond) decode.push(stats.tokensPerSecond);
        host = after && Object.fromEntries(Object.keys(after).map((name) =>
            [name, (after[name] - before[name]) / Math.max(stats.tokens, 1)]));
    }
    return { promptTokens: prompt, firstTokenMs: median(first),
        tokensPerSecond: decode.length ? median(decode) : null, perToken: host };
}

// ---- output

const fixed = (value, digits) => (value === null ? '-' : value.toFixed(digits));

function printKernels(title, kernels, ceiling, divisor) {
    const total = kernels.reduce((sum, { us }) => sum + us, 0);
    console.log(`\n${title}: ${fixed(total / divisor, 1)} us on the GPU, one pass a dispatch`);
    console.log('kernel                    shape          n       us  us each     %    TB/s'
        + '  TFLOP/s');
    for (const { kernel, shape, count, us, bytes, flops } of kernels) {
        const speed = bytes / us / 1e6;
        console.log(`${kernel.padEnd(25)} ${shape.padEnd(13)} ${String(count).padStart(3)}`
            + `${fixed(us, 1).padStart(9)}${fixed(us / count, 2).padStart(9)}`
            + `${fixed(100 * us / total, 1).padStart(6)}`
            + `${(bytes ? fixed(speed, 2) : '').padStart(8)}`
            + `${(flops ? fixed(flops / us / 1e6, 1) : '').padStart(9)}`
            + `${bytes && ceiling ? ` ${fixed(100 * speed / ceiling, 0)} % of reading` : ''}`);
    }
}

function printAgainst(result, old) {
    console.log('\nagainst the older run');
    for (const [name, now] of Object.entries(result.steps)) {
        const then = old.steps?.[name];
        if (!then) continue;
        for (const field of ['tokensPerSecond', 'firstTokenMs', 'gpuUs']) {
            if (!now[field] || !then[field]) continue;
            console.log(`${name} ${field}: ${fixed(then[field], 2)} -> ${fixed(now[field], 2)} `
                + `(${fixed(100 * (now[field] / then[field] - 1), 1)} %)`);
        }
    }
}

// ---- the verb

// Random weights at a shape, in memory where the system keeps files there.
function synthesize({ shape, layers, quantize }) {
    const folder = mkdtempSync(`${existsSync(MEMORY) ? MEMORY : tmpdir()}/doppler-bench-`);
    const package_ = `${folder}/package`;
    const { status } = spawnSync(NATIVE, ['synth', shape, package_, '--format', 'rdrr', '--quiet',
        '--quantize', quantize, ...(layers ? ['--layers', String(layers)] : [])],
    { stdio: 'inherit' });
    if (status !== 0) {
        rmSync(folder, { recursive: true, force: true });
        throw new DopplerError('BAD_ARGUMENT', `no weights at the shape of ${shape}`);
    }
    return { folder, package_ };
}

async function inference(values, directory) {
    const doppler = await Doppler.open({ device: values.device, timing: true });
    try {
        const model = await doppler.load(directory);
        const result = { date: new Date().toISOString(), model: values.model ?? values.shape,
            adapter: doppler.info.adapter, backend: doppler.info.backend,
            precision: values.precision, steps: {} };
        const ceiling = result.backend === 'webgpu' ? await readCeiling(true) : null;
        result.readTBs = ceiling;
        const needed = Math.max(...values.contexts) + values.tokens + 8;
        const session = model.session({ context: Math.max(needed, 1024),
            precision: values.precision, kv: values.kv });
        await session.ready;
        const { description = '' } = doppler.info.adapter ?? {};
        console.log(`${result.model} on ${result.backend} ${description}`
            + `, ${values.precision}; reading ${fixed(ceiling, 2)} TB/s`);
        for (const context of values.contexts) {
            const step = await measure(doppler, session, model.vocab,
                { prompt: context, tokens: values.tokens, rounds: values.rounds });
            result.steps[`context ${context}`] = step;
            const host = step.perToken;
            console.log(`\ncontext ${context}: first token after `
                + `${fixed(step.firstTokenMs, 2)} ms, decode ${fixed(step.tokensPerSecond, 1)} tokens/s`);
            if (host) console.log(`per token: ${fixed(host.dispatches, 1)} dispatches, `
                + `${fixed(host.submits, 2)} submits, ${fixed(host.objects, 2)} objects, `
                + `${fixed(host.readbackBytes, 1)} bytes read back, encoding `
                + `${fixed(host.encodeMs, 3)} ms`);
            if (values.kernels === 'no') continue;
            const decode = await kernelsOf(session, { position: context, tokens: 1 }, 5);
            step.decode = decode;
            step.gpuUs = decode.reduce((sum, { us }) => sum + us, 0);
            printKernels(`decode at ${context}`, decode, ceiling, 1);
            if (values.kernels === 'decode') continue;
            const tokens = Math.min(context, 512);
            step.prefill = await kernelsOf(session, { position: context - tokens, tokens }, 3);
            printKernels(`${tokens} tokens up to ${context}`, step.prefill, ceiling, 1);
        }
        if (values.json) await writeFile(values.json, JSON.stringify(result, null, 1));
        if (values.against) {
            printAgainst(result, JSON.parse(await readFile(values.against, 'utf8')));
        }
    } finally {
        await doppler.close();
    }
}

/** The verb, as tools/args.mjs reads it. */
export const verb = {
    summary: 'Measures speed: inference and its kernels.',
    operands: { WHAT: 'inference' },
    options: {
        model: { kind: 'text', metavar: 'DIR', help: 'an RDRR package' },
        shape: { kind: 'text', metavar: 'NAME', help: 'random weights at a model\'s shape' },
        layers: { kind: 'count', metavar: 'N', min: 1, max: 1024,
            help: 'of --shape: only so many layers' },
        quantize: { kind: ['q4_k_m', 'q8_0', 'mxfp4', 'bf16', 'f16', 'f32'], default: 'q4_k_m',
            help: 'of --shape: format of the matrices' },
        device: { kind: ['auto', 'cpu', 'gpu'], default: 'auto', help: 'where to run' },
        host: { kind: ['node'], default: 'node', help: 'this process, also for the CPU backend' },
        precision: { kind: ['fast', 'exact'], default: 'fast',
            help: 'fast permits kernels that round activations' },
        kv: { kind: ['f16', 'f32', 'q8_0'], default: 'f16', help: 'format of the KV cache' },
        context: { kind: 'text', metavar: 'N,N', default: '512',
            help: 'tokens of the prompt; default 512' },
        tokens: { short: 'n', kind: 'count', metavar: 'N', default: 128, min: 2, max: 65536,
            help: 'tokens to decode behind each; default 128' },
        rounds: { kind: 'count', metavar: 'N', default: 3, min: 1, max: 100,
            help: 'whose median is told; default 3' },
        kernels: { kind: ['all', 'decode', 'no'], default: 'all',
            help: 'which steps to time kernel by kernel' },
        json: { kind: 'text', metavar: 'FILE', help: 'write all figures there' },
        against: { kind: 'text', metavar: 'FILE', help: 'compare with an earlier --json' },
    },
    main: async (values) => {
        const contexts = values.context.split(',').map(Number);
        const one = (values.model === undefined) !== (values.shape === undefined);
        if (values.WHAT !== 'inference' || !one
            || !contexts.every((n) => Number.isInteger(n) && n > 0)) {
            throw new DopplerError('BAD_ARGUMENT',
                'doppler bench inference --model DIR or --shape NAME; --context 512,4096');
        }
        const made = values.shape === undefined ? null : synthesize(values);
        try {
            await inference({ ...values, contexts }, made?.package_ ?? values.model);
        } finally {
            if (made) rmSync(made.folder, { recursive: true, force: true });
        }
    },
};
