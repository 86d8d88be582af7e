// serve.mjs - `doppler serve`: a static server for development. The project's files are at their
// own paths, the demo is at /d/ too. Answers Range requests; listens on this machine only.
import { createReadStream, existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const PROJECT = fileURLToPath(new URL('..', import.meta.url));
const DEFAULT_PORT = 8080;
const TYPES = {
    '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8',
    '.mjs': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8',
    '.json': 'application/json', '.wasm': 'application/wasm', '.svg': 'image/svg+xml',
    '.png': 'image/png', '.txt': 'text/plain; charset=utf-8', '.md': 'text/plain; charset=utf-8',
};

// The file for a request path, relative to the root; null for what is not served.
function fileOf(path) {
    let name;
    try {
        name = decodeURIComponent(path);
    } catch {
        return null;
    }
    const hidden = name.split(/[\\/]/).some((part) => part.startsWith('.'));
    if (hidden || name.includes('\0')) return null;
    if (name.startsWith('d/')) name = `demo/${name.slice(2)}`;
    return name.endsWith('/') || name === '' ? `${name}index.html` : name;
}

// First and last byte of a Range header, null when there is none that counts, false when it
// cannot be satisfied.
function rangeOf(header, bytes) {
    const [, first, last] = /^bytes=(\d*)-(\d*)$/.exec(header ?? '') ?? [];
    if (!first && !last) return null;
    const start = first ? Number(first) : Math.max(bytes - Number(last), 0);
    const end = first && last ? Math.min(Number(last), bytes - 1) : bytes - 1;
    return start <= end && [start, end];
}

async function answer({ root, base, headers: more }, request, response) {
    const end = (status, headers = {}) => response.writeHead(status,
        { 'content-type': 'text/plain; charset=utf-8', ...headers }).end(`${status}\n`);
    if (!['GET', 'HEAD'].includes(request.method)) return end(405, { allow: 'GET, HEAD' });
    const path = request.url.replace(/[?#].*/s, '');
    if (!path.startsWith(base)) return end(404);
    if (path === `${base}d` || path === `${base}demo`) return end(301, { location: `${path}/` });
    const name = fileOf(path.slice(base.length));
    const file = name === null ? null : join(root, name);
    const info = file && await stat(file).catch(() => null);
    if (!info?.isFile()) return end(404);
    const range = rangeOf(request.headers.range, info.size);
    if (range === false) return end(416, { 'content-range': `bytes */${info.size}` });
    const [first, last] = range ?? [0, info.size - 1];
    response.writeHead(range ? 206 : 200, {
        'content-type': TYPES[extname(file)] ?? 'application/octet-stream',
        'content-length': last - first + 1, 'accept-ranges': 'bytes', 'cache-control': 'no-cache',
        ...(range && { 'content-range': `bytes ${first}-${last}/${info.size}` }), ...more,
    });
    if (request.method === 'HEAD' || info.size === 0) return response.end();
    const stream = createReadStream(file, { start: first, end: last });
    stream.on('error', () => response.destroy());
    response.on('close', () => stream.destroy());
    stream.pipe(response);
}

/** Starts a server of the files below `root`, at `base` ("/", "/sub/path/"); port 0: any.
 *  headers: sent with every file.
 *  @returns {Promise<{url: string, close: () => Promise<void>}>} */
export async function serve({ port = DEFAULT_PORT, root = PROJECT, base = '/',
    headers = {} } = {}) {
    const server = createServer((request, response) => {
        answer({ root, base, headers }, request, response).catch(() => response.destroy());
    });
    await new Promise((resolve, reject) => {
        server.once('error', reject);
        server.listen(port, '127.0.0.1', resolve);
    });
    return {
        url: `http://localhost:${server.address().port}${base}`,
        close: () => new Promise((resolve) => {
            server.close(resolve);
            server.closeAllConnections();
        }),
    };
}

/** The verb, as tools/args.mjs wants it. */
export const verb = {
    summary: 'Serves the demo page and the project\'s files on this machine.',
    operands: {},
    options: {
        port: { kind: 'count', metavar: 'PORT', default: DEFAULT_PORT, min: 0, max: 65535,
            help: `default ${DEFAULT_PORT}; 0: any that is free` },
    },
    main: async ({ port }) => {
        if (!existsSync(join(PROJECT, 'demo'))) {
            throw new Error('the demo is not part of the npm package: use a checkout of the project');
        }
        const { url } = await serve({ port }).catch((error) => {
            throw error.code !== 'EADDRINUSE' ? error
                : new Error(`port ${port} is taken; another with --port`);
        });
        console.log(`demo at ${url}d`);
        await new Promise(() => {});             // until interrupted
    },
};
