// kernels.test.mjs - which kernels are used on a device, in Node on WebGPU: what is found out is
// kept, and programs that the device gets wrong are noticed and not used.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync }
    from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Doppler } from '../../browser/doppler.js';
import { openTestDevice } from '../device.mjs';
import { launch, runInPage, skip } from './chromium.mjs';
import { micro, prompts, root } from './packages.mjs';
import { serve } from '../../tools/serve.mjs';

const [golden] = prompts;
const cache = mkdtempSync(join(tmpdir(), 'doppler-cache-'));
process.env.XDG_CACHE_HOME = cache;
after(() => rmSync(cache, { recursive: true, force: true }));

const keptFile = () => join(cache, 'doppler', readdirSync(join(cache, 'doppler'))[0]);

// What a session on the device tells, and what is known of its kernels then. breaks: labels of
// programs that are compiled to do nothing.
async function tell(options, breaks = () => false) {
    const { device, adapter: info, languageFeatures } = await openTestDevice();
    const compile = device.createShaderModule.bind(device);
    device.createShaderModule = ({ label, code }) => compile({ label, code: breaks(label)
        ? code.replace(/(@compute[^{]*\{)/, '$1 if (true) { return; }') : code });
    const adapter = { info, features: device.features, limits: device.limits,
        requestDevice: async () => device };
    const gpu = { requestAdapter: async () => adapter, wgslLanguageFeatures: languageFeatures };
    Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });
    const doppler = await Doppler.open({ device: 'gpu', ...options });
    delete globalThis.navigator;
    const model = await doppler.load(micro);
    const session = model.session({ kv: 'f16', precision: 'fast', context: 64 });
    await session.ready;
    const { dispatches } = await doppler.counters();
    const tale = session.generate(golden.ids, { maxTokens: 8 });
    for await (const text of tale) void text;
    const kernels = await doppler.kernels();
    await doppler.close();
    return { ids: tale.ids, dispatches, kernels };
}

describe('what is found out about a device', () => {
    let first;
    before(async () => { first = await tell({}); });

    test('is kept, and not asked again', async () => {
        assert.ok(first.dispatches > 0 && first.kernels.tested.length > 0);
        assert.ok(first.kernels.tested.every(({ right }) => right));
        assert.ok(first.kernels.testMs > 0);
        // A slow device has not timed all that it could in the time it may take: it goes on.
        let known = first, second = await tell({});
        for (let more = 8; second.dispatches && more; more--) [known, second] = [second, await tell({})];
        assert.equal(second.dispatches, 0);
        assert.deepEqual([second.kernels.tested, second.kernels.chosen, second.ids],
            [first.kernels.tested, known.kernels.chosen, first.ids]);
    });

    test('is asked again where that is wanted, or where what was kept is damaged', async () => {
        const whole = readFileSync(keptFile(), 'utf8');
        assert.ok((await tell({ tuning: 'fresh' })).dispatches > 0);
        writeFileSync(keptFile(), whole.replace(/program/, 'progrom'));
        assert.ok((await tell({})).dispatches > 0);
        const trust = (text) => text.split('\n').filter((line) => line.startsWith('program '));
        assert.deepEqual(trust(readFileSync(keptFile(), 'utf8')), trust(whole));
    });

    test('is not kept where there is no room for it, which fails nothing', async () => {
        rmSync(join(cache, 'doppler'), { recursive: true });
        writeFileSync(join(cache, 'doppler'), '');
        assert.deepEqual((await tell({})).ids, first.ids);
        rmSync(join(cache, 'doppler'));
        assert.deepEqual((await tell({ tuning: 'off' })).kernels.chosen, []);
        assert.ok(!existsSync(join(cache, 'doppler')));
    });
});

test('programs that are wrong on a device are noticed, and the answer stays right', async () => {
    const { kernels: { tested } } = await tell({ tuning: 'fresh' });
    const labels = new Set(tested.map(({ kernel, format }) => `${kernel} ${format}`));
    const { ids, kernels } = await tell({ tuning: 'off' },
        (label) => labels.has(label) || labels.has(`${label} -`) || label.startsWith('linear'));
    const wrong = kernels.tested.filter(({ right }) => !right)
        .map(({ kernel, format }) => `${kernel} ${format}`);
    for (const label of labels) assert.ok(wrong.includes(label), label);
    assert.deepEqual(ids, golden.greedy.slice(0, 8));
});

test('Chromium keeps what is found out', { skip, timeout: 300_000 }, async () => {
    const server = await serve({ port: 0, root, base: '/' });
    const browser = await launch();
    try {
        const { result } = await runInPage(browser, server, async (tools, { names }) => {
            const { readLearned, writeLearned } = await import('/browser/learned.js');
            const before = await readLearned(names[0]);
            await writeLearned(names[0], 'a');
            await writeLearned(names[1], 'b');
            await writeLearned(names[0], 'c');
            return [before, await readLearned(names[0]), await readLearned(names[1])];
        }, { names: ['one GPU', 'another'] });
        assert.deepEqual(result, [null, 'c', 'b']);
    } finally {
        await browser.close();
        await server.close();
    }
});
