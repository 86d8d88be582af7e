// convert, interrupted and resumed, on a checkpoint of 25 MB with the fixture's tokenizer: whatever
// happened in between, the package is byte for byte that of a run that nothing disturbed.
// LONG=1 kills 100 times.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync,
    truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../models/oracle.mjs';

const KILLS = process.env.LONG ? 100 : 6;
const LAYERS = 16, DIM = 256, HIDDEN = 768, KV = 128, VOCAB = 512, BLOCK = 1 << 20, HASH = 32;
const fixture = join(root, 'tests', 'fixtures', 'micro', 'llama3');
const work = join(root, 'build', 'models', 'resume');
const checkpoint = join(work, 'checkpoint');
const out = join(work, 'out');
const partial = `${out}.partial`;
const journal = join(partial, 'resume.journal');
const fast = join(root, 'build', 'doppler');
const sanitized = join(root, 'build', 'san', 'doppler');
let whole;                                   // name -> SHA-256 of the undisturbed package

const sha256 = bytes => createHash('sha256').update(bytes).digest('hex');
const argv = (...more) => ['convert', checkpoint, out, '--quantize', 'q8_0', '--shard-size', '5MiB',
    ...more];
const run = (program, ...more) => spawnSync(program, argv(...more), { encoding: 'utf8' });

function contents(folder) {
    return Object.fromEntries(readdirSync(folder).sort().map(name =>
        [name, sha256(readFileSync(join(folder, name)))]));
}

function clear() {
    for (const path of [out, partial]) rmSync(path, { recursive: true, force: true });
}

// The end of every test: what was resumed is what would have been.
function assertWhole(r) {
    assert.equal(r.status, 0, r.stderr);
    assert.deepEqual(contents(out), whole);
    assert.equal(existsSync(partial), false);
}

function makeCheckpoint() {
    mkdirSync(checkpoint, { recursive: true });
    for (const name of ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja',
        'generation_config.json']) cpSync(join(fixture, name), join(checkpoint, name));
    const config = JSON.parse(readFileSync(join(fixture, 'config.json'), 'utf8'));
    writeFileSync(join(checkpoint, 'config.json'), JSON.stringify({ ...config,
        hidden_size: DIM, intermediate_size: HIDDEN, num_hidden_layers: LAYERS, head_dim: 64 }));
    const header = {};
    let at = 0;
    const add = (name, ...shape) => {
        const bytes = 2 * shape.reduce((a, b) => a * b);
        header[name] = { dtype: 'BF16', shape, data_offsets: [at, at += bytes] };
    };
    add('model.embed_tokens.weight', VOCAB, DIM);
    for (let i = 0; i < LAYERS; i++) {
        const layer = `model.layers.${i}.`;
        add(`${layer}input_layernorm.weight`, DIM);
        add(`${layer}self_attn.q_proj.weight`, DIM, DIM);
        add(`${layer}self_attn.k_proj.weight`, KV, DIM);
        add(`${layer}self_attn.v_proj.weight`, KV, DIM);
        add(`${layer}self_attn.o_proj.weight`, DIM, DIM);
        add(`${layer}post_attention_layernorm.weight`, DIM);
        add(`${layer}mlp.gate_proj.weight`, HIDDEN, DIM);
        add(`${layer}mlp.up_proj.weight`, HIDDEN, DIM);
        add(`${layer}mlp.down_proj.weight`, DIM, HIDDEN);
    }
    add('model.norm.weight', DIM);
    const weights = new Uint16Array(at / 2);
    let state = 1;
    for (let i = 0; i < weights.length; i++) {           // bf16, 2^-7 to 2^-3, either sign
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        weights[i] = 0x3c00 + (state >>> 23) | (state & 0x400000) >>> 7;
    }
    const json = Buffer.from(JSON.stringify(header));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(json.length));
    writeFileSync(join(checkpoint, 'model.safetensors'), Buffer.concat([length, json,
        Buffer.from(weights.buffer)]));
}

// Starts a run and sends the signal once its journal has so many blocks.
async function stopAfter(blocks, signal, program, ...more) {
    const child = spawn(program, argv(...more), { stdio: ['ignore', 'ignore', 'pipe'] });
    let stderr = '';
    child.stderr.on('data', text => { stderr += text; });
    const ended = new Promise(resolve => {
        child.on('close', (status, by) => resolve({ status, by, stderr }));
    });
    const written = () => existsSync(journal) ? statSync(journal).size : 0;
    while (written() < (1 + blocks) * HASH && child.exitCode === null)
        await new Promise(resolve => { setTimeout(resolve, 1); });
    child.kill(signal);
    return ended;
}

before(() => {
    rmSync(work, { recursive: true, force: true });
    makeCheckpoint();
    const r = run(fast);
    assert.equal(r.status, 0, r.stderr);
    whole = contents(out);
    assert.ok(statSync(join(out, 'hashes.bin')).size / HASH > 12);
});
after(() => rmSync(work, { recursive: true, force: true }));

test('the package does not depend on the number of threads, or on memory', () => {
    for (const options of [['--threads', '1'], ['--threads', '2'], ['--threads', '7'],
        ['--threads', '7', '--memory', '4MiB']]) {
        clear();
        assertWhole(run(sanitized, ...options));
    }
});

test('memory that is too little is refused by its numbers', () => {
    clear();
    const r = run(sanitized, '--memory', '1MiB');
    assert.equal(r.status, 1);
    const [line, numbers] = r.stderr.split('; ');
    assert.equal(line, 'doppler convert: BAD_ARGUMENT: --memory of 1048576 bytes');
    assert.match(numbers,
        /^this model needs \d+ for hashes and tokenizer and \d+ for each thread\n$/);
    assert.equal(existsSync(partial), false);
});

test(`killed at ${KILLS} random moments, then resumed`, async () => {
    const start = Date.now();
    clear();
    assert.equal(run(fast).status, 0);
    const took = Date.now() - start;
    let interrupted = 0;
    for (let i = 0; i < KILLS; i++) {
        clear();
        for (let again = 0; again < 2 && !existsSync(out); again++) {   // the second resumes
            const child = spawn(fast, argv('--resume', '--quiet'), { stdio: 'ignore' });
            const ended = new Promise(resolve => { child.on('close', resolve); });
            setTimeout(() => child.kill('SIGKILL'), Math.random() * took);
            await ended;
        }
        interrupted += !existsSync(out);
        if (existsSync(out)) assert.deepEqual(contents(out), whole);
        else assertWhole(run(fast, '--resume'));
    }
    assert.ok(interrupted > 0, 'no kill came in time');
});

test('SIGINT leaves what is done, and says so', async () => {
    clear();
    const { by, stderr } = await stopAfter(2, 'SIGINT', sanitized);
    assert.equal(by, 'SIGINT');
    const [line, kept] = stderr.split('; ');
    assert.equal(line, `doppler convert: CANCELLED: ${out}: interrupted`);
    assert.match(kept, /out\.partial is kept for --resume\n$/);
    const r = run(sanitized, '--resume');
    assertWhole(r);
    assert.ok(Number(/: (\d+) of \d+ blocks were there/.exec(r.stdout)[1]) >= 2);
});

test('so does a disk that cannot take more', () => {
    clear();
    const r = spawnSync('sh', ['-c', 'trap "" XFSZ; ulimit -f 6144; exec "$0" "$@"', sanitized,
        ...argv()], { encoding: 'utf8' });     // blocks of 512 bytes: 3 MiB a file
    assert.equal(r.status, 1);
    assert.match(r.stderr, /IO: .*shard_00000\.bin: .*; .* is kept for --resume/);
    assertWhole(run(sanitized, '--resume'));
});

test('nothing is believed that the journal does not prove', async () => {
    clear();
    await stopAfter(8, 'SIGKILL', sanitized, '--threads', '1');
    const left = join(work, 'left');
    renameSync(partial, left);
    const restore = () => { clear(); cpSync(left, partial, { recursive: true }); };
    const blocks = Math.floor(statSync(join(left, 'resume.journal')).size / HASH) - 1;
    const first = join(partial, 'shard_00000.bin');
    const kept = r => Number(/: (\d+) of \d+ blocks were there/.exec(r.stdout)[1]);

    restore();
    let r = run(sanitized, '--resume');
    assertWhole(r);
    assert.equal(kept(r), blocks);

    restore();                                 // a byte of block 1 has changed
    const bytes = readFileSync(first);
    bytes[BLOCK + 5] ^= 1;
    writeFileSync(first, bytes);
    assertWhole(r = run(sanitized, '--resume'));
    assert.equal(kept(r), blocks - 1);

    restore();                                 // the shard lost its last blocks
    truncateSync(first, 2 * BLOCK + 100);
    assertWhole(r = run(sanitized, '--resume'));
    assert.equal(kept(r), blocks - 3);

    restore();                                 // the journal ends inside a hash
    truncateSync(join(partial, 'resume.journal'), 4 * HASH + 7);
    assertWhole(r = run(sanitized, '--resume'));
    assert.equal(kept(r), 3);

    restore();                                 // or before the first one
    truncateSync(join(partial, 'resume.journal'), HASH - 1);
    assertWhole(r = run(sanitized, '--resume'));
    assert.equal(kept(r), 0);

    restore();                                 // or is longer than the package
    writeFileSync(join(partial, 'resume.journal'), Buffer.concat([
        readFileSync(join(left, 'resume.journal')), Buffer.alloc(1000 * HASH)]));
    assertWhole(r = run(sanitized, '--resume'));
    assert.equal(kept(r), blocks);

    restore();
    assertWhole(run(sanitized));               // without --resume everything is made anew
});

test('another plan is refused, and loses nothing', async () => {
    clear();
    await stopAfter(3, 'SIGKILL', sanitized);
    const was = contents(partial);
    const refused = (...more) => {
        const r = run(sanitized, '--resume', ...more);
        assert.equal(r.status, 1);
        assert.equal(r.stderr, `doppler convert: BAD_ARGUMENT: ${partial}: begun with another `
            + 'input, other options or another version; without --resume it is replaced\n');
        assert.deepEqual(contents(partial), was);
    };
    refused('--quantize', 'bf16');
    refused('--shard-size', '6MiB');
    refused('--embeddings', 'f32');
    const model = join(checkpoint, 'model.safetensors');
    const { atime, mtime } = statSync(model);
    utimesSync(model, atime, new Date(mtime.getTime() + 1000));
    refused();                                 // the same shapes, written again
    clear();
    const fresh = run(sanitized, '--resume', '--quiet');
    assert.equal(fresh.status, 0, 'nothing to resume is no failure');
});
