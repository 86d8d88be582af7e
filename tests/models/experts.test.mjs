// Packages of mixtures of experts hold the numbers of the checkpoints they were made of: both are
// read here by the letter of their formats, with nothing of the engine's. Then the same weights in
// other writers' arrangements must give the same package.
import { after, test } from 'node:test';
import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync,
    writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { converted, doppler, root, shared } from './oracle.mjs';
import { ggufWeights, packageWeights, readSafetensors, writeSafetensors } from './weights.mjs';

const fixture = name => join(root, 'tests', 'fixtures', 'micro', name);
const work = mkdtempSync(join(tmpdir(), 'doppler-'));
after(() => rmSync(work, { recursive: true }));
const manifest = pack => JSON.parse(readFileSync(join(pack, 'manifest.json'), 'utf8'));
const shards = pack => manifest(pack).shards.map(s => s.sha256);

// The model's own numbers by role, layer and expert, from a Hugging Face folder.
function sourceWeights(folder) {
    const files = readdirSync(folder).filter(f => f.endsWith('.safetensors'));
    const all = Object.assign({}, ...files.map(f => readSafetensors(join(folder, f))));
    const out = new Map();
    const put = (role, layer, expert, numbers) => out.set(`${role} ${layer} ${expert}`, numbers);
    const plain = { 'input_layernorm.weight': 'attn_norm',
        'post_attention_layernorm.weight': 'ffn_norm', 'self_attn.sinks': 'attn_sinks',
        'block_sparse_moe.gate.weight': 'router', 'mlp.router.weight': 'router',
        'mlp.router.bias': 'router_bias', 'mlp.experts.down_proj_bias': 'ffn_down_bias' };
    for (const x of 'qkvo') {
        plain[`self_attn.${x}_proj.weight`] = `attn_${x}`;
        plain[`self_attn.${x}_proj.bias`] = `attn_${x}_bias`;
    }
    const whole = { 'model.embed_tokens.weight': 'embedding', 'lm_head.weight': 'head',
        'model.norm.weight': 'final_norm' };
    for (const [name, t] of Object.entries(all)) {
        const [, layer, rest] = /^model\.layers\.(\d+)\.(.*)$/.exec(name) ?? [];
        const single = /^block_sparse_moe\.experts\.(\d+)\.w(\d)\.weight$/.exec(rest);
        if (!rest) put(whole[name], 0, 0, t.numbers());
        else if (plain[rest]) put(plain[rest], layer, 0, t.numbers());
        else if (single)
            put(['ffn_gate', 'ffn_down', 'ffn_up'][single[2] - 1], layer, single[1], t.numbers());
        else if (rest === 'mlp.experts.gate_up_proj_bias') {
            const both = t.numbers();
            put('ffn_gate_bias', layer, 0, both.filter((_, i) => i % 2 === 0));
            put('ffn_up_bias', layer, 0, both.filter((_, i) => i % 2 === 1));
        } else if (rest.endsWith('_blocks')) {
            const [experts, rows, blocks] = t.shape, cols = blocks * 32;
            const numbers = mxfp4(t.bytes, all[name.replace('_blocks', '_scales')].bytes);
            for (let x = 0; x < experts; x++) {
                const mine = numbers.subarray(x * rows * cols, (x + 1) * rows * cols);
                const half = odd => mine.filter((_, i) => (i / cols & 1) === odd);
                if (rest.includes('down')) put('ffn_down', layer, x, mine);
                else {
                    put('ffn_gate', layer, x, half(0));
                    put('ffn_up', layer, x, half(1));
                }
            }
        } else assert.match(rest, /_scales$/);
    }
    return out;
}

// Two neighbours in a byte, the first in its low nibble; 2^(scale - 127) for 32 of them.
function mxfp4(bytes, scales) {
    const codes = [0, 0.5, 1, 1.5, 2, 3, 4, 6];
    const out = new Float32Array(bytes.length * 2);
    for (let i = 0; i < out.length; i++) {
        const code = bytes[i >> 1] >> (i & 1) * 4 & 15;
        out[i] = (code & 8 ? -1 : 1) * codes[code & 7] * 2 ** (scales[i >> 5] - 127);
    }
    return out;
}

// Every tensor of the package once, with these numbers. MXFP4's -0 is 0 in other formats, as ggml
// has it.
function same(pack, want) {
    const got = packageWeights(pack);
    assert.deepEqual([...got.keys()].sort(), [...want.keys()].sort());
    for (const [key, numbers] of got) {
        const wanted = Float32Array.from(want.get(key));
        assert.equal(numbers.length, wanted.length, key);
        const wrong = numbers.findIndex((x, i) => x !== wanted[i]);
        assert.ok(wrong < 0,
            `${pack}: ${key}[${wrong}] is ${numbers[wrong]}, not ${wanted[wrong]}`);
    }
}

const checkpoints = [[fixture('mixtral'), 'micro-mixtral'], [fixture('gptoss'), 'micro-gptoss'],
    [join(shared, 'models', 'mixtral'), 'mixtral'], [join(shared, 'models', 'gptoss'), 'gptoss']];
for (const [folder, name] of checkpoints) {
    const skip = existsSync(folder) ? false : `needs ${folder}`;
    for (const target of ['keep', 'f32'])
        test(`${name} in ${target} holds its checkpoint's numbers`, { skip }, () => {
            const pack = converted(folder, name, target);
            doppler('verify', pack, '--quiet');
            same(pack, sourceWeights(folder));
        });
}

for (const name of ['mixtral-Q4_K_M', 'gptoss-MXFP4']) {
    const file = join(shared, 'gguf', `${name}.gguf`);
    const checkpoint = join(shared, 'models', name.split('-')[0]);
    test(`${name} is the model that its checkpoint is`, { skip: existsSync(file) ? false
        : 'needs ../shared/gguf' }, () => {
        const [a, b] = [converted(file, `gguf-${name}`, 'keep'),
            converted(checkpoint, name.split('-')[0], 'keep')].map(manifest);
        assert.deepEqual(a.model, b.model);
        assert.deepEqual(a.tokens, b.tokens);
    });
    test(`${name} kept decodes to ggml's numbers`, { skip: existsSync(file) ? false
        : 'needs ../shared/gguf' }, () => {
        const pack = converted(file, `gguf-${name}`, 'keep');
        doppler('verify', pack, '--quiet');
        same(pack, ggufWeights(file, manifest(pack).model));
    });
}

/* ---- other arrangements */

// The fixture's folder with other tensors.
function rearranged(from, name, files) {
    const folder = join(work, name);
    mkdirSync(folder);
    for (const file of readdirSync(from))
        if (file.endsWith('.json')) copyFileSync(join(from, file), join(folder, file));
    for (const [file, tensors] of Object.entries(files))
        writeSafetensors(join(folder, file), tensors);
    return folder;
}

function convert(folder, name, ...options) {
    const out = join(work, `${name}-package`);
    doppler('convert', folder, out, '--quiet', ...options);
    return out;
}

test('fused experts of newer writers are those of a released Mixtral', () => {
    const all = readSafetensors(join(fixture('mixtral'), 'model.safetensors'));
    const fused = {};
    for (const [name, t] of Object.entries(all)) {
        const [, layer, rest] = /^(model\.layers\.\d+\.)block_sparse_moe\.(.*)$/.exec(name) ?? [];
        if (!layer) fused[name] = t;
        else if (rest === 'gate.weight') fused[`${layer}mlp.gate.weight`] = t;
    }
    for (const layer of [0, 1]) {
        const expert = (x, w) =>
            all[`model.layers.${layer}.block_sparse_moe.experts.${x}.w${w}.weight`].bytes;
        const experts = [0, 1, 2, 3];
        fused[`model.layers.${layer}.mlp.experts.gate_up_proj`] = { dtype: 'BF16',
            shape: [4, 192, 64],
            bytes: Buffer.concat(experts.flatMap(x => [expert(x, 1), expert(x, 3)])) };
        fused[`model.layers.${layer}.mlp.experts.down_proj`] = { dtype: 'BF16',
            shape: [4, 64, 96], bytes: Buffer.concat(experts.map(x => expert(x, 2))) };
    }
    const folder = rearranged(fixture('mixtral'), 'fused', { 'model.safetensors': fused });
    assert.deepEqual(shards(convert(folder, 'fused')),
        shards(converted(fixture('mixtral'), 'micro-mixtral', 'keep')));
});

test('experts of GPT-OSS in bf16 stand across, gate and up in turn', () => {
    const all = readSafetensors(join(fixture('gptoss'), 'model.safetensors'));
    const floats = {};
    for (const [name, t] of Object.entries(all)) {
        if (name.endsWith('_scales')) continue;
        if (!name.endsWith('_blocks')) {
            floats[name] = t;
            continue;
        }
        const [experts, rows, blocks] = t.shape, cols = blocks * 32;
        const numbers = mxfp4(t.bytes, all[name.replace('_blocks', '_scales')].bytes);
        const turned = Buffer.alloc(experts * rows * cols * 2);
        const bits = new DataView(new ArrayBuffer(4));
        for (let x = 0; x < experts; x++)
            for (let r = 0; r < rows; r++)
                for (let c = 0; c < cols; c++) {
                    bits.setFloat32(0, numbers[(x * rows + r) * cols + c] + 0);
                    turned.writeUInt16LE(bits.getUint16(0), 2 * ((x * cols + c) * rows + r));
                }
        floats[name.replace('_blocks', '')] = { dtype: 'BF16', shape: [experts, cols, rows],
            bytes: turned };
    }
    const folder = rearranged(fixture('gptoss'), 'floats', { 'model.safetensors': floats });
    assert.deepEqual(shards(convert(folder, 'floats', '-q', 'f32')),
        shards(converted(fixture('gptoss'), 'micro-gptoss', 'f32')));
});

test('blocks and their scales may lie in different files', () => {
    const all = Object.entries(readSafetensors(join(fixture('gptoss'), 'model.safetensors')));
    const scales = all.filter(([name]) => name.endsWith('_scales'));
    const others = all.filter(([name]) => !name.endsWith('_scales'));
    const folder = rearranged(fixture('gptoss'), 'apart', {
        'a.safetensors': Object.fromEntries(scales), 'b.safetensors': Object.fromEntries(others) });
    const where = (list, file) => list.map(([name]) => [name, file]);
    const weight_map = Object.fromEntries([...where(scales, 'a.safetensors'),
        ...where(others, 'b.safetensors')]);
    writeFileSync(join(folder, 'model.safetensors.index.json'), JSON.stringify({ weight_map }));
    assert.deepEqual(shards(convert(folder, 'apart')),
        shards(converted(fixture('gptoss'), 'micro-gptoss', 'keep')));
});

/* ---- the package */

test('threads and the size of shards change no number', () => {
    for (const name of ['mixtral', 'gptoss']) {
        const small = ['--shard-size', '12KiB', '--threads'];
        const pack = convert(fixture(name), `${name}-2`, ...small, 2);
        doppler('verify', pack, '--quiet');
        same(pack, sourceWeights(fixture(name)));
        const alone = convert(fixture(name), `${name}-1`, ...small, 1);
        assert.deepEqual(manifest(alone), manifest(pack));
    }
});

test('Q4_K_M of eight experts is llama.cpp\'s, with q6_k for its q5_k', { skip:
    existsSync(join(shared, 'models', 'mixtral')) ? false : 'needs ../shared/models' }, () => {
    const pack = converted(join(shared, 'models', 'mixtral'), 'mixtral', 'q4_k_m');
    const got = {};
    for (const t of manifest(pack).tensors) (got[t.role] ??= [])[t.layer] = t.dtype;
    assert.deepEqual([got.attn_q, got.attn_k, got.attn_v, got.attn_o].map(d => d[1]),
        ['q4_k', 'q8_0', 'q8_0', 'q6_k']);
    assert.deepEqual(got.ffn_down, ['q4_k', 'q4_k', 'q6_k']);
    assert.deepEqual([got.ffn_gate[2], got.router[0], got.embedding[0], got.head[0]],
        ['q4_k', 'bf16', 'bf16', 'q6_k']);
});

test('mixtures leave routers and MXFP4 as they are', () => {
    const dtypes = (pack, role) => [...new Set(manifest(pack).tensors
        .filter(t => t.role === role).map(t => t.dtype))].sort();
    const gptoss = fixture('gptoss');
    for (const [target, attention, expert] of [['q4_k_m', 'q4_k', 'mxfp4'],
        ['mxfp4', 'q8_0', 'mxfp4'], ['q8_0', 'q8_0', 'q8_0']]) {
        const pack = converted(gptoss, 'micro-gptoss', target);
        doppler('verify', pack, '--quiet');
        assert.deepEqual(dtypes(pack, 'router'), ['bf16']);
        assert.deepEqual(dtypes(pack, 'attn_q'), [attention]);
        assert.deepEqual(dtypes(pack, 'ffn_gate'), [expert]);
        assert.deepEqual(dtypes(pack, 'ffn_down'), [expert]);
        assert.deepEqual(dtypes(pack, 'attn_sinks'), ['f32']);
    }
    const kept = packageWeights(converted(gptoss, 'micro-gptoss', 'q4_k_m'));
    const want = sourceWeights(gptoss);
    for (const [key, numbers] of kept)
        if (/^(ffn_|router|attn_sinks)/.test(key))
            assert.deepEqual(numbers, Float32Array.from(want.get(key)), key);
});
