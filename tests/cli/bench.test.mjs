// `doppler bench`: what it says, that what it writes can be compared with, and that the weights of
// --shape are the same numbers wherever they are made.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { BenchEngine } from '../../tools/bench_engine.mjs';
import { chooseDriver } from '../device.mjs';
import { converted, relativeError, root } from '../models/oracle.mjs';

chooseDriver();
const pack = converted(join(root, 'tests', 'fixtures', 'micro', 'gemma3'), 'micro-gemma3', 'keep');
const work = join(root, 'build', 'tests', 'bench');
mkdirSync(work, { recursive: true });
const bench = (...args) => spawnSync(process.execPath, [join(root, 'doppler'), 'bench', ...args],
    { encoding: 'utf8', cwd: root });
const short = ['--context', '16', '--prompt', '8', '-n', '4', '--rounds', '1'];
const json = (file) => JSON.parse(readFileSync(file, 'utf8'));

test('bench inference times a step, dispatch by dispatch', () => {
    const file = join(work, 'inference.json');
    const first = bench('inference', '--model', pack, '--device', 'cpu', ...short, '--json', file);
    assert.equal(first.status, 0, first.stderr);
    assert.match(first.stdout, /context 16: decode [\d.]+ tokens\/s/);
    assert.match(first.stdout, /prompt 8: first token after [\d.]+ ms/);
    const { decode: { 16: decode }, prompt: { 8: prompt } } = json(file);
    assert.ok(decode.tokensPerSecond > 0 && decode.gpuUs > 0 && prompt.firstTokenMs > 0);
    assert.ok(decode.kernels.reduce((sum, { count }) => sum + count, 0) > 6 * 6);
    const second = bench('inference', '--model', pack, '--device', 'cpu', ...short, '--against',
        file);
    assert.equal(second.status, 0, second.stderr);
    assert.match(second.stdout, /^decode at 16, tokens\/s: [\d.]+ -> [\d.]+ \([+-]?[\d.]+ %/m);
    assert.match(second.stdout, /^prompt 8, ms to the first token: [\d.]+ -> [\d.]+ \(/m);
});

test('bench kernels times each kind of dispatch, and what else could do it', () => {
    const file = join(work, 'kernels.json');
    const { status, stderr } = bench('kernels', '--shape', 'stories', '--layers', '1', '--device',
        'gpu', '--context', '16', '--prompt', '8', '--filter', ' q4_k ', '--matrices',
        'q4_k:64x256', '--json', file);
    assert.equal(status, 0, stderr);
    const { steps, matrices, readTBs } = json(file);
    const gate = steps['decode at 16'].find(({ shape }) => shape === '3072x512');
    assert.equal(gate.bytes, 3072 * 2 * 144);
    assert.equal(gate.flops, 2 * 3072 * 512);
    assert.ok(gate.us > 0 && gate.readUs > 0 && readTBs > 0);
    const prompt = steps['8 tokens up to 8'].find(({ shape }) => shape === '3072x512');
    assert.equal(prompt.flops, 8 * gate.flops);
    assert.ok(matrices.some(({ kernel, tokens }) => /^linear /.test(kernel) && tokens === 1));
    assert.ok(matrices.some(({ kernel, tokens }) => /^matmul /.test(kernel) && tokens === 8));
});

// On the CPU by the kernel's twin.
describe('weights of --shape', () => {
    const engines = {};
    before(async () => {
        for (const device of ['cpu', 'gpu']) engines[device] = await BenchEngine.open({ device });
    });
    after(() => Promise.all(Object.values(engines).map((engine) => engine.close())));

    async function logitsOf(device, options) {
        const { model } = await engines[device].shape({ shape: 'stories', ...options });
        const session = await engines[device].session(model, { context: 64, precision: 'exact' });
        return engines[device].logits(session, [1, 2]);
    }

    for (const quantize of ['q4_k_m', 'mxfp4', 'q8_0', 'f32', 'f16', 'bf16'])
        test(`in ${quantize} are finite, and the same on a GPU`, async () => {
            const options = { quantize, layers: 1 };
            const error = relativeError(await logitsOf('gpu', options),
                await logitsOf('cpu', options));
            assert.ok(error < 1e-4, `${error}`);
        });

    test('keep activations as large as they are through all layers', async () => {
        const logits = await logitsOf('cpu', {});
        const size = Math.sqrt(logits.reduce((sum, x) => sum + x * x, 0) / logits.length);
        assert.ok(size > 0.1 && size < 10, `logits of about ${size}`);
    });
});

test('bench wants one model, and a shape that there is', () => {
    const none = bench('inference');
    assert.equal(none.status, 2);
    assert.match(none.stderr, /^doppler bench: one of --model DIR and --shape NAME/m);
    const unknown = bench('inference', '--shape', 'llama-9', '--device', 'cpu');
    assert.equal(unknown.status, 1);
    assert.match(unknown.stderr, /^doppler bench: BAD_ARGUMENT: no shape "llama-9"/m);
});
