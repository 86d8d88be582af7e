// bench_engine.mjs - the engine with what bench/ links to it (build/bench.wasm): models of random
// weights, sessions that believe to have read, steps and matrices recorded to be timed. Shapes,
// bytes and operations are C's to know.
import { pathToFileURL } from 'node:url';
import { Core } from '../browser/core.js';

const WASM = new URL('../build/bench.wasm', import.meta.url);
const NEXT_WAIT = 1, NEXT_READY = 2;         // doppler_next
const WORK_BYTES = 64;                       // struct work of bench/work.c
const EVERY = 0xFFFFFFFF;                    // no kernel_id
const GREEDY = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1,
    presencePenalty: 0, seed: 0 };
const never = () => new AbortController().signal;

/** A device, and models and sessions there. */
export class BenchEngine {
    #core; #inside;
    #bench = 0;                              // bench *
    #shapes = [];                            // shape_model *

    /** What is known of kernels on the device: Doppler.kernels(). */
    known() { return this.#core.kernels(); }

    static async open({ device, limits = 'device', without = [], tuning = 'kept' }) {
        const engine = new BenchEngine();
        engine.#core = await Core.open({ device, limits, without, tuning, timing: true,
            wasm: WASM.href });
        engine.#inside = engine.#core.inside();
        const { wasm, doppler, work } = engine.#inside;
        await work((ticket) => {
            engine.#bench = wasm.exports.bench_create(doppler, ticket) >>> 0;
            return engine.#bench ? 0 : 1;
        });
        return engine;
    }

    get info() { return this.#core.info; }
    /** GpuHost; null on the CPU. */
    get gpu() { return this.#inside.gpu; }

    counters() { return this.#core.counters(); }

    #call(name, ...args) { return this.#inside.wasm.exports[`bench_${name}`](...args) >>> 0; }

    // Calls with texts as C strings.
    #withTexts(texts, call) {
        const at = texts.map((text) => this.#inside.wasm.putString(text));
        try {
            return call(...at);
        } finally {
            for (const one of at) this.#inside.wasm.free(one);
        }
    }

    // ---- models and sessions

    /** { model, vocab, context } of a package. */
    load(folder) {
        const url = `${pathToFileURL(folder).href.replace(/\/$/, '')}/`;
        return this.#core.load({ url }, { signal: never(), emit: () => {} });
    }

    /** The same, of random weights. layers: 0 for the shape's; full: no sliding layers. */
    async shape({ shape, layers = 0, full = false, quantize = 'q4_k_m' }) {
        const { work, adopt, failure, poll } = this.#inside;
        const at = this.#withTexts([shape, quantize], (name, format) =>
            this.#call('shape_create', this.#bench, name, layers, full ? 1 : 0, format));
        if (!at) throw failure();
        this.#shapes.push(at);
        for (let next; (next = this.#call('shape_next', at)) !== NEXT_READY;) {
            if (next !== NEXT_WAIT) throw failure();
            await poll();
        }
        const loaded = adopt(this.#call('shape_model', at));
        await work((ticket) => this.#call('shape_fill', at, ticket));
        return loaded;
    }

    async session(model, { context, precision, kv = 'f16', chunk = 0 }) {
        const { session } = await this.#core.createSession({ model, context, chunk, kv, precision,
            checkpoints: null });
        return session;
    }

    closeSession(session) { return this.#core.closeSession({ session }); }

    /** Statistics of a greedy generation. */
    generate(session, prompt, maxTokens) {
        return this.#core.generate({ session, prompt, special: 'none', bos: false, maxTokens,
            stop: [], sampling: GREEDY }, { signal: never(), emit: () => {} });
    }

    logits(session, ids) { return this.#core.logits({ session, ids }, { signal: never() }); }

    /** The session behaves as if it had read these tokens. */
    hold(session, ids) {
        const { wasm, session: at, failure } = this.#inside;
        const data = wasm.put(new Uint8Array(Uint32Array.from(ids).buffer));
        const status = this.#call('hold', this.#bench, at(session), data, ids.length);
        wasm.free(data);
        if (status) throw failure();
    }

    // ---- steps

    /** Times of a step, a pass for each dispatch: [{ label, ns, shape, bytes, flops }]. */
    async profile(session, position, tokens) {
        const times = await this.#core.profile({ session, position, tokens });
        return times.map(({ label = 'a kernel', dims, grid, ns }) =>
            ({ label, grid, ns, ...this.#work(label, dims, position) }));
    }

    /** Compiles all kernels that could stand for those that are compiled; of weight formats those
     *  that filter names, if any. */
    compileAll(filter) {
        return this.#inside.work((ticket) => this.#withTexts([filter], (text) =>
            this.#call('compile', this.#bench, text, ticket)));
    }

    /** Names of all kernels, by their number. */
    kernels() {
        const names = [];
        for (let at; (at = this.#call('kernel_name', names.length)) !== 0;) {
            names.push(this.#inside.wasm.string(at));
        }
        return names;
    }

    /** A recorded step, by one kernel in place of those that could do the same: its dispatches, as
     *  GpuHost.steps() has them, with { shape, bytes, flops }. */
    step(session, position, tokens, only = EVERY) {
        const list = this.#call('step', this.#inside.session(session), position, tokens, only);
        if (!list) throw this.#inside.failure();
        return this.#steps(list, position);
    }

    #steps(list, position) {
        return { steps: this.gpu.steps(list).map((step) => ({ ...step,
            ...this.#work(step.label, new Uint32Array(step.dims.slice().buffer), position) })),
        destroy: () => this.#call('list_destroy', this.#bench, list) };
    }

    #work(label, dims, position) {
        if (!dims) return { shape: '', bytes: 0, flops: 0 };
        const { wasm } = this.#inside;
        const at = wasm.put(new Uint8Array(Uint32Array.from(dims).buffer));
        const out = wasm.malloc(WORK_BYTES);
        this.#withTexts([label], (name) => this.#call('work', name, at, position, out));
        const found = { bytes: wasm.f64(out), flops: wasm.f64(out + 8),
            shape: wasm.string(out + 16) };
        wasm.free(at);
        wasm.free(out);
        return found;
    }

    /** One projection over `copies` matrices: record(kernel's number) gives its dispatches, or
     *  null. */
    async matrices({ format, rows, cols, tokens, copies }) {
        let at = 0;
        await this.#inside.work((ticket) => {
            at = this.#withTexts([format], (name) => this.#call('matrices_create', this.#bench,
                name, rows, cols, tokens, copies, ticket));
            return at ? 0 : 1;
        });
        return {
            record: (kernel) => {
                const list = this.#call('matrices_record', at, kernel);
                return list ? this.#steps(list, 0) : null;
            },
            destroy: () => this.#call('matrices_destroy', at),
        };
    }

    async close() {
        for (const at of this.#shapes) this.#call('shape_destroy', at);
        this.#call('destroy', this.#bench);
        await this.#core.close();
    }
}
