// The public malformed files meet the sanitized program: each ends as its manifest says, quickly,
// with one line. Skipped where ../shared is absent.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { withModel } from '../gguf.mjs';
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

// None of these files holds a model, and none is converted. What they are good or bad at shows in
// front of one: with tensors behind their metadata they end as the manifest says.
test('without a model nothing is converted; with one, as the manifest says', { skip }, () => {
    const out = mkdtempSync(join(tmpdir(), 'doppler-'));
    const pack = join(out, 'pack'), model = join(out, 'model.gguf');
    try {
        for (const f of files.filter(f => f.level === 'model')) {
            assert.ok(!run('convert', join(folder, f.file), pack), f.file);
            assert.ok(!existsSync(pack), f.file);
            withModel(join(folder, f.file), model);
            const accepted = run('convert', model, pack, '--quiet');
            if (f.expect !== 'reject-or-accept')
                assert.equal(accepted ? 'accept' : 'reject', f.expect, f.file);
            assert.equal(existsSync(pack), accepted, f.file);
            if (accepted) assert.ok(run('verify', pack, '--quiet'), f.file);
            rmSync(pack, { recursive: true, force: true });
        }
    } finally {
        rmSync(out, { recursive: true });
    }
});
