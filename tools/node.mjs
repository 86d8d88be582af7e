// node.mjs - `doppler run`, `logits` and `perplexity` over WebGPU in Node (npm webgpu), with the
// options and the output of the native verbs (tools/cmd_*.c).
import { readFile, writeFile } from 'node:fs/promises';
import { Doppler, DopplerError } from '../browser/doppler.js';
import { UsageError } from './args.mjs';
import { chat } from './chat.mjs';

/** Options of the verbs that run a model. */
export const hostOptions = {
    device: { kind: ['auto', 'cpu', 'gpu'], default: 'auto',
        help: 'where to run; auto: a GPU if there is a real one' },
    host: { kind: ['auto', 'node'], default: 'auto',
        help: 'node: the CPU backend as WebAssembly, not the native program' },
    kv: { kind: ['f16', 'f32', 'q8_0'], default: 'f16', help: 'format of the KV cache' },
    precision: { kind: ['exact', 'fast'], default: 'exact',
        help: 'fast permits kernels that round activations' },
    context: { kind: 'count', metavar: 'TOKENS', min: 1, max: 16777216,
        help: 'KV capacity; default: the model\'s, at most 8192' },
    prefill: { kind: 'count', metavar: 'TOKENS', min: 1, max: 16777216,
        help: 'most tokens of one step while reading, default 512' },
    limits: { kind: ['device', 'default', '1MiB'], default: 'device',
        help: 'plan as for a device of WebGPU\'s default limits, or of 1 MiB bindings' },
};

/** Opens the package, gives it to work(model, session, host), closes everything. */
export async function withModel(values, work) {
    const start = performance.now();
    const doppler = await Doppler.open({ device: values.device, limits: values.limits });
    try {
        const options = { kv: values.kv, precision: values.precision, context: values.context,
            chunk: values.prefill };
        const model = await doppler.load(values.DIR,
            values.tellMemory ? { session: options, onPlan: tellMemory } : {});
        const session = model.session(options);
        await session.ready;
        const loadMs = performance.now() - start;
        return await work(model, session, { loadMs, info: doppler.info });
    } finally {
        await doppler.close();
    }
}

// "17.0 MB", as tools/progress.c writes it.
function bytesText(bytes) {
    const units = ['bytes', 'kB', 'MB', 'GB', 'TB'];
    let unit = 0, value = bytes;
    for (; value >= 999.5 && unit + 1 < units.length; unit++) value /= 1000;
    return `${value.toFixed(unit && value < 99.95 ? 1 : 0)} ${units[unit]}`;
}

function tellMemory({ weights, kv, checkpoints, work }) {
    process.stderr.write(`memory: ${bytesText(weights)} weights, ${bytesText(kv)} KV cache, `
        + `${bytesText(checkpoints)} checkpoints, ${bytesText(work)} work\n`);
}

function backendName({ backend, adapter }) {
    if (backend === 'cpu') return 'cpu backend (wasm)';
    const { vendor, device, description, software } = adapter;
    const names = [device || vendor, description, software && 'software'].filter(Boolean);
    return `webgpu backend (${names.join(', ')})`;
}

// ---- run

// What --chat goes with.
function checkChat(values) {
    const wrong = values.chat ? ['ids', 'special', 'no-bos'] : ['system', 'tools'];
    const name = wrong.find((option) => values[option] !== undefined);
    if (name) throw new UsageError(`--${name} ${values.chat ? 'not with' : 'needs'} --chat`);
}

const run = {
    summary: 'Generates text from a package.',
    operands: { DIR: 'an RDRR package' },
    options: {
        prompt: { short: 'p', kind: 'text', metavar: 'PROMPT', help: 'the text to go on from' },
        ids: { kind: 'text', metavar: '1,2,3', help: 'token ids to go on from, instead of a text' },
        chat: { kind: 'flag', help: 'PROMPT is a message of a conversation; without -p each line '
            + 'of stdin is one' },
        system: { kind: 'text', metavar: 'TEXT', help: 'the conversation\'s system message' },
        tools: { kind: 'text', metavar: 'FILE', help: 'JSON: the list of tools offered' },
        tokens: { short: 'n', kind: 'count', metavar: 'N', min: 0, max: 2 ** 24,
            help: 'most tokens to generate; default 64, with --chat no limit' },
        temp: { short: 't', kind: 'real', metavar: 'T', default: 0, min: 0, max: 1e6,
            help: 'temperature; default 0: greedy' },
        'top-k': { kind: 'count', metavar: 'K', min: 0, max: 2 ** 24,
            help: 'sample among the K most probable' },
        'top-p': { kind: 'real', metavar: 'P', min: 0, max: 1,
            help: 'the fewest whose probabilities sum to P' },
        'min-p': { kind: 'real', metavar: 'P', min: 0, max: 1,
            help: 'those at least P times the best\'s' },
        'repetition-penalty': { kind: 'real', metavar: 'R', min: 0, max: 1e6,
            help: 'divides logits of tokens seen; 1: none' },
        'presence-penalty': { kind: 'real', metavar: 'R', min: -1e6, max: 1e6,
            help: 'lowers logits of tokens seen; 0: none' },
        seed: { short: 's', kind: 'seed', metavar: 'N', default: 0n,
            help: 'of the sampler; same seed, same text' },
        stop: { kind: 'texts', metavar: 'TEXT',
            help: 'ends the text before it; may be given again' },
        'no-bos': { kind: 'flag', help: 'no begin-of-text token before the prompt' },
        special: { kind: 'flag', help: 'special tokens in the prompt count as such' },
        json: { kind: 'flag', help: 'print ids, text and timings as JSON' },
        ...hostOptions,
        precision: { ...hostOptions.precision, default: 'fast' },
    },
    check: checkChat,
    main: (values) => withModel({ ...values, tellMemory: !values.json && !values.chat },
        async (model, session, { loadMs, info }) => {
        const options = { maxTokens: values.tokens ?? (values.chat ? Infinity : 64),
            temperature: values.temp, topK: values['top-k'], topP: values['top-p'],
            minP: values['min-p'], repetitionPenalty: values['repetition-penalty'],
            presencePenalty: values['presence-penalty'], seed: values.seed, stop: values.stop };
        if (values.chat) return chat(session, values, options, { loadMs, info });
        const prompt = values.ids === undefined ? values.prompt ?? '' : idsOf(values.ids);
        const tale = session.generate(prompt,
            { ...options, special: values.special, bos: !values['no-bos'] });
        let text = '';
        for await (const piece of tale) {
            text += piece;
            if (!values.json) process.stdout.write(piece);
        }
        const { stop, promptTokens, tokens, timeToFirstToken, tokensPerSecond,
            duration } = tale.stats;
        const firstMs = timeToFirstToken ?? 0;
        if (stop === 'context') {
            process.stderr.write('\ndoppler run: the context of '
                + `${session.context} tokens is full\n`);
        }
        if (values.json) {
            console.log(JSON.stringify({ ids: tale.promptIds, generated: tale.ids, text,
                backend: info.backend, adapter: info.adapter, load_ms: loadMs,
                first_token_ms: firstMs, decode_ms: duration - firstMs }));
        } else {
            process.stderr.write(`\n${backendName(info)}: loaded in ${loadMs.toFixed(0)} ms; `
                + `${promptTokens} prompt tokens, first token after ${firstMs.toFixed(0)} ms; `
                + `${tokens} tokens, ${(tokensPerSecond ?? 0).toFixed(1)} tokens/s\n`);
        }
    }),
};

// ---- logits

/** "1,2,3" to numbers. */
export function idsOf(list) {
    return list.split(',').map((word) => {
        if (/^\d+$/.test(word) && Number(word) < 2 ** 32) return Number(word);
        throw new DopplerError('BAD_ARGUMENT', `--ids: "${word.slice(0, 20)}" is not a token id`);
    });
}

const logits = {
    summary: 'Writes the logits of every position.',
    operands: { DIR: 'an RDRR package' },
    options: {
        ids: { kind: 'text', metavar: '1,2,3', required: true, help: 'token ids' },
        out: { short: 'o', kind: 'text', metavar: 'FILE', required: true,
            help: 'raw little-endian f32 [tokens, vocab]' },
        ...hostOptions,
    },
    main: (values) => withModel(values, async (model, session) => {
        const ids = idsOf(values.ids);
        await writeFile(values.out, await session.logits(ids));
        process.stderr.write(`${values.out}: [${ids.length}, ${model.vocab}] f32\n`);
    }),
};

// ---- perplexity

const perplexity = {
    summary: 'Measures how well a model predicts a text.',
    operands: { DIR: 'an RDRR package', TEXT: 'a UTF-8 file' },
    options: {
        chunk: { kind: 'count', metavar: 'TOKENS', default: 512, min: 2, max: 2 ** 24,
            help: 'length of a chunk; default 512' },
        chunks: { kind: 'count', metavar: 'N', default: Infinity, min: 1, max: 1e9,
            help: 'only the first N chunks' },
        ...hostOptions,
    },
    main: async (values) => {
        const text = await readFile(values.TEXT, 'utf8');
        await withModel({ context: values.chunk, ...defined(values) }, async (model, session) => {
            const ids = await model.tokenize(text);
            if (ids.length < 2) {
                throw new DopplerError('BAD_ARGUMENT', `the text has ${ids.length} tokens`);
            }
            const chunks = Array.from({ length: Math.ceil(ids.length / values.chunk) },
                (_, i) => ids.subarray(i * values.chunk, (i + 1) * values.chunk))
                .filter((chunk) => chunk.length > 1).slice(0, values.chunks);
            let sum = 0, tokens = 0;
            for (const [i, chunk] of chunks.entries()) {
                for (const nll of await session.score(chunk)) sum += nll;
                tokens += chunk.length - 1;
                process.stderr.write(`chunk ${i + 1}/${chunks.length}: perplexity so far `
                    + `${Math.exp(sum / tokens).toFixed(4)}\n`);
            }
            console.log(`${tokens} tokens\nperplexity ${Math.exp(sum / tokens).toFixed(6)}`);
        });
    },
};

const defined = (values) => Object.fromEntries(
    Object.entries(values).filter(([, value]) => value !== undefined));

/** The verbs, by name: the tables of parse(), with `main`. */
export const verbs = { run, logits, perplexity };
