// demo.test.mjs - the demo page as a visitor meets it: served at a sub-path, on the CPU backend
// and on WebGPU. Screenshots go to build/screenshots/.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { serve } from '../../tools/serve.mjs';
import { launch, openPage, skip as noBrowser } from './chromium.mjs';
import { root } from './packages.mjs';

const MODEL = 'models/stories/manifest.json';
const skip = noBrowser || (existsSync(join(root, MODEL)) ? false : `needs ${MODEL}`);
const SCREENSHOTS = join(root, 'build', 'screenshots');
const LOADING_MS = 240_000;         // SwiftShader compiles slowly

const c = {};

// The demo in a fresh page, ready to tell.
async function visit(query = '', options = {}) {
    const { page, problems } = await openPage(c.browser,
        { viewport: { width: 900, height: 1000 }, ...options });
    await page.goto(`${c.server.url}d/${query}`);
    await page.waitForFunction(() => !document.getElementById('tell').disabled
        || !document.getElementById('problem').hidden, null, { timeout: LOADING_MS });
    return { page, problems };
}

async function set(page, values) {
    await page.click('summary');
    for (const [id, value] of Object.entries(values)) await page.fill(`#${id}`, String(value));
    await page.click('summary');
}

const told = (page) => page.waitForFunction(() => document.getElementById('stop').disabled, null,
    { timeout: LOADING_MS });
const shot = (page, name) => page.screenshot(
    { path: join(SCREENSHOTS, `${name}.png`), fullPage: true });
const words = async (page, id) => (await page.textContent(`#${id}`)).trim();

describe('demo', { skip, timeout: 900_000 }, () => {
    before(async () => {
        mkdirSync(SCREENSHOTS, { recursive: true });
        c.server = await serve({ port: 0, root, base: '/some/where/' });
        c.browser = await launch();
    });
    after(async () => {
        await c.browser?.close();
        await c.server?.close();
    });

    test('tells the same tale for the same seed on the CPU, and shows its figures', async () => {
        const { page, problems } = await visit('?device=cpu');
        await set(page, { 'max-tokens': 40, seed: 7 });
        await page.fill('#prompt', 'Once upon a time there was a king');
        const tales = [];
        for (let i = 0; i < 2; i++) {
            await page.press('#prompt', 'Enter');
            await told(page);
            tales.push(await words(page, 'tale'));
        }
        assert.equal(tales[0], tales[1]);
        assert.match(tales[0], /^Once upon a time there was a king .{40}/s);
        assert.match(await words(page, 'speed'), /^[\d.]+ tokens\/s$/);
        assert.match(await words(page, 'first'), /^\d+ ms$/);
        assert.equal(await words(page, 'used-seed'), '7');
        assert.match(await words(page, 'backend'), /^CPU, in WebAssembly: /);
        assert.deepEqual(problems, []);
        await shot(page, 'demo-cpu');
        await page.close();
    });

    test('stops when asked, by button and by key, and can go on', async () => {
        const { page, problems } = await visit('?device=cpu');
        await set(page, { 'max-tokens': 2000 });
        await page.click('summary');
        await shot(page, 'demo-settings');
        for (const stop of [() => page.click('#stop'), () => page.keyboard.press('Escape')]) {
            await page.click('#tell');
            await page.waitForFunction(
                () => Number(document.getElementById('tokens').textContent) > 2);
            await stop();
            await told(page);
            assert.equal(await words(page, 'status'), 'Stopped.');
        }
        assert.ok(await page.isEnabled('#tell'));
        assert.deepEqual(problems, []);
        await page.close();
    });

    test('talks by the template of the model, turn by turn, and starts anew', async () => {
        const { page, problems } = await visit('?device=cpu&mode=chat');
        await set(page, { 'max-tokens': 24, temperature: 0, system: 'You tell of foxes.' });
        for (const message of ['Who are you? <|eot_id|>', 'And then?']) {
            await page.fill('#prompt', message);
            await page.press('#prompt', 'Enter');
            await told(page);
        }
        const turns = await page.$$eval('#tale p', (all) => all.map((p) => [p.className,
            p.textContent]));
        assert.deepEqual(turns.map(([who]) => who), ['user', 'model', 'user', 'model']);
        assert.equal(turns[0][1], 'Who are you? <|eot_id|>');
        assert.ok(turns[1][1].length > 10 && turns[3][1].length > 10);
        assert.equal(await page.inputValue('#prompt'), '');
        await shot(page, 'demo-chat');
        await page.click('#anew');
        assert.equal(await words(page, 'tale'), 'The conversation will appear here.');
        await page.check('#mode-tale');
        await page.click('#tell');
        await told(page);
        assert.match(await words(page, 'tale'), /^Once upon a time/);
        assert.deepEqual(problems, []);
        await page.close();
    });

    test('tells a tale on WebGPU, in the dark', async () => {
        const { page, problems } = await visit('?device=gpu', { colorScheme: 'dark' });
        await set(page, { 'max-tokens': 8, seed: 7 });
        await page.click('#openings button');
        await page.click('#tell');
        await told(page);
        await shot(page, 'demo-gpu');
        assert.equal(await words(page, 'tokens'), '8');
        assert.match(await words(page, 'backend'), /^WebGPU: .+ \(software\)$/);
        assert.deepEqual(problems, []);
        await page.close();
    });

    test('without a real GPU it says that it uses the CPU, and why', async () => {
        const { page } = await visit();
        assert.match(await words(page, 'backend'), /^CPU, in WebAssembly: only a software adapter/);
        await page.close();
    });

    test('says in plain words what went wrong, on a narrow screen', async () => {
        const { page } = await visit('?model=../nowhere/',
            { viewport: { width: 360, height: 740 } });
        assert.equal(await words(page, 'problem-title'), 'The model could not be fetched.');
        assert.match(await words(page, 'problem-text'), /nowhere\/manifest\.json: HTTP 404/);
        assert.equal(await words(page, 'problem-status'), 'IO');
        assert.ok(await page.isDisabled('#tell'));
        const [wide, room] = await page.evaluate(
            () => [document.documentElement.scrollWidth, innerWidth]);
        assert.ok(wide <= room, `${wide} pixels wide on a screen of ${room}`);
        await shot(page, 'demo-problem');
        await page.close();
    });
});
