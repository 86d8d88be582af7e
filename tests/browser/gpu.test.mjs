// gpu.test.mjs - browser/gpu.js as C meets it: what each call promises in gpu/gpu.h.
//   node --test tests/browser/gpu.test.mjs
import { after, before, describe, it } from 'node:test';
import assert from 'node:assert/strict';
import { openDevice } from '../../browser/gpu.js';
import { openTestDevice } from '../device.mjs';
import { countedDevice } from './counted_device.mjs';
import { GpuCaller } from './gpu_caller.mjs';

const OK = 0, NO_MEMORY = 1, DEVICE_LOST = 3, GPU_ERROR = 4;

// y[i] += dims.add * SCALE
const ADD = {
    label: 'add', access: 'w', constants: { SCALE: 1 },
    sources: [`
        override SCALE: u32;
        struct Dims { add: u32, count: u32 }
        @group(0) @binding(0) var<storage, read_write> y: array<u32>;
        @group(0) @binding(1) var<uniform> dims: Dims;
        @compute @workgroup_size(4) fn main(@builtin(global_invocation_id) id: vec3u) {
            if (id.x < dims.count) { y[id.x] = more(y[id.x]); }
        }`, 'fn more(value: u32) -> u32 { return value + dims.add * SCALE; }'],
};

const opened = await openTestDevice().catch((e) => e);
const skip = opened.device ? false : `no WebGPU adapter: ${opened.message}`;

// A device of its own, for tests that lose it.
const freshDevice = (instead) => openTestDevice().then((o) => (
    { ...o, device: countedDevice(o.device, instead).device, real: o.device }));

async function addProgram(caller, change = {}) {
    const program = caller.program({ ...ADD, ...change });
    assert.deepEqual(await program.done, { status: OK, message: '' });
    return program.handle;
}

async function buffers(caller, ...sizes) {
    const made = caller.buffers(...sizes);
    assert.deepEqual(await made.done, { status: OK, message: '' });
    return made.handles;
}

describe('gpu.js', { skip }, () => {
    let caller;
    before(() => { caller = new GpuCaller(opened); });
    after(() => { caller.close(); });

    it('limits_of_the_device_reach_c', () => {
        const { limits } = opened.device;
        const { features, ...numbers } = caller.limits;
        assert.deepEqual(numbers, { bufferBytes: limits.maxBufferSize,
            bindingBytes: limits.maxStorageBufferBindingSize,
            offsetAlignment: limits.minStorageBufferOffsetAlignment,
            workgroupBytes: limits.maxComputeWorkgroupStorageSize,
            workgroupThreads: limits.maxComputeInvocationsPerWorkgroup,
            grid: limits.maxComputeWorkgroupsPerDimension });
        assert.equal((features & 16) !== 0, opened.device.features.has('timestamp-query'));
        assert.equal((features & 1) !== 0, opened.device.features.has('subgroups'));
    });

    it('a_new_buffer_holds_zeros_and_what_is_written', async () => {
        const [b] = await buffers(caller, 32);
        caller.write(b, 8, [7, 8]);
        const { status, words } = await caller.read(b, 6, 4);
        assert.equal(status, OK);
        assert.deepEqual(words, [0, 7, 8, 0, 0, 0]);
    });

    it('copies_run_between_the_submits_around_them', async () => {
        const program = await addProgram(caller);
        const [a, b] = await buffers(caller, 16, 32);
        caller.write(a, 0, [1, 2, 3, 4]);
        const list = caller.record([{ program, bindings: [[a, 0, 16]], dims: [10, 4] }]);
        caller.submit(list);
        caller.copy([a, 4, b, 16, 8], [a, 0, b, 0, 4]);
        await caller.submit(list);
        assert.deepEqual((await caller.read(b, 8)).words, [11, 0, 0, 0, 12, 13, 0, 0]);
        assert.deepEqual((await caller.read(a, 4)).words, [21, 22, 23, 24]);
    });

    it('the_host_writes_into_a_buffer_of_c', async () => {
        const [b] = await buffers(caller, 16);
        caller.host.write(b, 4, new Uint8Array([1, 2, 3, 4]));
        assert.deepEqual((await caller.read(b, 2)).words, [0, 0x04030201]);
    });

    it('sources_are_linked_and_constants_set', async () => {
        const program = await addProgram(caller, { constants: { SCALE: 100 } });
        const [b] = await buffers(caller, 16);
        const list = caller.record([{ program, bindings: [[b, 0, 16]], dims: [3, 2] }]);
        assert.deepEqual((await caller.submit(list, 1, [b, 4])).words, [300, 300, 0, 0]);
    });

    it('each_dispatch_of_a_list_has_its_own_dims_and_bindings', async () => {
        const program = await addProgram(caller);
        const [b] = await buffers(caller, 1024);
        const list = caller.record([
            { program, bindings: [[b, 0, 256]], dims: [1, 4] },
            { program, bindings: [[b, 512, 256]], dims: [20, 4] },
            { program, bindings: [[b, 512, 256]], dims: [1, 4] },
            { program, bindings: [[b, 0, 256]], dims: [1, 4] },
        ]);
        await caller.submit(list);
        assert.deepEqual((await caller.read(b, 1)).words, [2]);
        assert.deepEqual((await caller.read(b, 1, 512)).words, [21]);
    });

    it('repeat_replays_the_whole_list', async () => {
        const program = await addProgram(caller);
        const [b] = await buffers(caller, 16);
        const list = caller.record([{ program, bindings: [[b, 0, 16]], dims: [1, 4] },
            { program, bindings: [[b, 0, 16]], dims: [10, 4] }]);
        assert.deepEqual((await caller.submit(list, 5, [b, 4])).words, [55, 55, 55, 55]);
    });

    it('a_part_of_a_list_is_submitted', async () => {
        const program = await addProgram(caller);
        const [b] = await buffers(caller, 16);
        const list = caller.record([1, 10, 100, 1000].map((n) => (
            { program, bindings: [[b, 0, 16]], dims: [n, 4] })));
        const { dispatches } = caller.host.counters;
        assert.deepEqual((await caller.submit(list, 1, [b, 1], 1, 2)).words, [110]);
        assert.deepEqual((await caller.submit(list, 1, [b, 1], 3, 1)).words, [1110]);
        assert.equal(caller.host.counters.dispatches - dispatches, 3);
    });

    it('a_wrong_program_is_named_with_its_line', async () => {
        const wrong = caller.program({ ...ADD, label: 'matvec q4_k',
            sources: ['fn ok() {}\nfn bad() { let x = nonsense; }\n'] });
        const { status, message } = await wrong.done;
        assert.equal(status, GPU_ERROR);
        assert.match(message, /^matvec q4_k:2:20: .*nonsense/);
        assert.deepEqual(await caller.submit(caller.record([])).then((r) => r.status), OK);
    });

    it('a_program_that_does_not_fit_its_bindings_is_named', async () => {
        const wrong = caller.program({ ...ADD, label: 'add', access: 'r' });
        const { status, message } = await wrong.done;
        assert.equal(status, GPU_ERROR);
        assert.match(message, /^add: ./);
    });

    it('an_unknown_constant_is_an_error_of_its_program', async () => {
        const wrong = caller.program({ ...ADD, constants: { SCALE: 1, NOWHERE: 2 } });
        assert.equal((await wrong.done).status, GPU_ERROR);
    });

    it('a_plan_beyond_memory_ends_with_no_memory_and_its_bytes', async (t) => {
        if (/llvmpipe/.test(opened.adapter.description)) return t.skip('llvmpipe overcommits');
        const { handles, done } = caller.buffers(...Array(400).fill(1 << 30));
        caller.write(handles[0], 0, [1]);            // allowed, and must not fail anything later
        const { status, message } = await done;
        assert.equal(status, NO_MEMORY);
        assert.match(message, /^400 GPU buffers of 429496729600 bytes together: ./);
        for (const handle of handles) caller.gpu.buffer_destroy(0, handle);
        await buffers(caller, 64);
    });

    it('an_uncaptured_error_ends_one_operation', async () => {
        const program = await addProgram(caller);
        const [b] = await buffers(caller, 16);
        const list = caller.record([{ program, bindings: [[b, 4, 8]], dims: [1, 1] }]);
        const { status, message } = await caller.submit(list, 1, [b, 1]);
        assert.equal(status, GPU_ERROR);
        assert.match(message, /alignment|multiple of|aligned/i);
        assert.equal((await caller.read(b, 1)).status, OK);
    });

    it('read_backs_end_in_the_order_of_their_submits', async () => {
        // the first staging buffer is slow to be mapped
        let slow = true;
        const createBuffer = (desc) => {
            const buffer = opened.device.createBuffer(desc);
            if (desc.label === 'staging' && slow) {
                slow = false;
                const mapAsync = buffer.mapAsync.bind(buffer);
                buffer.mapAsync = (...range) => mapAsync(...range)
                    .then(() => new Promise((resolve) => { setTimeout(resolve, 50); }));
            }
            return buffer;
        };
        const delayed = new GpuCaller({ ...opened,
            device: countedDevice(opened.device, { createBuffer }).device });
        const program = await addProgram(delayed);
        const [b] = await buffers(delayed, 16);
        const list = delayed.record([{ program, bindings: [[b, 0, 16]], dims: [1, 1] }]);
        delayed.ended.length = 0;
        const results = await Promise.all([delayed.submit(list, 1, [b, 1]), delayed.submit(list),
            delayed.submit(list, 1, [b, 1])]);
        const order = delayed.ended.map(([operation]) => operation);
        assert.deepEqual(order, [...order].sort((x, y) => x - y));
        assert.deepEqual(results.map((r) => r.words), [[1], undefined, [3]]);
        delayed.close();
    });

    it('a_list_is_timed_dispatch_by_dispatch', async (t) => {
        if (!opened.device.features.has('timestamp-query')) return t.skip('no timestamps');
        const program = await addProgram(caller);
        const [b] = await buffers(caller, 16);
        const dispatches = Array(3000).fill({ program, bindings: [[b, 0, 16]], dims: [1, 4] });
        const { status, ns } = await caller.time(caller.record(dispatches), dispatches.length);
        assert.equal(status, OK);
        assert.ok(ns.every((each) => each >= 0 && each < 1e9));
        assert.ok(ns.some((each) => each > 0) && ns.slice(2048).some((each) => each > 0));
        assert.deepEqual((await caller.read(b, 1)).words, [3000]);
    });

    it('a_token_costs_an_encoder_a_pass_and_a_command_buffer', async () => {
        const { device, counts, reset } = countedDevice(opened.device);
        const counting = new GpuCaller({ ...opened, device });
        const program = await addProgram(counting);
        const [b] = await buffers(counting, 16);
        const list = counting.record([{ program, bindings: [[b, 0, 16]], dims: [1, 4] },
            { program, bindings: [[b, 0, 16]], dims: [2, 4] }]);
        await counting.submit(list, 2, [b, 1]);
        reset();
        await counting.submit(list, 8, [b, 1]);
        assert.deepEqual(counts,
            { commandEncoder: 1, computePass: 1, copy: 1, commandBuffer: 1 });   // to read b back
        counting.close();
    });

    it('nothing_is_called_after_close', async () => {
        const closing = new GpuCaller(opened);
        const [b] = await buffers(closing, 16);
        closing.ended.length = 0;
        const never = closing.read(b, 1);
        closing.gpu.wake();
        closing.close();
        const silence = new Promise((resolve) => { setTimeout(resolve, 100, 'silence'); });
        assert.equal(await Promise.race([never, silence]), 'silence');
        assert.deepEqual(closing.ended, []);
        assert.deepEqual(closing.lost, []);
    });

    it('a_lost_device_ends_everything_once_and_is_told', async () => {
        let lose;
        const lost = new Promise((resolve) => { lose = resolve; });
        const fresh = await freshDevice({ lost });
        const losing = new GpuCaller(fresh);
        const [b] = await buffers(losing, 16);
        losing.ended.length = 0;
        const outstanding = [losing.read(b, 1), losing.submit(losing.record([])),
            losing.program(ADD).done, losing.buffers(64).done];
        fresh.real.destroy();
        lose({ reason: 'unknown', message: 'driver reset\nmore' });
        const results = await Promise.all(outstanding);
        assert.deepEqual(results.map((r) => r.status), Array(4).fill(DEVICE_LOST));
        assert.equal(results[3].message, 'driver reset');
        await new Promise((resolve) => { setTimeout(resolve, 50); });
        assert.equal(losing.ended.length, 4);
        assert.deepEqual(losing.lost, [0]);
    });

    it('a_destroyed_device_is_not_a_lost_one', async () => {
        const fresh = await freshDevice();
        const destroyed = new GpuCaller(fresh);
        const [b] = await buffers(destroyed, 16);
        const outstanding = destroyed.read(b, 1);
        destroyed.host.destroy();
        assert.equal((await outstanding).status, DEVICE_LOST);
        await new Promise((resolve) => { setTimeout(resolve, 20); });
        assert.deepEqual(destroyed.lost, [1]);
    });
});

describe('openDevice', () => {
    it('default_limits_are_the_least_there_are', { skip }, async () => {
        const { device } = await openTestDevice({ limits: 'default' });
        assert.equal(device.limits.maxStorageBufferBindingSize, 128 << 20);
        assert.equal(device.limits.maxComputeWorkgroupStorageSize, 16384);
        device.destroy();
    });

    it('a_software_adapter_must_be_forced', { skip }, async (t) => {
        if (!opened.adapter.software) return t.skip('a real GPU');
        await assert.rejects(openDevice(),
            (e) => e.status === 'NO_GPU' && /^only a software adapter: ./.test(e.message));
    });
});
