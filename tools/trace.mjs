// trace.mjs - `doppler trace`: every intermediate tensor of a prompt, dumped as safetensors or
// compared with the CPU backend's or a dump's; names the first that departs and by how much.
import { readFile, writeFile } from 'node:fs/promises';
import { linesOf, reportOf, tensorsOf } from '../browser/debug.js';
import { DopplerError } from '../browser/doppler.js';
import { hostOptions, idsOf, withModel } from './node.mjs';

const FLOAT_BYTES = 4;

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

// Prints a line per tensor; returns the process's exit code.
function print(report) {
    for (const { name, rows, cols, rms, error } of report.tensors) {
        console.log(`${`${name.padEnd(26)} [${rows}, ${cols}]`.padEnd(42)} rms ${rms.toFixed(6)}`
            + (error === null ? '' : `  differs by ${error.toExponential(2)}`));
    }
    for (const line of linesOf(report)) console.log(line);
    return report.departure || report.nonFinite ? 1 : 0;
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
        return print(reportOf(tensors, against, values.tolerance));
    },
};
