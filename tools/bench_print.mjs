// bench_print.mjs - tables of times, and what changed between two of them.
import { median } from './bench_time.mjs';

export const fixed = (value, digits) => (value === null || value === undefined ? '-'
    : value.toFixed(digits));

/** Dispatches of one kind together, in the order in which they first occur. */
export function grouped(dispatches) {
    const kinds = new Map();
    for (const dispatch of dispatches) {
        const { label, shape, grid = [dispatch.x, dispatch.y, dispatch.z] } = dispatch;
        const key = `${label} ${shape} ${grid}`;
        if (!kinds.has(key)) kinds.set(key, []);
        kinds.get(key).push(dispatch);
    }
    return [...kinds.values()];
}

/** What a kind of dispatches is and does, all of them together. */
export function summary(kind) {
    const sum = (name) => kind.reduce((total, one) => total + one[name], 0);
    return { kernel: kind[0].label, shape: kind[0].shape, count: kind.length, bytes: sum('bytes'),
        flops: sum('flops') };
}

/** Median times of a step's dispatches by kind, descending; profile() times them once. */
export async function kernelsOf(profile, rounds) {
    const times = [];
    for (let i = 0; i < rounds + 2; i++) times.push(await profile());
    times.splice(0, 2);
    const dispatches = times[0].map((dispatch, i) =>
        ({ ...dispatch, us: median(times.map((round) => round[i].ns)) / 1000 }));
    return grouped(dispatches).map((kind) => ({ ...summary(kind),
        us: kind.reduce((total, { us }) => total + us, 0) })).sort((a, b) => b.us - a.us);
}

// Fraction of what the device gives: of reading where the bytes take longer, else of multiplying.
function ofCeiling({ kernel, count, bytes, flops, us, readUs },
    { readTBs, multiplyTFLOPs, matrixTFLOPs }) {
    if (readUs) {
        return `${fixed(100 * readUs * count / us, 0)} % of reading, ${fixed(readUs, 2)} us`;
    }
    if (!readTBs || !(bytes || flops)) return '';
    const byMatrices = matrixTFLOPs && /matri/.test(kernel);
    const most = byMatrices ? matrixTFLOPs : multiplyTFLOPs;
    const reading = bytes / us / 1e6 / readTBs, multiplying = flops / us / 1e6 / most;
    return reading > multiplying ? `${fixed(100 * reading, 0)} % of reading`
        : `${fixed(100 * multiplying, 0)} % of ${byMatrices ? 'matrices' : 'f32'}`;
}

/** Rows: { kernel, shape, count, us, bytes, flops } of all their dispatches together. */
export function printKernels(title, rows, ceilings) {
    const total = rows.reduce((sum, { us, extra }) => sum + (extra ? 0 : us), 0);
    console.log(`\n${title}: ${fixed(total, 1)} us on the GPU`);
    console.log('kernel                       shape             n        us   us each     %    TB/s'
        + '  TFLOP/s');
    for (const row of rows) {
        const { kernel, shape, count, us, bytes, flops, extra } = row;
        console.log(`${kernel.padEnd(28)} ${shape.padEnd(15)} ${String(count).padStart(3)}`
            + `${fixed(us, 1).padStart(10)}${fixed(us / count, 2).padStart(10)}`
            + `${(extra ? 'instead' : fixed(100 * us / total, 1)).padStart(8)}`
            + `${(bytes ? fixed(bytes / us / 1e6, 2) : '').padStart(6)}`
            + `${(flops ? fixed(flops / us / 1e6, 1) : '').padStart(9)} `
            + ofCeiling(row, ceilings));
    }
}

// ---- two runs

// Every figure that is better when it is larger or when it is smaller: [name, value, better].
function* figures({ decode = {}, prompt = {}, steps = {}, matrices = [] }) {
    const rowsOf = function* (name, rows = []) {
        for (const { kernel, shape, count, us } of rows) {
            yield [`${name}: ${kernel} ${shape}, us each`, us / count, 'smaller'];
        }
    };
    for (const [context, step] of Object.entries(decode)) {
        yield [`decode at ${context}, tokens/s`, step.tokensPerSecond, 'larger'];
        yield [`decode at ${context}, ms of encoding`, step.perToken?.encodeMs, 'smaller'];
        yield [`decode at ${context}, us on the GPU`, step.gpuUs, 'smaller'];
        yield* rowsOf(`decode at ${context}`, step.kernels);
    }
    for (const [tokens, step] of Object.entries(prompt)) {
        yield [`prompt ${tokens}, ms to the first token`, step.firstTokenMs, 'smaller'];
        yield* rowsOf(`prompt ${tokens}`, step.kernels);
    }
    for (const [name, rows] of Object.entries(steps)) yield* rowsOf(name, rows);
    yield* rowsOf('matrices', matrices);
}

/** What is not the same: a line for each figure that both runs have. */
export function printAgainst(result, old) {
    const before = new Map([...figures(old)].map(([name, value]) => [name, value]));
    console.log(`\nagainst ${old.model ?? 'matrices'} of ${old.date}`);
    for (const [name, now, better] of figures(result)) {
        const then = before.get(name);
        if (!now || !then) continue;
        const change = 100 * (now / then - 1);
        const word = (change > 0) === (better === 'larger') ? 'better' : 'worse';
        console.log(`${name}: ${fixed(then, 2)} -> ${fixed(now, 2)} (${change > 0 ? '+' : ''}`
            + `${fixed(change, 1)} %${Math.abs(change) < 1 ? '' : `, ${word}`})`);
    }
}
