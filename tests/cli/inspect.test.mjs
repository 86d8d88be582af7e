// inspect of every family and every kind of file.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { converted, doppler, root, shared } from '../models/oracle.mjs';

const inspect = (path, ...options) => JSON.parse(doppler('inspect', path, '--json', ...options));
const fixture = join(root, 'tests', 'fixtures', 'micro', 'llama3');

const llama = { architecture: 'llama', layers: 2, dim: 64, hidden: 192, heads: 4, kv_heads: 2,
    head_dim: 32, vocab: 512, context: 1024, experts: 0, experts_used: 0, window: 0,
    sliding_layers: 0, tied_head: true };

test('a checkpoint and its package are the same model', () => {
    for (const path of [fixture, converted(fixture, 'micro-llama3', 'keep')]) {
        const seen = inspect(path, '--context', 512);
        assert.deepEqual(seen.model, llama);
        assert.equal(seen.parameters, 155968);
        assert.equal(seen.active_parameters, 155968);
        assert.equal(seen.runs, true);
        assert.equal(seen.gpu.context, 512);
        assert.equal(seen.gpu.kv_bytes, 2 * 2 * 2 * 32 * 512 * 2);   // layers, K and V, KV dim, f16
    }
    assert.deepEqual(inspect(fixture).dtypes, { BF16: { tensors: 20, bytes: 311936 } });
});

test('bytes on the GPU are those of the package', () => {
    const seen = inspect(converted(fixture, 'micro-llama3', 'q4_k_m'));
    const bytes = Object.values(seen.dtypes).reduce((sum, d) => sum + d.bytes, 0);
    assert.equal(seen.gpu.weights_bytes, bytes);
    assert.equal(seen.quantization, 'q4_k_m');
});

test('a package of experts says how many there are, and the bytes of one', () => {
    const seen = inspect(converted(join(root, 'tests', 'fixtures', 'micro', 'mixtral'),
        'micro-mixtral', 'keep'));
    assert.equal(seen.model.experts, 4);
    assert.equal(seen.model.experts_used, 2);
    assert.equal(seen.parameters, 254784);
    assert.equal(seen.active_parameters, 254784 - 2 * 2 * 3 * 96 * 64);
    assert.equal(seen.expert_bytes, 3 * 96 * 64 * 2);
    const gptoss = inspect(converted(join(root, 'tests', 'fixtures', 'micro', 'gptoss'),
        'micro-gptoss', 'keep'));
    // 3 of 6 experts in 2 layers leave out gate, up and down with their biases.
    assert.equal(gptoss.active_parameters, 398260 - 2 * 3 * (3 * 64 * 96 + 2 * 64 + 96));
});

const KV = 2 * 2;                // K and V, 2 bytes a number
const cases = [
    { path: 'micro/gemma3', kv: (5 * (8 + 512) + 1024) * KV * 64, parameters: 561888,
        model: { architecture: 'gemma3_text', layers: 6, window: 8, sliding_layers: 5,
            tied_head: true } },
    { path: 'micro/mistral', kv: 2 * (8 + 512) * KV * 32,
        model: { architecture: 'mistral', window: 8, sliding_layers: 2, tied_head: false } },
    { path: 'micro/mixtral', kv: 2 * 1024 * KV * 32, parameters: 254784,
        active: 254784 - 2 * 2 * 3 * 96 * 64,        // 2 of 4 experts in 2 layers
        model: { architecture: 'mixtral', experts: 4, experts_used: 2, sliding_layers: 0 } },
    { path: 'micro/gptoss', kv: (8 + 512 + 1024) * KV * 64, parameters: 398260,
        model: { architecture: 'gpt_oss', experts: 6, experts_used: 3, window: 8,
            sliding_layers: 1 } },
    { path: 'gguf/gptoss-MXFP4.gguf', kv: 2 * (32 + 512 + 4096) * KV * 128,
        model: { architecture: 'gpt-oss', layers: 4, experts: 8, experts_used: 4, window: 32,
            sliding_layers: 2, vocab: 2048, tied_head: false } },
    { path: 'gguf/gemma3-Q4_K_M.gguf', kv: (6 * (32 + 512) + 4096) * KV * 64,
        model: { architecture: 'gemma3', window: 32, sliding_layers: 6, tied_head: true } },
    { path: 'gguf/mixtral-Q4_K_M.gguf', kv: 3 * 4096 * KV * 128,
        model: { architecture: 'llama', experts: 8, experts_used: 2, hidden: 512 } },
];

for (const { path, model, kv, parameters, active } of cases) {
    const file = join(shared, path);
    test(`experts, windows and KV of ${path}`, { skip: existsSync(file) ? false
        : `${path} is not there` }, () => {
        const seen = inspect(file);
        const picked = Object.fromEntries(Object.keys(model).map(key => [key, seen.model[key]]));
        assert.deepEqual(picked, model);
        assert.equal(seen.gpu.kv_bytes, kv);
        if (parameters) assert.equal(seen.parameters, parameters);
        if (active) assert.equal(seen.active_parameters, active);
    });
}
