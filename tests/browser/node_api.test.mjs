// node_api.test.mjs - the package's API in Node: on the CPU backend everything, on WebGPU (a
// software adapter where there is no GPU) the main path.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { Doppler, DopplerError } from '../../browser/doppler.js';
import { serve } from '../../tools/serve.mjs';
import { openTestDevice } from '../device.mjs';
import { countedDevice } from './counted_device.mjs';
import { brokenPackages, experts, micro, prompts, removeBrokenPackages, root, sliding }
    from './packages.mjs';

const [golden] = prompts;
const exact = { kv: 'f32', precision: 'exact' };

async function textOf(tale) {
    let text = '';
    for await (const piece of tale) text += piece;
    return text;
}

async function idsOf(tale) {
    await textOf(tale);
    return tale.ids;
}

// Turn after turn on a model whose layers slide: what the session holds is not read again, and the
// ids are those of a session that reads everything.
async function checkTurns(doppler, tokens) {
    const model = await doppler.load(sliding());
    const options = { ...exact, context: 512, chunk: 16 };
    const [kept, fresh] = [model.session(options), model.session({ ...options, checkpoints: 0 })];
    const { checkpoints } = await model.memory(options);
    assert.ok(checkpoints > 0);
    assert.equal((await model.memory({ ...options, checkpoints: 0 })).checkpoints, 0);
    const tell = async (session, ids) => {
        const tale = session.generate(ids, { maxTokens: tokens });
        return { ids: await idsOf(tale), reused: tale.stats.reusedTokens };
    };
    const question = Array.from({ length: 50 }, (_, i) => 5 + (i * 37) % 500);
    const first = await tell(kept, question);
    assert.equal(first.reused, 0);
    const wanted = [
        [[...question, ...first.ids, 7, 8, 9], 49 + tokens],        // goes on
        [[...question, ...first.ids, 7, 8, 9], 52 + tokens],        // another answer
        [question, 49],                                        // another answer to the first
    ];
    for (const [ids, reused] of wanted) {
        const got = await tell(kept, ids);
        assert.equal(got.reused, reused);
        assert.deepEqual(got.ids, (await tell(fresh, ids)).ids);
        await tell(fresh, [1]);                            // and forgets it
    }
    await model.close();
}

// A Doppler with the micro model, closed after the tests of the calling describe().
function opened(device) {
    const context = {};
    before(async () => {
        context.doppler = await Doppler.open({ device });
        context.model = await context.doppler.load(micro);
    });
    after(() => context.doppler.close());
    return context;
}

// A Doppler on a test device that counts.
async function openCounted() {
    const opened = await openTestDevice();
    const { device, counts, reset } = countedDevice(opened.device);
    const adapter = { info: opened.adapter, features: device.features, limits: device.limits,
        requestDevice: async () => device };
    const navigator = { gpu: { requestAdapter: async () => adapter,
        wgslLanguageFeatures: opened.languageFeatures } };
    Object.defineProperty(globalThis, 'navigator', { value: navigator, configurable: true });
    const doppler = await Doppler.open({ device: 'gpu' });
    delete globalThis.navigator;
    return { doppler, counts, reset };
}

describe('cpu', () => {
    const c = opened('cpu');

    test('greedy tokens, ids and figures', async () => {
        const session = c.model.session(exact);
        const tale = session.generate(golden.text, { maxTokens: 24 });
        assert.equal(tale.stats, null);
        assert.ok((await textOf(tale)).length > 0);
        assert.deepEqual(tale.promptIds, golden.ids);
        assert.deepEqual(tale.ids, golden.greedy.slice(0, 24));
        const { stop, promptTokens, tokens, timeToFirstToken, tokensPerSecond,
            duration } = tale.stats;
        assert.deepEqual([stop, promptTokens, tokens], ['length', golden.ids.length, 24]);
        assert.ok(timeToFirstToken > 0 && timeToFirstToken < duration && tokensPerSecond > 0);
        await session.close();
    });

    test('a prompt may be ids, and a longer one goes on from what the session holds', async () => {
        const session = c.model.session(exact);
        const first = await idsOf(session.generate(golden.ids, { maxTokens: 8 }));
        const second = await idsOf(session.generate([...golden.ids, ...first], { maxTokens: 8 }));
        assert.deepEqual([...first, ...second], golden.greedy.slice(0, 16));
        await session.close();
    });

    test('turns that are returned to are not read again', () => checkTurns(c.doppler, 100));

    test('same seed, same ids; another seed, others', async () => {
        const session = c.model.session(exact);
        const options = { maxTokens: 24, temperature: 1 };
        const draw = (seed) => idsOf(session.generate('Once', { ...options, seed }));
        const [a, b, d] = [await draw(5), await draw(5n), await draw(6)];
        assert.deepEqual(a, b);
        assert.notDeepEqual(a, d);
        const free = session.generate('Once', { maxTokens: 4, temperature: 1 });
        const ids = await idsOf(free);
        assert.deepEqual((await draw(free.stats.seed)).slice(0, 4), ids);
        await session.close();
    });

    test('leaving the loop cancels, and the session goes on', async () => {
        const session = c.model.session(exact);
        const tale = session.generate(golden.text, {});
        for await (const piece of tale) if (piece && tale.ids.length > 3) break;
        assert.equal(tale.stats.stop, 'cancelled');
        assert.deepEqual(await idsOf(session.generate(golden.text, { maxTokens: 8 })),
            golden.greedy.slice(0, 8));
        await session.close();
    });

    test('an aborted signal ends with its reason, before and while generating', async () => {
        const session = c.model.session(exact);
        const reason = new Error('enough');
        const stop = new AbortController();
        const tale = session.generate(golden.text, { signal: stop.signal });
        await tale.next();
        stop.abort(reason);
        await assert.rejects(textOf(tale), (error) => error === reason);
        await assert.rejects(session.generate('Once', { signal: stop.signal }).next(),
            (error) => error === reason);
        await session.close();
    });

    test('closing while generating cancels and waits', async () => {
        const session = c.model.session(exact);
        const tale = session.generate(golden.text);
        await tale.next();
        const rest = assert.rejects(textOf(tale), { status: 'CANCELLED' });
        await Promise.all([session.close(), session.close()]);
        await rest;
        await assert.rejects(textOf(session.generate('Once')),
            { name: 'DopplerError', status: 'BAD_ARGUMENT' });
    });

    test('a session does one thing at a time; two do not disturb each other', async () => {
        const [a, b] = [c.model.session(exact), c.model.session(exact)];
        const running = idsOf(a.generate(golden.text, { maxTokens: 16 }));
        const beside = idsOf(b.generate(golden.text, { maxTokens: 16 }));
        await a.ready;
        await assert.rejects(textOf(a.generate('Once')), { status: 'BUSY' });
        assert.deepEqual(await running, golden.greedy.slice(0, 16));
        assert.deepEqual(await beside, golden.greedy.slice(0, 16));
        await Promise.all([a.close(), b.close()]);
    });

    test('the context ends a text, and refuses a longer prompt with both numbers', async () => {
        const session = c.model.session({ ...exact, context: golden.ids.length + 4 });
        const tale = session.generate(golden.text);
        await textOf(tale);
        assert.equal(tale.stats.stop, 'context');
        assert.equal(session.context, golden.ids.length + 4);
        const refused = textOf(session.generate(golden.text.repeat(4)));
        await assert.rejects(refused, { status: 'CONTEXT_FULL',
            message: new RegExp(`^\\d+ tokens, the context holds ${session.context}$`) });
        await session.close();
    });

    test('tokenize, logits and score', async () => {
        const session = c.model.session(exact);
        for (const { text, ids, logits } of prompts) {
            assert.deepEqual([...await c.model.tokenize(text)], ids);
            const got = await session.logits(ids);
            assert.equal(got.length, logits.length);
            const largest = logits.reduce((a, x) => Math.max(a, Math.abs(x)), 0);
            assert.ok(got.every((x, i) => Math.abs(x - logits[i]) <= 1e-4 * largest));
            const row = logits.subarray(0, c.model.vocab);
            const nll = Math.log(row.reduce((a, x) => a + Math.exp(x), 0)) - row[ids[1]];
            assert.ok(Math.abs((await session.score(ids))[0] - nll) < 1e-3);
        }
        assert.equal((await c.model.tokenize('Once', { bos: false }))[0], golden.ids[1]);
        await session.close();
    });

    test('wrong arguments are BAD_ARGUMENT and name what is allowed', async () => {
        const session = c.model.session();
        for (const options of [{ maxTokens: -1 }, { temperature: NaN }, { temperature: '1' },
            { topK: 1.5 }, { seed: 0.5 }]) {
            assert.throws(() => session.generate('Once', options), { status: 'BAD_ARGUMENT' });
        }
        assert.throws(() => session.generate([1, -2]), { status: 'BAD_ARGUMENT' });
        for (const options of [{ topP: 2 }, { temperature: -1 }]) {
            await assert.rejects(textOf(session.generate('Once', options)),
                { status: 'BAD_ARGUMENT' });
        }
        await assert.rejects(textOf(session.generate([])), { status: 'BAD_ARGUMENT' });
        await assert.rejects(textOf(session.generate([c.model.vocab])), { status: 'BAD_ARGUMENT' });
        await assert.rejects(c.model.session({ kv: 'q4' }).ready, { status: 'BAD_ARGUMENT' });
        await assert.rejects(c.model.session({ context: 1e9 }).ready, { status: 'BAD_ARGUMENT' });
        await assert.rejects(Doppler.open({ device: 'npu' }), { status: 'BAD_ARGUMENT' });
        await session.close();
    });

    test('a plan comes before the first byte, and is what memory() says', async () => {
        const seen = [];
        const session = { ...exact, context: 200 };
        const model = await c.doppler.load(micro, { session, onPlan: (plan) => seen.push(plan),
            onProgress: () => seen.push('progress') });
        assert.deepEqual(seen[0], await model.memory(session));
        assert.ok(seen[0].weights > 0 && seen[0].kv === 2 * 2 * 64 * 200 * 4 && seen[0].work > 0);
        assert.equal(seen.filter((step) => step !== 'progress').length, 1);
        assert.equal(seen[1], 'progress');
        await model.close();
        await assert.rejects(c.doppler.load(micro, { session: { context: 1e6 }, onPlan() {} }),
            { status: 'BAD_ARGUMENT' });
    });

    test('loading over HTTP, from file: URLs and paths, with progress', async () => {
        const server = await serve({ port: 0, root, base: '/sub/' });
        const steps = [];
        const urls = [server.url + micro.slice(root.length + 1), pathToFileURL(micro),
            `${micro}/manifest.json`];
        for (const url of urls) {
            const model = await c.doppler.load(url, { onProgress: (step) => steps.push(step) });
            assert.equal(model.vocab, c.model.vocab);
            await model.close();
        }
        assert.ok(steps.length >= 3);
        assert.ok(steps.every(({ bytes, total }) => bytes > 0 && bytes <= total));
        assert.equal(steps.at(-1).bytes, steps.at(-1).total);
        await server.close();
    });

    test('broken packages fail with their status, from a folder and over HTTP', async () => {
        const server = await serve({ port: 0, root });
        after(removeBrokenPackages);
        for (const { name, folder, status, message } of brokenPackages()) {
            for (const url of [folder, server.url + folder.slice(root.length + 1)]) {
                await assert.rejects(c.doppler.load(url), (error) => {
                    assert.ok(error instanceof DopplerError, `${name}: ${error.stack}`);
                    assert.equal(error.status, status, `${name}: ${error.message}`);
                    assert.match(error.message, message, name);
                    assert.ok(!error.message.includes('\n'));
                    return true;
                });
            }
        }
        await server.close();
    });

    test('aborting a load ends it with the reason', async () => {
        const reason = new Error('changed my mind');
        const stop = new AbortController();
        const load = () => c.doppler.load(micro,
            { signal: stop.signal, onProgress: () => stop.abort(reason) });
        await assert.rejects(load(), (error) => error === reason);
        await assert.rejects(load(), (error) => error === reason);
    });
});

test('closing a Doppler ends everything that runs on it', async () => {
    const doppler = await Doppler.open({ device: 'cpu' });
    const model = await doppler.load(micro);
    const session = model.session();
    const tale = session.generate(golden.text);
    await tale.next();
    const rest = assert.rejects(textOf(tale), { status: 'CANCELLED' });
    const loading = assert.rejects(doppler.load(micro), DopplerError);
    await Promise.all([doppler.close(), doppler.close()]);
    await Promise.all([rest, loading, session.close(), model.close()]);
    await assert.rejects(doppler.load(micro), { status: 'BAD_ARGUMENT' });
    await assert.rejects(model.session().ready, { status: 'BAD_ARGUMENT' });
});

test('loading, telling, failing and closing again and again needs no more memory', async () => {
    let memory = null;
    const instantiate = WebAssembly.instantiate;
    WebAssembly.instantiate = async (...args) => {
        const instance = await instantiate(...args);
        ({ memory } = instance.exports);
        return instance;
    };
    const doppler = await Doppler.open({ device: 'cpu' })
        .finally(() => { WebAssembly.instantiate = instantiate; });
    const stop = AbortSignal.abort();
    let settled = 0;
    for (let round = 0; round < 40; round++) {
        const model = await doppler.load(micro);
        const session = model.session();
        await textOf(session.generate('Once', { maxTokens: 2 }));
        await assert.rejects(session.logits([1, 2, 3], { signal: stop }));
        await assert.rejects(textOf(session.generate('Once', { topP: 2 })));
        await model.close();
        await assert.rejects(doppler.load(root));
        if (round === 4) settled = memory.buffer.byteLength;
    }
    assert.equal(memory.buffer.byteLength, settled);
    await doppler.close();
});

test('without an adapter: NO_GPU, and auto says why it is the CPU', () => {
    const module = new URL('../../browser/doppler.js', import.meta.url);
    const script = `
        import { Doppler } from ${JSON.stringify(module)};
        const error = await Doppler.open({ device: 'gpu' }).catch((e) => e);
        const { info } = await Doppler.open();
        console.log(JSON.stringify([error.name, error.status, error.message, info]));
        process.exit();`;
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script],
        { encoding: 'utf8', env: { ...process.env, VK_DRIVER_FILES: '/dev/null',
            VK_ICD_FILENAMES: '/dev/null' } });
    assert.notEqual(stdout, '', stderr);
    const [name, status, message, info] = JSON.parse(stdout.trim().split('\n').at(-1));
    assert.deepEqual([name, status], ['DopplerError', 'NO_GPU']);
    assert.deepEqual(info, { backend: 'cpu', adapter: null, reason: message });
});

describe('gpu', () => {
    const c = {};
    before(async (t) => {
        try {
            (await openTestDevice()).device.destroy();
        } catch (error) {
            c.skip = error.message;
            return;
        }
        c.doppler = await Doppler.open({ device: 'gpu' });
        c.model = await c.doppler.load(micro);
        c.session = c.model.session(exact);
        await c.session.ready;
    });
    after(() => c.doppler?.close());

    test('greedy tokens are the CPU\'s', async (t) => {
        if (c.skip) return t.skip(c.skip);
        assert.equal(c.doppler.info.backend, 'webgpu');
        assert.ok(c.doppler.info.adapter.vendor);
        assert.deepEqual(await idsOf(c.session.generate(golden.text, { maxTokens: 16 })),
            golden.greedy.slice(0, 16));
    });

    test('turns that are returned to are not read again', async (t) => {
        if (c.skip) return t.skip(c.skip);
        await checkTurns(c.doppler, process.env.LONG ? 100 : 20);
    });

    test('leaving the loop and aborting cancel, and the session goes on', async (t) => {
        if (c.skip) return t.skip(c.skip);
        for await (const piece of c.session.generate(golden.text)) if (piece) break;
        const reason = new Error('enough');
        const stop = new AbortController();
        const tale = c.session.generate(golden.text, { signal: stop.signal });
        await tale.next();
        stop.abort(reason);
        await assert.rejects(textOf(tale), (error) => error === reason);
        assert.deepEqual(await idsOf(c.session.generate(golden.text, { maxTokens: 4 })),
            golden.greedy.slice(0, 4));
    });

    test('sampling draws the CPU\'s ids from the same seed', async (t) => {
        if (c.skip) return t.skip(c.skip);
        const cpu = await Doppler.open({ device: 'cpu' });
        const there = (await cpu.load(micro)).session(exact);
        const options = { maxTokens: 12, temperature: 0.9, topK: 50, topP: 0.95, minP: 0.01,
            repetitionPenalty: 1.1, presencePenalty: 0.2, seed: 3 };
        assert.deepEqual(await idsOf(c.session.generate(golden.text, options)),
            await idsOf(there.generate(golden.text, options)));
        await cpu.close();
    });

    test('a token makes an encoder, a pass and a command buffer, nothing else', async (t) => {
        if (c.skip) return t.skip(c.skip);
        const { doppler, counts, reset } = await openCounted();
        const session = (await doppler.load(micro)).session(exact);
        const tale = session.generate(golden.text, { maxTokens: 32 });
        for await (const text of tale) if (text && tale.ids.length < 16) reset();
        const kinds = Object.keys(counts).sort();
        assert.deepEqual(kinds, ['commandBuffer', 'commandEncoder', 'computePass', 'copy']);
        assert.ok(counts.computePass <= 24 && counts.commandBuffer === counts.computePass);
        assert.ok(counts.copy <= counts.computePass);
        await doppler.close();
    });

    // A step that had to know its experts on the way would be more than one pass. It is cut by time
    // where a device is slow: here time stands still.
    for (const name of ['mixtral', 'gptoss']) {
        test(`${name}: a step is one pass, without a read-back or indirect dispatch`, async (t) => {
            if (c.skip) return t.skip(c.skip);
            t.mock.method(performance, 'now', () => 0);
            const { doppler, counts, reset } = await openCounted();
            const [, prompt] = experts(name).prompts;
            const model = await doppler.load(experts(name).pack);
            const session = model.session({ ...exact, chunk: 16, checkpoints: 0 });
            await idsOf(session.generate(prompt.ids, { maxTokens: 8 }));
            const prefills = Math.ceil(prompt.ids.length / 16);
            assert.ok(prefills > 4);
            reset();
            const ids = await idsOf(session.generate(prompt.ids.toReversed(), { maxTokens: 8 }));
            assert.equal(ids.length, 8);
            assert.equal(counts.computePass, counts.commandBuffer);
            assert.ok(counts.computePass <= prefills + 8, `${counts.computePass} passes`);
            assert.ok(counts.copy <= counts.computePass - (prefills - 1), `${counts.copy} copies`);
            assert.equal(counts.indirectDispatch, undefined);
            await doppler.close();
        });
    }

    test('a broken package is refused, and closing while generating waits', async (t) => {
        if (c.skip) return t.skip(c.skip);
        await assert.rejects(c.doppler.load(root), { status: 'IO' });
        const tale = c.session.generate(golden.text);
        await tale.next();
        const rest = assert.rejects(textOf(tale), { status: 'CANCELLED' });
        await c.doppler.close();
        await rest;
    });
});
