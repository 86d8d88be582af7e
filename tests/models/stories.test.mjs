// stories in bf16 against Hugging Face. The checkpoint is not part of the project: skipped where
// ../shared is absent. LONG=1 (make check) adds what takes minutes.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { converted, golden, goldenPerplexity, greedyViolations, perplexity, shared, worstLogits }
    from './oracle.mjs';

const checkpoint = join(shared, 'models', 'stories');
const skip = existsSync(checkpoint) ? false : 'needs ../shared/models/stories';
const long = process.env.LONG ? false : 'runs in make check';
const heldout = join(shared, 'vectors', 'heldout.txt');
const cpu = ['--device', 'cpu'];
const gpu = ['--device', 'gpu'];
const pack = skip ? '' : converted(checkpoint, 'stories', 'bf16');
const g = skip ? null : golden(checkpoint);

const within = (got, want, bound) => assert.ok(Math.abs(got / want - 1) <= bound,
    `${got}, wanted ${want} +- ${bound * 100} %`);

for (const [name, options, bound, count] of [
    ['f32 KV, native CPU', [...cpu, '--kv', 'f32'], 1e-4, 5],
    ['f16 KV, native CPU', [...cpu, '--kv', 'f16'], 1e-3, 5],
    ['f16 KV, wasm CPU', [...cpu, '--host', 'node', '--kv', 'f16'], 1e-3, 5],
    ['f16 KV, WebGPU', [...gpu, '--kv', 'f16'], 1e-3, long ? 1 : 5],
])
    test(`stories bf16 logits, ${name}`, { skip }, () => {
        const error = worstLogits(pack, g, options, count);
        assert.ok(error <= bound, `largest error ${error}`);
    });

test('stories bf16 greedy tokens, native CPU', { skip }, () => {
    assert.deepEqual(greedyViolations(pack, g, { tokens: 64, margin: 0.01, options: cpu }), []);
});

test('stories bf16 greedy tokens, WebGPU', { skip }, () => {
    assert.deepEqual(
        greedyViolations(pack, g, { tokens: long ? 8 : 16, margin: 0.01, options: gpu,
            count: long ? 1 : 2 }), []);
});

test('stories bf16 perplexity of two chunks, native CPU', { skip }, () => {
    within(perplexity(pack, heldout, 2, ...cpu), goldenPerplexity(g, 2), 5e-4);
});

test('stories bf16 perplexity of 16 chunks, native CPU', { skip: skip || long }, () => {
    within(perplexity(pack, heldout, 16, ...cpu), g.perplexity.value, 5e-4);
});

test('stories bf16 perplexity of all of the text, native CPU', { skip: skip || long }, () => {
    within(perplexity(pack, heldout, 0, ...cpu), 20.398, 1e-3);
});

test('stories bf16 perplexity of one chunk, WebGPU equals CPU', { skip: skip || long }, () => {
    within(perplexity(pack, heldout, 1, ...gpu), perplexity(pack, heldout, 1, ...cpu), 5e-4);
});
