// debug.js - what a developer switches on: the tensors of a prompt by name, the first that is not
// finite or departs from another device's, and a line for each call with its time. Loaded when
// first asked for (Doppler.debug(), Model.check()); `doppler trace` prints the same.
import { DopplerError } from './error.js';

const TRACED_TOKENS = 64;           // of a prompt that is checked because debug({ trace }) says so

// ---- tensors

/** "layers.3.qkv" -> { rows, slots, cols, values }, whole, in the order of computation. slots: rows
 *  of a token, one for each of its experts. */
export async function tensorsOf(session, ids, { signal } = {}) {
    const tensors = new Map();
    await session.trace(ids, ({ name, layer, first, rows, cols, values }) => {
        const key = layer === null ? name : `layers.${layer}.${name}`;
        const all = Math.max(rows, ids.length);
        const whole = tensors.get(key) ?? { rows: all, slots: all / ids.length, cols,
            values: new Float32Array(all * cols) };
        whole.values.set(values.subarray(0, rows * cols), first * cols);
        tensors.set(key, whole);
    }, { signal });
    return tensors;
}

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

function compare(name, tensor, wanted) {
    if (!wanted) throw new DopplerError('BAD_ARGUMENT', `the reference has no ${name}`);
    if (wanted.rows !== tensor.rows || wanted.cols !== tensor.cols) {
        throw new DopplerError('BAD_ARGUMENT', `${name} is [${tensor.rows}, ${tensor.cols}], `
            + `the reference has [${wanted.rows}, ${wanted.cols}]`);
    }
    return difference(tensor.values, wanted.values);
}

/** What is to say of tensorsOf(): see Report in doppler.d.ts. against: other tensors or null. */
export function reportOf(tensors, against, tolerance) {
    const report = { tensors: [], nonFinite: null, departure: null, worst: null };
    for (const [name, tensor] of tensors) {
        const { rows, slots, cols, values } = tensor;
        const place = (at, rest) => ({ name, token: Math.floor(at / cols / slots),
            slot: slots > 1 ? Math.floor(at / cols) % slots : null, element: at % cols,
            got: values[at], want: null, error: null, ...rest });
        const odd = values.findIndex((x) => !Number.isFinite(x));
        if (odd >= 0) report.nonFinite ??= place(odd);
        const entry = { name, rows, cols, rms: rms(values), error: null };
        report.tensors.push(entry);
        if (!against) continue;
        const { error, at } = compare(name, tensor, against.get(name));
        const seen = place(at, { error, want: against.get(name).values[at] });
        entry.error = error;
        if (!(error <= tolerance)) report.departure ??= seen;
        if (!(error <= (report.worst?.error ?? -1))) report.worst = seen;
    }
    return report;
}

/** A report's findings, a line each. */
export function linesOf({ nonFinite, departure, worst }) {
    const lines = [];
    const where = ({ token, slot, element }) => `at token ${token}, `
        + `${slot === null ? '' : `slot ${slot}, `}element ${element}`;
    if (nonFinite) {
        lines.push(`first that is not finite: ${nonFinite.name}, ${where(nonFinite)}: `
            + `${nonFinite.got}`);
    }
    const told = departure ?? worst;
    if (told) {
        lines.push(`${departure ? 'first to depart' : 'largest difference'}: ${told.name}, by `
            + `${told.error.toExponential(2)} of its largest value, ${where(told)}: ${told.got}, `
            + `not ${told.want}`);
    }
    return lines;
}

/** Model.check(): the prompt's tensors on `model`, and on the model that reference() gives. */
export async function check(model, reference, prompt, { tolerance = 1e-3, kv = 'f32',
    precision = 'exact', special, bos, signal } = {}) {
    const ids = typeof prompt === 'string' ? await model.tokenize(prompt, { special, bos })
        : Uint32Array.from(prompt);
    const options = { kv, precision, context: ids.length, chunk: ids.length, checkpoints: 0 };
    const traced = async (where) => {
        const session = where.session(options);
        try {
            return await tensorsOf(session, ids, { signal });
        } finally {
            await session.close();
        }
    };
    const tensors = await traced(model);
    return reportOf(tensors, reference && await traced(await reference()), tolerance);
}

// ---- what is told of calls

const ms = (time) => `${time.toFixed(time < 100 ? 1 : 0)} ms`;
const bytes = (count) => `${(count / 1e6).toFixed(1)} MB`;

function median(times) {
    const sorted = [...times].sort((a, b) => a - b);
    return sorted[Math.floor(sorted.length / 2)];
}

// What is worth saying of a method's arguments and result.
const told = {
    load: ({ url }, { vocab, context }) => `${url}: ${vocab} tokens, context ${context}`,
    createSession: ({ kv, precision }, { session, context }) =>
        `${session}: context ${context}, kv ${kv}, ${precision}`,
    sessionMemory: (_, memory) =>
        Object.entries(memory).map(([name, count]) => `${name} ${bytes(count)}`).join(', '),
    generate: ({ session }, { promptTokens, reusedTokens, tokens, stop }) =>
        `${session}: ${promptTokens} prompt tokens, ${reusedTokens} of them held, ${tokens} `
        + `generated, stop ${stop}`,
};

/** What a link calls while debug() is on (doppler.js, WatchedLink). */
export function watcher({ log, timings = false, trace = false, tolerance }) {
    const say = typeof log === 'function' ? log : (line) => console.debug(`doppler: ${line}`);
    let checking = false;            // the calls of a check are its own affair

    async function checkPrompt({ prompt, special, bos }, { model, options }) {
        checking = true;
        try {
            const ids = typeof prompt === 'string'
                ? await model.tokenize(prompt, { special: special === 'all', bos }) : prompt;
            const report = await model.check(ids.slice(0, TRACED_TOKENS), { kv: options.kv,
                precision: options.precision, tolerance, against: trace === 'cpu' ? 'cpu' : null });
            for (const line of linesOf(report)) say(`trace: ${line}`);
            if (!report.nonFinite) say(`trace: ${report.tensors.length} tensors, all finite`);
            if (typeof trace === 'function') trace(report);
        } catch (error) {
            say(`trace: ${error.message}`);
        } finally {
            checking = false;
        }
    }

    return async (method, args, io, about, call) => {
        if (checking) return call(io);
        if (trace && method === 'generate') await checkPrompt(args, about);
        const start = performance.now(), times = [];
        const emit = (event) => {
            if (method === 'generate' && event.id !== undefined) times.push(performance.now());
            io?.emit?.(event);
        };
        let line = method;
        try {
            const result = await call({ ...io, emit });
            line += told[method] ? ` ${told[method](args, result)}` : '';
            return result;
        } catch (error) {
            line += ` failed: ${error.status ?? error.name}: ${error.message}`;
            throw error;
        } finally {
            if (timings) line += `; ${ms(performance.now() - start)}`;
            if (timings && times.length > 0) line += `, first token after ${ms(times[0] - start)}`;
            if (timings && times.length > 1) {
                const gaps = times.slice(1).map((time, i) => time - times[i]);
                line += `, then each ${ms(median(gaps))} (longest ${ms(Math.max(...gaps))})`;
            }
            say(line);
        }
    };
}
