// What `doppler run` and `doppler inspect` say of memory: the same on every host, before anything is
// allocated, and what the sizes of the model make of it.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { converted, root } from '../models/oracle.mjs';

const pack = converted(join(root, 'tests', 'fixtures', 'micro', 'gemma3'), 'micro-gemma3', 'keep');
const run = (...args) => spawnSync(process.execPath, [join(root, 'doppler'), ...args],
    { encoding: 'utf8', cwd: root });
const told = (...options) => {
    const { stderr } = run('run', pack, '-p', 'Once', '-n', '1', '--context', '1024', ...options);
    return stderr.split('\n').filter((line) => line.startsWith('memory: '));
};

const TOKEN = 2 * 2 * 32;                            // elements of K and V: two heads of 32
const kB = (bytes) => `${Math.round(bytes / 1000)} kB`;

for (const [kv, element] of [['f32', 4], ['f16', 2], ['q8_0', 36 / 32]])
    test(`run says what weights, a ${kv} KV cache and checkpoints take`, () => {
        const rings = 5 * (8 + 64), row = TOKEN * element;
        const cache = (rings + 1024) * row, one = 5 * (8 + 16) * row;
        const checkpoints = Math.min(4, Math.floor(cache / 2 / one)) * one;
        const [line, ...more] = told('--device', 'cpu', '--kv', kv, '--prefill', '32');
        assert.deepEqual(more, []);
        assert.match(line, new RegExp(`^memory: 1\\.1 MB weights, ${kB(cache)} KV cache, `
            + `${kB(checkpoints).replace(/^(\d\d) kB/, '$1\\.\\d kB')} checkpoints, .* work$`));
        const wasm = told('--device', 'cpu', '--host', 'node', '--kv', kv, '--prefill', '32');
        assert.deepEqual(wasm, [line]);
    });

test('a context longer than the model knows is refused', () => {
    const r = run('run', pack, '-p', 'Once', '--context', '1025', '--device', 'cpu');
    assert.equal(r.status, 1);
    assert.match(r.stderr, /BAD_ARGUMENT: context 1025, the model was trained for 1024/);
});

test('inspect says what weights and the KV cache take', () => {
    assert.match(run('inspect', pack).stdout,
        /GPU memory {4}1\.1 MB weights \+ \d+ kB KV in f16 at 1024 tokens/);
});
