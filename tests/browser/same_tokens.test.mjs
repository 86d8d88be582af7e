// same_tokens.test.mjs - the shipped model says the same on every backend: the first 16 greedy
// tokens, exact precision, from the native CPU, wasm, WebGPU in Node and WebGPU in Chromium.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { serve } from '../../tools/serve.mjs';
import { doppler, root } from '../models/oracle.mjs';
import { launch, runInPage, skip as noBrowser } from './chromium.mjs';

const stories = join(root, 'models', 'stories');
const skip = noBrowser
    || (existsSync(join(stories, 'manifest.json')) ? false : 'needs models/stories');
const PROMPT = 'Once upon a time, in a small house at the edge of the forest, there lived';

const fromCommandLine = (...options) => JSON.parse(doppler('run', stories, '-p', PROMPT, '-n', 16,
    '--precision', 'exact', '--json', ...options)).generated;

async function fromChromium() {
    const server = await serve({ port: 0, root });
    const browser = await launch();
    try {
        const tell = async ({ open, ids }, { url, prompt }) => {
            const doppler = await open({ device: 'gpu' });
            const session = (await doppler.load(url)).session({ precision: 'exact' });
            return ids(session.generate(prompt, { maxTokens: 16 }));
        };
        const { result, problems } = await runInPage(browser, server, tell,
            { url: `${server.url}models/stories`, prompt: PROMPT });
        assert.deepEqual(problems, []);
        return result;
    } finally {
        await browser.close();
        await server.close();
    }
}

test('the same greedy tokens everywhere', { skip, timeout: 600_000 }, async (t) => {
    const want = fromCommandLine('--device', 'cpu');
    assert.equal(want.length, 16);
    assert.deepEqual(fromCommandLine('--device', 'cpu', '--host', 'node'), want, 'wasm');
    assert.deepEqual(fromCommandLine('--device', 'gpu'), want, 'WebGPU in Node');
    assert.deepEqual(await fromChromium(), want, 'WebGPU in Chromium');
});
