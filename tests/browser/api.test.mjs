// api.test.mjs - the package's API in Chromium: a plain page at a sub-path imports it from a
// static server. Each test runs a function in that page.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { serve } from '../../tools/serve.mjs';
import { launch, runInPage, skip } from './chromium.mjs';
import { brokenPackages, micro, prompts, removeBrokenPackages, root } from './packages.mjs';

const [golden] = prompts;
const c = {};
const folderUrl = (folder) => c.server.url + folder.slice(root.length + 1);

const inPage = (work, argument = {}, browser = c.browser) => runInPage(browser, c.server, work,
    { micro: folderUrl(micro), golden: { text: golden.text }, ...argument });

describe('Chromium', { skip, timeout: 600_000 }, () => {
    before(async () => {
        c.server = await serve({ port: 0, root, base: '/some/where/' });
        c.browser = await launch();
    });
    after(async () => {
        removeBrokenPackages();
        await c.browser?.close();
        await c.server?.close();
    });

    for (const worker of [true, false]) {
        test(`greedy tokens and figures, ${worker ? 'in a worker' : 'in the page'}`, async () => {
            const { result, problems } = await inPage(async ({ open, ids }, value) => {
                const { micro, golden, worker } = value;
                const doppler = await open({ device: 'cpu', worker });
                const steps = [];
                const model = await doppler.load(micro, { onProgress: (step) => steps.push(step) });
                const session = model.session({ kv: 'f32', precision: 'exact' });
                const tale = session.generate(golden.text, { maxTokens: 24 });
                await ids(tale);
                const { info } = doppler;
                await doppler.close();
                const { text, promptIds, stats } = tale;
                return { info, steps, text, ids: tale.ids, promptIds, stats };
            }, { worker });
            assert.deepEqual(problems, []);
            assert.deepEqual(result.ids, golden.greedy.slice(0, 24));
            assert.deepEqual(result.promptIds, golden.ids);
            assert.equal(result.info.backend, 'cpu');
            assert.equal(result.stats.stop, 'length');
            assert.ok(result.text.length > 0 && result.stats.tokensPerSecond > 0);
            assert.equal(result.steps.at(-1).bytes, result.steps.at(-1).total);
        });
    }

    test('errors cross the worker with their status', async () => {
        const broken = brokenPackages();
        const urls = broken.map(({ folder }) => folderUrl(folder));
        const { result } = await inPage(async ({ open, failure }, { urls }) => {
            const doppler = await open({ device: 'cpu' });
            const failures = [];
            for (const url of urls) failures.push(await failure(doppler.load(url)));
            await doppler.close();
            return failures;
        }, { urls });
        for (const [i, { name, status, message }] of broken.entries()) {
            assert.equal(result[i]?.name, 'DopplerError', name);
            assert.equal(result[i].status, status, name);
            assert.match(result[i].message, message, name);
        }
    });

    test('breaking off, aborting and closing reach a worker that computes', async () => {
        const { result, problems } = await inPage(async (tools, { micro, golden }) => {
            const { open, ids, failure } = tools;
            const doppler = await open({ device: 'cpu' });
            const model = await doppler.load(micro);
            const session = model.session({ kv: 'f32', precision: 'exact' });
            const left = session.generate(golden.text);
            for await (const text of left) if (text) break;
            const stop = new AbortController();
            const aborted = session.generate(golden.text, { signal: stop.signal });
            await aborted.next();
            stop.abort();
            const abortion = await failure(ids(aborted));
            const again = await ids(session.generate(golden.text, { maxTokens: 4 }));
            const running = session.generate(golden.text);
            await running.next();
            const closing = failure(ids(running));
            await doppler.close();
            await doppler.close();
            return { stop: left.stats.stop, abortion, again, closed: await closing,
                later: await failure(doppler.load(micro)) };
        });
        assert.deepEqual(problems, []);
        assert.equal(result.stop, 'cancelled');
        assert.equal(result.abortion.name, 'AbortError');
        assert.deepEqual(result.again, golden.greedy.slice(0, 4));
        assert.equal(result.closed.status, 'CANCELLED');
        assert.equal(result.later.status, 'BAD_ARGUMENT');
    });

    test('the package from another origin, and its files from where assets says', async () => {
        const cdn = await serve({ port: 0, root, base: '/cdn/',
            headers: { 'access-control-allow-origin': '*' } });
        const { result, problems } = await inPage(async ({ ids }, value) => {
            const { micro, golden, cdn, here } = value;
            const there = await import(`${cdn}browser/doppler.js`);
            const all = [];
            const assets = (name) => here
                + (name === 'worker.js' ? 'browser/worker.js' : 'build/doppler.wasm');
            for (const options of [{ device: 'cpu' }, { device: 'cpu', assets }]) {
                const doppler = await there.Doppler.open(options);
                const model = await doppler.load(micro);
                const session = model.session({ kv: 'f32', precision: 'exact' });
                all.push(await ids(session.generate(golden.text, { maxTokens: 4 })));
                await doppler.close();
            }
            return all;
        }, { cdn: cdn.url.replace('localhost', '127.0.0.1'), here: c.server.url });
        await cdn.close();
        assert.deepEqual(problems, []);
        assert.deepEqual(result, [golden.greedy.slice(0, 4), golden.greedy.slice(0, 4)]);
    });

    test('assets that are not there fail with IO, and do not hang', async () => {
        const { result } = await inPage(async ({ open, failure }, { here }) => [
            await failure(open({ device: 'cpu', assets: `${here}nowhere/` })),
            await failure(open({ device: 'cpu', worker: false, assets: `${here}nowhere/` })),
        ], { here: c.server.url });
        assert.deepEqual(result.map(({ status }) => status), ['IO', 'IO']);
        assert.match(result[1].message, /nowhere\/doppler\.wasm: HTTP 404/);
    });

    test('two Dopplers side by side', async () => {
        const { result } = await inPage(async ({ open, ids }, { micro, golden }) => {
            const both = await Promise.all([open({ device: 'cpu' }), open({ device: 'cpu' })]);
            const runs = await Promise.all(both.map(async (doppler) => {
                const model = await doppler.load(micro);
                const session = model.session({ kv: 'f32', precision: 'exact' });
                return ids(session.generate(golden.text, { maxTokens: 8 }));
            }));
            await both[0].close();
            await both[1].close();
            return runs;
        });
        assert.deepEqual(result, [golden.greedy.slice(0, 8), golden.greedy.slice(0, 8)]);
    });

    test('WebGPU: greedy tokens are the golden ones', async () => {
        const { result, problems } = await inPage(async ({ open, ids }, { micro, golden }) => {
            const doppler = await open({ device: 'gpu' });
            const session = (await doppler.load(micro)).session({ kv: 'f32', precision: 'exact' });
            const got = await ids(session.generate(golden.text, { maxTokens: 12 }));
            const { info } = doppler;
            await doppler.close();
            return { info, got };
        });
        assert.deepEqual(problems, []);
        assert.equal(result.info.backend, 'webgpu');
        assert.deepEqual(result.got, golden.greedy.slice(0, 12));
    });

    test('no adapter: NO_GPU, and auto says why it is the CPU', async () => {
        const browser = await launch(['--disable-gpu', '--disable-features=WebGPU']);
        const { result } = await inPage(async ({ open, failure }) => {
            const doppler = await open();
            const { info } = doppler;
            await doppler.close();
            return { info, forced: await failure(open({ device: 'gpu' })) };
        }, {}, browser);
        await browser.close();
        assert.equal(result.forced.status, 'NO_GPU');
        assert.deepEqual(result.info,
            { backend: 'cpu', adapter: null, reason: result.forced.message });
    });
});
