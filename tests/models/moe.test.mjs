// Mixtures of experts agree with Hugging Face: Mixtral, and GPT-OSS with its sinks, sliding layers,
// YaRN and MXFP4 experts. The micro checkpoints are fixtures; those of ../shared are skipped where
// it is absent.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { converted, cpu, f16, f32, fixtures, golden, goldenPerplexity, gpu, greedyViolations,
    heldout, logits, longest, near, perplexity, relativeError, shared, traceTensors, wasm, within,
    worstHiddenRms, worstLogits } from './oracle.mjs';

const margin = 0.02;                     // of logits, below which another token may be chosen
const closest = 1e-3;                    // of router logits, below which another expert may be

// Where f16 KV first changes a token's experts: its position, and the smallest gap between the last
// expert chosen and the first that is not, over the layers that changed there. Infinity: nowhere.
function firstChange(pack, ids, ...options) {
    const [wide, half] = [f32, f16].map((kv) => traceTensors(pack, ids, ...options, ...kv));
    const sets = ({ cols, values }, t) =>
        String([...values.subarray(t * cols, (t + 1) * cols)].sort((a, b) => a - b));
    const gap = (layer, t) => {
        const { cols, values } = wide[`layers.${layer}.router`];
        const used = wide[`layers.${layer}.experts`].cols;
        const sorted = values.slice(t * cols, (t + 1) * cols).sort((a, b) => b - a);
        return sorted[used - 1] - sorted[used];
    };
    const layers = Object.keys(wide).map((key) => /^layers\.(\d+)\.experts$/.exec(key)?.[1])
        .filter((layer) => layer !== undefined);
    for (let t = 0; t < ids.length; t++) {
        const changed = layers.filter((layer) => sets(wide[`layers.${layer}.experts`], t)
            !== sets(half[`layers.${layer}.experts`], t));
        if (changed.length) {
            return { position: t, gap: Math.min(...changed.map((layer) => gap(layer, t))) };
        }
    }
    return { position: Infinity, gap: 0 };
}

// Logits with f16 KV: within the bound up to the first token whose experts change, which may only
// do so where two were as good as equal.
function f16Agrees(pack, p, bound, ...options) {
    const { position, gap } = firstChange(pack, p.ids, ...options);
    assert.ok(gap < closest, `other experts at token ${position}, where they were ${gap} apart`);
    const rows = Math.min(position, p.ids.length);
    assert.ok(rows > 0, 'no token before the first change');
    const count = rows * p.logits_shape[1];
    within(relativeError(logits(pack, p.ids, ...options, ...f16).subarray(0, count),
        p.logits.subarray(0, count)), bound);
}

// GPT-OSS's random weights make more of f16's rounding than trained ones: 2.4e-3, not 2e-4.
for (const [name, f16Bound] of [['mixtral', 2e-3], ['gptoss', 4e-3]]) {
    const checkpoint = join(fixtures, name);
    const pack = converted(checkpoint, `micro-${name}`, 'keep');
    const g = golden(checkpoint);

    test(`micro ${name} logits, f32 KV, native CPU`, () => {
        within(worstLogits(pack, g, [...cpu, ...f32]), 1e-4);
    });
    test(`micro ${name} logits, f32 KV, wasm CPU and WebGPU`, () => {
        within(worstLogits(pack, longest(g), [...wasm, ...f32]), 1e-4);
        within(worstLogits(pack, longest(g), [...gpu, ...f32]), 1e-3);
    });
    test(`micro ${name} logits, f16 KV, native CPU and WebGPU`, () => {
        for (const p of g.prompts) f16Agrees(pack, p, f16Bound, ...cpu);
        f16Agrees(pack, longest(g).prompts[0], f16Bound, ...gpu);
    });
    test(`micro ${name} greedy tokens`, () => {
        assert.deepEqual(greedyViolations(pack, g, { tokens: 64, margin,
            options: [...cpu, ...f32] }), []);
        assert.deepEqual(greedyViolations(pack, g, { tokens: 16, margin, count: 1,
            options: [...gpu, ...f32] }), []);
    });
    test(`micro ${name} residuals, CPU`, () => {
        within(worstHiddenRms(pack, longest(g).prompts[0], ...cpu, ...f32), 1e-4);
    });
    test(`micro ${name} perplexity, native CPU`, () => {
        near(perplexity(pack, join(fixtures, 'text.txt'), 0, ...f32, ...cpu),
            goldenPerplexity(g, g.perplexity.chunks));
    });

    // Steps of one token take matvec and no tiles.
    const { ids } = longest(g).prompts[0];
    const long = Array.from({ length: 8 }, () => ids).flat();
    test(`micro ${name} read in steps of 1, 7, 64 and 512, native CPU`, () => {
        const want = logits(pack, long, ...cpu, ...f32, '--prefill', 1);
        for (const step of [7, 64, 512]) {
            const got = logits(pack, long, ...cpu, ...f32, '--prefill', step);
            within(relativeError(got, want), 1e-4);
        }
    });
    test(`micro ${name} read in steps of 1 and 7, WebGPU`, () => {
        const some = ids.slice(0, 20), want = logits(pack, some, ...cpu, ...f32);
        for (const step of [1, 7]) {
            const got = logits(pack, some, ...gpu, ...f32, '--prefill', step);
            within(relativeError(got, want), 1e-4);
        }
    });
}

for (const name of ['mixtral', 'gptoss']) {
    const checkpoint = join(shared, 'models', name);
    const skip = existsSync(checkpoint) ? false : `needs ../shared/models/${name}`;
    const long = skip || (process.env.LONG ? false : 'runs in make check');
    const pack = skip ? '' : converted(checkpoint, name, 'keep');
    const g = skip ? null : golden(checkpoint);

    test(`${name} logits, f32 KV, native CPU`, { skip }, () => {
        within(worstLogits(pack, g, [...cpu, ...f32]), 1e-4);
    });
    test(`${name} logits, f16 KV, native CPU`, { skip }, () => {
        if (name === 'mixtral') within(worstLogits(pack, g, [...cpu, ...f16]), 2e-3);
        else for (const p of g.prompts) f16Agrees(pack, p, 2e-3, ...cpu);
    });
    test(`${name} residuals, CPU`, { skip }, () => {
        for (const p of g.prompts) within(worstHiddenRms(pack, p, ...cpu, ...f32), 1e-4);
    });
    test(`${name} logits, WebGPU`, { skip }, () => {
        within(worstLogits(pack, longest(g), [...gpu, ...f32]), 1e-3);
    });
    test(`${name} greedy tokens`, { skip }, () => {
        assert.deepEqual(greedyViolations(pack, g, { tokens: 64, margin,
            options: [...cpu, ...f32] }), []);
        assert.deepEqual(greedyViolations(pack, g, { tokens: 16, margin, count: 1,
            options: [...gpu, ...f32] }), []);
    });
    const compared = (chunks) => {
        const wide = perplexity(pack, heldout, chunks, ...f32, ...cpu);
        near(wide, goldenPerplexity(g, chunks));
        near(perplexity(pack, heldout, chunks, ...f16, ...cpu), wide, 1e-3);
    };
    test(`${name} perplexity of two chunks, native CPU`, { skip }, () => compared(2));
    test(`${name} perplexity of 16 chunks, native CPU`, { skip: long }, () => compared(16));

    test(`${name} read in steps of 1, 7, 64 and 512, native CPU`, { skip }, () => {
        const ids = Array.from({ length: 520 }, (_, i) => longest(g).prompts[0].ids[i % 60]);
        const want = logits(pack, ids, ...cpu, ...f32, '--prefill', 1);
        for (const step of [7, 64, 512])
            within(relativeError(logits(pack, ids, ...cpu, ...f32, '--prefill', step), want), 1e-4);
    });
    // In f32 the experts of a layer exceed 1 MiB: slabs of whole experts.
    test(`${name} in f32 on small devices`, { skip }, () => {
        const wide = converted(checkpoint, name, 'f32');
        const { ids } = longest(g).prompts[0];
        const want = logits(wide, ids, ...cpu, ...f32, '--context', 512);
        const small = ['--context', 512, '--limits'];
        for (const limits of ['default', '1MiB']) {
            within(relativeError(logits(wide, ids, ...cpu, ...f32, ...small, limits), want), 1e-6);
        }
        within(relativeError(logits(wide, ids, ...gpu, ...f32, ...small, '1MiB'), want), 1e-4);
    });
}

// What a GGUF file holds, kept as it is, equals its weights dequantized.
for (const [name, family, bound] of [['mixtral-Q4_K_M', 'mixtral', 0.25],
    ['gptoss-MXFP4', 'gptoss', 0.05]]) {
    const file = join(shared, 'gguf', `${name}.gguf`);
    const skip = existsSync(file) ? false : `needs ../shared/gguf/${name}.gguf`;
    test(`${name}.gguf equals its dequantized weights, native CPU`, { skip }, () => {
        const p = longest(golden(join(shared, 'models', family))).prompts[0];
        const [kept, wide] = ['keep', 'f32'].map((format) =>
            logits(converted(file, name, format), p.ids, ...cpu, ...f32));
        within(relativeError(kept, wide), 1e-5);
        within(relativeError(kept, p.logits), bound);      // fewer bits, but the same model
    });
}
