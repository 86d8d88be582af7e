// oracle.mjs - compares the engine, called as users call it, with what Hugging Face transformers
// computed for the same weights (golden.json + logits.f32 beside a checkpoint).
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { violations } from '../schema.mjs';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
export const shared = join(root, '..', 'shared');
export const fixtures = join(root, 'tests', 'fixtures', 'micro');
export const heldout = join(shared, 'vectors', 'heldout.txt');

// Options of the programs: where a model runs, and its cache.
export const cpu = ['--device', 'cpu'];
export const wasm = [...cpu, '--host', 'node'];
export const gpu = ['--device', 'gpu'];
export const f32 = ['--kv', 'f32'];
export const f16 = ['--kv', 'f16'];
const work = join(root, 'build', 'models');

export const within = (error, bound) => assert.ok(error <= bound, `largest error ${error}`);

export const near = (got, want, bound = 5e-4) =>
    assert.ok(Math.abs(got / want - 1) <= bound, `${got}, wanted ${want}`);

// Runs `./doppler VERB ...`; fails the test with the program's own words.
export function doppler(...args) {
    const r = spawnSync(process.execPath, [join(root, 'doppler'), ...args.map(String)],
        { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28 });
    if (r.status !== 0) throw new Error(`doppler ${args.join(' ')}: exit ${r.status}\n${r.stderr}`);
    return r.stdout;
}

// A package converted from a checkpoint, made once per build folder and checkpoint: elsewhere, then
// moved, as another process may want the same one. Of two, the one that is there first stays.
export function converted(checkpoint, name, quantize) {
    const out = join(work, `${name}-${quantize}`);
    const manifest = join(out, 'manifest.json');
    const program = join(root, 'build', 'doppler');
    const fresh = () =>
        existsSync(manifest) && statSync(manifest).mtimeMs > statSync(program).mtimeMs;
    if (fresh()) return out;
    const made = `${out}.${process.pid}`;
    mkdirSync(work, { recursive: true });
    rmSync(made, { recursive: true, force: true });
    doppler('convert', checkpoint, made, '--quantize', quantize, '--quiet');
    const wrong = violations(made);
    if (wrong.length) throw new Error(`${made}: ${wrong.join('\n')}`);
    if (!fresh()) rmSync(out, { recursive: true, force: true });
    try {
        renameSync(made, out);
    } catch (error) {
        if (!fresh()) throw error;
        rmSync(made, { recursive: true });
    }
    return out;
}

export function golden(checkpoint) {
    const g = JSON.parse(readFileSync(join(checkpoint, 'golden.json'), 'utf8'));
    const bytes = readFileSync(join(checkpoint, 'logits.f32'));
    const all = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    for (const p of g.prompts) {
        const [tokens, vocab] = p.logits_shape;
        p.logits = all.subarray(p.logits_offset, p.logits_offset + tokens * vocab);
    }
    return g;
}

// The golden of the longest prompt alone: one process, many windows.
export const longest = (g) => ({ ...g, prompts: [g.prompts.reduce((a, b) =>
    (b.ids.length > a.ids.length ? b : a))] });

// Largest |got - want| over the largest |want|; Infinity when anything is not finite.
export function relativeError(got, want) {
    if (got.length !== want.length) return Infinity;
    let worst = 0;
    let largest = 0;
    for (let i = 0; i < want.length; i++) {
        if (!Number.isFinite(got[i])) return Infinity;
        worst = Math.max(worst, Math.abs(got[i] - want[i]));
        largest = Math.max(largest, Math.abs(want[i]));
    }
    return worst / largest;
}

export function logits(pack, ids, ...options) {
    const out = join(work, `logits-${process.pid}.f32`);
    mkdirSync(work, { recursive: true });
    doppler('logits', pack, '--ids', ids.join(','), '--out', out, ...options);
    const bytes = readFileSync(out);
    return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}

// The printed RMS of every tensor of `doppler trace`, by name.
export function traceRms(pack, ids, ...options) {
    const out = doppler('trace', pack, '--ids', ids.join(','), ...options);
    return Object.fromEntries([...out.matchAll(/^(\S+) .* rms (\S+)/gm)]
        .map(([, name, rms]) => [name, Number(rms)]));
}

// The tensors of `doppler trace`, by name: { rows, cols, values }.
export function traceTensors(pack, ids, ...options) {
    const out = join(work, `trace-${process.pid}.safetensors`);
    doppler('trace', pack, '--ids', ids.join(','), '--out', out, ...options);
    const bytes = readFileSync(out);
    const data = 8 + Number(bytes.readBigUInt64LE(0));
    return Object.fromEntries(Object.entries(JSON.parse(bytes.toString('utf8', 8, data)))
        .map(([name, { shape: [rows, cols], data_offsets: [from, to] }]) => [name, { rows, cols,
            values: new Float32Array(bytes.buffer.slice(bytes.byteOffset + data + from,
                bytes.byteOffset + data + to)) }]));
}

// Largest relative difference from the golden's hidden_rms: after the embedding, after each layer
// but the last, after the final norm.
export function worstHiddenRms(pack, p, ...options) {
    const rms = traceRms(pack, p.ids, ...options);
    const layers = p.hidden_rms.length - 1;
    const got = p.hidden_rms.map((_, i) => (i === 0 ? rms.embedding
        : i === layers ? rms.final_norm : rms[`layers.${i - 1}.residual`]));
    return Math.max(...got.map((value, i) => Math.abs(value / p.hidden_rms[i] - 1)));
}

// Worst error over the golden's prompts (or the first `count` of them).
export function worstLogits(pack, g, options, count = g.prompts.length) {
    return Math.max(...g.prompts.slice(0, count)
        .map(p => relativeError(logits(pack, p.ids, ...options), p.logits)));
}

// Where greedy ids leave the golden's: -1 nowhere. A stop token that ends ours early is no
// departure when the golden has it at that place; stops: the model's stop ids.
export function departure(generated, want, stops) {
    for (let i = 0; i < want.length; i++) {
        if (generated[i] === want[i]) continue;
        return i === generated.length && stops.includes(want[i]) ? -1 : i;
    }
    return -1;
}

// Generates from each prompt's text. Returns a line per violation: wrong prompt ids, or a first
// departure where the golden's margin is above `margin`.
export function greedyViolations(pack, g, { tokens, margin, options, count = g.prompts.length }) {
    const stops = JSON.parse(readFileSync(join(pack, 'manifest.json'), 'utf8')).tokens.stop;
    const lines = [];
    for (const p of g.prompts.slice(0, count)) {
        const r = JSON.parse(doppler('run', pack, '-p', p.text, '-n', tokens, '--temp', 0, '--json',
            ...options));
        if (String(r.ids) !== String(p.ids)) {
            lines.push(`"${p.text.slice(0, 30)}": prompt ids ${r.ids}, golden ${p.ids}`);
            continue;
        }
        const at = departure(r.generated, p.greedy.slice(0, tokens), stops);
        if (at >= 0 && !(p.greedy_margin[at] <= margin))
            lines.push(`"${p.text.slice(0, 30)}": token ${at} is ${r.generated[at]}, golden `
                + `${p.greedy[at]} with margin ${p.greedy_margin[at]}`);
    }
    return lines;
}

// The last line of `doppler perplexity`.
export function perplexity(pack, text, chunks, ...options) {
    const out = doppler('perplexity', pack, text, '--chunk', 512,
        ...(chunks ? ['--chunks', chunks] : []), ...options);
    return Number(/perplexity (\S+)\s*$/.exec(out)[1]);
}

// What the golden says for the first `chunks` chunks (per_chunk holds each chunk's perplexity).
export function goldenPerplexity(g, chunks) {
    if (chunks === g.perplexity.chunks) return g.perplexity.value;
    const logs = g.perplexity.per_chunk.slice(0, chunks).map(Math.log);
    return Math.exp(logs.reduce((a, b) => a + b) / chunks);
}
