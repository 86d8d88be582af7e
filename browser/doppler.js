// doppler.js - the package's API. Three classes mirror the three handles of include/doppler.h:
//
//   Doppler   one device (a GPU, or the CPU backend) and its compiled kernels
//   Model     weights and tokenizer; shared by its sessions
//   Session   one token timeline: KV cache, position, sampling
//
// They hold no model state: all work happens in core.js, behind a link (link.js). Types and what
// each option means: doppler.d.ts.
import { DopplerError } from './error.js';
import { openHere, openWorker } from './link.js';

export { DopplerError };

const IN_BROWSER = typeof globalThis.Worker === 'function'
    && typeof globalThis.location === 'object';
const NO_LIMIT = 0xFFFFFFFF;

// ---- arguments

function bad(what, value, allowed) {
    return new DopplerError('BAD_ARGUMENT', `${what} is ${String(value)}, allowed are ${allowed}`);
}

function count(what, value) {
    if (value === Infinity) return NO_LIMIT;
    if (Number.isInteger(value) && value >= 0 && value <= NO_LIMIT) return value;
    throw bad(what, value, `whole numbers from 0 to ${NO_LIMIT}`);
}

function real(what, value) {
    if (typeof value === 'number' && Number.isFinite(value)) return value;
    throw bad(what, value, 'finite numbers');
}

function seedOf(value) {
    if (value === undefined) return crypto.getRandomValues(new Uint32Array(1))[0];
    if (typeof value === 'bigint' || Number.isSafeInteger(value)) return value;
    throw bad('seed', value, 'whole numbers');
}

function promptOf(value) {
    if (typeof value === 'string') return value;
    const ids = Array.from(value ?? [null]);
    if (ids.every((id) => Number.isInteger(id) && id >= 0 && id < NO_LIMIT)) return ids;
    throw bad('prompt', value, 'a text or a list of token ids');
}

function sessionOptions({ context = 0, chunk = 0, kv = 'f16', precision = 'fast',
    checkpoints = null } = {}) {
    return { context: count('context', context), chunk: count('chunk', chunk), kv, precision,
        checkpoints: checkpoints === null ? null : count('checkpoints', checkpoints) };
}

// The folder of a package as an absolute URL that ends in a slash.
async function packageUrl(where) {
    let url;
    if (where instanceof URL || IN_BROWSER || /^[a-z][a-z0-9+.-]+:/i.test(where)) {
        url = new URL(where, IN_BROWSER ? globalThis.document?.baseURI ?? globalThis.location.href
            : undefined);
    } else {
        const name = 'node:url';             // a variable, so that bundlers leave it alone
        const { pathToFileURL } = await import(/* webpackIgnore: true */ /* @vite-ignore */ name);
        url = pathToFileURL(String(where));
    }
    url = new URL(url);
    url.hash = '';
    url.pathname = `${url.pathname.replace(/\/(manifest\.json)?$/, '')}/`;
    return url.href;
}

// ---- where the package's own files are

// Bundlers look for these expressions as they stand.
const defaultWasm = () => new URL('../build/doppler.wasm', import.meta.url);
const defaultWorker = () => new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });

function assetUrl(assets, name) {
    return new URL(typeof assets === 'function' ? assets(name) : new URL(name, absolute(assets)),
        globalThis.location?.href);
}

const absolute = (base) => new URL(`${String(base).replace(/\/?$/, '/')}`,
    globalThis.document?.baseURI ?? globalThis.location?.href);

// Where worker.js is, when the default expression would not do; null when it would. Inside a
// bundle this module's own URL may be a file's.
function workerUrl(assets) {
    if (assets !== undefined) return assetUrl(assets, 'worker.js');
    const here = new URL(import.meta.url);
    const foreign = here.protocol.startsWith('http') && here.origin !== globalThis.location.origin;
    return foreign ? new URL(here.href.replace(/[^/]*$/, 'worker.js')) : null;
}

// Browsers start no worker from another origin, but one may import from there.
function startWorker(assets) {
    const url = workerUrl(assets);
    if (url === null) return defaultWorker();
    if (url.origin === globalThis.location.origin) return new Worker(url, { type: 'module' });
    const script = new Blob([`import ${JSON.stringify(url.href)};`], { type: 'text/javascript' });
    const blob = URL.createObjectURL(script);
    const worker = new Worker(blob, { type: 'module' });
    worker.addEventListener('message', () => URL.revokeObjectURL(blob), { once: true });
    return worker;
}

// Loaded when first asked: most pages never do.
const debugging = () => import('./debug.js');

// A link whose calls go through `watch` while there is one. about: whose call it is.
class WatchedLink {
    watch = null;
    #link;

    constructor(link) { this.#link = link; }

    get info() { return this.#link.info; }

    call(method, args, io, about) {
        const call = (through) => this.#link.call(method, args, through);
        return this.watch ? this.watch(method, args, io, about, call) : call(io);
    }

    close() { this.#link.close(); }
}

// ---- the three classes

// Closing never fails: what has stopped by itself needs no closing.
const stopped = () => null;

export class Doppler {
    #link; #files;
    #models = new Set();
    #cpu = null;                    // Promise of a Doppler on the CPU, to compare with
    #twins = new Map();             // URL -> Promise of its model there
    #closed = null;

    /** Use Doppler.open(). */
    constructor(link, files) {
        this.#link = new WatchedLink(link);
        this.#files = files;
    }

    static async open({ device = 'auto', limits = 'device', assets, worker = IN_BROWSER } = {}) {
        const wasm = assets === undefined ? defaultWasm() : assetUrl(assets, 'doppler.wasm');
        const options = { device, limits, wasm: wasm.href };
        const files = { assets, worker: typeof worker === 'boolean' ? worker : IN_BROWSER };
        if (worker === false) return new Doppler(await openHere(options), files);
        const thread = worker === true ? startWorker(assets) : worker;
        return new Doppler(await openWorker(thread, options), files);
    }

    get info() { return this.#link.info; }

    async load(url, { onPlan, onProgress, session, signal } = {}) {
        signal?.throwIfAborted();
        const args = { url: await packageUrl(url), session: onPlan && sessionOptions(session) };
        const emit = (step) => (step.plan ? onPlan(step.plan) : onProgress?.(step));
        let loaded;
        try {
            loaded = await this.#link.call('load', args, { signal, emit });
        } catch (error) {
            signal?.throwIfAborted();
            throw error;
        }
        const model = new Model(this.#link, { ...loaded, url: args.url },
            () => this.#models.delete(model), () => this.#twin(args.url));
        this.#models.add(model);
        return model;
    }

    async debug(options) {
        const { log = false, timings = false, trace = false } = options ?? {};
        const { watcher } = await debugging();
        this.#link.watch = log || timings || trace ? watcher(options) : null;
    }

    // The same package on the CPU.
    async #twin(url) {
        this.#cpu ??= Doppler.open({ device: 'cpu', ...this.#files });
        const cpu = await this.#cpu;
        if (!this.#twins.has(url)) this.#twins.set(url, cpu.load(url));
        try {
            return await this.#twins.get(url);
        } catch (error) {
            this.#twins.delete(url);
            throw error;
        }
    }

    close() {
        this.#closed ??= this.#close();
        return this.#closed;
    }

    async #close() {
        await this.#link.call('close').catch(stopped);
        await Promise.all([...this.#models].map((model) => model.close()));
        await this.#cpu?.then((cpu) => cpu.close(), stopped);
        this.#link.close();
    }
}

export class Model {
    #link; #model; #forget; #twin;
    #sessions = new Set();
    #closed = null;

    /** Use doppler.load(). twin: gives the same model on the CPU. */
    constructor(link, { model, vocab, context, url }, forget, twin) {
        this.#link = link;
        this.#model = model;
        this.#forget = forget;
        this.#twin = twin;
        this.url = url;
        this.vocab = vocab;
        this.context = context;
    }

    memory(options = {}) { return this.#link.call('sessionMemory', this.#options(options)); }

    #options(options) { return { model: this.#model, ...sessionOptions(options) }; }

    session(options = {}) {
        const session = new Session(this.#link, this, this.#options(options),
            () => this.#sessions.delete(session));
        this.#sessions.add(session);
        return session;
    }

    async check(prompt, { against = null, ...options } = {}) {
        if (against !== null && against !== 'cpu') throw bad('against', against, 'null and cpu');
        const { check } = await debugging();
        return check(this, against && this.#twin, promptOf(prompt), options);
    }

    tokenize(text, { special = false, bos = true } = {}) {
        const args = { model: this.#model, text: String(text), special, bos };
        return this.#link.call('tokenize', args);
    }

    close() {
        this.#closed ??= this.#close();
        return this.#closed;
    }

    async #close() {
        this.#forget();
        await Promise.all([...this.#sessions].map((session) => session.close()));
        await this.#link.call('closeModel', { model: this.#model }).catch(stopped);
    }
}

export class Session {
    #link; #about; #opened; #forget;
    #closed = null;

    /** Use model.session(). */
    constructor(link, model, options, forget) {
        this.#link = link;
        this.#about = { model, options };
        this.#forget = forget;
        this.#opened = link.call('createSession', options);
        this.ready = this.#opened.then(() => {});
        this.ready.catch(() => {});              // reported by whoever uses the session
        this.context = null;
        this.#opened.then(({ context }) => { this.context = context; }, () => {});
    }

    generate(prompt, { maxTokens = Infinity, temperature = 0, topK = 0, topP = 0, minP = 0,
        repetitionPenalty = 0, presencePenalty = 0, seed, signal, special = false,
        bos = true } = {}) {
        const sampling = { temperature: real('temperature', temperature), topK: count('topK', topK),
            topP: real('topP', topP), minP: real('minP', minP),
            repetitionPenalty: real('repetitionPenalty', repetitionPenalty),
            presencePenalty: real('presencePenalty', presencePenalty), seed: seedOf(seed) };
        const args = { prompt: promptOf(prompt), special, bos, sampling,
            maxTokens: count('maxTokens', maxTokens) };
        return new Generation((io) => this.#call('generate', args, io), signal);
    }

    logits(ids, { signal } = {}) { return this.#floats('logits', ids, signal); }

    score(ids, { signal } = {}) { return this.#floats('score', ids, signal); }

    async trace(ids, onTensor, { signal } = {}) {
        signal?.throwIfAborted();
        const failures = [];
        const emit = (tensor) => {
            try {
                if (failures.length === 0) onTensor(tensor);
            } catch (error) {
                failures.push(error);
            }
        };
        try {
            await this.#call('trace', { ids: promptOf(ids) }, { signal, emit });
        } catch (error) {
            signal?.throwIfAborted();
            throw error;
        }
        if (failures.length > 0) throw failures[0];
    }

    close() {
        this.#closed ??= this.#close();
        return this.#closed;
    }

    async #close() {
        this.#forget();
        const opened = await this.#opened.catch(stopped);
        if (opened) await this.#link.call('closeSession', opened).catch(stopped);
    }

    async #call(method, args, io) {
        const { session } = await this.#opened;
        return this.#link.call(method, { session, ...args }, io, this.#about);
    }

    async #floats(method, ids, signal) {
        signal?.throwIfAborted();
        try {
            return await this.#call(method, { ids: promptOf(ids) }, { signal });
        } catch (error) {
            signal?.throwIfAborted();
            throw error;
        }
    }
}

/** One run of a model: an async iterator of text that begins when it is first asked. Leaving the
 *  loop cancels. */
export class Generation {
    promptIds = null;
    ids = [];
    stats = null;
    #texts;

    /** Use session.generate(). */
    constructor(start, signal) { this.#texts = this.#run(start, signal); }

    [Symbol.asyncIterator]() { return this; }
    next() { return this.#texts.next(); }
    return(value) { return this.#texts.return(value); }
    throw(error) { return this.#texts.throw(error); }

    async *#run(start, signal) {
        signal?.throwIfAborted();
        const stop = new AbortController();
        const abort = () => stop.abort();
        signal?.addEventListener('abort', abort);
        const pieces = [];
        let wake = () => {}, over = false;
        const emit = ({ prompt, id, text }) => {
            if (prompt) this.promptIds = Array.from(prompt);
            else if (id !== null) this.ids.push(id);
            if (text) pieces.push(text);
            wake();
        };
        const ended = start({ signal: stop.signal, emit })
            .then((stats) => { this.stats = stats; })
            .finally(() => { over = true; wake(); });
        ended.catch(() => {});                   // thrown below
        try {
            for (;;) {
                while (pieces.length > 0 && !signal?.aborted) yield pieces.shift();
                if (over || signal?.aborted) break;
                await new Promise((resolve) => { wake = resolve; });
            }
            await ended;
            signal?.throwIfAborted();
            if (this.stats.stop === 'cancelled') {
                throw new DopplerError('CANCELLED', 'the session was closed');
            }
        } finally {
            stop.abort();
            signal?.removeEventListener('abort', abort);
            await ended.catch(() => {});
        }
    }
}
