// The shipped micro model agrees with Hugging Face on every backend.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { converted, golden, goldenPerplexity, greedyViolations, perplexity, root, worstLogits }
    from './oracle.mjs';

const checkpoint = join(root, 'tests', 'fixtures', 'micro', 'llama3');
const pack = converted(checkpoint, 'micro-llama3', 'keep');
const g = golden(checkpoint);

const backends = [
    { name: 'native CPU', options: ['--device', 'cpu'], f32: 1e-4, f16: 2e-3 },
    { name: 'wasm CPU', options: ['--device', 'cpu', '--host', 'node'], f32: 1e-4, f16: 2e-3 },
    { name: 'WebGPU', options: ['--device', 'gpu'], f32: 1e-3, f16: 2e-3 },
];

for (const b of backends) {
    test(`micro llama3 logits, f32 KV, ${b.name}`, () => {
        const error = worstLogits(pack, g, [...b.options, '--kv', 'f32']);
        assert.ok(error <= b.f32, `largest error ${error}`);
    });
    test(`micro llama3 logits, f16 KV, ${b.name}`, () => {
        const error = worstLogits(pack, g, [...b.options, '--kv', 'f16'], 1);
        assert.ok(error <= b.f16, `largest error ${error}`);
    });
    test(`micro llama3 greedy tokens, ${b.name}`, () => {
        assert.deepEqual(greedyViolations(pack, g, { tokens: 64, margin: 0.02,
            options: [...b.options, '--kv', 'f32'] }), []);
    });
}

test('micro llama3 perplexity, native CPU', () => {
    const want = goldenPerplexity(g, g.perplexity.chunks);
    const got = perplexity(pack, join(root, 'tests', 'fixtures', 'micro', 'text.txt'), 0,
        '--kv', 'f32', '--device', 'cpu');
    assert.ok(Math.abs(got / want - 1) <= 5e-4, `${got}, golden ${want}`);
});
