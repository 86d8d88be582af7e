// table.mjs - the table of docs/SPEED.md out of what bench/gpu.sh has left: node bench/table.mjs OUT.
// Each row beside the speed to pass, the goal, and llama.cpp's CUDA and Vulkan backends on an H200.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const out = process.argv[2];
const runs = new Map();
function run(name) {
    const path = join(out, `${name}.json`);
    if (!runs.has(name)) runs.set(name, existsSync(path) ? JSON.parse(readFileSync(path)) : {});
    return runs.get(name);
}

const speed = (name) => () => run(name).decode?.[512]?.tokensPerSecond;
const first = (name, tokens) => run(name).prompt?.[tokens]?.firstTokenMs;
const percent = (fraction) => (fraction === undefined ? undefined : 100 * fraction);

// The fastest kernel against one that only reads.
function reading(shape) {
    const rows = run('matvec').matrices?.filter((row) => row.tokens === 1 && row.shape === shape
        && row.kernel.endsWith(' q4_k')) ?? [];
    return rows.length ? Math.max(...rows.map(({ us, count, readUs }) => 100 * readUs * count / us))
        : undefined;
}

// work, unit, [llama.cpp CUDA / Vulkan, to pass, goal], better, value
const rows = [
    ['decode, mistral-7b, fast', 'tokens/s', ['284 / 218', 300, 500], 'more', speed('7b-fast')],
    ['decode, mistral-7b, exact', 'tokens/s', ['', 200, 300], 'more', speed('7b-exact')],
    ['decode, llama-3.2-1b, fast', 'tokens/s', ['842 / 678', 700, 1300], 'more', speed('1b-fast')],
    ['decode, gpt-oss-20b, mxfp4 and q8_0, fast', 'tokens/s', ['311 / 294', 300, 550], 'more',
        speed('gpt-oss')],
    ['decode at 16k, 7B, of the speed of reading', '%', ['', 40, 55], 'more',
        () => percent(run('7b-fast').decode?.[16384]?.ofReading)],
    ['q4_k matvec 14336x4096, reading over ours', '%', ['', 70, 90], 'more',
        () => reading('14336x4096')],
    ['q4_k matvec 4096x14336, reading over ours', '%', ['', 70, 90], 'more',
        () => reading('4096x14336')],
    ['prefill 7B, 512 tokens, core WGSL', 'ms', ['55 / 47', 400, 240], 'less',
        () => first('7b-core', 512)],
    ['prefill 7B, 512 tokens, all features', 'ms', ['55 / 47', 150, 80], 'less',
        () => first('7b-fast', 512)],
    ['prefill 7B, 8192 tokens, core WGSL, over its 512', 'x', ['', 24, 19], 'less',
        () => first('7b-core', 8192) / first('7b-core', 512)],
    ['prefill 7B, 8192 tokens, all features', 's', ['', 3.6, 2.0], 'less',
        () => first('7b-fast', 8192) / 1000],
    ['host encode per token, 7B', 'ms', ['', 'hidden', 1.0], 'less',
        () => run('7b-fast').decode?.[512]?.perToken?.encodeMs],
];

// What the host does for a token is hidden where it takes less time than the token.
function passes(value, bound, better) {
    const wanted = bound === 'hidden' ? 1000 / speed('7b-fast')() : bound;
    return better === 'more' ? value >= wanted : value <= wanted;
}

const { adapter, date, readTBs, multiplyTFLOPs, matrixTFLOPs } = run('7b-fast');
console.log(`${date}: ${adapter?.vendor} ${adapter?.description}, Node ${process.version}, f16 KV, `
    + 'batch 1');
console.log(`reading ${readTBs?.toFixed(2)} TB/s, f32 ${multiplyTFLOPs?.toFixed(1)} TFLOP/s, `
    + `matrices ${matrixTFLOPs?.toFixed(1) ?? 'none'}\n`);
console.log('| work | unit | llama.cpp CUDA / Vulkan | to pass | goal | here | |');
console.log('|---|---|---|---|---|---|---|');
for (const [work, unit, [others, floor, goal], better, value] of rows) {
    const here = value();
    const known = Number.isFinite(here);
    const verdict = !known ? 'not measured' : passes(here, goal, better) ? 'goal'
        : passes(here, floor, better) ? 'passed' : 'missed';
    const digits = here < 10 ? 2 : here < 100 ? 1 : 0;
    console.log(`| ${work} | ${unit} | ${others} | ${floor} | ${goal} | `
        + `${known ? here.toFixed(digits) : '-'} | ${verdict} |`);
}
