// size.mjs - what a page downloads: gzipped bytes of the wasm and of the package's JavaScript;
// apart, what is added when it converts a model.
import { readdirSync, readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const LIMIT_BYTES = 250_000;
const project = new URL('..', import.meta.url);
const scripts = readdirSync(new URL('browser/', project)).filter((name) => name.endsWith('.js'))
    .map((name) => `browser/${name}`);
const converts = (name) => name.includes('convert');

// Gzipped bytes of all.
function listed(names) {
    let total = 0;
    for (const name of names) {
        const bytes = readFileSync(new URL(name, project));
        const packed = gzipSync(bytes, { level: 9 }).byteLength;
        total += packed;
        console.log(`${String(bytes.byteLength).padStart(9)} ${String(packed).padStart(8)}  `
            + name);
    }
    return total;
}

const built = ['build/doppler.wasm', 'build/jinja.js'];         // jinja: fetched by the first chat
const total = listed([...built, ...scripts.filter((name) => !converts(name))]);
console.log(`${String(total).padStart(18)}  bytes gzipped, ${LIMIT_BYTES} allowed`);
const more = listed(['build/convert.wasm', ...scripts.filter(converts)]);
console.log(`${String(more).padStart(18)}  more where a page converts`);
process.exitCode = total > LIMIT_BYTES ? 1 : 0;
