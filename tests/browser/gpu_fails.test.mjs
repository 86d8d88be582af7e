// gpu_fails.test.mjs - a device that fails below the whole engine: what the caller of the API is
// told, and that nothing hangs. Needs WebGPU in Node, a software adapter will do.
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { Doppler } from '../../browser/doppler.js';
import { openTestDevice } from '../device.mjs';
import { countedDevice } from './counted_device.mjs';
import { micro, prompts } from './packages.mjs';

const [{ text: prompt }] = prompts;
const opened = await openTestDevice().catch((e) => e);
const skip = opened.device ? false : `no WebGPU adapter: ${opened.message}`;
opened.device?.destroy();

// A Doppler on a device of which `change(real)` replaces some members.
async function openWith(change) {
    const { device: real, adapter, languageFeatures } = await openTestDevice();
    const { device } = countedDevice(real, change(real));
    const gpu = { wgslLanguageFeatures: languageFeatures, requestAdapter: async () => ({
        info: adapter, features: real.features, limits: real.limits,
        requestDevice: async () => device }) };
    Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });
    const doppler = await Doppler.open({ device: 'gpu' })
        .finally(() => { delete globalThis.navigator; });
    after(() => doppler.close());
    return { doppler, real };
}

// Members of a device that runs out of memory as long as memory.none is true.
const poor = (memory) => (real) => {
    const scopes = [];
    return {
        pushErrorScope(filter) { scopes.push(filter); real.pushErrorScope(filter); },
        popErrorScope() {
            const none = scopes.pop() === 'out-of-memory' && memory.none;
            return real.popErrorScope().then((e) => (none ? { message: 'no memory left' } : e));
        },
    };
};

async function told(tale) {
    for await (const piece of tale) void piece;
}

describe('a device that fails', { skip, timeout: 120_000 }, () => {
    test('lost while generating: DEVICE_LOST there, and in everything after', async () => {
        let lose;
        const lost = new Promise((resolve) => { lose = resolve; });
        const { doppler, real } = await openWith(() => ({ lost }));
        const model = await doppler.load(micro);
        const session = model.session();
        const tale = session.generate(prompt, { maxTokens: 500 });
        await tale.next();
        real.destroy();
        lose({ reason: 'unknown', message: 'the driver was reset' });
        const why = { name: 'DopplerError', status: 'DEVICE_LOST', message: /lost/ };
        await assert.rejects(told(tale),
            { ...why, message: 'GPU device lost: the driver was reset' });
        await assert.rejects(told(session.generate(prompt)), why);
        await assert.rejects(model.session().ready, why);
        await assert.rejects(doppler.load(micro).then((m) => m.session().ready), why);
        await session.close();
    });

    test('no memory for a session: NO_MEMORY with the bytes, and the model lives on', async () => {
        const memory = { none: false };
        const { doppler } = await openWith(poor(memory));
        const model = await doppler.load(micro);
        memory.none = true;
        const session = model.session();
        await assert.rejects(session.ready, { status: 'NO_MEMORY',
            message: /^session of \d+ tokens: \d+ GPU buffers of \d+ bytes together: no m/ });
        await assert.rejects(told(session.generate(prompt)), { status: 'NO_MEMORY' });
        memory.none = false;
        await told(model.session().generate(prompt, { maxTokens: 2 }));
    });

    test('no memory for the weights: NO_MEMORY with the bytes; a retry may work', async () => {
        const memory = { none: true };
        const { doppler } = await openWith(poor(memory));
        await assert.rejects(doppler.load(micro), { status: 'NO_MEMORY',
            message: /: \d+ bytes of weights: \d+ GPU buffers of \d+ bytes together: no/ });
        memory.none = false;
        const model = await doppler.load(micro);
        await told(model.session().generate(prompt, { maxTokens: 2 }));
    });

    test('a program that a compiler refuses: GPU_ERROR with its name', async () => {
        const { doppler } = await openWith((real) => ({
            createShaderModule: ({ label, code }) => real.createShaderModule({ label,
                code: label.startsWith('rmsnorm') ? `${code}\nfn broken(` : code }),
        }));
        const outcome = doppler.load(micro).then((model) => model.session().ready);
        await assert.rejects(outcome, { status: 'GPU_ERROR', message: /^rmsnorm:\d+:\d+: ./ });
    });

    test('an operation that the device refuses: GPU_ERROR with its line', async () => {
        let broken = false;
        const { doppler } = await openWith((real) => ({
            createCommandEncoder() {
                if (broken) real.createBuffer({ size: 16, usage: 0 });
                broken = false;
                return real.createCommandEncoder();
            },
        }));
        const session = (await doppler.load(micro)).session();
        await session.ready;
        broken = true;
        await assert.rejects(told(session.generate(prompt, { maxTokens: 4 })),
            { status: 'GPU_ERROR', message: /usage/i });
        await told(session.generate(prompt, { maxTokens: 4 }));
    });
});
