// weights.mjs - the numbers in safetensors, GGUF files and packages, read by the letter of their
// formats: docs/RDRR_FORMAT.md, ggml-quants.c. Slow and simple: a second opinion on the converter.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

// ---- numbers

function half(bits) {
    const sign = bits & 0x8000 ? -1 : 1, exponent = bits >> 10 & 31, mantissa = bits & 1023;
    if (exponent === 0) return sign * mantissa * 2 ** -24;
    return exponent === 31 ? (mantissa ? NaN : sign * Infinity)
        : sign * (1024 + mantissa) * 2 ** (exponent - 25);
}

const scratch = new DataView(new ArrayBuffer(4));
function bfloat(bits) {
    scratch.setUint32(0, bits << 16 >>> 0);
    return scratch.getFloat32(0);
}

const half_at = (b, at) => half(b.readUInt16LE(at));

// ---- units: what a block has besides a scale that stands elsewhere

// 8 runs of 32: d, dmin, 12 bytes of 6-bit scales and minima, [32 bytes of fifth bits,] nibbles.
function k45(five) {
    return u => {
        const d = half_at(u, 0), dmin = half_at(u, 2), p = u.subarray(4, 16);
        const out = new Float32Array(256), nibbles = five ? 48 : 16;
        for (let r = 0; r < 8; r++) {
            const sc = r < 4 ? p[r] & 63 : p[r + 4] & 15 | p[r - 4] >> 6 << 4;
            const mn = r < 4 ? p[r + 4] & 63 : p[r + 4] >> 4 | p[r] >> 6 << 4;
            for (let i = 0; i < 32; i++) {
                const q = u[nibbles + 32 * (r >> 1) + i] >> (r & 1) * 4 & 15;
                const high = five ? (u[16 + i] >> r & 1) * 16 : 0;
                out[32 * r + i] = d * sc * (q + high) - dmin * mn;
            }
        }
        return out;
    };
}

// ql 128, qh 64, 16 int8 scales: per 128 weights, runs 0 and 1 in low nibbles, 2 and 3 in high.
function k6(u, d) {
    const out = new Float32Array(256);
    for (let i = 0; i < 256; i++) {
        const h = i >> 7, r = i >> 5 & 3, at = i & 31;
        const low = u[64 * h + 32 * (r & 1) + at] >> (r >> 1) * 4 & 15;
        const high = u[128 + 32 * h + at] >> 2 * r & 3;
        out[i] = d * u.readInt8(192 + (i >> 4)) * ((low | high << 4) - 32);
    }
    return out;
}

const q8 = (u, d) => Float32Array.from({ length: 32 }, (_, i) => d * u.readInt8(i));

function mx(u, scale) {
    const codes = [0, 0.5, 1, 1.5, 2, 3, 4, 6];
    return Float32Array.from({ length: 32 }, (_, i) => {
        const code = u[i & 15] >> (i >> 4) * 4 & 15;
        return (code & 8 ? -1 : 1) * codes[code & 7] * 2 ** (scale - 127);
    });
}

const plain = { f32: [4, (b, at) => b.readFloatLE(at)], f16: [2, half_at],
    bf16: [2, (b, at) => bfloat(b.readUInt16LE(at))] };

function numbersOf(dtype, bytes) {
    const [each, read] = plain[dtype];
    return Float32Array.from({ length: bytes.length / each }, (_, i) => read(bytes, i * each));
}

// ---- safetensors

/** Tensors by name: dtype, shape, bytes, numbers(). */
export function readSafetensors(path) {
    const file = readFileSync(path), header = Number(file.readBigUInt64LE(0));
    const out = {};
    for (const [name, t] of Object.entries(JSON.parse(file.subarray(8, 8 + header)))) {
        if (name === '__metadata__') continue;
        const [from, to] = t.data_offsets.map(at => 8 + header + at);
        const bytes = file.subarray(from, to);
        out[name] = { dtype: t.dtype, shape: t.shape, bytes,
            numbers: () => numbersOf(t.dtype.toLowerCase(), bytes) };
    }
    return out;
}

export function writeSafetensors(path, tensors) {
    const header = {};
    let at = 0;
    for (const [name, { dtype, shape, bytes }] of Object.entries(tensors))
        header[name] = { dtype, shape, data_offsets: [at, at += bytes.length] };
    const json = Buffer.from(JSON.stringify(header)), size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(json.length));
    writeFileSync(path, Buffer.concat([size, json, ...Object.values(tensors).map(t => t.bytes)]));
}

// ---- packages

// dtype: weights of a block, bytes of its unit and scale, and the block's numbers.
const planes = {
    q4_k: [256, 144, 0, k45(false)], q5_k: [256, 176, 0, k45(true)],
    q6_k: [256, 208, 2, (u, s) => k6(u, half_at(s, 0))],
    q8_0: [32, 32, 2, (u, s) => q8(u, half_at(s, 0))],
    mxfp4: [32, 16, 1, (u, s) => mx(u, s[0])],
};

function decodeRow(dtype, row, cols) {
    if (plain[dtype]) return numbersOf(dtype, row.subarray(0, cols * plain[dtype][0]));
    const [weights, unit, scale, decode] = planes[dtype], blocks = Math.ceil(cols / weights);
    const out = new Float32Array(blocks * weights);
    for (let b = 0; b < blocks; b++)
        out.set(decode(row.subarray(b * unit, (b + 1) * unit),
            row.subarray(blocks * unit + b * scale, blocks * unit + (b + 1) * scale)), b * weights);
    return out.subarray(0, cols);
}

/** Numbers of every tensor, by "role layer expert". */
export function packageWeights(folder) {
    const m = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8'));
    const shards = m.shards.map(s => readFileSync(join(folder, s.file)));
    const out = new Map();
    for (const t of m.tensors) {
        const bytes = Buffer.concat(t.spans.map(s =>
            shards[s.shard].subarray(s.offset, s.offset + s.bytes)));
        const [rows, cols] = t.shape, rowBytes = t.bytes / rows;
        const numbers = new Float32Array(rows * cols);
        for (let r = 0; r < rows; r++)
            numbers.set(decodeRow(t.dtype, bytes.subarray(r * rowBytes, (r + 1) * rowBytes), cols),
                r * cols);
        out.set(`${t.role} ${t.layer} ${t.expert ?? 0}`, numbers);
    }
    return out;
}

// ---- GGUF

// Types by number: weights of a block, its bytes, and its numbers.
const blocks = {
    0: [1, 4, b => [b.readFloatLE(0)]], 1: [1, 2, b => [half_at(b, 0)]],
    30: [1, 2, b => [bfloat(b.readUInt16LE(0))]],
    8: [32, 34, b => q8(b.subarray(2), half_at(b, 0))],
    12: [256, 144, k45(false)], 13: [256, 176, k45(true)],
    14: [256, 210, b => k6(b, half_at(b, 208))], 39: [32, 17, b => mx(b.subarray(1), b[0])],
};

function readGguf(path) {
    const file = readFileSync(path);
    let at = 8;
    const u32 = () => file.readUInt32LE((at += 4) - 4);
    const u64 = () => Number(file.readBigUInt64LE((at += 8) - 8));
    const string = () => {
        const bytes = u64();
        return file.toString('utf8', at, at += bytes);
    };
    const sizes = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
    const skip = type => {
        if (type === 8) string();
        else if (type === 9) for (let [t, n] = [u32(), u64()]; n > 0; n--) skip(t);
        else at += sizes[type];
    };
    const [tensors, values] = [u64(), u64()];
    for (let i = 0; i < values; i++) {
        string();
        skip(u32());
    }
    const infos = Array.from({ length: tensors }, () => ({ name: string(),
        shape: Array.from({ length: u32() }, u64), type: u32(), offset: u64() }));
    const data = Math.ceil(at / 32) * 32;
    return infos.map(t => {
        const [weights, bytes, decode] = blocks[t.type];
        const count = t.shape.reduce((a, b) => a * b), out = new Float32Array(count);
        for (let b = 0; b < count / weights; b++) {
            const from = data + t.offset + b * bytes;
            out.set(decode(file.subarray(from, from + bytes)), b * weights);
        }
        return { name: t.name, shape: t.shape, numbers: out };
    });
}

// Rows 2i + j of each head belong to row j * head / 2 + i.
function straightened(numbers, cols, head) {
    const out = new Float32Array(numbers.length);
    for (let row = 0; row < numbers.length / cols; row++) {
        const i = row % head, from = row - i + i % (head / 2) * 2 + Math.floor(i / (head / 2));
        out.set(numbers.subarray(from * cols, (from + 1) * cols), row * cols);
    }
    return out;
}

/** The same of a mixture of experts in GGUF; model: the manifest's. */
export function ggufWeights(path, model) {
    const roles = { token_embd: 'embedding', output: 'head', output_norm: 'final_norm',
        attn_output: 'attn_o', post_attention_norm: 'ffn_norm', ffn_gate_inp: 'router',
        ffn_gate_exps: 'ffn_gate', ffn_up_exps: 'ffn_up', ffn_down_exps: 'ffn_down' };
    const out = new Map();
    for (const t of readGguf(path)) {
        const [, , layer = 0, name, kind] = /^(blk\.(\d+)\.)?(\w+)\.(weight|bias)$/.exec(t.name);
        const role = (roles[name] ?? name) + (kind === 'bias' ? '_bias' : '');
        const turned = /^attn_[qk]$/.test(role) && model.architecture === 'mixtral';
        const numbers = turned ? straightened(t.numbers, t.shape[0], model.head_dim) : t.numbers;
        const experts = /^ffn_(gate|up|down)$/.test(role) ? model.experts : 1;
        const each = numbers.length / experts;
        for (let x = 0; x < experts; x++)
            out.set(`${role} ${layer} ${x}`, numbers.subarray(x * each, (x + 1) * each));
    }
    return out;
}
