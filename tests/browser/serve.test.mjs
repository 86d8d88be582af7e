// serve.test.mjs - the development server: what it serves, and what it must not.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { serve } from '../../tools/serve.mjs';
import { root } from '../models/oracle.mjs';

const folder = mkdtempSync(join(tmpdir(), 'doppler-'));
let server;

before(async () => {
    mkdirSync(join(folder, 'site', 'demo'), { recursive: true });
    mkdirSync(join(folder, 'site', '.git'));
    writeFileSync(join(folder, 'secret.txt'), 'secret');
    writeFileSync(join(folder, 'site', '.git', 'config'), 'secret');
    writeFileSync(join(folder, 'site', 'demo', 'index.html'), '<p>demo');
    writeFileSync(join(folder, 'site', 'a b.wasm'), '0123456789');
    writeFileSync(join(folder, 'site', 'empty.bin'), '');
    server = await serve({ port: 0, root: join(folder, 'site'), base: '/sub/' });
});
after(async () => {
    await server.close();
    rmSync(folder, { recursive: true });
});

const get = (path, headers = {}) => fetch(server.url + path, { headers, redirect: 'manual' });

// A request whose path fetch() would clean up.
const status = (path) => new Promise((resolve, reject) => {
    request({ port: new URL(server.url).port, path }, (response) => {
        response.resume();
        resolve(response.statusCode);
    }).on('error', reject).end();
});

test('files with their types, and the demo at /d/', async () => {
    const wasm = await get('a%20b.wasm');
    assert.equal(wasm.headers.get('content-type'), 'application/wasm');
    assert.equal(await wasm.text(), '0123456789');
    assert.equal(await (await get('empty.bin')).text(), '');
    assert.equal((await get('d')).headers.get('location'), '/sub/d/');
    assert.equal(await (await get('d/')).text(), '<p>demo');
    assert.equal(await (await get('demo/?x=1')).text(), '<p>demo');
});

test('ranges', async () => {
    for (const [range, code, text, content] of [
        ['bytes=2-4', 206, '234', 'bytes 2-4/10'], ['bytes=7-', 206, '789', 'bytes 7-9/10'],
        ['bytes=-2', 206, '89', 'bytes 8-9/10'], ['bytes=5-99', 206, '56789', 'bytes 5-9/10'],
        ['bytes=10-', 416, '416\n', 'bytes */10'], ['lines=1-2', 200, '0123456789', null],
    ]) {
        const response = await get('a%20b.wasm', { range });
        assert.equal(response.status, code, range);
        assert.equal(await response.text(), text, range);
        assert.equal(response.headers.get('content-range'), content, range);
    }
});

test('nothing outside the folder, nothing hidden, nothing that is no file', async () => {
    for (const path of ['/sub/../secret.txt', '/sub/..%2fsecret.txt', '/sub/%2e%2e/secret.txt',
        '/sub/.git/config', '/sub/d/../../secret.txt', '/sub/..%5csecret.txt', '/sub/%00',
        '/sub/%zz', '/sub/site', '/other']) {
        assert.equal(await status(path), 404, path);
    }
    assert.equal((await fetch(server.url, { method: 'POST' })).status, 405);
});

test('a port that is taken is one clear line', () => {
    const { port } = new URL(server.url);
    const { status: code, stderr } = spawnSync(process.execPath,
        [join(root, 'doppler'), 'serve', '--port', port], { encoding: 'utf8', timeout: 20_000 });
    assert.equal(code, 1);
    assert.equal(stderr, `doppler serve: port ${port} is taken; another with --port\n`);
});
