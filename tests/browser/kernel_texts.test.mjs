// kernel_texts.test.mjs - the compiler of WGSL that Node's Dawn has, with all of its features and no
// GPU: texts that no software adapter takes are checked here, though not run.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { GpuHost, openDevice } from '../../browser/gpu.js';
import { instantiate } from '../../browser/wasm.js';

const ALL_MATRICES = 15;             // bits of gpu_matrix

// Dawn's null backend has every feature, but the least limits and no list of subgroup matrices:
// pipelines would be refused for these alone, so none are made.
async function nullDevice() {
    const opened = await openDevice({ force: true,
        nodeOptions: ['backend=null', 'enable-dawn-features=allow_unsafe_apis'] });
    const { device } = opened, { limits } = device;
    const more = { maxComputeWorkgroupStorageSize: 49152, maxComputeInvocationsPerWorkgroup: 1024 };
    Object.defineProperty(device, 'limits',
        { value: new Proxy(limits, { get: (_, name) => more[name] ?? limits[name] }) });
    device.createComputePipelineAsync = async () => ({});
    return opened;
}

/** What the compiler says of all programs: '' where they are right. */
async function compileAll(matrices) {
    const opened = await nullDevice();
    const labels = [];
    const create = opened.device.createShaderModule.bind(opened.device);
    opened.device.createShaderModule = (descriptor) => {
        labels.push(descriptor.label);
        return create(descriptor);
    };
    const gpu = new GpuHost({ ...opened, matrices });
    const lines = [];
    const url = new URL('../../build/kernels.wasm', import.meta.url);
    const status = await new Promise((resolve, reject) => {
        const test = { line: (at, bytes) => lines.push(wasm.text(at, bytes)), done: resolve };
        let wasm;
        instantiate(url, { gpu, imports: { test } }).then((instance) => {
            wasm = instance;
            wasm.exports.kernels_compile(wasm.exports.kernels_create(0));
        }).catch(reject);
    });
    opened.device.destroy();
    return { status, lines, labels };
}

for (let bit = 1; bit < ALL_MATRICES; bit *= 2) {
    test(`every program compiles, with shape ${bit} of subgroup matrices`, async () => {
        const { status, lines, labels } = await compileAll(bit);
        assert.deepEqual([status, lines], [0, []]);
        assert.equal(labels.filter((label) => label.startsWith('matmul_matrix ')).length, 7);
    });
}
