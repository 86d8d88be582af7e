// `doppler trace`: what it dumps it reads, and it names the tensor where two computations part.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { converted, root } from '../models/oracle.mjs';

const pack = converted(join(root, 'tests', 'fixtures', 'micro', 'gemma3'), 'micro-gemma3', 'keep');
const folder = mkdtempSync(join(tmpdir(), 'doppler-'));
const dump = join(folder, 'trace.safetensors');
test.after(() => rmSync(folder, { recursive: true }));

const trace = (...options) => spawnSync(process.execPath, [join(root, 'doppler'), 'trace', pack,
    '--ids', '2,303,330,322,334,503,633,608,368,328,77,78', ...options], { encoding: 'utf8' });

test('a dump is safetensors of every tensor, and equals itself', () => {
    const made = trace('--device', 'cpu', '--kv', 'f32', '--out', dump);
    assert.equal(made.status, 0, made.stderr);
    const bytes = readFileSync(dump);
    const header = JSON.parse(bytes.toString('utf8', 8, 8 + Number(bytes.readBigUInt64LE(0))));
    assert.deepEqual(header['layers.5.gate_up'].shape, [12, 320]);
    assert.equal(Object.keys(header).length, 1 + 6 * 9 + 2);
    const same = trace('--device', 'cpu', '--kv', 'f32', '--against', dump, '--tolerance', '0');
    assert.equal(same.status, 0, same.stderr);
    assert.match(same.stdout, /largest difference: .* by 0\.00e\+0/);
});

test('the first tensor that departs is named, with token and element', () => {
    const other = trace('--device', 'cpu', '--kv', 'f16', '--against', dump);
    assert.equal(other.status, 1);
    assert.match(other.stdout,
        /first to depart: layers\.0\.attended, by \d\.\d+e-4 .* at token \d+, element \d+: /);
});

test('WebGPU agrees with the CPU tensor by tensor', () => {
    const r = trace('--device', 'gpu', '--kv', 'f32', '--against', 'cpu', '--tolerance', '1e-5');
    assert.equal(r.status, 0, r.stderr + r.stdout);
});

test('a bad dump and other ids are refused in one line', () => {
    const bad = join(folder, 'bad');
    writeFileSync(bad, 'no dump at all');
    for (const [file, why] of [[bad, /BAD_FILE: .*bad/], [join(folder, 'none'), /none/]]) {
        const r = trace('--device', 'cpu', '--against', file);
        assert.equal(r.status, 1);
        assert.match(r.stderr, why);
    }
    const r = spawnSync(process.execPath, [join(root, 'doppler'), 'trace', pack, '--ids', '1,2',
        '--device', 'cpu', '--against', dump], { encoding: 'utf8' });
    assert.equal(r.status, 1);
    assert.match(r.stderr, /BAD_ARGUMENT: embedding is \[2, 96\], the reference has \[12, 96\]/);
});
