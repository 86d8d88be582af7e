// trace.mjs - `doppler trace`: every intermediate tensor of a prompt, dumped as safetensors or
// compared with the CPU backend's or a dump's; names the first that departs and by how much.
import { readFile, writeFile } from 'node:fs/promises';
import { DopplerError } from '../browser/doppler.js';
import { hostOptions, idsOf, withModel } from './node.mjs';

const FLOAT_BYTES = 4;

// "layers.3.qkv" -> { rows, cols, values }, in the order of computation.
async function tensorsOf(session, ids) {
    const tensors = new Map();
    await session.trace(ids, ({ name, layer, first, rows, cols, values }) => {
        const key = layer === null ? name : `layers.${layer}.${name}`;
        const all = Math.max(rows, ids.length);      // more where a token has several experts
        const whole = tensors.get(key) ?? { rows: all, cols, values: new Float32Array(all * cols) };
        whole.values.set(values.subarray(0, rows * cols), first * cols);
        tensors.set(key, whole);
    });
    return tensors;
}

// ---- dumps: safetensors, all f32

async function writeDump(file, tensors) {
    const header = {};
    let at = 0;
    for (const [key, { rows, cols, values }] of tensors) {
        header[key] = { dtype: 'F32', shape: [rows, cols],
            data_offsets: [at, at + values.byteLength] };
        at += values.byteLength;
    }
    const text = JSON.stringify(header);
    const json = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(json.length));
    const data = [...tensors.values()].map(({ values }) => Buffer.from(values.buffer));
    await writeFile(file, Buffer.concat([size, json, ...data]));
}

async function readDump(file) {
    const bytes = await readFile(file);
    const bad = (why) => new DopplerError('BAD_FILE', `${file}: ${why}`);
    const size = bytes.length < 8 ? Infinity : Number(bytes.readBigUInt64LE(0));
    if (size > bytes.length - 8) throw bad('no safetensors file');
    const tensors = new Map();
    let header;
    try {
        header = JSON.parse(bytes.toString('utf8', 8, 8 + size));
    } catch {
        throw bad('its header is no JSON');
    }
    for (const [key, { dtype, shape, data_offsets: span }] of Object.entries(header)) {
        if (key === '__metadata__') continue;
        const [rows, cols] = shape?.length === 2 ? shape : [];
        const fits = dtype === 'F32' && span?.[1] - span?.[0] === rows * cols * FLOAT_BYTES
            && span[0] >= 0 && span[1] <= bytes.length - 8 - size;
        if (!fits) throw bad(`"${key}" is no [rows, cols] of F32`);
        const from = bytes.byteOffset + 8 + size + span[0];
        tensors.set(key, { rows, cols, values: new Float32Array(
            bytes.buffer.slice(from, from + rows * cols * FLOAT_BYTES)) });
    }
    return tensors;
}

// ---- comparison

const rms = (values) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length);

// The largest difference, of the largest wanted value, and where it is.
function difference(got, want) {
    let worst = 0, at = 0, largest = 0;
    for (let i = 0; i < want.length; i++) {
        const off = Math.abs(got[i] - want[i]);
        if (off > worst || Number.isNaN(off)) [worst, at] = [Number.isNaN(off) ? Infinity : off, i];
        largest = Math.max(largest, Math.abs(want[i]));
        if (worst === Infinity) break;
    }
    return { error: worst === 0 ? 0 : worst / (largest || 1), at };
}

function compare(key, tensor, wanted) {
    if (!wanted) throw new DopplerError('BAD_ARGUMENT', `--against has no ${key}`);
    if (wanted.rows !== tensor.rows || wanted.cols !== tensor.cols) {
        throw new DopplerError('BAD_ARGUMENT', `${key} is [${tensor.rows}, ${tensor.cols}], `
            + `--against has [${wanted.rows}, ${wanted.cols}]`);
    }
    return difference(tensor.values, wanted.values);
}

// Prints a line per tensor; returns the process's exit code.
function report(tensors, against, tolerance, tokens) {
    let first = null, worst = { error: -1 };
    for (const [key, tensor] of tensors) {
        const { rows, cols, values } = tensor;
        let line = `${`${key.padEnd(26)} [${rows}, ${cols}]`.padEnd(42)} rms `
            + rms(values).toFixed(6);
        if (against) {
            const { error, at } = compare(key, tensor, against.get(key));
            line += `  differs by ${error.toExponential(2)}`;
            const each = rows / tokens, row = Math.floor(at / cols);
            const slot = each > 1 ? `, slot ${row % each}` : '';
            const seen = { key, error, got: values[at], want: against.get(key).values[at],
                where: `token ${Math.floor(row / each)}${slot}, element ${at % cols}` };
            if (!(error <= tolerance)) first ??= seen;
            if (error > worst.error) worst = seen;
        }
        console.log(line);
    }
    if (!against) return 0;
    const told = first ?? worst;
    console.log(`${first ? 'first to depart' : 'largest difference'}: ${told.key}, by `
        + `${told.error.toExponential(2)} of its largest value, at ${told.where}: ${told.got}, `
        + `not ${told.want}`);
    return first ? 1 : 0;
}

/** The verb. */
export const verb = {
    summary: 'Shows the intermediate tensors of a prompt, and where two devices part.',
    operands: { DIR: 'an RDRR package' },
    options: {
        ids: { kind: 'text', metavar: '1,2,3', required: true, help: 'token ids' },
        against: { kind: 'text', metavar: 'cpu|DUMP',
            help: 'compare with the CPU backend, or with what --out wrote' },
        tolerance: { kind: 'real', metavar: 'T', default: 1e-4, min: 0, max: 1,
            help: 'of a tensor\'s largest value; default 1e-4' },
        out: { short: 'o', kind: 'text', metavar: 'DUMP',
            help: 'write the tensors as safetensors' },
        ...hostOptions,
        host: { kind: ['node'], default: 'node', help: 'where the CPU backend runs' },
    },
    main: async (values) => {
        const ids = idsOf(values.ids);
        const trace = (device) => withModel({ ...values, device, prefill: ids.length },
            (model, session) => tensorsOf(session, ids));
        const against = values.against === undefined ? null
            : await (values.against === 'cpu' ? trace('cpu') : readDump(values.against));
        const tensors = await trace(values.device);
        if (values.out) await writeDump(values.out, tensors);
        return report(tensors, against, values.tolerance, ids.length);
    },
};
