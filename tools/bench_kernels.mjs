// bench_kernels.mjs - `doppler bench kernels`: each kind of dispatch of a step, timed in a row of
// dispatches that wait for each other, over all layers' weights; then the same by the other
// kernels that could do it. Reading: of a kernel that only reads the same bytes in the same turn.
import { grouped, printKernels, summary } from './bench_print.mjs';
import { PassTimer, Reader } from './bench_time.mjs';
import { DopplerError } from '../browser/error.js';

const ROTATED_BYTES = 700e6;         // no cache holds them
const MOST_COPIES = 256;
const STEP_TOKENS = 512;             // of a prompt
const SAMPLERS = /^(argmax|sample)/; // they move the position

// The weights, or the part of them that counts, of a kind's dispatches.
function rangesOf(gpu, kind) {
    return kind.map(({ ranges: [[handle, offset, size]], bytes }) => ({
        buffer: gpu.buffer(handle), offset, size: Math.floor(Math.min(size, bytes) / 16) * 16 }));
}

// Whether a kernel's first operand is its weights.
const readsWeights = ({ label, bytes }) => bytes > 0 && /^(matvec|linear)/.test(label);

class Bench {
    constructor(engine, filter) {
        const { gpu } = engine;
        if (!gpu?.device.features.has('timestamp-query')) {
            throw new DopplerError('UNSUPPORTED', 'kernels need a GPU with timestamps');
        }
        this.engine = engine;
        this.filter = filter;
        this.timer = new PassTimer(gpu.device, engine.info.adapter.software);
        this.reader = new Reader(gpu.device, this.timer);
        this.readings = new Map();               // what was read -> us
    }

    destroy() {
        this.reader.destroy();
        this.timer.destroy();
    }

    wanted(kind) {
        const { kernel, shape } = summary(kind);
        return `${kernel} ${shape}`.includes(this.filter);
    }

    async row(kind) {
        const row = summary(kind);
        row.us = await this.timer.each(kind) * kind.length;
        if (!readsWeights(kind[0])) return row;
        const ranges = rangesOf(this.engine.gpu, kind);
        const key = ranges.map(({ offset, size }, i) =>
            `${kind[i].ranges[0][0]} ${offset} ${size}`).join();
        if (!this.readings.has(key)) this.readings.set(key, await this.reader.each(ranges));
        row.readUs = this.readings.get(key);
        return row;
    }

    async rows(steps) {
        const rows = [];
        for (const kind of grouped(steps)) if (this.wanted(kind)) rows.push(await this.row(kind));
        return rows;
    }

    // A step's rows; then, as `extra` ones, those of the kernels that it does not take.
    async step(session, position, tokens, kernels) {
        const { engine, timer } = this;
        const warm = engine.step(session, position, tokens);
        await timer.warm(warm.steps.filter(({ label }) => !SAMPLERS.test(label)));
        warm.destroy();
        const list = engine.step(session, position, tokens);
        const rows = (await this.rows(list.steps)).sort((a, b) => b.us - a.us);
        const nameOf = ({ label }) => label.split(' ')[0];
        const taken = new Set(list.steps.map((step) => `${nameOf(step)} ${step.shape}`));
        list.destroy();
        for (const [id, name] of kernels.entries()) {
            const other = engine.step(session, position, tokens, id);
            const its = other.steps.filter((step) => nameOf(step) === name
                && !taken.has(`${name} ${step.shape}`));
            for (const row of await this.rows(its)) rows.push({ ...row, extra: true });
            other.destroy();
        }
        return rows;
    }

    // Rows of a projection by each kernel that can do it.
    async matrix({ format, rows, cols }, tokens, kernels) {
        const bytes = rows * cols / 2;           // at least that many, but for the smallest formats
        const copies = this.timer.software ? 1
            : Math.min(MOST_COPIES, Math.ceil(ROTATED_BYTES / bytes));
        const matrices = await this.engine.matrices({ format, rows, cols, tokens, copies });
        const found = [];
        for (const id of kernels.keys()) {
            const list = matrices.record(id);
            if (!list) continue;
            await this.timer.warm(list.steps);
            found.push(...await this.rows(list.steps));
            list.destroy();
        }
        matrices.destroy();
        return found;
    }
}

/** Adds { steps: { name: rows }, matrices: rows } to result, and prints them. */
export async function benchKernels(engine, loaded, values, result) {
    const bench = new Bench(engine, values.filter), kernels = engine.kernels();
    const { contexts, prompts } = values;
    result.steps = {};
    result.matrices = [];
    if (loaded) {
        const session = await engine.session(loaded.model, { precision: values.precision,
            kv: values.kv, context: Math.max(...contexts, ...prompts) + 8 });
        await engine.compileAll(values.filter);
        engine.hold(session, [0]);
        const step = async (name, position, tokens) => {
            result.steps[name] = await bench.step(session, position, tokens, kernels);
            printKernels(`${name}, dispatches in a row`, result.steps[name], result);
        };
        for (const context of contexts) await step(`decode at ${context}`, context, 1);
        for (const prompt of prompts) {
            const tokens = Math.min(prompt, STEP_TOKENS);
            await step(`${tokens} tokens up to ${prompt}`, prompt - tokens, tokens);
        }
        await engine.closeSession(session);
    }
    for (const matrix of values.matrices) {
        for (const tokens of [...contexts.length ? [1] : [], ...prompts]) {
            const rows = await bench.matrix(matrix, tokens, kernels);
            const name = `${matrix.format} ${matrix.rows}x${matrix.cols}, ${tokens} token`;
            printKernels(`${name}${tokens > 1 ? 's' : ''}, dispatches in a row`, rows, result);
            result.matrices.push(...rows.map((row) => ({ ...row, tokens })));
        }
    }
    bench.destroy();
}
