// storage.test.mjs - byte ranges from servers and folders that misbehave.
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { openSource } from '../../browser/storage.js';

const FILE = Uint8Array.from({ length: 300_000 }, (_, i) => (i * 31 + (i >> 8)) & 255);
const signal = () => new AbortController().signal;
const bytes = (from, to) => Buffer.from(FILE.subarray(from, to));

// A server whose requests `answer` handles; requests are recorded.
async function serverOf(answer) {
    const requests = [];
    const server = createServer((request, response) => {
        requests.push({ url: request.url, range: request.headers.range ?? null });
        answer(request, response, requests.length);
    });
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    after(() => { server.closeAllConnections(); server.close(); });
    return { base: `http://127.0.0.1:${server.address().port}/m/`, requests };
}

const startOf = (request) => Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
const sendAll = (request, response) => response.end(bytes(0));

async function readAll(source, file, step) {
    const parts = [];
    for (let at = 0; at < FILE.length; at += step) {
        parts.push(source.read(file, at, Math.min(step, FILE.length - at)));
    }
    return Buffer.concat(await Promise.all(parts));
}

test('one response serves all ranges of a file, without Range', async () => {
    const { base, requests } = await serverOf(sendAll);
    const source = openSource(base, signal());
    assert.deepEqual(await readAll(source, 'a.bin', 7_001), bytes(0));
    assert.deepEqual(requests, [{ url: '/m/a.bin', range: null }]);
    source.close();
});

test('gaps are skipped and a step back reopens', async () => {
    const { base, requests } = await serverOf(sendAll);
    const source = openSource(base, signal());
    assert.deepEqual(Buffer.from(await source.read('a.bin', 100_000, 5)), bytes(100_000, 100_005));
    assert.deepEqual(Buffer.from(await source.read('a.bin', 200_000, 9)), bytes(200_000, 200_009));
    assert.deepEqual(Buffer.from(await source.read('a.bin', 3, 4)), bytes(3, 7));
    assert.deepEqual(requests.map((r) => r.range), ['bytes=100000-', 'bytes=3-']);
    source.close();
});

test('a dropped connection is resumed with Range', async () => {
    const { base, requests } = await serverOf((request, response, nth) => {
        const from = startOf(request);
        response.writeHead(from ? 206 : 200, { 'content-length': FILE.length - from });
        if (nth === 3) return response.end(bytes(from));
        response.write(bytes(from, from + 100_000), () => setTimeout(() => response.destroy(), 20));
    });
    const source = openSource(base, signal());
    assert.deepEqual(await readAll(source, 'a.bin', 50_000), bytes(0));
    assert.deepEqual(requests.map((r) => r.range), [null, 'bytes=100000-', 'bytes=200000-']);
    source.close();
});

test('a dropped connection is resumed where the server ignores Range', async () => {
    const { base } = await serverOf((request, response, nth) => {
        response.writeHead(200, { 'content-length': FILE.length });
        if (nth > 1) return response.end(bytes(0));
        response.write(bytes(0, 100_000), () => setTimeout(() => response.destroy(), 20));
    });
    const source = openSource(base, signal());
    assert.deepEqual(await readAll(source, 'a.bin', 50_000), bytes(0));
    source.close();
});

test('a server that is busy for a moment is asked again', async () => {
    const { base, requests } = await serverOf((request, response, nth) => {
        if (nth < 3) response.writeHead(503).end();
        else sendAll(request, response);
    });
    const source = openSource(base, signal());
    assert.equal((await source.whole('a.bin', 1e6)).byteLength, FILE.length);
    assert.equal(requests.length, 3);
});

test('a truncated file is BAD_FILE and names the numbers', async () => {
    const { base } = await serverOf((request, response) => response.end(bytes(0, 1000)));
    const source = openSource(base, signal());
    await assert.rejects(source.read('a.bin', 0, 2000), { name: 'DopplerError', status: 'BAD_FILE',
        message: 'a.bin: ends at byte 1000, byte 2000 is needed' });
});

test('a file that is not there is IO and names URL and status, at once', async () => {
    const { base, requests } = await serverOf((request, response) => response.writeHead(404).end());
    const source = openSource(base, signal());
    await assert.rejects(source.whole('manifest.json', 1e6),
        { status: 'IO', message: `${base}manifest.json: HTTP 404 Not Found` });
    assert.equal(requests.length, 1);
});

test('a server that is gone is IO after some attempts', { timeout: 20_000 }, async () => {
    const { base, requests } = await serverOf((request, response) => response.destroy());
    await assert.rejects(openSource(base, signal()).whole('a.bin', 1e6), { status: 'IO' });
    assert.equal(requests.length, 5);
});

test('aborting ends a read that waits, with the signal\'s reason', async () => {
    const { base } = await serverOf((request, response) => response.write(bytes(0, 10)));
    const stop = new AbortController();
    const reading = openSource(base, stop.signal).read('a.bin', 0, 1000);
    const reason = new Error('enough');
    setTimeout(() => stop.abort(reason), 50);
    await assert.rejects(reading, (error) => error === reason);
});

test('aborting ends the pause between attempts', async () => {
    const { base, requests } = await serverOf((request, response) => response.writeHead(503).end());
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 300);
    await assert.rejects(openSource(base, stop.signal).whole('a.bin', 1e6), { name: 'AbortError' });
    assert.ok(requests.length < 4);
});

test('a file longer than allowed is refused while it comes', async () => {
    const { base } = await serverOf(sendAll);
    await assert.rejects(openSource(base, signal()).whole('a.bin', 1000),
        { status: 'BAD_FILE', message: 'a.bin: longer than 1000 bytes' });
});

test('many files at once, and the query of a signed link on each', async () => {
    const { base, requests } = await serverOf(sendAll);
    const source = openSource(`${base}?key=1`, signal());
    const reads = Array.from({ length: 8 }, (_, i) => source.read(`${i}.bin`, i, 10));
    for (const [i, read] of (await Promise.all(reads)).entries()) {
        assert.deepEqual(Buffer.from(read), bytes(i, i + 10));
    }
    assert.equal(requests.length, 8);
    assert.equal(requests[0].url, '/m/0.bin?key=1');
    source.close();
});

test('a folder: ranges, truncation, absence', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'doppler-'));
    after(() => rm(folder, { recursive: true }));
    await writeFile(join(folder, 'a.bin'), FILE);
    const source = openSource(`${pathToFileURL(folder)}/`, signal());
    assert.deepEqual(await readAll(source, 'a.bin', 70_000), bytes(0));
    assert.equal((await source.whole('a.bin', 1e6)).byteLength, FILE.length);
    await assert.rejects(source.whole('a.bin', 1000), { status: 'BAD_FILE' });
    await assert.rejects(source.read('a.bin', FILE.length - 5, 10), { status: 'BAD_FILE',
        message: `a.bin: ends at byte ${FILE.length}, byte ${FILE.length + 5} is needed` });
    await assert.rejects(source.read('b.bin', 0, 1), { status: 'IO' });
    source.close();
});
