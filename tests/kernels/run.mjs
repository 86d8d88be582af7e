// run.mjs - kernel tests over WebGPU: build/kernels.wasm in Node (Dawn) or Deno (wgpu).
//
//   node tests/kernels/run.mjs [--filter "matvec q4_k"] [--limits default] [--software only]
//   npx deno run -A --unstable-webgpu tests/kernels/run.mjs ...
//
// --filter           part of a case's name; --filter=-text: cases without text in their name;
//                    --filter= all. SwiftShader, slow at barriers, needs minutes for the draws
//                    of 20000 rows and leaves them out by default
// --limits default   asks the device for no more than every WebGPU device has
// --software         only: SwiftShader (Node) or lavapipe (Deno); never: fail without a GPU
// --device cpu       the CPU backend as wasm
// Prints what failed, and `N passed, N failed` last.
import { parseArgs } from 'node:util';
import process from 'node:process';
import { GpuHost } from '../../browser/gpu.js';
import { instantiate } from '../../browser/wasm.js';
import { adapterName, openTestDevice } from '../device.mjs';

const { values: options } = parseArgs({ options: {
    filter: { type: 'string' },
    limits: { type: 'string', default: 'adapter' },
    software: { type: 'string', default: 'fallback' },
    device: { type: 'string', default: 'gpu' },
    wasm: { type: 'string', default: 'build/kernels.wasm' },
} });
const onCpu = options.device === 'cpu';

let { filter = '' } = options;
let gpu;
if (onCpu) {
    console.log('kernels on the CPU backend in wasm');
} else {
    const opened = await openTestDevice({ limits: options.limits, software: options.software });
    gpu = new GpuHost({ ...opened, onCrash: crash });
    console.log(`kernels on ${adapterName(opened.adapter)}, ${options.limits} limits`);
    if (options.filter === undefined && opened.adapter.architecture === 'swiftshader') {
        filter = '-20000 rows';
        console.log('left out: draws of 20000 rows (--filter= runs them)');
    }
}

function crash(error) {
    console.error(error);
    process.exit(1);
}

const url = new URL(options.wasm, new URL('../../', import.meta.url));
const start = performance.now();
const status = await new Promise((resolve, reject) => {
    const test = {
        line: (at, bytes) => console.log(wasm.text(at, bytes)),
        done: resolve,
    };
    let wasm;
    instantiate(url, { gpu, imports: { test } }).then((instance) => {
        wasm = instance;
        const g = wasm.exports.kernels_create(onCpu ? 1 : 0);
        wasm.exports.kernels_start(g, wasm.putString(filter));
        while (onCpu && wasm.exports.kernels_poll(g)) continue;
    }).catch(reject);
});
console.error(`${((performance.now() - start) / 1000).toFixed(1)} s`);
process.exit(status === 0 ? 0 : 1);
