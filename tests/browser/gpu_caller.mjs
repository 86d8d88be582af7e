// gpu_caller.mjs - stands where the engine's C stands, so that tests can drive gpu.js alone: it
// writes the structs of gpu.h into a memory and turns each done into a promise.
import { GpuHost } from '../../browser/gpu.js';
import { Wasm } from '../../browser/wasm.js';

const SELF = 64, LIMITS = 128, MESSAGE = 256, MESSAGE_BYTES = 128;

export class GpuCaller {
    #next = 512;                 // first free byte of memory
    #handle = 1;
    #waiting = new Map();
    ended = [];                  // [operation, status], in the order of done
    lost = [];                   // arguments of gpu_web_lost after the gpu

    constructor(opened) {
        this.host = new GpuHost(opened);
        const memory = new WebAssembly.Memory({ initial: 64 });
        this.wasm = new Wasm({ exports: {
            memory,
            malloc: (bytes) => this.alloc(bytes),
            gpu_web_done: (self, status, done) => {
                this.ended.push([done, status]);
                this.#waiting.get(done)({ status, message: status ? this.message : '' });
                this.#waiting.delete(done);
            },
            gpu_web_lost: (self, onPurpose) => this.lost.push(onPurpose),
            gpu_web_poll: () => { throw new Error('nobody woke the host'); },
        } });
        this.host.attach(this.wasm);
        this.gpu = this.host.imports;
        this.gpu.open(SELF, LIMITS, MESSAGE, MESSAGE_BYTES);
    }

    get message() { return this.wasm.string(MESSAGE); }

    /** gpu_limits as C reads them. */
    get limits() {
        return { bufferBytes: this.wasm.u64(LIMITS), bindingBytes: this.wasm.u64(LIMITS + 8),
            offsetAlignment: this.wasm.u32(LIMITS + 16), workgroupBytes: this.wasm.u32(LIMITS + 20),
            workgroupThreads: this.wasm.u32(LIMITS + 24), grid: this.wasm.u32(LIMITS + 28),
            features: this.wasm.u32(LIMITS + 32) };
    }

    alloc(bytes) {
        const at = this.#next;
        this.#next += (bytes + 15) & ~15;
        return at;
    }

    /** Calls start(done) and resolves with {status, message} when done is called. */
    #wait(start) {
        const done = this.#handle++;
        const before = this.ended.length;
        const promise = new Promise((resolve) => this.#waiting.set(done, resolve));
        start(done);
        if (this.ended.length !== before) throw new Error('done was called inside the call');
        return promise;
    }

    buffers(...sizes) {
        const descs = this.alloc(16 * sizes.length), out = this.alloc(4 * sizes.length);
        const handles = sizes.map((bytes, i) => {
            this.wasm.setU64(descs + 16 * i, bytes);
            this.wasm.setU32(descs + 16 * i + 8, this.wasm.putString(`buffer ${i}`));
            this.wasm.setU32(out + 4 * i, this.#handle);
            return this.#handle++;
        });
        const done = this.#wait((id) => (
            this.gpu.buffers_create(SELF, descs, sizes.length, out, id, 0)));
        return { handles, done };
    }

    write(buffer, offset, words) {
        const bytes = new Uint8Array(Uint32Array.from(words).buffer);
        this.gpu.write(SELF, buffer, offset, this.wasm.put(bytes), bytes.length);
    }

    /** ranges: [from, fromOffset, to, toOffset, bytes] */
    copy(...ranges) {
        const at = this.alloc(32 * ranges.length);
        ranges.forEach(([from, fromOffset, to, toOffset, bytes], i) => {
            this.wasm.setU32(at + 32 * i, from);
            this.wasm.setU32(at + 32 * i + 4, to);
            this.wasm.setU64(at + 32 * i + 8, fromOffset);
            this.wasm.setU64(at + 32 * i + 16, toOffset);
            this.wasm.setU64(at + 32 * i + 24, bytes);
        });
        this.gpu.copy(SELF, at, ranges.length);
    }

    #readback(buffer, words, offset) {
        const at = this.alloc(24), out = this.alloc(4 * words);
        this.wasm.setU32(at, buffer);
        this.wasm.setU64(at + 8, offset);
        this.wasm.setU32(at + 16, 4 * words);
        this.wasm.setU32(at + 20, out);
        return { at, words: () => [...new Uint32Array(this.wasm.memory.buffer, out, words)] };
    }

    async read(buffer, words, offset = 0) {
        const readback = this.#readback(buffer, words, offset);
        const result = await this.#wait((id) => this.gpu.read(SELF, readback.at, id, 0));
        return { ...result, words: readback.words() };
    }

    /** sources: up to sixteen WGSL texts. */
    program({ label, sources, access, constants = {} }) {
        const at = this.alloc(192), out = this.alloc(4), handle = this.#handle++;
        this.wasm.setString(at, 48, label);
        for (let i = 0; i < 16; i++) {
            this.wasm.setU32(at + 48 + 4 * i,
                i < sources.length ? this.wasm.putString(sources[i]) : 0);
        }
        this.wasm.setU32(at + 112, this.wasm.putString(access));
        Object.entries(constants).forEach(([name, value], i) => {
            this.wasm.setU32(at + 120 + 16 * i, this.wasm.putString(name));
            this.wasm.setF64(at + 128 + 16 * i, value);
        });
        this.wasm.setU32(out, handle);
        const done = this.#wait((id) => this.gpu.programs_create(SELF, at, 1, out, id, 0));
        return { handle, done };
    }

    #counts = new Map();

    /** dispatches: {program, bindings: [[buffer, offset, bytes]], dims: words, groups} */
    record(dispatches) {
        const list = this.#handle++;
        this.gpu.record_begin(SELF, list);
        for (const { program, bindings, dims = [0], groups = [1, 1, 1] } of dispatches) {
            const at = this.alloc(24 * bindings.length);
            bindings.forEach(([buffer, offset, bytes], i) => {
                this.wasm.setU32(at + 24 * i, buffer);
                this.wasm.setU64(at + 24 * i + 8, offset);
                this.wasm.setU64(at + 24 * i + 16, bytes);
            });
            const words = this.wasm.put(new Uint8Array(Uint32Array.from(dims).buffer));
            const dimsBytes = 4 * dims.length;
            this.gpu.dispatch(SELF, program, at, bindings.length, words, dimsBytes, ...groups);
        }
        this.gpu.record_end(SELF, list);
        this.#counts.set(list, dispatches.length);
        return list;
    }

    /** read: [buffer, words] or nothing. */
    async submit(list, repeat = 1, read = null, first = 0, count = this.#counts.get(list)) {
        const readback = read && this.#readback(read[0], read[1], 0);
        const result = await this.#wait((id) => this.gpu.submit(SELF, list, first, count, repeat,
            readback?.at ?? 0, id, 0));
        return { ...result, words: readback?.words() };
    }

    async time(list, dispatches) {
        const ns = this.alloc(8 * dispatches);
        const result = await this.#wait((id) => this.gpu.time(SELF, list, ns, id, 0));
        return { ...result, ns: [...new Float64Array(this.wasm.memory.buffer, ns, dispatches)] };
    }

    close() { this.gpu.close(SELF); }
}
