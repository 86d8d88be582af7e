// synth as a user meets it. One layer of llama-3.2-1b is 647 MB, most of it the embedding.
import { after, test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { doppler, root } from '../models/oracle.mjs';
import { violations } from '../schema.mjs';

const work = join(root, 'build', 'models', 'synth');
rmSync(work, { recursive: true, force: true });
mkdirSync(work, { recursive: true });

const run = (...args) => spawnSync(join(root, 'build', 'san', 'doppler'), ['synth', ...args],
    { encoding: 'utf8' });
const manifest = name => JSON.parse(readFileSync(join(work, name, 'manifest.json'), 'utf8'));

test('the folder converts to the package that synth makes', () => {
    const options = ['--layers', 1, '--seed', 5, '--quiet'];
    doppler('synth', 'llama-3.2-1b', join(work, 'hf'), ...options);
    assert.deepEqual(readdirSync(join(work, 'hf')).sort(), ['config.json',
        'generation_config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json']);
    doppler('synth', 'llama-3.2-1b', join(work, 'rdrr'), ...options, '--format', 'rdrr',
        '--quantize', 'keep');
    doppler('convert', join(work, 'hf'), join(work, 'converted'), '--name', 'llama-3.2-1b',
        '--quiet');
    const [made, converted] = [manifest('rdrr'), manifest('converted')];
    assert.equal(converted.provenance.source, 'hf');
    converted.provenance = made.provenance;
    assert.deepEqual(made, converted);
    assert.deepEqual(violations(join(work, 'rdrr')), []);
    doppler('verify', join(work, 'rdrr'), '--quiet');

    const seen = JSON.parse(doppler('inspect', join(work, 'hf'), '--json'));
    assert.equal(seen.model.layers, 1);
    assert.equal(seen.parameters, 323_491_840);
    const text = doppler('run', join(work, 'rdrr'), '-p', 'Hi', '-n', 4, '--temp', 0, '--json',
        '--device', 'cpu');
    assert.deepEqual(JSON.parse(text).ids, [128000, 72, 105]);
    assert.equal(JSON.parse(text).generated.length, 4);
});

// In GGUF the rows of Q and K are interleaved and the rope scaling is a tensor.
test('the GGUF file converts to the same weights', () => {
    rmSync(join(work, 'hf'), { recursive: true });
    rmSync(join(work, 'converted'), { recursive: true });
    const file = join(work, 'x.gguf');
    doppler('synth', 'llama-3.2-1b', file, '--layers', 1, '--seed', 5, '--quiet', '--format',
        'gguf');
    doppler('convert', file, join(work, 'from-gguf'), '--quiet');
    const [made, converted] = [manifest('rdrr'), manifest('from-gguf')];
    assert.deepEqual(converted.shards, made.shards);
    const { type, factors } = converted.model.rope.full;
    assert.equal(type, 'factors');
    assert.equal(factors.length, 32);
    assert.deepEqual([factors[0], factors[31]], [1, 32]);
    assert.deepEqual(converted.tokens.stop, [128001, 128009]);
    assert.match(run('llama-3.2-1b', file, '--format', 'gguf').stderr, /IO: .*exists already/);
    assert.match(run('gemma-3-1b', join(work, 'never'), '--format', 'gguf').stderr,
        /UNSUPPORTED: gemma-3-1b/);
    assert.ok(!existsSync(join(work, 'never.partial')));
});

// One layer of either is 2.8 GB. Experts come stacked, alternating and in ggml's own MXFP4; only the
// router, f32 in GGUF, is stored in another format.
for (const shape of ['mixtral-8x7b', 'gpt-oss-20b'])
    test(`a layer of ${shape} is the same from both kinds of file`, { skip: process.env.LONG ? false
        : 'runs in make check' }, () => {
        const options = ['--layers', 1, '--quiet'], file = join(work, `${shape}.gguf`);
        const [made, converted] = [`${shape}-rdrr`, `${shape}-gguf`];
        doppler('synth', shape, join(work, made), ...options, '--format', 'rdrr', '--quantize',
            'keep');
        doppler('synth', shape, file, ...options, '--format', 'gguf');
        doppler('convert', file, join(work, converted), '--quiet');
        rmSync(file);
        doppler('verify', join(work, made), '--quiet');
        const [a, b] = [manifest(made), manifest(converted)];
        assert.deepEqual(a.model, b.model);
        const router = new Set(a.tensors.filter(t => t.role === 'router')
            .flatMap(t => t.spans.map(s => s.shard)));
        const others = m => m.shards.filter((_, i) => !router.has(i)).map(s => s.sha256);
        assert.ok(others(a).length > 20);
        assert.deepEqual(others(a), others(b));
        for (const t of a.tensors.filter(t => t.role === 'ffn_gate'))
            assert.equal(t.spans[0].offset % (1 << 20), 0);
        rmSync(join(work, made), { recursive: true });
        rmSync(join(work, converted), { recursive: true });
    });

test('wrong shapes and options are told', () => {
    const unknown = run('llama-4', join(work, 'never'));
    assert.equal(unknown.status, 1);
    assert.match(unknown.stderr,
        /BAD_ARGUMENT: .*"llama-4"; there are stories llama-3\.2-1b .*gpt-oss-20b/);
    assert.match(run('mistral-7b', join(work, 'never'), '--quantize', 'q8_0').stderr,
        /BAD_ARGUMENT: --quantize is for --format rdrr/);
    assert.equal(run('mistral-7b').status, 2);
    assert.equal(run('mistral-7b', join(work, 'never'), '--layers', '0').status, 2);
    assert.match(run('mistral-7b', work).stderr, /IO: .*exists already/);
    assert.ok(!existsSync(join(work, 'never.partial')));
});

after(() => rmSync(work, { recursive: true }));
