// gguf.mjs - GGUF files for tests: cut into parts as llama.cpp's gguf-split names and marks them,
// or with a tiny model behind any metadata.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const sizes = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 };

// { values: Buffer, valueCount, lengths: of arrays by key, tensors: [{ info: Buffer without offset,
// data: Buffer }] }
function parse(file) {
    const b = readFileSync(file);
    let at = 24;
    const number = () => Number(b.readBigUInt64LE((at += 8) - 8));
    const string = () => { const n = number(); return b.toString('latin1', at, at += n); };
    const lengths = {};
    const element = type => { if (type === 8) string(); else at += sizes[type]; };
    const [tensorCount, valueCount] = [8, 16].map(o => Number(b.readBigUInt64LE(o)));
    for (let i = 0; i < valueCount; i++) {
        const key = string();
        const type = b.readUInt32LE((at += 4) - 4);
        if (type !== 9) { element(type); continue; }
        const of = b.readUInt32LE((at += 4) - 4);
        lengths[key] = number();
        for (let n = 0; n < lengths[key]; n++) element(of);
    }
    const values = b.subarray(24, at);
    const tensors = [];
    for (let i = 0; i < tensorCount; i++) {
        const start = at;
        string();
        at += 4 + 8 * b.readUInt32LE(at) + 4;
        tensors.push({ info: b.subarray(start, at), offset: number() });
    }
    const base = Math.ceil(at / 32) * 32;
    tensors.forEach((t, i) => {
        t.data = b.subarray(base + t.offset, i + 1 < tensorCount ? base + tensors[i + 1].offset
            : b.length);
    });
    return { values, valueCount, lengths, tensors };
}

const u = (value, bytes) => {
    const b = Buffer.alloc(bytes);
    if (bytes === 8) b.writeBigUInt64LE(BigInt(value)); else b.writeUIntLE(value, 0, bytes);
    return b;
};
const value = (key, type, bytes, n) =>
    Buffer.concat([u(key.length, 8), Buffer.from(key), u(type, 4), u(n, bytes)]);

const f32 = (value) => Buffer.from(Float32Array.of(value).buffer).readUInt32LE();

// tensors: [{ info: Buffer without offset, data: Buffer }]
function write(path, values, tensors) {
    let offset = 0;
    const infos = tensors.map(t => {
        const info = Buffer.concat([t.info, u(offset, 8)]);
        offset += Math.ceil(t.data.length / 32) * 32;
        return info;
    });
    const count = values.reduce((sum, v) => sum + (v.count ?? 1), 0);
    const head = Buffer.concat([Buffer.from('GGUF'), u(3, 4), u(tensors.length, 8), u(count, 8),
        ...values.map(v => v.bytes ?? v), ...infos]);
    const padded = b => Buffer.concat([b, Buffer.alloc((32 - b.length % 32) % 32)]);
    writeFileSync(path, Buffer.concat([padded(head), ...tensors.map(t => padded(t.data))]));
}

/** Writes a LLaMA of one layer, 32 wide, with the metadata of another GGUF file: of its tokens are
 *  as many in the embedding. */
export function withModel(file, path) {
    const g = parse(file);
    const sizes = { block_count: 1, context_length: 64, embedding_length: 32,
        feed_forward_length: 64, 'attention.head_count': 2 };
    const tensors = { token_embd: [32, g.lengths['tokenizer.ggml.tokens'] ?? 1], output_norm: [32],
        'blk.0.attn_norm': [32], 'blk.0.attn_q': [32, 32], 'blk.0.attn_k': [32, 32],
        'blk.0.attn_v': [32, 32], 'blk.0.attn_output': [32, 32], 'blk.0.ffn_norm': [32],
        'blk.0.ffn_gate': [32, 64], 'blk.0.ffn_up': [32, 64], 'blk.0.ffn_down': [64, 32] };
    write(path, [{ bytes: g.values, count: g.valueCount },
        ...Object.entries(sizes).map(([key, n]) => value(`llama.${key}`, 4, 4, n)),
        value('llama.attention.layer_norm_rms_epsilon', 6, 4, f32(1e-5))],
    Object.entries(tensors).map(([name, shape], i) => ({
        info: Buffer.concat([u(name.length + 7, 8), Buffer.from(`${name}.weight`),
            u(shape.length, 4), ...shape.map(n => u(n, 8)), u(0, 4)]),
        data: Buffer.from(Float32Array.from({ length: shape.reduce((a, b) => a * b) },
            (_, n) => Math.sin(n + i)).buffer),
    })));
}

/** Writes folder/NAME-0000i-of-0000n.gguf and returns the paths. The first part has the
 *  metadata. */
export function split(file, folder, name, count) {
    const g = parse(file);
    const each = Math.ceil(g.tensors.length / count);
    return Array.from({ length: count }, (_, i) => {
        const tensors = g.tensors.slice(i * each, (i + 1) * each);
        const marks = [value('split.no', 2, 2, i), value('split.count', 2, 2, count),
            value('split.tensors.count', 5, 4, g.tensors.length)];
        const part = n => String(n).padStart(5, '0');
        const path = join(folder, `${name}-${part(i + 1)}-of-${part(count)}.gguf`);
        write(path, [...(i ? [] : [{ bytes: g.values, count: g.valueCount }]), ...marks], tensors);
        return path;
    });
}
