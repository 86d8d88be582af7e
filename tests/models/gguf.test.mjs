// GGUF files of llama.cpp, kept: the same weights give the same logits whatever they are stored in,
// and the perplexity that llama.cpp's exact dequantization has. Skipped where ../shared is absent.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { split } from '../gguf.mjs';
import { converted, doppler, golden, logits, perplexity, relativeError, root, shared }
    from './oracle.mjs';

const folder = join(shared, 'gguf');
const skip = existsSync(folder) ? false : 'needs ../shared/gguf';
const long = process.env.LONG ? false : 'runs in make check';
const heldout = join(shared, 'vectors', 'heldout.txt');
const cpu = ['--device', 'cpu', '--kv', 'f32'];
const file = name => join(folder, `${name}.gguf`);
const kept = name => converted(file(name), `gguf-${name}`, 'keep');
const exact = name => converted(file(name), `gguf-${name}`, 'f32');
const within = (got, want, bound) => assert.ok(Math.abs(got / want - 1) <= bound,
    `${got}, wanted ${want} +- ${bound * 100} %`);

// Types that kernels read, or that another holds exactly (Q3_K in q6_k).
for (const name of ['llama3-Q4_0', 'llama3-Q5_0', 'llama3-Q4_K_M', 'llama3-Q5_K_M',
    'llama3-Q3_K_M', 'llama3-Q6_K', 'llama3-Q8_0', 'mistral-Q4_K_M', 'stories-Q4_K_M'])
    test(`${name} kept gives the logits of its weights in f32`, { skip }, () => {
        doppler('verify', kept(name), '--quiet');
        const ids = [1, 300, 5, 77, 1024, 2, 900, 41];
        const error = relativeError(logits(kept(name), ids, ...cpu),
            logits(exact(name), ids, ...cpu));
        assert.ok(error <= 1e-5, `largest error ${error}`);
    });

for (const name of ['llama3-Q2_K', 'llama3-Q4_1', 'llama3-Q5_1'])
    test(`${name} in q8_0 has the perplexity of its weights in f32`, { skip }, () => {
        doppler('verify', kept(name), '--quiet');
        within(perplexity(kept(name), heldout, 2, ...cpu),
            perplexity(exact(name), heldout, 2, ...cpu), 1.5e-3);
    });

test('types that are requantized are told, IQ types refused by name', { skip }, () => {
    const run = (...args) => spawnSync(join(root, 'build', 'doppler'), args, { encoding: 'utf8' });
    const out = join(root, 'build', 'models', 'never');
    const iq = run('convert', file('llama3-IQ4_XS'), out);
    assert.equal(iq.status, 1);
    assert.match(iq.stderr, /tensor "token_embd.weight" is IQ4_XS/);
    assert.equal(existsSync(out), false);
    const folder = mkdtempSync(join(tmpdir(), 'doppler-'));
    const told = name => run('convert', file(name), join(folder, name)).stderr;
    try {
        assert.match(told('llama3-Q4_1'), /^blk\.0\.attn_q\.weight: Q4_1 -> q8_0$/m);
        assert.match(told('llama3-Q3_K_M'),
            /^blk\.0\.attn_q\.weight: Q3_K -> q6_k, the same values$/m);
        assert.doesNotMatch(told('llama3-Q5_0'), /->/);
    } finally {
        rmSync(folder, { recursive: true });
    }
});

test('a GGUF file and its checkpoint give the same ids', { skip }, () => {
    const g = golden(join(shared, 'models', 'llama3'));
    const tokenize = (...args) => spawnSync(join(root, 'build', 'doppler'), args,
        { input: g.prompts.map(p => JSON.stringify(p.text)).join('\n'), encoding: 'utf8' }).stdout;
    assert.equal(tokenize('tokenize', kept('llama3-Q8_0'), '--jsonl'),
        tokenize('tokenize', join(shared, 'models', 'llama3'), '--jsonl'));
});

test('parts of a split file make the package of the whole, whichever is named', { skip }, () => {
    const folder = mkdtempSync(join(tmpdir(), 'doppler-'));
    try {
        const parts = split(file('llama3-Q4_K_M'), folder, 'model', 3);
        const hashes = pack => readFileSync(join(pack, 'hashes.bin'), 'hex');
        for (const i of [0, 2]) {
            const out = join(folder, `pack${i}`);
            doppler('convert', parts[i], out, '--quiet');
            assert.equal(hashes(out), hashes(kept('llama3-Q4_K_M')));
        }
        rmSync(parts[1]);
        const r = spawnSync(join(root, 'build', 'doppler'),
            ['convert', parts[0], join(folder, 'never')], { encoding: 'utf8' });
        assert.equal(r.status, 1);
        assert.match(r.stderr, /model-00002-of-00003\.gguf/);
    } finally {
        rmSync(folder, { recursive: true });
    }
});

test('gemma3-Q4_K_M, of Q5_0, Q8_0 and K blocks, is kept and verified', { skip }, () => {
    doppler('verify', kept('gemma3-Q4_K_M'), '--quiet');
});

// The permuted rows of Q and K and rope_freqs.weight: wrong ones move every logit.
test('llama3 in Q8_0 is near the checkpoint it was made of', { skip }, () => {
    const g = golden(join(shared, 'models', 'llama3'));
    for (const p of g.prompts.slice(0, 3)) {
        const error = relativeError(logits(kept('llama3-Q8_0'), p.ids, ...cpu), p.logits);
        assert.ok(error <= 0.05, `largest error ${error}`);
    }
});

test('stories-Q4_K_M kept: perplexity of 16 chunks', { skip: skip || long }, () => {
    within(perplexity(kept('stories-Q4_K_M'), heldout, 16, ...cpu), 25.749, 1e-3);
});

test('stories-Q4_K_M kept: perplexity of all of the text', { skip: skip || long }, () => {
    within(perplexity(kept('stories-Q4_K_M'), heldout, 0, ...cpu), 20.618, 1e-3);
});

test('our Q4_K_M of stories is as good as llama.cpp\'s', { skip: skip || long }, () => {
    const ours = converted(join(shared, 'models', 'stories'), 'stories', 'q4_k_m');
    const ratio = perplexity(ours, heldout, 0, ...cpu)
        / perplexity(kept('stories-Q4_K_M'), heldout, 0, ...cpu);
    assert.ok(ratio <= 1.005, `${ratio} of its perplexity`);
});
