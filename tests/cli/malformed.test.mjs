// The public malformed files meet the sanitized program: each ends as its manifest says, quickly,
// with one line. Skipped where ../shared is absent.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root, shared } from '../models/oracle.mjs';

const program = join(root, 'build', 'san', 'doppler');
const folder = join(shared, 'vectors', 'malformed');
const skip = existsSync(folder) ? false : 'needs ../shared/vectors/malformed';
const files = skip ? [] : JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')).files;

function run(...args) {
    const r = spawnSync(program, args, { encoding: 'utf8', timeout: 20000 });
    assert.ok(r.status === 0 || r.status === 1, `${args.join(' ')}: ${r.signal} ${r.stderr}`);
    if (r.status) assert.equal(r.stderr.trim().split('\n').length, 1, r.stderr);
    return r.status === 0;
}

test('containers are accepted and refused as the manifest says', { skip }, () => {
    for (const f of files.filter(f => f.level === 'container')) {
        const accepted = run('inspect', join(folder, f.file));
        if (f.expect !== 'reject-or-accept')
            assert.equal(accepted ? 'accept' : 'reject', f.expect, f.file);
    }
});

// None of these files holds a model: only their vocabularies are good or bad, which is judged by
// tests/unit/test_gguf.c as well.
test('a container without a model is not converted', { skip }, () => {
    const out = mkdtempSync(join(tmpdir(), 'doppler-'));
    try {
        for (const f of files.filter(f => f.level === 'model')) {
            assert.ok(!run('convert', join(folder, f.file), join(out, 'pack')), f.file);
            assert.ok(!existsSync(join(out, 'pack')), f.file);
            if (f.file.includes('vocab') && f.expect !== 'reject-or-accept') {
                const r = spawnSync(program, ['tokenize', join(folder, f.file)], { input: 'a' });
                assert.equal(r.status === 0 ? 'accept' : 'reject', f.expect, f.file);
            }
        }
    } finally {
        rmSync(out, { recursive: true });
    }
});
