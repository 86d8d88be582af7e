// tools/convert-cli.js is `doppler convert`: the same package, the same words, the same exit code.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { converted, root } from '../models/oracle.mjs';

const fixture = join(root, 'tests', 'fixtures', 'micro', 'llama3');
const run = (...args) => spawnSync(process.execPath,
    [join(root, 'tools', 'convert-cli.js'), ...args], { cwd: tmpdir(), encoding: 'utf8' });

test('convert-cli makes the package that convert makes', () => {
    const folder = mkdtempSync(join(tmpdir(), 'doppler-'));
    const r = run('--input', fixture, '--output', join(folder, 'p'), '--quantize', 'q4_k_m');
    const made = r.status === 0 && readFileSync(join(folder, 'p', 'manifest.json'), 'utf8');
    rmSync(folder, { recursive: true });
    assert.equal(r.status, 0, r.stderr);
    assert.match(r.stdout, /of q4_k_m in 1 shard.*\npackage id [0-9a-f]{64}\n$/);
    assert.equal(made, readFileSync(join(converted(fixture, 'micro-llama3', 'q4_k_m'),
        'manifest.json'), 'utf8'));
});

test('convert-cli fails as convert fails', () => {
    const missing = run('--input', '/nowhere', '--output', join(tmpdir(), 'never'));
    assert.equal(missing.status, 1);
    assert.match(missing.stderr, /^doppler convert: IO: .*\/nowhere: /);
    assert.equal(run('--input').status, 2);
    assert.match(run('--help').stdout, /^usage: doppler convert IN OUT/);
});
