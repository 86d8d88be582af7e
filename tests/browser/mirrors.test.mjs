// mirrors.test.mjs - a package whose manifest names mirrors: whoever fails or lies is put aside,
// and what is loaded has the right hash, wherever it came from.
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, test } from 'node:test';
import { Doppler } from '../../browser/doppler.js';
import { doppler as command } from '../models/oracle.mjs';
import { prompts, root } from './packages.mjs';

const [golden] = prompts;
const checkpoint = join(root, 'tests', 'fixtures', 'micro', 'llama3');
const work = mkdtempSync(join(tmpdir(), 'doppler-'));
after(() => rmSync(work, { recursive: true }));

// A server of a folder's files, or of what change() makes of them; null: 404. Requests are kept.
async function serverOf(change = (name, bytes) => bytes) {
    const here = { folder: null, requests: [], url: null };
    const server = createServer((request, response) => {
        const name = basename(new URL(request.url, 'http://a').pathname);
        const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
        here.requests.push({ name, from });
        const bytes = change(name, readFileSync(join(here.folder, name)), request, response);
        if (bytes === 'answered') return null;
        if (bytes === null) return response.writeHead(404).end();
        if (bytes === 'dead') return response.destroy();
        return response.writeHead(from ? 206 : 200).end(bytes.subarray(from));
    });
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    after(() => { server.closeAllConnections(); server.close(); });
    here.url = `http://127.0.0.1:${server.address().port}/m/`;
    here.shards = () => new Set(here.requests.map((r) => r.name)
        .filter((name) => name.startsWith('shard_')));
    return here;
}

const isShard = (name) => name.startsWith('shard_');
const corrupt = (name, bytes) => {
    const changed = Buffer.from(bytes);
    if (isShard(name)) changed[changed.length >> 1] ^= 1;
    return changed;
};

// The micro model in shards of 32 KiB, with these mirrors; each server serves its files.
let packages = 0;
function packageOf(...servers) {
    const folder = join(work, `pack${++packages}`);
    command('convert', checkpoint, folder, '--quantize', 'bf16', '--shard-size', '32KiB', '--quiet',
        ...servers.flatMap(({ url }) => ['--mirror', url]));
    for (const server of servers) server.folder = folder;
    return folder;
}

// Loads and generates: what is computed is right, too.
async function load(url) {
    const doppler = await Doppler.open({ device: 'cpu' });
    const warnings = [];
    try {
        const model = await doppler.load(url, { onWarning: (line) => warnings.push(line) });
        const tale = model.session({ kv: 'f32' }).generate(golden.text, { maxTokens: 8 });
        let text = '';
        for await (const piece of tale) text += piece;
        assert.equal(tale.ids.length, 8);
        return { warnings, ids: tale.ids };
    } finally {
        await doppler.close();
    }
}

const COUNT = 11;                   // shards
const whole = (server) => assert.equal(server.shards().size, COUNT);

test('a package that has everything asks no mirror', async () => {
    const mirror = await serverOf();
    const { warnings } = await load(packageOf(mirror));
    assert.deepEqual([warnings, mirror.requests], [[], []]);
});

test('without shards in its own folder they come from the mirror, once', async () => {
    const mirror = await serverOf();
    const folder = packageOf(mirror);
    const want = (await load(folder)).ids;
    const bare = join(work, 'bare');
    cpSync(folder, bare, { recursive: true });
    for (const name of readdirSync(bare).filter(isShard)) rmSync(join(bare, name));
    const { warnings, ids } = await load(bare);
    assert.deepEqual(ids, want);
    whole(mirror);
    assert.equal(mirror.requests.length, COUNT);
    assert.equal(warnings.length, 1);
    assert.match(warnings[0], /^shard_00000\.bin: the package's own folder is put aside: ENOENT/);
});

test('over HTTP: a dead mirror and a lying one are put aside, the third serves', async () => {
    const own = await serverOf((name, bytes) => (isShard(name) ? null : bytes));
    const dead = await serverOf(() => 'dead');
    const liar = await serverOf(corrupt);
    const good = await serverOf();
    own.folder = packageOf(dead, liar, good);
    const { warnings } = await load(own.url);
    whole(good);
    assert.equal(warnings.length, 3);
    assert.match(warnings[0], /own folder is put aside: http.*HTTP 404 Not Found$/);
    assert.ok(warnings[1].startsWith(`shard_00000.bin: ${dead.url} is put aside: `));
    assert.match(warnings[2], new RegExp(`^shard_00000\\.bin: ${liar.url} is put aside: `
        + 'shard_00000\\.bin: bytes 0 to \\d+ have SHA-256 \\w+\\.\\.\\., not \\w+\\.\\.\\.$'));
    // Reads that were under way already, no others.
    assert.ok(dead.shards().size < COUNT && liar.shards().size < COUNT);
});

test('a lying folder of its own is put aside as well', async () => {
    const own = await serverOf(corrupt);
    const good = await serverOf();
    own.folder = packageOf(good);
    const { warnings } = await load(own.url);
    whole(good);
    assert.equal(warnings.length, 1);
    assert.match(warnings[0], /own folder is put aside: shard_00000\.bin: bytes 0 to/);
});

test('who was put aside is asked when nobody else has a shard', async () => {
    const lacking = (...lacks) => (name, bytes) => (lacks.includes(name) ? null : bytes);
    const own = await serverOf(lacking('shard_00001.bin'));
    const mirror = await serverOf(lacking('shard_00003.bin'));
    own.folder = packageOf(mirror);
    const { warnings } = await load(own.url);
    assert.equal(warnings.length, 2);
    assert.ok(own.requests.some(({ name }) => name === 'shard_00003.bin'));
});

test('bytes that nobody has are refused, and every place is named', async () => {
    const own = await serverOf((name, bytes) => (isShard(name) ? null : bytes));
    const liar = await serverOf(corrupt);
    own.folder = packageOf(liar);
    await assert.rejects(load(own.url), ({ status, message }) => status === 'BAD_FILE'
        && message.startsWith('shard_00000.bin: nowhere to be had: ')
        && message.includes(`${own.url}shard_00000.bin: HTTP 404`)
        && message.includes(`${liar.url}shard_00000.bin: shard_00000.bin: bytes 0 to`)
        && !message.includes('\n'));
});

test('a connection to a mirror that breaks is resumed there, by a range', async () => {
    const own = await serverOf((name, bytes) => (isShard(name) ? null : bytes));
    const mirror = await serverOf((name, bytes, request, response) => {
        if (name !== 'shard_00002.bin' || request.headers.range) return bytes;
        response.writeHead(200, { 'content-length': bytes.length });
        response.write(bytes.subarray(0, 10_000), () => setTimeout(() => response.destroy(), 20));
        return 'answered';
    });
    own.folder = packageOf(mirror);
    const { warnings } = await load(own.url);
    assert.equal(warnings.length, 1);
    assert.deepEqual(mirror.requests.filter(({ name }) => name === 'shard_00002.bin'),
        [{ name: 'shard_00002.bin', from: 0 }, { name: 'shard_00002.bin', from: 10_000 }]);
});
