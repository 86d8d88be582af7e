// size.mjs - what a page downloads: gzipped bytes of the wasm and of the package's JavaScript.
import { readdirSync, readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const LIMIT_BYTES = 200_000;
const project = new URL('..', import.meta.url);
const scripts = readdirSync(new URL('browser/', project)).filter((name) => name.endsWith('.js'));
let total = 0;
const built = ['build/doppler.wasm', 'build/jinja.js'];         // jinja: fetched by the first chat
for (const name of [...built, ...scripts.map((script) => `browser/${script}`)]) {
    const bytes = readFileSync(new URL(name, project));
    const packed = gzipSync(bytes, { level: 9 }).byteLength;
    total += packed;
    console.log(`${String(bytes.byteLength).padStart(9)} ${String(packed).padStart(8)}  ${name}`);
}
console.log(`${String(total).padStart(18)}  bytes gzipped, ${LIMIT_BYTES} allowed`);
process.exitCode = total > LIMIT_BYTES ? 1 : 0;
