// debug.test.mjs - what developers switch on: Doppler.debug() and Model.check(), in Node on the CPU
// backend and on WebGPU, and in a page's worker.
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { Doppler } from '../../browser/doppler.js';
import { serve } from '../../tools/serve.mjs';
import { openTestDevice } from '../device.mjs';
import { launch, runInPage, skip } from './chromium.mjs';
import { micro, poisoned, prompts, root } from './packages.mjs';

const [golden] = prompts;
const exact = { kv: 'f32', precision: 'exact' };

async function drain(tale) {
    for await (const text of tale) assert.equal(typeof text, 'string');
    return tale.ids;
}

describe('cpu', () => {
    const c = {};
    before(async () => {
        c.doppler = await Doppler.open({ device: 'cpu' });
        c.model = await c.doppler.load(micro);
    });
    after(() => c.doppler.close());

    test('a sound model: every tensor finite, none departs, in the order of computation', async () => {
        const report = await c.model.check(golden.text, { against: 'cpu', tolerance: 0 });
        assert.equal(report.nonFinite, null);
        assert.equal(report.departure, null);
        assert.equal(report.worst.error, 0);
        const names = report.tensors.map(({ name }) => name);
        assert.deepEqual([names[0], names.at(-1)], ['embedding', 'logits']);
        assert.equal(names.length, 1 + 2 * 9 + 2);
        assert.ok(report.tensors.every(({ rows, rms }) => rows === golden.ids.length && rms > 0));
        await assert.rejects(c.model.check('Once', { against: 'gpu' }), { status: 'BAD_ARGUMENT' });
        assert.match(c.model.url, /^file:.*micro-llama3-keep\/$/);
    });

    test('a weight that is not a number is found where it first shows', async () => {
        const folder = poisoned();
        const model = await c.doppler.load(folder);
        const { nonFinite } = await model.check(golden.ids);
        const { rows, cols } = (await model.check(golden.ids)).tensors
            .find(({ name }) => name === 'layers.1.gate_up');
        assert.deepEqual([nonFinite.name, nonFinite.token, nonFinite.element],
            ['layers.1.gate_up', 0, cols / 2 + 5]);
        assert.ok(Number.isNaN(nonFinite.got) && rows === golden.ids.length);
        const lines = [], reports = [];
        await c.doppler.debug({ log: (line) => lines.push(line),
            trace: (report) => reports.push(report) });
        await drain(model.session(exact).generate(golden.text, { maxTokens: 2 }));
        await c.doppler.debug(null);
        assert.match(lines.join('\n'),
            /^trace: first that is not finite: layers\.1\.gate_up, at token 0, element \d+: NaN$/m);
        assert.equal(reports.length, 1);
        assert.equal(reports[0].nonFinite.name, 'layers.1.gate_up');
        await model.close();
        rmSync(folder, { recursive: true });
    });

    test('a line for each call, with times and failures, until it is switched off', async () => {
        const lines = [];
        await c.doppler.debug({ log: (line) => lines.push(line), timings: true, trace: 'cpu' });
        const session = c.model.session({ ...exact, context: 200 });
        assert.deepEqual(await drain(session.generate(golden.text, { maxTokens: 8 })),
            golden.greedy.slice(0, 8));
        await assert.rejects(c.doppler.load(root), { status: 'IO' });
        const text = lines.join('\n');
        for (const wanted of [
            /^createSession \d+: context 200, kv f32, exact; [\d.]+ ms$/m,
            /^trace: 21 tensors, all finite$/m, /^trace: largest difference: .* by 0\.00e\+0/m,
            new RegExp(`^generate \\d+: ${golden.ids.length} prompt tokens, 0 of them held, `
                + '8 generated, stop length; [\\d.]+ ms, first token after [\\d.]+ ms, then each '
                + '[\\d.]+ ms \\(longest [\\d.]+ ms\\)$', 'm'),
            /^load failed: IO: .*manifest\.json/m,
        ]) assert.match(text, wanted);
        const count = lines.length;
        await c.doppler.debug(null);
        await drain(session.generate(golden.text, { maxTokens: 2 }));
        assert.equal(lines.length, count);
        await session.close();
    });
});

test('WebGPU against the CPU backend: where it departs, by how much', async (t) => {
    const opened = await openTestDevice().catch((error) => error);
    if (!opened.device) return t.skip(opened.message);
    opened.device.destroy();
    const doppler = await Doppler.open({ device: 'gpu' });
    const model = await doppler.load(micro);
    const sound = await model.check(golden.text, { against: 'cpu', tolerance: 1e-4 });
    assert.equal(sound.departure, null);
    const { departure, worst } = await model.check(golden.text, { against: 'cpu', tolerance: 0 });
    assert.ok(departure.error > 0 && departure.error <= worst.error && worst.error < 1e-4);
    assert.ok(Math.abs(departure.got - departure.want) > 0);
    await doppler.close();
});

test('in a page, through the worker', { skip }, async () => {
    const server = await serve({ port: 0, root, base: '/some/where/' });
    const browser = await launch();
    const { result, problems } = await runInPage(browser, server, async ({ open, ids }, value) => {
        const doppler = await open({ device: 'cpu' });
        const lines = [];
        await doppler.debug({ log: (line) => lines.push(line), timings: true, trace: 'cpu' });
        const model = await doppler.load(value.micro);
        await ids(model.session().generate(value.text, { maxTokens: 4 }));
        await doppler.close();
        return lines;
    }, { micro: server.url + micro.slice(root.length + 1), text: golden.text });
    assert.deepEqual(problems, []);
    assert.match(result.join('\n'), /^load http.*micro-llama3-keep\/: 512 tokens, .* ms$/m);
    assert.match(result.join('\n'), /^trace: largest difference: /m);
    assert.match(result.join('\n'), /^generate .*4 generated.* then each /m);
    await browser.close();
    await server.close();
});
