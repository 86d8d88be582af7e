// bench.mjs - `doppler bench`: what decoding and reading a prompt cost (inference), and what each
// kernel costs (kernels), beside what the device gives a kernel that only reads or only multiplies.
//
// With --shape a kernel makes random weights at a real model's shape, and keys and values; nothing
// is read or downloaded.
import { readFile, writeFile } from 'node:fs/promises';
import { VARYING_FEATURES } from '../browser/gpu.js';
import { UsageError } from './args.mjs';
import { benchKernels } from './bench_kernels.mjs';
import { BenchEngine } from './bench_engine.mjs';
import { fixed, kernelsOf, printAgainst, printKernels } from './bench_print.mjs';
import { median, multiplyCeilings, PassTimer, Reader } from './bench_time.mjs';

const WARM_MS = 300;
const PROMPTS_MS = 5_000;
const LEAST_CONTEXT = 1024;
const PROFILED_TOKENS = 512;         // of a prompt: one step
const RANDOM_IDS = 2000;

// ---- the device

// What it gives, where it can be timed.
async function ceilings(engine) {
    const { gpu } = engine;
    if (!gpu?.device.features.has('timestamp-query')) return {};
    const timer = new PassTimer(gpu.device, engine.info.adapter.software);
    const reader = new Reader(gpu.device, timer);
    const found = { ...await multiplyCeilings(gpu.device, timer),
        readTBs: await reader.bandwidth() };
    reader.destroy();
    timer.destroy();
    return found;
}

// ---- inference

// Random ids, different each time, so that nothing is reused.
function promptOf(tokens, vocab) {
    return Array.from({ length: tokens },
        () => Math.floor(Math.random() * Math.min(vocab, RANDOM_IDS)));
}

/** Milliseconds to the first token behind prompts of so many; of long ones fewer. */
async function measurePrompt(engine, session, vocab, { prompt, rounds }) {
    const once = async (tokens) =>
        (await engine.generate(session, promptOf(tokens, vocab), 1)).timeToFirstToken;
    const start = performance.now();
    do {
        await once(Math.min(prompt, PROFILED_TOKENS));
    } while (performance.now() - start < WARM_MS);
    const times = [], began = performance.now();
    do {
        times.push(await once(prompt));
    } while (times.length < rounds && performance.now() - began < PROMPTS_MS);
    return { tokens: prompt, firstTokenMs: median(times), rounds: times.length };
}

/** Tokens a second behind so many, and what the host did for one. */
async function measureDecode(engine, session, vocab, { context, tokens, rounds }) {
    const generate = () => {
        const ids = promptOf(context, vocab);
        engine.hold(session, ids.slice(0, -1));
        return engine.generate(session, ids, tokens);
    };
    const start = performance.now();
    do { await generate(); } while (performance.now() - start < WARM_MS);
    const speeds = [];
    let perToken = null;
    for (let i = 0; i < rounds; i++) {
        const before = await engine.counters();
        const stats = await generate();
        const after = await engine.counters();
        if (stats.tokensPerSecond) speeds.push(stats.tokensPerSecond);
        perToken = after && Object.fromEntries(Object.keys(after).map((name) =>
            [name, (after[name] - before[name]) / Math.max(stats.tokens, 1)]));
    }
    return { context, tokensPerSecond: speeds.length ? median(speeds) : null, perToken };
}

function printDecode({ context, tokensPerSecond, perToken, bytes, ofReading }) {
    console.log(`\ncontext ${context}: decode ${fixed(tokensPerSecond, 1)} tokens/s`
        + (ofReading ? `, ${fixed(bytes / 1e9, 2)} GB a token, ${fixed(100 * ofReading, 0)} % of `
            + 'the speed of reading' : ''));
    if (perToken) console.log(`per token: ${fixed(perToken.dispatches, 1)} dispatches, `
        + `${fixed(perToken.submits, 2)} submits, ${fixed(perToken.objects, 2)} objects, `
        + `${fixed(perToken.readbackBytes, 1)} bytes read back, encoding `
        + `${fixed(perToken.encodeMs, 3)} ms`);
}

async function benchInference(engine, { model, vocab }, values, result) {
    const { contexts, prompts, tokens, rounds } = values;
    const session = await engine.session(model, { precision: values.precision, kv: values.kv,
        context: Math.max(...contexts.map((n) => n + tokens), ...prompts.map((n) => n + 1),
            LEAST_CONTEXT) });
    const { testMs, tuneMs, tested } = result.known = engine.known();
    const wrong = tested.filter(({ right }) => !right).map(({ kernel }) => kernel);
    console.log(`kernels: tested in ${fixed(testMs, 0)} ms, chosen in ${fixed(tuneMs, 0)} ms`
        + `${wrong.length ? `, wrong: ${[...new Set(wrong)].join(', ')}` : ''}`);
    result.decode = {};
    result.prompt = {};
    for (const context of contexts) {
        const step = await measureDecode(engine, session, vocab, { context, tokens, rounds });
        const rows = await kernelsOf(() => engine.profile(session, context, 1), 5);
        step.bytes = rows.reduce((sum, { bytes }) => sum + bytes, 0);
        if (result.readTBs && step.tokensPerSecond) {
            step.ofReading = step.bytes * step.tokensPerSecond / 1e12 / result.readTBs;
        }
        if (values.kernels !== 'no') {
            step.gpuUs = rows.reduce((sum, { us }) => sum + us, 0);
            step.kernels = rows;
        }
        result.decode[context] = step;
        printDecode(step);
        if (step.kernels) printKernels(`decode at ${context}, one pass a dispatch`, rows, result);
    }
    for (const prompt of prompts) {
        const step = await measurePrompt(engine, session, vocab, { prompt, rounds });
        result.prompt[prompt] = step;
        console.log(`\nprompt ${prompt}: first token after ${fixed(step.firstTokenMs, 2)} ms`);
        if (values.kernels !== 'all') continue;
        const last = Math.min(prompt, PROFILED_TOKENS);
        step.kernels = await kernelsOf(() => engine.profile(session, prompt - last, last), 3);
        printKernels(`${last} tokens up to ${prompt}, one pass a dispatch`, step.kernels, result);
    }
    await engine.closeSession(session);
}

// ---- the verb

async function bench(values) {
    const engine = await BenchEngine.open(values);
    try {
        const result = { date: new Date().toISOString(), what: values.WHAT,
            model: values.model ?? values.shape, adapter: engine.info.adapter,
            backend: engine.info.backend, precision: values.precision, without: values.without };
        Object.assign(result, await ceilings(engine));
        const loaded = values.model !== undefined ? await engine.load(values.model)
            : values.shape !== undefined ? await engine.shape(values) : null;
        const { description = '' } = result.adapter ?? {};
        console.log(`${result.model ?? 'matrices'} on ${result.backend} ${description}`
            + `, ${result.precision}`
            + `${values.without.length ? `, without ${values.without.join(', ')}` : ''}`
            + (result.readTBs ? `; reading ${fixed(result.readTBs, 2)} TB/s, f32 `
                + `${fixed(result.multiplyTFLOPs, 1)} TFLOP/s` : '')
            + (result.matrixTFLOPs ? `, matrices ${fixed(result.matrixTFLOPs, 1)}` : ''));
        const work = values.WHAT === 'kernels' ? benchKernels : benchInference;
        await work(engine, loaded, values, result);
        if (values.json) await writeFile(values.json, JSON.stringify(result, null, 1));
        if (values.against) {
            printAgainst(result, JSON.parse(await readFile(values.against, 'utf8')));
        }
    } finally {
        await engine.close();
    }
}

// "512,4096" as numbers
function counts(name, list) {
    const numbers = list === '' ? [] : list.split(',').map(Number);
    if (numbers.every((n) => Number.isInteger(n) && n > 0)) return numbers;
    throw new UsageError(`--${name} ${list}: wanted numbers, as 512,4096`);
}

// "q4_k:14336x4096,q6_k:4096x14336"
function matrices(list) {
    return list === '' ? [] : list.split(',').map((word) => {
        const [, format, rows, cols] = /^(\w+):(\d+)x(\d+)$/.exec(word) ?? [];
        if (!format) throw new UsageError(`--matrices ${word}: wanted FORMAT:ROWSxCOLS`);
        return { format, rows: Number(rows), cols: Number(cols) };
    });
}

// "core" is WGSL without any of what a page may not have.
function withoutOf(list) {
    if (list === 'core') return VARYING_FEATURES;
    const names = list === '' ? [] : list.split(',');
    const unknown = names.find((name) => !VARYING_FEATURES.includes(name));
    if (unknown === undefined) return names;
    throw new UsageError(`--without ${unknown}: wanted core or of ${VARYING_FEATURES.join(',')}`);
}

function check(values) {
    const models = (values.model !== undefined) + (values.shape !== undefined);
    const none = values.WHAT === 'kernels' && values.matrices !== '';
    if (models === 1 || (models === 0 && none)) return;
    throw new UsageError('one of --model DIR and --shape NAME');
}

/** The verb, as tools/args.mjs reads it. */
export const verb = {
    summary: 'Measures speed: inference, or kernels one by one.',
    operands: { WHAT: 'inference or kernels' },
    options: {
        model: { kind: 'text', metavar: 'DIR', help: 'an RDRR package' },
        shape: { kind: 'text', metavar: 'NAME', help: 'random weights at a model\'s shape, such as '
            + 'mistral-7b; doppler synth --help lists them' },
        layers: { kind: 'count', metavar: 'N', default: 0, min: 1, max: 1024,
            help: 'of --shape: only so many layers' },
        full: { kind: 'flag', help: 'of --shape: all layers see all positions' },
        quantize: { kind: ['q4_k_m', 'q8_0', 'mxfp4', 'bf16', 'f16', 'f32'], default: 'q4_k_m',
            help: 'of --shape: format of the matrices' },
        device: { kind: ['auto', 'cpu', 'gpu'], default: 'auto', help: 'where to run' },
        host: { kind: ['node'], default: 'node', help: 'this process, also for the CPU backend' },
        without: { kind: 'text', metavar: 'NAME,NAME', default: '', help: 'WebGPU features not to '
            + 'use; core: none at all' },
        tuning: { kind: ['kept', 'fresh', 'off'], default: 'kept', help: 'what an earlier run found '
            + 'out about kernels on this device counts; is asked again; or rules choose' },
        precision: { kind: ['fast', 'exact'], default: 'fast',
            help: 'fast permits kernels that round activations' },
        kv: { kind: ['f16', 'f32', 'q8_0'], default: 'f16', help: 'format of the KV cache' },
        context: { kind: 'text', metavar: 'N,N', default: '512',
            help: 'tokens in front of those decoded; default 512' },
        prompt: { kind: 'text', metavar: 'N,N', default: '512',
            help: 'tokens to read; default 512' },
        tokens: { short: 'n', kind: 'count', metavar: 'N', default: 128, min: 2, max: 65536,
            help: 'tokens to decode; default 128' },
        rounds: { kind: 'count', metavar: 'N', default: 3, min: 1, max: 100,
            help: 'whose median is told; default 3' },
        kernels: { kind: ['all', 'decode', 'no'], default: 'all',
            help: 'of inference: which steps to time dispatch by dispatch' },
        matrices: { kind: 'text', metavar: 'F:RxC,...', default: '',
            help: 'of kernels: projections, as q4_k:14336x4096, of every context\'s one token and '
            + 'every prompt\'s' },
        filter: { kind: 'text', metavar: 'TEXT', default: '',
            help: 'of kernels: only those with TEXT in name, format and shape' },
        json: { kind: 'text', metavar: 'FILE', help: 'write all figures there' },
        against: { kind: 'text', metavar: 'FILE', help: 'compare with an earlier --json' },
    },
    check,
    main: (values) => bench({ ...values, contexts: counts('context', values.context),
        prompts: counts('prompt', values.prompt), matrices: matrices(values.matrices),
        without: withoutOf(values.without) }),
};
