// gguf_split.mjs - cuts a GGUF file into parts as llama.cpp's gguf-split names and marks them.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const sizes = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 };

// { values: Buffer, valueCount, tensors: [{ info: Buffer without offset, data: Buffer }] }
function parse(file) {
    const b = readFileSync(file);
    let at = 24;
    const number = () => Number(b.readBigUInt64LE((at += 8) - 8));
    const string = () => { const n = number(); at += n; };
    const element = type => { if (type === 8) string(); else at += sizes[type]; };
    const [tensorCount, valueCount] = [8, 16].map(o => Number(b.readBigUInt64LE(o)));
    for (let i = 0; i < valueCount; i++) {
        string();
        const type = b.readUInt32LE((at += 4) - 4);
        if (type !== 9) { element(type); continue; }
        const of = b.readUInt32LE((at += 4) - 4);
        for (let n = number(); n > 0; n--) element(of);
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
    return { values, valueCount, tensors };
}

const u = (value, bytes) => {
    const b = Buffer.alloc(bytes);
    if (bytes === 8) b.writeBigUInt64LE(BigInt(value)); else b.writeUIntLE(value, 0, bytes);
    return b;
};
const value = (key, type, bytes, n) =>
    Buffer.concat([u(key.length, 8), Buffer.from(key), u(type, 4), u(n, bytes)]);

// Writes folder/NAME-0000i-of-0000n.gguf and returns the paths. The first part has the metadata.
export function split(file, folder, name, count) {
    const g = parse(file);
    const each = Math.ceil(g.tensors.length / count);
    return Array.from({ length: count }, (_, i) => {
        const tensors = g.tensors.slice(i * each, (i + 1) * each);
        const marks = [value('split.no', 2, 2, i), value('split.count', 2, 2, count),
            value('split.tensors.count', 5, 4, g.tensors.length)];
        let offset = 0;
        const infos = tensors.map(t => {
            const info = Buffer.concat([t.info, u(offset, 8)]);
            offset += Math.ceil(t.data.length / 32) * 32;
            return info;
        });
        const head = Buffer.concat([Buffer.from('GGUF'), u(3, 4), u(tensors.length, 8),
            u(marks.length + (i ? 0 : g.valueCount), 8), ...(i ? [] : [g.values]), ...marks,
            ...infos]);
        const padded = b => Buffer.concat([b, Buffer.alloc((32 - b.length % 32) % 32)]);
        const part = n => String(n).padStart(5, '0');
        const path = join(folder, `${name}-${part(i + 1)}-of-${part(count)}.gguf`);
        writeFileSync(path, Buffer.concat([padded(head), ...tensors.map(t => padded(t.data))]));
        return path;
    });
}
