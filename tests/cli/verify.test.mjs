// What verify finds beyond hashes, and that the number of threads changes nothing: packages are
// changed and hashed anew, so that only what the bytes mean is wrong.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { converted, doppler, root } from '../models/oracle.mjs';

const BLOCK = 1 << 20;
const fixture = join(root, 'tests', 'fixtures', 'micro', 'llama3');
const program = join(root, 'build', 'san', 'doppler');
const sha256 = bytes => createHash('sha256').update(bytes).digest('hex');

function verify(folder, ...options) {
    return spawnSync(program, ['verify', folder, ...options], { encoding: 'utf8' });
}

// A copy of a package in which edit(bytes of a file) changed things, hashed anew; verify's words.
function edited(pack, edits, ...options) {
    const folder = mkdtempSync(join(tmpdir(), 'doppler-'));
    try {
        cpSync(pack, folder, { recursive: true });
        const manifest = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8'));
        for (const [name, edit] of Object.entries(edits)) {
            const path = join(folder, name);
            const bytes = edit(readFileSync(path), manifest);
            writeFileSync(path, bytes);
            const entry = [manifest.tokenizer, ...manifest.shards].find(f => f.file === name);
            entry.sha256 = sha256(bytes);
            entry.bytes = bytes.length;
        }
        const hashes = manifest.shards.flatMap(({ file }) => {
            const bytes = readFileSync(join(folder, file));
            return Array.from({ length: Math.ceil(bytes.length / BLOCK) },
                (_, i) => Buffer.from(sha256(bytes.subarray(i * BLOCK, (i + 1) * BLOCK)), 'hex'));
        });
        writeFileSync(join(folder, 'hashes.bin'), Buffer.concat(hashes));
        manifest.hashes.sha256 = sha256(Buffer.concat(hashes));
        writeFileSync(join(folder, 'manifest.json'), JSON.stringify(manifest));
        return verify(folder, ...options);
    } finally {
        rmSync(folder, { recursive: true });
    }
}

function fails(result, pattern) {
    assert.equal(result.status, 1, result.stdout + result.stderr);
    assert.match(result.stderr, pattern);
    assert.equal(result.stderr.trim().split('\n').length, 1, result.stderr);
}

// Where element or byte `at` of a tensor lies: its shard's name and the offset there.
function place(manifest, role, layer, at) {
    const tensor = manifest.tensors.find(t => t.role === role && t.layer === layer);
    let left = at;
    const span = tensor.spans.find(s => (left < s.bytes ? true : (left -= s.bytes, false)));
    return [manifest.shards[span.shard].file, span.offset + left];
}

const small = join(root, 'build', 'models', 'micro-llama3-small-shards');
rmSync(small, { recursive: true, force: true });
doppler('convert', fixture, small, '--quantize', 'bf16', '--shard-size', '8KiB', '--quiet');
const manifest = JSON.parse(readFileSync(join(small, 'manifest.json'), 'utf8'));

function withNaN(role, layer, at, bits, ...options) {
    const [file, offset] = place(manifest, role, layer, at);
    return edited(small, { [file]: bytes => {
        bits.forEach((byte, i) => { bytes[offset + i] = byte; });
        return bytes;
    } }, ...options);
}

test('a package hashed anew is whole', () => {
    const r = edited(small, {});
    assert.equal(r.status, 0, r.stderr);
    assert.match(r.stdout, /20 tensors in \d\d shards, .*MB\/s on \d+ threads?\n/);
});

test('a weight that is no number is named by tensor, row and column', () => {
    // [512, 64] of bf16 in shards of 8 KiB: row 100 lies in the second span
    fails(withNaN('embedding', 0, (100 * 64 + 7) * 2, [0xC0, 0x7F]),
        /BAD_FILE: tensor "model\.embed_tokens\.weight": row 100, column 7 is no number/);
    fails(withNaN('ffn_norm', 1, 33 * 4, [0, 0, 0x80, 0x7F]),
        /tensor "model\.layers\.1\.post_attention_layernorm\.weight": row 0, column 33/);
});

test('a quantized scale that is no number is found', () => {
    const pack = converted(fixture, 'micro-llama3', 'q8_0');
    const m = JSON.parse(readFileSync(join(pack, 'manifest.json'), 'utf8'));
    // a row of 64: 64 int8, two f16 scales, zeros
    const [file, offset] = place(m, 'attn_q', 1, 3 * 80 + 66);
    fails(edited(pack, { [file]: bytes => (bytes.writeUInt16LE(0x7C00, offset), bytes) }),
        /tensor "model\.layers\.1\.self_attn\.q_proj\.weight": row 3, column 32 is no number/);
});

test('a tokenizer that does not open is found', () => {
    fails(edited(small, { 'tokenizer.bin': bytes => bytes.subarray(0, bytes.length - 4) }),
        /BAD_FILE: tokenizer/);
    fails(edited(small, { 'tokenizer.bin': () => Buffer.from('DTOK') }), /BAD_FILE: tokenizer/);
});

test('any number of threads tells the same failure', () => {
    const twice = { };
    for (const at of [0, 300 * 64 * 2]) {
        const [file, offset] = place(manifest, 'embedding', 0, at);
        twice[file] = bytes => (bytes.writeUInt16LE(0x7FC0, offset), bytes);
    }
    const messages = [1, 2, 3, 8, 64]
        .map(n => edited(small, twice, '--threads', n).stderr);
    assert.match(messages[0], /row 0, column 0 is no number/);
    assert.deepEqual(messages, messages.map(() => messages[0]));
    assert.equal(verify(small, '--threads', '0').status, 2);
});
