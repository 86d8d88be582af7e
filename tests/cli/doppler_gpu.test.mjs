// Packages of the doppler-gpu writer as inputs of convert: two that it wrote, and what its earlier
// writers made of a checkpoint, whose conversion is the same as the checkpoint's own.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync }
    from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from '../models/oracle.mjs';

const program = join(root, 'build', 'san', 'doppler');
const fixtures = join(root, 'tests', 'fixtures');
const micro = join(fixtures, 'micro', 'llama3');
const written = kind => join(fixtures, 'doppler-gpu', kind);
const sha256 = bytes => createHash('sha256').update(bytes).digest('hex');
const json = path => JSON.parse(readFileSync(path, 'utf8'));

function run(...args) {
    return spawnSync(program, args, { cwd: root, encoding: 'utf8', timeout: 120000 });
}

function inFolder(work) {
    const folder = mkdtempSync(join(tmpdir(), 'doppler-'));
    try {
        return work(folder);
    } finally {
        rmSync(folder, { recursive: true });
    }
}

// A copy of one of the written packages, with its tokenizer; edit(manifest, folder) changes it.
function copied(kind, folder, edit = () => {}) {
    const to = join(folder, 'package');
    cpSync(written(kind), to, { recursive: true });
    copyFileSync(join(micro, 'tokenizer.json'), join(to, 'tokenizer.json'));
    const manifest = json(join(to, 'manifest.json'));
    edit(manifest, to);
    writeFileSync(join(to, 'manifest.json'), JSON.stringify(manifest));
    return to;
}

function converted(from, folder, ...options) {
    const to = join(folder, 'out');
    const result = run('convert', from, to, ...options);
    assert.equal(result.status, 0, result.stderr);
    const verified = run('verify', to, '--quiet');
    assert.equal(verified.status, 0, verified.stderr);
    return { manifest: json(join(to, 'manifest.json')), folder: to, log: result.stderr };
}

// The floats of an f32 package: {name: SHA-256}.
function tensors(p) {
    const shards = p.manifest.shards.map(s => readFileSync(join(p.folder, s.file)));
    return Object.fromEntries(p.manifest.tensors.map(t => [t.name, sha256(Buffer.concat(
        t.spans.map(s => shards[s.shard].subarray(s.offset, s.offset + s.bytes))))]));
}

for (const kind of ['row', 'col'])
    test(`a written package, Q4_K in ${kind}s, decodes as its writer decodes it`, () =>
        inFolder(folder => {
            const p = converted(copied(kind, folder), folder, '--quantize', 'f32');
            assert.deepEqual(tensors(p), json(join(written(''), 'expected.json'))[kind]);
        }));

test('Q4_K rows keep their blocks, even where a row ends inside one', () => inFolder(folder => {
    const from = copied('row', folder), source = json(join(from, 'manifest.json'));
    const p = converted(from, folder, '--quiet');
    const name = 'model.layers.0.mlp.down_proj.weight', location = source.tensors[name];
    const stored = readFileSync(join(from, `shard_0000${location.shard}.bin`))
        .subarray(location.offset, location.offset + location.size);
    const ours = p.manifest.tensors.find(t => t.name === name);
    assert.equal(ours.dtype, 'q4_k');
    assert.equal(tensors(p)[name], sha256(stored));
    assert.equal(run('run', p.folder, '-p', 'Once', '-n', '4').status, 0);
}));

test('Q4_K columns become q8_0, which is told', () => inFolder(folder => {
    const p = converted(copied('col', folder), folder);
    assert.match(p.log, /q_proj\.weight: Q4_K -> q8_0/);
}));

test('inspect says what it is; run and verify what to do', () => inFolder(folder => {
    const from = copied('row', folder);
    assert.match(run('inspect', from).stdout,
        /^tiny-row: package of doppler-gpu, which `doppler convert` reads, Q4_K_M\n.*llama: 1 lay/);
    assert.equal(JSON.parse(run('inspect', from, '--json', '--tensors').stdout).tensors.length, 11);
    for (const verb of [['run', from, '-p', 'x'], ['verify', from]])
        assert.match(run(...verb).stderr, /package of doppler-gpu; `doppler convert`/);
    const ids = spawnSync(program, ['tokenize', from], { encoding: 'utf8', input: 'Once' });
    assert.match(ids.stdout, /^[0-9 ]+\n$/);
}));

// ---- earlier writers

// f32 numbers of a safetensors file of BF16: {name: {shape, data}}.
function checkpoint() {
    const file = readFileSync(join(micro, 'model.safetensors'));
    const bytes = Number(file.readBigUInt64LE(0)), header = JSON.parse(file.subarray(8, 8 + bytes));
    const out = {};
    delete header.__metadata__;
    for (const [name, { shape, dtype, data_offsets: [start, end] }] of Object.entries(header)) {
        assert.equal(dtype, 'BF16');
        out[name] = { shape, data: Buffer.from(file.subarray(8 + bytes + start, 8 + bytes + end)) };
    }
    return out;
}

const widen = data => {
    const out = Buffer.alloc(data.length * 2);
    for (let i = 0; i < data.length / 2; i++) data.copy(out, i * 4 + 2, i * 2, i * 2 + 2);
    return out;
};

function transpose(data, [rows, cols], each) {
    const out = Buffer.alloc(data.length);
    for (let r = 0; r < rows; r++)
        for (let c = 0; c < cols; c++)
            data.copy(out, (c * rows + r) * each, (r * cols + c) * each, (r * cols + c + 1) * each);
    return out;
}

const spellings = {
    // src/converter/writer.ts: fileName, tensors.json, pages of 4 KiB, the config as it was.
    'fileName, tensors.json': { file: 'fileName', external: true, aligned: 4096 },
    'f32 columns with originalShape': { file: 'fileName', external: true, f32: true, turn: 'old' },
    'bf16 columns by layout alone': { file: 'filename', turn: 'bare' },
    'shardIndex, byteStart': { file: 'filename', physical: true },
    'blake3': { file: 'filename', blake3: true, external: true },
};

// The checkpoint as a package; shards of 50000 bytes cut through the tensors.
function packaged(folder, how) {
    const stream = [], map = {};
    let at = 0;
    for (const [name, { shape, data }] of Object.entries(checkpoint())) {
        const matrix = shape.length === 2 && how.turn, each = how.f32 ? 4 : 2;
        let stored = how.f32 ? widen(data) : data;
        const tensor = { shape, dtype: how.f32 ? 'F32' : 'BF16', size: stored.length,
            group: 'layer' };
        if (matrix) {
            stored = transpose(stored, shape, each);
            Object.assign(tensor, { shape: [shape[1], shape[0]], layout: 'column' });
            if (how.turn === 'old') tensor.originalShape = shape;
        }
        const padding = how.aligned ? -at & how.aligned - 1 : 0;
        stream.push(Buffer.alloc(padding), stored);
        at += padding;
        const spans = [];
        for (let done = 0; done < stored.length;) {
            const offset = (at + done) % 50000, size = Math.min(50000 - offset,
                stored.length - done, 30000);        // chunks that run on, as streams write them
            spans.push({ shardIndex: Math.floor((at + done) / 50000), offset, size });
            done += size;
        }
        if (how.physical)
            tensor.storage = { packing: 'dense', shardSpans: spans.map(s => ({
                shardIndex: s.shardIndex, byteStart: s.offset, byteEnd: s.offset + s.size })) };
        else if (spans.length === 1)
            Object.assign(tensor, { shard: spans[0].shardIndex, offset: spans[0].offset });
        else tensor.spans = spans;
        map[name] = tensor;
        at += stored.length;
    }
    const bytes = Buffer.concat(stream), shards = [];
    for (let i = 0; i * 50000 < bytes.length; i++) {
        const shard = bytes.subarray(i * 50000, (i + 1) * 50000), name = `shard_0000${i}.bin`;
        writeFileSync(join(folder, name), shard);
        shards.push({ index: i, [how.file]: name, size: shard.length,
            hash: how.blake3 ? '0'.repeat(64) : sha256(shard) });
    }
    const manifest = { version: 1, modelId: 'old', modelType: 'transformer', architecture: 'llama',
        quantization: 'BF16', hashAlgorithm: how.blake3 ? 'blake3' : 'sha256',
        config: json(join(micro, 'config.json')), shards, totalSize: bytes.length,
        ...(how.external ? { tensorsFile: 'tensors.json' } : { tensors: map }) };
    if (how.external) writeFileSync(join(folder, 'tensors.json'), JSON.stringify(map));
    writeFileSync(join(folder, 'manifest.json'), JSON.stringify(manifest));
    copyFileSync(join(micro, 'tokenizer.json'), join(folder, 'tokenizer.json'));
}

for (const [name, how] of Object.entries(spellings))
    test(`an earlier writer: ${name}`, () => inFolder(folder => inFolder(other => {
        packaged(folder, how);
        const wanted = converted(micro, other, '--quantize', 'f32');
        const p = converted(folder, folder, '--quantize', 'f32');
        assert.deepEqual(p.manifest.model, wanted.manifest.model);
        assert.deepEqual(tensors(p), tensors(wanted));
        if (how.blake3) assert.match(p.log, /of \d+ shards \d+ have no SHA-256.*not checked/);
    })));

// ---- flat blocks

// w = d * sc * q - dmin * mn, with d = dmin = 1 (f16), all sc 1, all mn 0: w is the nibble.
test('flat blocks run on from row to row', () => inFolder(folder => {
    const name = 'model.layers.0.mlp.down_proj.weight', weights = 32 * 96;
    const from = copied('row', folder, (manifest, to) => {
        const stored = Buffer.alloc(weights / 256 * 144);
        for (let b = 0; b < weights / 256; b++) {
            stored.set([0, 0x3C, 0, 0x3C, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1], b * 144);
            for (let i = 0; i < 128; i++) stored[b * 144 + 16 + i] = (b * 7 + i * 11) & 255;
        }
        writeFileSync(join(to, 'flat.bin'), stored);
        manifest.shards.push({ index: manifest.shards.length, filename: 'flat.bin',
            size: stored.length, hash: sha256(stored) });
        const { layout, spans, ...tensor } = manifest.tensors[name];
        manifest.tensors[name] = { ...tensor, shard: manifest.shards.length - 1, offset: 0,
            size: stored.length };
        delete manifest.quantizationInfo;
    });
    const want = new Float32Array(weights);
    for (let i = 0; i < weights; i++) {
        const b = Math.floor(i / 256), j = i % 256, pair = Math.floor(j / 64);
        const byte = (b * 7 + (pair * 32 + j % 32) * 11) & 255;
        want[i] = j % 64 < 32 ? byte & 15 : byte >> 4;
    }
    const p = converted(from, folder, '--quantize', 'f32');
    assert.equal(tensors(p)[name], sha256(Buffer.from(want.buffer)));
}));

// ---- hostile

const gate = 'model.layers.0.mlp.gate_proj.weight', q = 'model.layers.0.self_attn.q_proj.weight';
const refused = [
    ['a span beyond its shard', m => { m.tensors[gate].spans[1].size = 20004; },
        /BAD_FILE: tensor ".*gate_proj.weight": \d+ bytes/],
    ['spans that do not add up', m => { m.tensors[gate].spans[0].size -= 4; },
        /BAD_FILE.*spans of/],
    ['a shard that is not there', m => { m.tensors[q].shard = 9; }, /BAD_FILE.*shard 9 of 4/],
    ['a path for a name', m => { m.shards[0].filename = '../x.bin'; }, /BAD_FILE.*no plain file/],
    ['a shard of another size', m => { m.shards[3].size += 1; }, /BAD_FILE.*manifest says/],
    ['tensors elsewhere', m => { m.tensorsFile = '/etc/passwd'; }, /BAD_FILE.*no plain file/],
    ['tensors.json missing', m => { m.tensorsFile = 'tensors.json'; }, /IO: .*tensors.json/],
    ['a dtype it does not read', m => { m.tensors[q].dtype = 'W4A16'; }, /UNSUPPORTED.*is W4A16/],
    ['a size that its blocks have not', m => { m.tensors[q].shape = [32, 288]; },
        /BAD_FILE.*4608 bytes, its Q4_K blocks are 9216/],
    ['a transform', m => { m.tensors[q].sourceTransform = {}; }, /UNSUPPORTED.*sourceTransform/],
    ['weights of another package', m => { m.weightsRef = {}; }, /UNSUPPORTED.*weightsRef/],
    ['windows', m => { m.inference.attention.slidingWindow = 512; },
        /UNSUPPORTED.*"slidingWindow": 512/],
    ['norms of queries', m => { m.inference.attention.queryKeyNorm = true; },
        /UNSUPPORTED.*queryKeyNorm/],
    ['scaled embeddings', m => { m.inference.output.embeddingScale = 12; },
        /UNSUPPORTED.*embeddingScale/],
    ['what is not known', m => { m.inference.ffn.secret = 'x'; }, /UNSUPPORTED.*"secret": "x"/],
    ['a rope told in part', m => { m.inference.rope.ropeScalingType = 'llama3'; },
        /UNSUPPORTED.*llama3.*config.json beside/],
    ['another scale', m => { m.inference.attention.queryPreAttnScalar = 24; },
        /UNSUPPORTED.*24/],
    ['experts', m => { m.moeConfig = { numExperts: 8 }; }, /UNSUPPORTED.*moeConfig/],
    ['a missing tensor', m => { delete m.tensors[gate]; },
        /BAD_FILE.*gate_proj.weight" is missing/],
    ['a GGUF name', m => { m.tensors['blk.0.ffn_up.weight'] = m.tensors[q]; },
        /UNSUPPORTED.*not known/],
    ['another hash', m => { m.shards[2].hash = '0'.repeat(64); },
        /BAD_FILE: shard_00002.bin: SHA-256 differs/],
    ['a hash of nothing', m => { m.shards[2].hash = 'placeholder'; }, /BAD_FILE.*no SHA-256/],
];
for (const [name, edit, pattern] of refused)
    test(`refused: ${name}`, () => inFolder(folder => {
        const from = copied('row', folder, edit);
        const result = run('convert', from, join(folder, 'out'), '--quiet');
        assert.equal(result.status, 1, result.stderr);
        assert.match(result.stderr, pattern);
        assert.equal(result.stderr.trim().split('\n').length, 1, result.stderr);
        assert.deepEqual(readdirSync(folder), ['package']);
    }));

test('a config.json beside the manifest wins', () => inFolder(folder => {
    const from = copied('row', folder, (manifest, to) => {
        manifest.inference = null;
        writeFileSync(join(to, 'config.json'), JSON.stringify({ architectures: ['LlamaForCausalLM'],
            num_hidden_layers: 1, hidden_size: 32, intermediate_size: 96, num_attention_heads: 2,
            num_key_value_heads: 1, head_dim: 16, vocab_size: 512, rope_theta: 5e5,
            max_position_embeddings: 99, tie_word_embeddings: true }));
    });
    const { model } = converted(from, folder, '--quiet').manifest;
    assert.equal(model.context, 99);
    assert.equal(model.rope.full.theta, 5e5);
}));
