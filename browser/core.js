// core.js - the engine on one thread: its wasm instance, its device, and the host's side of the
// conversation that include/doppler.h describes. A worker runs it (worker.js), or the caller's
// own thread does; either way doppler.js calls its methods by name, with plain data.
//
// A method takes (args, { signal, emit }): aborting signal ends it, emit reports on the way.
import { DopplerError } from './error.js';
import { GpuHost, openDevice } from './gpu.js';
import { readLearned, writeLearned } from './learned.js';
import { PackageSource } from './mirrors.js';
import { instantiate } from './wasm.js';

// doppler.h's enums, as browser/engine.c asserts them
const OK = 0;
const NEXT_REQUEST = 0, NEXT_READY = 2, NEXT_FAILED = 3;
const DEVICES = { cpu: 0, gpu: 1 };
const LIMITS = { device: 0, default: 1, '1MiB': 2 };
const TUNING = { kept: 0, fresh: 0, off: 1 };
const TRUST_RIGHT = 1, TRUST_WITHOUT_FEATURES = 2;
const KV = { f16: 0, f32: 1, q8_0: 2 };
const PRECISION = { exact: 0, fast: 1 };
const SPECIAL = { none: 0, all: 1, unmarked: 2 };
const NO_TOKEN = 0xFFFFFFFF;
const NO_LAYER = 0xFFFFFFFF;
const NO_CHECKPOINTS = 0xFFFFFFFF;

const MANIFEST_BYTES = 64 << 20;    // RDRR_MAX_MANIFEST
const CPU_CHUNK = 32;               // tokens of a prefill step: a cancel waits for one
const MOST_TIMES = 16384;           // dispatches of a step that profile() can time
const COMPILING_MS = 4;             // between looks at a device that is compiling

// One turn of the event loop: messages and timers get in, and it costs microseconds.
const turn = globalThis.setImmediate
    ? () => new Promise((resolve) => setImmediate(resolve))
    : () => new Promise((resolve) => {
        const { port1, port2 } = new MessageChannel();
        port1.onmessage = () => { port1.close(); resolve(); };
        port2.postMessage(null);
    });

function choice(table, what, name) {
    if (Object.hasOwn(table, name)) return table[name];
    throw new DopplerError('BAD_ARGUMENT',
        `${what} is ${name}, allowed are ${Object.keys(table).join(', ')}`);
}

const hex = (bytes) => Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');

// Throws at bytes that are not those of the request.
async function verify({ file, offset, bytes, sha256 }, data) {
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', data));
    const [got, want] = [hex(digest), hex(sha256)];
    if (got === want) return;
    throw new DopplerError('BAD_FILE', `${file}: bytes ${offset} to ${offset + bytes} have SHA-256 `
        + `${got.slice(0, 16)}..., not ${want.slice(0, 16)}...`);
}

export class Core {
    /** What the engine runs on: see Doppler.info in doppler.d.ts. */
    info;
    #wasm; #gpu = null;
    #doppler = 0;                   // doppler *
    #request = 0;                   // doppler_request *, filled by model_next
    #statuses = [];                 // names, by number
    #tickets = new Map();           // number -> { resolve, reject, token } of what C works on
    #lastTicket = 0;
    #models = new Map();            // number -> { at: doppler_model *, sessions: Set of numbers }
    #sessions = new Map();          // number -> { at: doppler_session *, model, context, running }
    #lastHandle = 0;
    #tuning;
    #deviceName = '';
    #news = 0;                      // of what is known of the device, what is kept
    #keeping = null;                // Promise of the last write
    #loads = new Map();             // AbortController -> Promise of a load in progress
    #pumping = false;
    #crash = null;                  // the wasm instance has trapped and can do nothing any more
    #lastLine = '';                 // printed by C: the text of a failed assertion

    /** device: 'auto', 'gpu' or 'cpu'; limits: those of LIMITS; tuning: of TUNING; timing, without:
     *  as openDevice has them; wasm: URL of doppler.wasm. */
    static async open({ device, limits = 'device', timing = false, tuning = 'kept', without = [],
        wasm }) {
        const core = new Core();
        core.#tuning = tuning;
        try {
            await core.#openDevice(device, { timing, without });
            core.#wasm = await instantiate(wasm, {
                gpu: core.#gpu ?? undefined,
                imports: { host: { done: core.#done, token: core.#token,
                    tensor: core.#tensor } },
                log: (line) => { core.#lastLine = line; },
            });
            core.#start(choice(LIMITS, 'limits', limits), choice(TUNING, 'tuning', tuning));
            await core.#recall();
            return core;
        } catch (error) {
            core.#gpu?.destroy();
            throw error;
        }
    }

    async #openDevice(device, options) {
        if (!['auto', 'gpu', 'cpu'].includes(device)) {
            throw new DopplerError('BAD_ARGUMENT',
                `device is ${device}, allowed are auto, gpu, cpu`);
        }
        this.info = { backend: 'cpu', adapter: null, reason: 'the CPU was asked for' };
        if (device === 'cpu') return;
        try {
            const opened = await openDevice({ force: device === 'gpu', ...options });
            this.#gpu = new GpuHost({ ...opened, onCrash: (error) => this.#die(error) });
            this.info = { backend: 'webgpu', adapter: opened.adapter, reason: null };
            const { vendor, architecture, device: model, description } = opened.adapter;
            this.#deviceName = [vendor, architecture, model, description,
                globalThis.navigator?.userAgent].join('|');
        } catch (error) {
            if (device === 'gpu') throw error;
            this.info = { backend: 'cpu', adapter: null, reason: error.message };
        }
    }

    #start(limits, tuning) {
        for (let name; (name = this.#statusName(this.#statuses.length)) !== 'UNKNOWN';) {
            this.#statuses.push(name);
        }
        const name = this.#wasm.putString(this.#deviceName);
        this.#doppler = this.#call('create', this.#gpu ? DEVICES.gpu : DEVICES.cpu, limits, tuning,
            name) >>> 0;
        this.#wasm.free(name);
        this.#request = this.#call('request_create') >>> 0;
        if (!this.#doppler || !this.#request) throw new DopplerError('NO_MEMORY', 'wasm heap');
    }

    // ---- what is known of the device

    // Takes over what an earlier run has found out.
    async #recall() {
        if (!this.#gpu || this.#tuning !== 'kept') return;
        const text = await readLearned(this.#deviceName);
        if (text === null) return;
        const bytes = new TextEncoder().encode(text), at = this.#wasm.put(bytes);
        this.#call('learn', this.#doppler, at, bytes.byteLength);
        this.#wasm.free(at);
    }

    #learned() {
        const at = this.#call('learned', this.#doppler) >>> 0;
        if (!at) throw new DopplerError('NO_MEMORY', 'wasm heap');
        const text = this.#wasm.string(at);
        this.#wasm.free(at);
        return text;
    }

    // Keeps what has been found out since the last time.
    #keep() {
        const news = this.#call('news', this.#doppler);
        if (!this.#gpu || this.#tuning === 'off' || news === this.#news) return;
        this.#news = news;
        const write = () => writeLearned(this.#deviceName, text), text = this.#learned();
        this.#keeping = this.#keeping ? this.#keeping.then(write) : write();
    }

    /** What is known of kernels on this device: see Kernels in doppler.d.ts. */
    kernels() {
        const lines = this.#learned().split('\n').map((line) => line.split(' '));
        return {
            tested: lines.filter(([kind]) => kind === 'program')
                .map(([, kernel, format, trust]) => ({ kernel, format,
                    right: (trust & TRUST_RIGHT) !== 0,
                    withoutFeatures: (trust & TRUST_WITHOUT_FEATURES) !== 0 })),
            chosen: lines.filter(([kind, kernel]) => kind === 'choice' && kernel !== 'gather')
                .map(([, kernel, format, , rows, cols, tokens]) => ({ kernel, format,
                    rows: Number(rows), cols: Number(cols), tokens: Number(tokens) })),
            testMs: this.#call('test_ms', this.#doppler),
            tuneMs: this.#call('tune_ms', this.#doppler),
        };
    }

    #statusName(status) { return this.#wasm.string(this.#call('status_name', status)); }

    // ---- calls into C and back

    // The engine_* function of that name. A trap (a failed assertion) ends this core.
    #call(name, ...args) {
        if (this.#crash) throw this.#crash;
        try {
            return this.#wasm.exports[`engine_${name}`](...args);
        } catch (error) {
            this.#die(error);
            throw this.#crash;
        }
    }

    #die(error) {
        const line = this.#lastLine || error.message;
        this.#crash ??= new Error(`the engine has stopped: ${line}`, { cause: error });
        for (const ticket of this.#tickets.values()) ticket.reject(this.#crash);
        this.#tickets.clear();
    }

    // What went wrong last.
    #failure(status = this.#call('last_status', this.#doppler)) {
        const message = this.#wasm.string(this.#call('message', this.#doppler))
            || this.#wasm.string(this.#call('status_text', status));
        return new DopplerError(this.#statuses[status], message);
    }

    // Imports of module "host".
    #done = (number, status) => {
        const ticket = this.#tickets.get(number);
        this.#tickets.delete(number);
        ticket.resolve(status === OK ? null : this.#failure(status));
    };

    #token = (number, id, text, bytes) =>
        (this.#tickets.get(number).token(id >>> 0, this.#wasm.text(text, bytes)) ? 1 : 0);

    #tensor = (number, name, layer, first, rows, cols, data) => {
        const at = data >>> 0, bytes = 4 * (rows >>> 0) * (cols >>> 0);
        const values = new Float32Array(this.#wasm.u8.slice(at, at + bytes).buffer);
        return this.#tickets.get(number).token({ name: this.#wasm.string(name),
            layer: layer >>> 0 === NO_LAYER ? null : layer, first, rows, cols, values }) ? 1 : 0;
    };

    // Starts work that C ends with done(). Resolves with null or a DopplerError.
    #work(begin, token) {
        const number = ++this.#lastTicket;
        return new Promise((resolve, reject) => {
            this.#tickets.set(number, { resolve, reject, token });
            const status = begin(number);
            if (status !== OK) {
                this.#tickets.delete(number);
                resolve(this.#failure(status));
            }
            this.#pump();
        });
    }

    // Has the CPU backend compute, one step at a time, until nothing is due. A GPU's callbacks
    // come by themselves (gpu.js).
    async #pump() {
        if (this.#pumping) return;
        this.#pumping = true;
        try {
            while (this.#call('poll', this.#doppler)) await turn();
        } catch {
            // #die has told everybody
        } finally {
            this.#pumping = false;
        }
    }

    // ---- models

    /** Brings the package at `url` into memory. emit({ plan }) says what it and a session with
     *  these options will need, before anything is allocated, emit({ bytes, total }) is progress,
     *  emit({ warning }) what went wrong and was got round. */
    async load({ url, session }, { signal, emit }) {
        const stop = new AbortController();
        const both = AbortSignal.any([signal, stop.signal]);
        const loading = this.#load(url, session, both, stop, emit);
        this.#loads.set(stop, loading);
        try {
            return await loading;
        } finally {
            this.#loads.delete(stop);
        }
    }

    async #load(url, session, signal, stop, emit) {
        if (!globalThis.crypto?.subtle) {
            throw new DopplerError('UNSUPPORTED',
                'weights are verified with WebCrypto, which needs https or localhost');
        }
        const source = new PackageSource(url, signal, (warning) => emit({ warning }));
        const running = new Set();
        let at = 0;
        try {
            at = this.#createModel(await source.whole('manifest.json', MANIFEST_BYTES));
            if (session) emit({ plan: this.#memory(at, session) });
            await this.#feed(at, source, running, signal, emit);
            return this.#adopt(at);
        } catch (error) {
            stop.abort(error);
            await Promise.allSettled(running);
            if (at && !this.#crash) this.#call('model_destroy', at);
            throw error;
        } finally {
            source.close();
        }
    }

    // A model that is ready.
    #adopt(at) {
        const model = ++this.#lastHandle;
        this.#models.set(model, { at, sessions: new Set() });
        return { model, vocab: this.#call('model_vocab', at),
            context: this.#call('model_context', at),
            chatTemplate: this.#wasm.string(this.#call('model_chat_template', at)),
            bos: this.#special(at, this.#call('model_bos', at)) ?? '',
            eos: this.#special(at, this.#call('model_stop', at, 0)) ?? '' };
    }

    #createModel(manifest) {
        const json = this.#wasm.put(manifest);
        const out = this.#wasm.malloc(4);
        try {
            const status = this.#call('model_create', this.#doppler, json, manifest.byteLength,
                out);
            if (status !== OK) throw this.#failure(status);
            return this.#wasm.u32(out);
        } finally {
            this.#wasm.free(json);
            this.#wasm.free(out);
        }
    }

    // Answers the model's requests, several at a time, until it is ready.
    async #feed(at, source, running, signal, emit) {
        let failure = null;
        for (;;) {
            signal.throwIfAborted();
            const next = this.#call('model_next', at, this.#request);
            if (next === NEXT_READY) return;
            if (next === NEXT_FAILED) throw failure ?? this.#failure();
            if (next === NEXT_REQUEST) {
                const fetched = this.#bring(at, this.#readRequest(), source, emit)
                    .catch((error) => { failure ??= error; })
                    .then(() => running.delete(fetched));
                running.add(fetched);
            } else {
                await this.#advance(running);
            }
        }
    }

    // Until something may have changed: work of the device, or one of what runs.
    async #advance(running = new Set()) {
        if (this.#call('poll', this.#doppler)) await turn();
        else if (running.size > 0) await Promise.race(running);
        else await new Promise((resolve) => setTimeout(resolve, COMPILING_MS));
    }

    // A copy of the request that C has just filled.
    #readRequest() {
        const get = (name) => this.#call(`request_${name}`, this.#request);
        const sha256 = get('sha256') >>> 0;
        const segment = (i) => {
            const part = (name) => this.#call(`segment_${name}`, this.#request, i);
            return { offset: part('offset') >>> 0, bytes: part('bytes') >>> 0,
                host: part('host') >>> 0, buffer: part('buffer') >>> 0, to: part('to') };
        };
        const url = (i) => this.#wasm.string(this.#call('request_url', this.#request, i));
        return { id: get('id'), file: this.#wasm.string(get('file')), offset: get('offset'),
            bytes: get('bytes') >>> 0, sha256: this.#wasm.u8.slice(sha256, sha256 + 32),
            urls: Array.from({ length: get('urls') }, (_, i) => url(i)),
            segments: Array.from({ length: get('segments') }, (_, i) => segment(i)) };
    }

    // Fetches, verifies and places one request, and tells C.
    async #bring(at, request, source, emit) {
        const { id } = request;
        try {
            const data = await source.read(request, (bytes) => verify(request, bytes));
            for (const { offset: from, bytes: count, host, buffer, to } of request.segments) {
                const part = data.subarray(from, from + count);
                if (host) this.#wasm.u8.set(part, host);
                else this.#gpu.write(buffer, to, part);
            }
            this.#fed(at, id, OK, null);
            emit({ bytes: this.#call('model_fed_bytes', at),
                total: this.#call('model_total_bytes', at) });
        } catch (error) {
            const status = this.#statuses.indexOf(error?.status ?? 'CANCELLED');
            this.#fed(at, id, status, String(error?.message ?? error));
            throw error;
        }
    }

    #fed(at, id, status, message) {
        const text = message === null ? 0 : this.#wasm.putString(message);
        this.#call('model_fed', at, id, status, text);
        this.#wasm.free(text);
    }

    /** Harmless when the model is closed. */
    async closeModel({ model }) {
        const record = this.#models.get(model);
        if (!record) return;
        await Promise.all([...record.sessions].map((session) => this.closeSession({ session })));
        if (!this.#models.delete(model)) return;
        this.#call('model_destroy', record.at);
    }

    #model(model) {
        const record = this.#models.get(model);
        if (!record) throw new DopplerError('BAD_ARGUMENT', 'the model is closed');
        return record;
    }

    // The text of a special token; null for all others.
    #special(at, id) {
        if (!this.#call('model_is_special', at, id)) return null;
        return this.#wasm.text(this.#call('model_piece', at, id),
            this.#call('model_piece_bytes', at, id) >>> 0);
    }

    /** Texts of all special tokens. */
    specials({ model }) {
        const { at } = this.#model(model), texts = new Set();
        for (let id = this.#call('model_vocab', at) >>> 0; id-- > 0;) {
            texts.add(this.#special(at, id));
        }
        texts.delete(null);
        return [...texts];
    }

    /** Ids of a text or its UTF-8. special: see SPECIAL; bos: as a text's start. */
    tokenize({ model, text, special, bos }) {
        const utf8 = typeof text === 'string' ? new TextEncoder().encode(text) : text;
        const { at } = this.#model(model);
        const bytes = this.#wasm.put(utf8);
        let room = utf8.byteLength + 16, ids = 0;
        try {
            for (;;) {
                ids = this.#wasm.malloc(4 * room);
                const count = this.#call('model_encode', at, bytes, utf8.byteLength, bos,
                    choice(SPECIAL, 'special', special), ids, room) >>> 0;
                if (count === 0xFFFFFFFF) throw new DopplerError('NO_MEMORY', 'encoding a text');
                if (count <= room) {
                    return new Uint32Array(this.#wasm.u8.slice(ids, ids + 4 * count).buffer);
                }
                this.#wasm.free(ids);
                [ids, room] = [0, count];
            }
        } finally {
            this.#wasm.free(bytes);
            this.#wasm.free(ids);
        }
    }

    // ---- sessions

    #sessionOptions({ context, chunk, kv, precision, checkpoints }) {
        return [context, chunk || (this.#gpu ? 0 : CPU_CHUNK), choice(KV, 'kv', kv),
            choice(PRECISION, 'precision', precision),
            checkpoints === null ? 0 : checkpoints || NO_CHECKPOINTS];
    }

    /** Bytes on the device that a session will need. */
    sessionMemory({ model, ...options }) { return this.#memory(this.#model(model).at, options); }

    #memory(at, options) {
        const values = this.#sessionOptions(options);
        const out = this.#wasm.malloc(32);
        try {
            const status = this.#call('session_memory', at, ...values, out);
            if (status !== OK) throw this.#failure(status);
            const [weights, kv, checkpoints, work] = new Float64Array(
                this.#wasm.u8.slice(out, out + 32).buffer);
            return { weights, kv, checkpoints, work };
        } finally {
            this.#wasm.free(out);
        }
    }

    async createSession({ model, ...wanted }) {
        const record = { at: 0, model, context: 0, running: new Set() };
        const { at, sessions } = this.#model(model);
        const out = this.#wasm.malloc(4);
        const session = ++this.#lastHandle;
        this.#sessions.set(session, record);
        sessions.add(session);
        const options = this.#sessionOptions(wanted);
        const failure = await this.#run(record, (ticket) => {
            const status = this.#call('session_create', at, ...options, out, ticket);
            record.at = this.#wasm.u32(out);
            this.#wasm.free(out);
            return status;
        });
        if (failure) await this.closeSession({ session });
        if (failure) throw failure;
        this.#keep();
        this.#session(session);                          // or it was closed meanwhile
        record.context = this.#call('session_context', record.at);
        return { session, context: record.context };
    }

    // #work on a session; closing it waits.
    async #run(record, begin, token) {
        const work = this.#work(begin, token);
        record.running.add(work);
        try {
            return await work;
        } finally {
            record.running.delete(work);
        }
    }

    /** Cancels what runs, waits for it, frees. Harmless when the session is closed. */
    async closeSession({ session }) {
        const record = this.#sessions.get(session);
        if (!record) return;
        if (record.at) this.#cancel(record);
        await Promise.allSettled(record.running);
        if (!this.#sessions.delete(session)) return;
        this.#models.get(record.model)?.sessions.delete(session);
        this.#call('session_destroy', record.at);
    }

    #session(session) {
        const record = this.#sessions.get(session);
        if (!record) throw new DopplerError('BAD_ARGUMENT', 'the session is closed');
        return record;
    }

    #cancel(record) {
        this.#call('cancel', record.at);
        this.#pump();
    }

    // Runs #work on a session that takes ids; aborting signal cancels it.
    async #runIds(record, ids, signal, begin, token) {
        const data = this.#wasm.put(new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength));
        const stop = () => this.#cancel(record);
        signal.addEventListener('abort', stop);
        try {
            return await this.#run(record, (ticket) => begin(data, ticket), token);
        } finally {
            signal.removeEventListener('abort', stop);
            this.#wasm.free(data);
        }
    }

    /** emit({ prompt: ids }) once, then emit({ id, text, special }) for each token; id is null for
     *  text that was held back until the end; special: the literal text of a special token. */
    async generate({ session, prompt, special, bos, maxTokens, stop, sampling },
        { signal, emit }) {
        const record = this.#session(session);
        const ids = typeof prompt === 'string'
            ? this.tokenize({ model: record.model, text: prompt, special, bos })
            : Uint32Array.from(prompt);
        const { at } = this.#model(record.model);
        emit({ prompt: ids });
        const start = performance.now();
        let tokens = 0, first = start, last = start;
        const token = (id, text) => {
            if (id !== NO_TOKEN) {
                last = performance.now();
                if (tokens++ === 0) first = last;
            }
            emit({ id: id === NO_TOKEN ? null : id, text, special: this.#special(at, id) });
            return !signal.aborted;
        };
        const failure = signal.aborted ? new DopplerError('CANCELLED', 'cancelled before it began')
            : await this.#generate(record, ids, { sampling, stop, maxTokens }, signal, token);
        const ending = (name) => {
            const value = this.#call(`session_stop_${name}`, record.at) >>> 0;
            return value === NO_TOKEN ? null : value;
        };
        const stopToken = ending('token'), stopString = stop[ending('string')] ?? null;
        const ended = { CANCELLED: 'cancelled', CONTEXT_FULL: 'context' }[failure?.status];
        if (failure && (!ended || (ended === 'context' && ids.length > record.context))) {
            throw failure;
        }
        return {
            stop: ended ?? (stopToken !== null || stopString !== null ? 'stop' : 'length'),
            stopToken, stopString, promptTokens: ids.length,
            reusedTokens: this.#call('session_reused', record.at), tokens, seed: sampling.seed,
            timeToFirstToken: tokens > 0 ? first - start : null,
            tokensPerSecond: tokens > 1 ? 1000 * (tokens - 1) / (last - first) : null,
            duration: performance.now() - start,
        };
    }

    async #generate(record, ids, { sampling, stop, maxTokens }, signal, token) {
        const { temperature, topK, topP, minP, repetitionPenalty, presencePenalty,
            seed } = sampling;
        const stops = new TextEncoder().encode(stop.map((text) => `${text}\0`).join(''));
        const stopsAt = this.#wasm.put(stops);
        try {
            return await this.#runIds(record, ids, signal, (data, ticket) => this.#call('generate',
                record.at, data, ids.length, temperature, topK, topP, minP, repetitionPenalty,
                presencePenalty, BigInt.asUintN(64, BigInt(seed)), stopsAt, stops.byteLength,
                maxTokens, ticket), token);
        } finally {
            this.#wasm.free(stopsAt);
        }
    }

    /** Logits of every position: [ids.length, vocab] f32. */
    async logits({ session, ids }, { signal }) {
        const vocab = this.#call('model_vocab', this.#model(this.#session(session).model).at);
        return this.#floats('logits', session, ids, ids.length * vocab, signal);
    }

    /** Negative log-likelihood of each of ids[1..]: [ids.length - 1] f32. */
    async score({ session, ids }, { signal }) {
        return this.#floats('score', session, ids, Math.max(ids.length - 1, 0), signal);
    }

    /** emit({ name, layer, first, rows, cols, values }) for each intermediate tensor. */
    async trace({ session, ids }, { signal, emit }) {
        signal.throwIfAborted();
        const record = this.#session(session);
        const take = (tensor) => {
            emit(tensor);
            return !signal.aborted;
        };
        const failure = await this.#runIds(record, Uint32Array.from(ids), signal,
            (data, ticket) => this.#call('trace', record.at, data, ids.length, ticket), take);
        if (failure) throw failure;
    }

    /** Times each dispatch of a step: [{ label, dims, sizes, grid, ns }]. The CPU backend tells no
     *  more than ns. */
    async profile({ session, position, tokens }) {
        const record = this.#session(session);
        const out = this.#wasm.malloc(8 * MOST_TIMES + 8);
        const count = out + 8 * MOST_TIMES;
        try {
            const failure = await this.#run(record, (ticket) => this.#call('profile', record.at,
                position, tokens, out, MOST_TIMES, count, ticket));
            if (failure) throw failure;
            const times = new Float64Array(
                this.#wasm.u8.slice(out, out + 8 * this.#wasm.u32(count)).buffer);
            return Array.from(times, (ns, i) => ({ ...this.#gpu?.timed[i], ns }));
        } finally {
            this.#wasm.free(out);
        }
    }

    /** For tools that link more C to the engine (bench/): what its functions are called with and
     *  on, how to wait for them, where a session is, and how a model of theirs becomes one here. */
    inside() {
        return { wasm: this.#wasm, gpu: this.#gpu, doppler: this.#doppler,
            adopt: (at) => this.#adopt(at),
            session: (session) => this.#session(session).at,
            failure: () => this.#failure(),
            poll: () => this.#advance(),
            work: async (begin) => {
                const failure = await this.#work(begin);
                if (failure) throw failure;
            } };
    }

    /** What the host has done for the GPU so far: GpuHost.counters; null without one. */
    counters() { return this.#gpu ? { ...this.#gpu.counters } : null; }

    async #floats(name, session, ids, count, signal) {
        signal.throwIfAborted();
        const record = this.#session(session);
        const out = this.#wasm.malloc(4 * count);
        try {
            const failure = await this.#runIds(record, Uint32Array.from(ids), signal,
                (data, ticket) => this.#call(name, record.at, data, ids.length, out, ticket));
            if (failure) throw failure;
            return new Float32Array(this.#wasm.u8.slice(out, out + 4 * count).buffer);
        } finally {
            this.#wasm.free(out);
        }
    }

    /** Ends everything. */
    async close() {
        for (const stop of this.#loads.keys()) {
            stop.abort(new DopplerError('CANCELLED', 'closed while loading'));
        }
        await Promise.allSettled([...this.#loads.values(), this.#keeping]);
        try {
            if (this.#crash) return;
            await Promise.all([...this.#models.keys()].map((model) => this.closeModel({ model })));
            this.#wasm.free(this.#request);
            this.#call('destroy', this.#doppler);
        } finally {
            this.#crash ??= new DopplerError('BAD_ARGUMENT', 'the engine is closed');
            this.#gpu?.destroy();
        }
    }
}
