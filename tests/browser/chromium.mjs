// chromium.mjs - Debian's Chromium, headless, with WebGPU on its software adapter.
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';

const PATH = process.env.CHROMIUM ?? '/usr/bin/chromium';

/** Why browser tests cannot run here, false when they can. */
export const skip = existsSync(PATH) ? false : `needs Chromium at ${PATH}`;

const SWIFTSHADER = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'];

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
