// Broken packages meet the sanitized program: each failure is one line with its status and the
// numbers, exit code 1, and nothing crashes, hangs or leaks.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { converted, root } from '../models/oracle.mjs';

const program = join(root, 'build', 'san', 'doppler');
const whole = converted(join(root, 'tests', 'fixtures', 'micro', 'llama3'), 'micro-llama3',
    'keep');

function run(...args) {
    return spawnSync(program, args, { cwd: root, encoding: 'utf8', timeout: 120000 });
}

// A copy of the package with one thing broken; what `run` says of it.
function broken(change) {
    const folder = mkdtempSync(join(tmpdir(), 'doppler-'));
    try {
        cpSync(whole, folder, { recursive: true });
        change(folder);
        return run('run', folder, '-p', 'Once', '-n', '2');
    } finally {
        rmSync(folder, { recursive: true });
    }
}

function fails(result, pattern) {
    assert.equal(result.status, 1, result.stderr);
    const lines = result.stderr.trim().split('\n');
    if (lines[0].startsWith('memory: ')) lines.shift();      // said before anything is allocated
    assert.equal(lines.length, 1, result.stderr);
    assert.match(lines[0], pattern);
}

const editManifest = edit => folder => {
    const path = join(folder, 'manifest.json');
    const manifest = JSON.parse(readFileSync(path, 'utf8'));
    edit(manifest);
    writeFileSync(path, JSON.stringify(manifest));
};

test('a short prompt runs clean under sanitizers', () => {
    const r = run('run', whole, '-p', 'Once upon a time', '-n', '4', '--temp', '0.8', '--json');
    assert.equal(r.status, 0, r.stderr);
    assert.ok(JSON.parse(r.stdout).generated.length > 0);
});

test('a truncated shard is named with its numbers', () => {
    fails(broken(f => truncateSync(join(f, 'shard_00000.bin'), 70000)),
        /BAD_FILE: shard_00000\.bin: .*70000/);
});

test('a flipped byte is found by its block', () => {
    fails(broken(f => {
        const path = join(f, 'shard_00000.bin');
        const bytes = readFileSync(path);
        bytes[5000] ^= 1;
        writeFileSync(path, bytes);
    }), /BAD_FILE: shard_00000\.bin: SHA-256/);
});

test('a missing shard is an I/O failure', () => {
    fails(broken(f => rmSync(join(f, 'shard_00000.bin'))), /IO: .*shard_00000\.bin/);
});

test('a missing manifest field is named', () => {
    fails(broken(editManifest(m => delete m.model.heads)), /BAD_FILE: .*heads/);
});

test('an unknown dtype is named', () => {
    fails(broken(editManifest(m => { m.tensors[0].dtype = 'q3_x'; })), /UNSUPPORTED: .*q3_x/);
});

test('an unknown required feature is named', () => {
    fails(broken(editManifest(m => { m.features = ['sparse-weights']; })),
        /UNSUPPORTED: .*sparse-weights/);
});

test('a manifest that is no JSON is refused', () => {
    fails(broken(f => writeFileSync(join(f, 'manifest.json'), '{"format":')), /BAD_FILE: /);
});

test('a folder without a manifest is an I/O failure', () => {
    fails(run('run', tmpdir(), '-p', 'x'), /IO: .*manifest\.json/);
});

test('a wrong option is a usage error', () => {
    const r = run('run', whole, '--temperatur', '1');
    assert.equal(r.status, 2);
    assert.match(r.stderr, /--temperatur/);
});

test('a prompt longer than the context is refused with both numbers', () => {
    fails(run('run', whole, '-p', 'Once upon a time there was', '--context', '4', '--json'),
        /CONTEXT_FULL: \d+ tokens, the context holds 4/);
});
