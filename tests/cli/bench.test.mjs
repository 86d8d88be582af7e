// `doppler bench`: what it says, and that what it writes can be compared with.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { converted, root } from '../models/oracle.mjs';

const pack = converted(join(root, 'tests', 'fixtures', 'micro', 'gemma3'), 'micro-gemma3', 'keep');
const bench = (...args) => spawnSync(process.execPath, [join(root, 'doppler'), 'bench', ...args],
    { encoding: 'utf8', cwd: root });
const short = ['--device', 'cpu', '--context', '16', '-n', '4', '--rounds', '1'];

test('bench inference times a step, dispatch by dispatch', () => {
    mkdirSync(join(root, 'build', 'tests'), { recursive: true });
    const file = join(root, 'build', 'tests', 'bench.json');
    const first = bench('inference', '--model', pack, ...short, '--json', file);
    assert.equal(first.status, 0, first.stderr);
    assert.match(first.stdout, /context 16: first token after [\d.]+ ms, decode [\d.]+ tokens\/s/);
    const step = JSON.parse(readFileSync(file, 'utf8')).steps['context 16'];
    assert.ok(step.tokensPerSecond > 0 && step.gpuUs > 0);
    assert.ok(step.decode.reduce((sum, { count }) => sum + count, 0) > 6 * 6);
    const second = bench('inference', '--model', pack, ...short, '--against', file);
    assert.equal(second.status, 0, second.stderr);
    assert.match(second.stdout, /context 16 tokensPerSecond: [\d.]+ -> [\d.]+ \(-?[\d.]+ %\)/);
});

test('bench wants one model', () => {
    const none = bench('inference');
    assert.equal(none.status, 1);
    assert.match(none.stderr, /^doppler bench: BAD_ARGUMENT: .*--model DIR or --shape NAME/m);
});
