// convert.test.mjs - convert() in Node and in Chromium makes the command line's packages, byte for
// byte, from files, URLs and folders; what cannot be converted leaves nothing behind.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, openAsBlob, readFileSync, readdirSync, rmSync,
    truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { basename, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import { Doppler, convert } from '../../browser/doppler.js';
import { serve } from '../../tools/serve.mjs';
import { withModel } from '../gguf.mjs';
import { doppler as command, root, shared } from '../models/oracle.mjs';
import { launch, runInPage, skip } from './chromium.mjs';
import { prompts } from './packages.mjs';

const fixtures = join(root, 'tests', 'fixtures', 'micro');
const llama3 = join(fixtures, 'llama3'), gemma3 = join(fixtures, 'gemma3');
const work = join(root, 'build', 'models', `convert-${process.pid}`);   // a server finds it, too
const needs = (path) => (existsSync(path) ? false : 'needs ../shared');
const model = join(shared, 'vectors', 'tokenizers', 'llama2', 'tokenizer.model');
const kept = join(shared, 'gguf', 'llama3-Q3_K_M.gguf');
mkdirSync(work, { recursive: true });
after(() => rmSync(work, { recursive: true }));

let outputs = 0;
const fresh = () => join(work, `out${++outputs}`);
const contents = (folder) => Object.fromEntries(readdirSync(folder).sort()
    .map((name) => [name, readFileSync(join(folder, name), 'base64')]));
const file = async (path) => new File([await openAsBlob(path)], basename(path));
const filesOf = (folder) => Promise.all(readdirSync(folder)
    .map((name) => file(join(folder, name))));

// What the command line makes.
function wanted(from, ...options) {
    const out = fresh();
    command('convert', from, out, '--quiet', ...options);
    return contents(out);
}

// Cuts the micro checkpoint's safetensors in two, with an index.
function sharded() {
    const folder = join(work, 'sharded');
    cpSync(llama3, folder, { recursive: true });
    rmSync(join(folder, 'model.safetensors'));
    const whole = readFileSync(join(llama3, 'model.safetensors'));
    const bytes = Number(whole.readBigUInt64LE(0));
    const header = Object.entries(JSON.parse(whole.toString('utf8', 8, 8 + bytes)))
        .filter(([name]) => name !== '__metadata__')
        .sort(([, a], [, b]) => a.data_offsets[0] - b.data_offsets[0]);
    const map = {};
    for (const [i, part] of [header.slice(0, 7), header.slice(7)].entries()) {
        const name = `model-0000${i + 1}-of-00002.safetensors`;
        const start = part[0][1].data_offsets[0], end = part.at(-1)[1].data_offsets[1];
        const json = JSON.stringify(Object.fromEntries(part.map(([key, tensor]) => {
            map[key] = name;
            return [key, { ...tensor, data_offsets: tensor.data_offsets.map((o) => o - start) }];
        })));
        const length = Buffer.alloc(8);
        length.writeBigUInt64LE(BigInt(json.length));
        writeFileSync(join(folder, name), Buffer.concat([length, Buffer.from(json),
            whole.subarray(8 + bytes + start, 8 + bytes + end)]));
    }
    writeFileSync(join(folder, 'model.safetensors.index.json'),
        JSON.stringify({ weight_map: map }));
    return folder;
}

// A GGUF file with a tokenizer of its own.
function tinyGguf() {
    const vocabulary = join(work, 'vocabulary.gguf'), out = join(work, 'tiny.gguf');
    const u64 = (n) => { const b = Buffer.alloc(8); b.writeBigUInt64LE(BigInt(n)); return b; };
    const u32 = (n) => { const b = Buffer.alloc(4); b.writeUInt32LE(n); return b; };
    const text = (s) => Buffer.concat([u64(Buffer.byteLength(s)), Buffer.from(s)]);
    const array = (key, type, items) => Buffer.concat([text(key), u32(9), u32(type),
        u64(items.length), ...items]);
    const tokens = ['<unk>', '<s>', '</s>', '<0x41>', '\u2581a'];
    const scores = Buffer.from(Float32Array.from(tokens, () => 0).buffer);
    writeFileSync(vocabulary, Buffer.concat([Buffer.from('GGUF'), u32(3), u64(0), u64(5),
        text('general.architecture'), u32(8), text('llama'),
        text('tokenizer.ggml.model'), u32(8), text('llama'),
        array('tokenizer.ggml.tokens', 8, tokens.map(text)),
        array('tokenizer.ggml.scores', 6, tokens.map((_, i) => scores.subarray(4 * i, 4 * i + 4))),
        array('tokenizer.ggml.token_type', 5, [2, 3, 3, 6, 1].map(u32))]));
    withModel(vocabulary, out);
    return out;
}

test('a folder: the same package, with progress, whatever it is made of', async () => {
    for (const [from, quantize, options] of [[llama3, 'keep'], [llama3, 'q4_k_m'], [gemma3, 'q8_0'],
        [join(fixtures, 'mixtral'), 'q4_k_m'], [join(fixtures, 'gptoss'), 'keep'],
        [llama3, 'mxfp4', { shardBytes: 32768, embeddings: 'q6_k', name: 'other',
            mirrors: ['https://a.example/x'] }]]) {
        const out = fresh(), steps = [];
        const { id } = await convert(from, out, { quantize, ...options,
            onProgress: (step) => steps.push(step) });
        const want = wanted(from, '--quantize', quantize, ...(options ? ['--shard-size', '32KiB',
            '--embeddings', 'q6_k', '--name', 'other', '--mirror', 'https://a.example/x'] : []));
        assert.deepEqual(contents(out), want);
        assert.equal(existsSync(`${out}.partial`), false);
        assert.match(id, /^[0-9a-f]{64}$/);
        const last = steps.at(-1);
        assert.equal(last.bytes, last.total);
        assert.ok(last.bytesPerSecond > 0 && last.secondsLeft === 0);
    }
});

test('a checkpoint in several files, as a folder and as the files that a user picked', async () => {
    const from = sharded();
    const want = wanted(from, '--name', 'x', '--quantize', 'q8_0');
    want['manifest.json'] = undefined;           // says where it came from
    for (const input of [from, await filesOf(from)]) {
        const out = fresh();
        await convert(input, out, { name: 'x', quantize: 'q8_0' });
        assert.deepEqual({ ...contents(out), 'manifest.json': undefined }, want);
    }
});

test('a GGUF file: by path, by URL and as a File', async () => {
    const from = tinyGguf(), want = wanted(from);
    for (const input of [from, pathToFileURL(from), await file(from), [await file(from)]]) {
        const out = fresh();
        await convert(input, out);
        assert.deepEqual(contents(out), want);
    }
});

test('llama.cpp\'s file: notes say which types change', { skip: needs(kept) }, async () => {
    const out = fresh(), notes = [];
    await convert(kept, out, { onNote: (line) => notes.push(line) });
    assert.deepEqual(contents(out), wanted(kept));
    assert.ok(notes.includes('blk.0.attn_q.weight: Q3_K -> q6_k, the same values'));
});

test('a SentencePiece tokenizer', { skip: needs(model) }, async () => {
    const folder = join(work, 'sentencepiece'), out = fresh();
    cpSync(join(fixtures, 'llama2'), folder, { recursive: true });
    rmSync(join(folder, 'tokenizer.json'));
    cpSync(model, join(folder, 'tokenizer.model'));
    const notes = [];
    await convert(folder, out, { onNote: (line) => notes.push(line) });
    assert.deepEqual(contents(out), wanted(folder));
    assert.deepEqual(notes, ['sentencepiece: the tokenizer has 32000 tokens, the model only 640']);
});

test('files by their URLs, and what comes out is loaded', async () => {
    const server = await serve({ port: 0, root });
    const names = readdirSync(llama3).filter((name) => !/golden|logits/.test(name));
    const out = fresh();
    await convert(names.map((name) => `${server.url}tests/fixtures/micro/llama3/${name}`), out);
    await server.close();
    assert.deepEqual(contents(out), wanted(llama3));
    const doppler = await Doppler.open({ device: 'cpu' });
    const tale = (await doppler.load(out)).session({ kv: 'f32' })
        .generate(prompts[0].text, { maxTokens: 8 });
    for await (const text of tale) assert.equal(typeof text, 'string');
    assert.deepEqual(tale.ids, prompts[0].greedy.slice(0, 8));
    await doppler.close();
});

test('URLs whose server compresses, refuses HEAD, or has nothing there', async () => {
    const server = createServer((request, response) => {
        const path = join(llama3, basename(request.url));
        if (request.method !== 'GET') return response.writeHead(403).end();
        if (!existsSync(path)) return response.writeHead(404).end();
        const bytes = readFileSync(path);
        if (path.endsWith('.json')) {
            return response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(bytes));
        }
        const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
        response.writeHead(from ? 206 : 200, { 'content-length': bytes.length - from });
        return response.end(bytes.subarray(from));
    });
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    const base = `http://127.0.0.1:${server.address().port}/llama3/`;
    const names = readdirSync(llama3).filter((name) => !/golden|logits/.test(name));
    const out = fresh();
    await convert(names.map((name) => base + name), out);
    assert.deepEqual(contents(out), wanted(llama3));
    await assert.rejects(convert(`${base}none.gguf`, fresh()), { status: 'IO',
        message: `${base}none.gguf: HTTP 404` });
    server.closeAllConnections();
    server.close();
});

test('what fails says what the command line says, and leaves nothing', async () => {
    const cut = join(work, 'cut'), bare = join(work, 'bare');
    cpSync(llama3, cut, { recursive: true });
    truncateSync(join(cut, 'model.safetensors'), 200_000);
    cpSync(llama3, bare, { recursive: true });
    rmSync(join(bare, 'model.safetensors'));
    for (const [from, options, args] of [[cut], [bare, { quantize: 'keep' }],
        [llama3, { head: 'f16' }, ['--head', 'f16']],
        [llama3, { shardBytes: 5000 }, ['--shard-size', '5000']],
        [llama3, { mirrors: ['file:///tmp'] }, ['--mirror', 'file:///tmp']]]) {
        const out = fresh();
        const { stderr } = spawnSync(join(root, 'build', 'doppler'),
            ['convert', from, out, ...(args ?? [])], { encoding: 'utf8' });
        const [, status, message] = /^doppler convert: (\w+): (.*)\n$/.exec(stderr);
        await assert.rejects(convert(from, out, options), { name: 'DopplerError', status,
            message: message.replace(work, '').replace(/^\//, '') });
        assert.deepEqual([existsSync(out), existsSync(`${out}.partial`)], [false, false]);
    }
    await assert.rejects(convert(llama3, fresh(), { quantize: 'q3' }), { status: 'BAD_ARGUMENT',
        message: /^quantize is q3, allowed are keep, f32/ });
    await assert.rejects(convert(llama3, work), { status: 'IO', message: /exists already/ });
    await assert.rejects(convert(join(root, 'tests', 'fixtures', 'doppler-gpu', 'row'), fresh()),
        { status: 'UNSUPPORTED', message: /packages of doppler-gpu/ });
});

test('a sink of one\'s own gets whole files, the manifest last; a full one undoes', async () => {
    const files = {};
    const sink = { write: async (name, data) => {
        files[name] = Buffer.from(data).toString('base64');
    } };
    await convert(llama3, sink, { shardBytes: 32768 });
    assert.deepEqual(files, wanted(llama3, '--shard-size', '32KiB'));
    assert.equal(Object.keys(files).at(-1), 'manifest.json');
    let undone = 0;
    const full = { name: 'disk', write: async () => { throw new Error('no room'); },
        abort: async () => { undone++; } };
    await assert.rejects(convert(llama3, full), { status: 'IO',
        message: 'disk: shard_00000.bin: no room' });
    assert.equal(undone, 1);
});

test('a picked folder\'s files and its handle say where they are', async () => {
    const want = wanted(llama3);
    const picked = (await filesOf(llama3)).map((one) => Object.defineProperty(one,
        'webkitRelativePath', { value: `llama3/${one.name}` }));
    const other = Object.defineProperty(new File(['x'], 'config.json'), 'webkitRelativePath',
        { value: 'llama3/other/config.json' });
    const handle = (name, entries) => ({ kind: 'directory', name, values: async function* values() {
        yield* entries;
    } });
    const files = picked.map((one) => ({ kind: 'file', name: one.name, getFile: async () => one }));
    const folder = handle('llama3', [...files, handle('other', [{ kind: 'file',
        name: 'config.json', getFile: async () => other }])]);
    for (const from of [[...picked, other], folder]) {
        const out = fresh();
        await convert(from, out);
        assert.deepEqual(contents(out), want);
    }
});

test('a file that is shorter than it was picked is an I/O failure', async () => {
    const files = await filesOf(llama3), out = fresh();
    const at = files.findIndex(({ name }) => name === 'model.safetensors');
    const { name, size } = files[at];
    files[at] = { name, size, slice: (from, to) => new Blob([new Uint8Array(readFileSync(
        join(llama3, name)).subarray(from, Math.min(to, 300_000)))]) };
    await assert.rejects(convert(files, out), { status: 'IO',
        message: /^model\.safetensors: ends at byte \d+, wanted \d+$/ });
    assert.equal(existsSync(out), false);
});

test('aborting ends it with the signal\'s reason and leaves nothing', async () => {
    const stop = new AbortController(), out = fresh(), reason = new Error('enough');
    await assert.rejects(convert(llama3, out, { shardBytes: 32768, signal: stop.signal,
        onProgress: () => stop.abort(reason) }), (error) => error === reason);
    assert.deepEqual([existsSync(out), existsSync(`${out}.partial`)], [false, false]);
    await assert.rejects(convert(llama3, out, { signal: stop.signal }), (e) => e === reason);
});

describe('Chromium', { skip, timeout: 300_000 }, () => {
    const c = {};
    before(async () => {
        c.server = await serve({ port: 0, root, base: '/some/where/' });
        c.browser = await launch();
    });
    after(async () => {
        await c.browser?.close();
        await c.server?.close();
    });
    const inPage = (job, value) => runInPage(c.browser, c.server, job, value);

    for (const worker of [true, false]) {
        test(`into the page's own files, ${worker ? 'in a worker' : 'in the page'}`, async () => {
            const names = readdirSync(llama3).filter((name) => !/golden|logits/.test(name));
            const urls = names.map((name) => `${c.server.url}tests/fixtures/micro/llama3/${name}`);
            const { result, problems } = await inPage(async ({ base64, failure }, value) => {
                const { convert } = await import('../../browser/doppler.js');
                const files = await Promise.all(value.urls.map(async (url) =>
                    new File([await (await fetch(url)).blob()], url.split('/').at(-1))));
                const home = await navigator.storage.getDirectory();
                const to = await home.getDirectoryHandle('pack', { create: true });
                const steps = [];
                const { id } = await convert(files, to, { name: 'llama3', quantize: 'q4_k_m',
                    shardBytes: 65536, worker: value.worker, onProgress: (s) => steps.push(s) });
                const made = {};
                for await (const [name, handle] of to.entries()) {
                    made[name] = await base64(await handle.getFile());
                }
                const again = await failure(convert(files, to, { worker: value.worker }));
                const stopped = await home.getDirectoryHandle('stopped', { create: true });
                const stop = new AbortController();
                const aborted = await failure(convert(files, stopped, { shardBytes: 4096,
                    worker: value.worker, signal: stop.signal, onProgress: () => stop.abort() }));
                const left = [];
                for await (const name of stopped.keys()) left.push(name);
                await home.removeEntry('pack', { recursive: true });
                await home.removeEntry('stopped', { recursive: true });
                return { id, made, last: steps.at(-1), again, aborted, left };
            }, { urls, worker });
            assert.deepEqual(problems, []);
            const want = wanted(llama3, '--quantize', 'q4_k_m', '--shard-size', '64KiB');
            const manifest = JSON.parse(Buffer.from(want['manifest.json'], 'base64'));
            assert.ok(manifest.shards.length > 1);
            const got = JSON.parse(Buffer.from(result.made['manifest.json'], 'base64'));
            assert.equal(got.provenance.source, 'model');        // the files say of no folder
            got.provenance = manifest.provenance;
            assert.deepEqual(got, manifest);
            for (const name of Object.keys(want)) {
                if (name !== 'manifest.json') assert.equal(result.made[name], want[name], name);
            }
            assert.deepEqual(Object.keys(result.made).sort(), Object.keys(want));
            assert.equal(result.last.bytes, result.last.total);
            assert.match(result.again.message, /^pack: is not empty but holds /);
            assert.equal(result.aborted.name, 'AbortError');
            assert.deepEqual(result.left, []);
        });
    }
});
