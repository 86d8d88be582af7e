// run.mjs - kernel tests over WebGPU: build/kernels.wasm in Node (Dawn) or Deno (wgpu).
//
//   node tests/kernels/run.mjs [--filter "matvec q4_k"] [--limits default] [--software only]
//   npx deno run -A --unstable-webgpu tests/kernels/run.mjs ...
//
// --filter           part of a case's name; --filter=-text: cases without text in their name;
//                    --filter= all. SwiftShader, slow at barriers, needs minutes for the draws
//                    of 20000 rows and leaves them out by default
// --limits default   asks the device for no more than every WebGPU device has
// --features each    with all features of the adapter, then with each left out in turn, and with
//                    none, default limits and the adapter's: after the first only kernels that
//                    depend on those. none: without any; a name: without that one
// --software         only: SwiftShader (Node) or lavapipe (Deno); never: fail without a GPU
// --matrices BITS    of the shapes of subgroup matrices (gpu_matrix) only these
// --device cpu       the CPU backend as wasm
// Prints what failed, and `N passed, N failed` last.
import { parseArgs } from 'node:util';
import process from 'node:process';
import { GpuHost, VARYING_FEATURES } from '../../browser/gpu.js';
import { instantiate } from '../../browser/wasm.js';
import { adapterName, openTestDevice } from '../device.mjs';

const { values: options } = parseArgs({ options: {
    filter: { type: 'string' },
    limits: { type: 'string', default: 'adapter' },
    features: { type: 'string', default: 'all' },
    software: { type: 'string', default: 'fallback' },
    matrices: { type: 'string', default: '-1' },
    device: { type: 'string', default: 'gpu' },
    wasm: { type: 'string', default: 'build/kernels.wasm' },
} });
const onCpu = options.device === 'cpu';
const url = new URL(options.wasm, new URL('../../', import.meta.url));
const start = performance.now();

function crash(error) {
    console.error(error);
    process.exit(1);
}

// All cases on one device; varied: only of kernels whose programs depend on features or limits.
// True when nothing failed.
function runCases(gpu, filter, varied) {
    return new Promise((resolve, reject) => {
        const test = {
            line: (at, bytes) => console.log(wasm.text(at, bytes)),
            done: (status) => resolve(status === 0),
        };
        let wasm;
        instantiate(url, { gpu, imports: { test } }).then((instance) => {
            wasm = instance;
            const g = wasm.exports.kernels_create(onCpu ? 1 : 0);
            wasm.exports.kernels_start(g, wasm.putString(filter), varied ? 1 : 0);
            while (onCpu && wasm.exports.kernels_poll(g)) continue;
        }).catch(reject);
    });
}

async function runOn(limits, without, varied) {
    const { filter: given } = options;
    if (onCpu) {
        console.log('kernels on the CPU backend in wasm');
        return runCases(undefined, given ?? '', false);
    }
    const opened = await openTestDevice({ limits, without, software: options.software });
    const names = without.length === VARYING_FEATURES.length ? ', no features'
        : without.map((name) => `, no ${name}`).join('');
    console.log(`kernels on ${adapterName(opened.adapter)}, ${limits} limits${names}`);
    let filter = given ?? '';
    if (given === undefined && opened.adapter.architecture === 'swiftshader') {
        filter = '-20000 rows';
        console.log('left out: draws of 20000 rows (--filter= runs them)');
    }
    const matrices = opened.matrices & options.matrices;
    const ok = await runCases(new GpuHost({ ...opened, matrices, onCrash: crash }), filter, varied);
    opened.device.destroy();
    return ok;
}

// [limits, features left out] of each run.
async function runs() {
    const { limits, features } = options;
    if (onCpu || features === 'all') return [[limits, []]];
    if (features === 'none') return [[limits, VARYING_FEATURES]];
    if (features !== 'each') return [[limits, [features]]];
    const { device, languageFeatures } = await openTestDevice({ software: options.software });
    const there = VARYING_FEATURES.filter((name) =>
        device.features.has(name) || languageFeatures.has(name));
    device.destroy();
    const sets = [[], ...there.map((name) => [name]), VARYING_FEATURES];
    return ['adapter', 'default'].flatMap((which) => sets.map((without) => [which, without]));
}

let ok = true;
for (const [i, [limits, without]] of (await runs()).entries()) {
    ok = await runOn(limits, without, i > 0) && ok;
}
console.error(`${((performance.now() - start) / 1000).toFixed(1)} s`);
process.exit(ok ? 0 : 1);
