// chromium.mjs - Debian's Chromium, headless, with WebGPU on its software adapter.
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';

const PATH = process.env.CHROMIUM ?? '/usr/bin/chromium';

/** Why browser tests cannot run here, false when they can. */
export const skip = existsSync(PATH) ? false : `needs Chromium at ${PATH}`;

// SwiftShader takes three times as long to make programs that clear their workgroup memory first, as
// browsers let them; kernels do without (gpu.js tells Node's Dawn to leave it out), and `make check`
// runs with it.
const SWIFTSHADER = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader',
    ...(process.env.LONG ? [] : ['--enable-dawn-features=disable_workgroup_init'])];

/** gpu: the switches that say what WebGPU there is. */
export const launch = (gpu = SWIFTSHADER) => chromium.launch({
    executablePath: PATH,
    args: ['--headless=new', '--no-sandbox', ...gpu, '--disable-quic', '--no-first-run',
        '--disable-sync', '--disable-background-networking', '--disable-component-update'],
});

/** A page of `browser` that records what went wrong in it. */
export async function openPage(browser, options) {
    const page = await browser.newPage(options);
    const problems = [];
    page.on('pageerror', (error) => problems.push(String(error)));
    page.on('console', (message) => {
        if (message.type() === 'error') problems.push(message.text());
    });
    return { page, problems };
}

/** What `work(tools, argument)` gives in a fresh page of the server, which imports the package:
 *  tools.open(options) opens a Doppler, tools.ids(tale) runs a generation to its end, and
 *  tools.failure(promise) is what the promise was rejected with, tools.base64(blob) its bytes. */
export async function runInPage(browser, server, work, argument) {
    const { page, problems } = await openPage(browser);
    await page.goto(`${server.url}tests/browser/page.html`);
    const result = await page.evaluate(async ({ source, value }) => {
        const { Doppler } = await import('../../browser/doppler.js');
        const tools = {
            open: (options) => Doppler.open(options),
            ids: async (tale) => {
                for await (const text of tale) tale.text = (tale.text ?? '') + text;
                return tale.ids;
            },
            base64: (blob) => new Promise((resolve) => {
                const reader = new FileReader();
                reader.onload = () => resolve(reader.result.split(',')[1]);
                reader.readAsDataURL(blob);
            }),
            failure: (promise) => promise.then(() => null, (error) => (
                { name: error.name, status: error.status, message: error.message })),
        };
        return (0, eval)(`(${source})`)(tools, value);
    }, { source: String(work), value: argument });
    await page.close();
    return { result, problems };
}
