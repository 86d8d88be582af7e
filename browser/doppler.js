// doppler.js - the package's API. Three classes mirror the three handles of include/doppler.h:
//
//   Doppler   one device (a GPU, or the CPU backend) and its compiled kernels
//   Model     weights and tokenizer; shared by its sessions
//   Session   one token timeline: KV cache, position, sampling
//
// They hold no model state: all work happens in core.js, behind a link (link.js). Types and what
// each option means: doppler.d.ts.
import { DopplerError } from './error.js';
import { convertIn, openHere, openWorker } from './link.js';
import { formatOf, ReplyParser, replyFormats } from './reply.js';
import { nodeModule } from './storage.js';

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

function stopsOf(value) {
    const stops = typeof value === 'string' ? [value] : Array.from(value ?? []);
    if (stops.every((text) => typeof text === 'string' && /^[^\0]+$/.test(text))) return stops;
    throw bad('stop', value, 'texts that are not empty');
}

function messagesOf(value) {
    const messages = Array.from(value ?? []);
    if (messages.length > 0 && messages.every((m) => typeof m?.role === 'string')) return messages;
    throw bad('messages', value, 'a list of { role, content }, at least one');
}

const specialOf = (value) => (value ? 'all' : 'none');

function sessionOptions({ context = 0, chunk = 0, kv = 'f16', precision = 'fast',
    checkpoints = null } = {}) {
    return { context: count('context', context), chunk: count('chunk', chunk), kv, precision,
        checkpoints: checkpoints === null ? null : count('checkpoints', checkpoints) };
}

// An absolute URL, in Node of a path too.
async function absoluteUrl(where) {
    if (where instanceof URL || IN_BROWSER || /^[a-z][a-z0-9+.-]+:/i.test(where)) {
        return new URL(where, IN_BROWSER
            ? globalThis.document?.baseURI ?? globalThis.location.href : undefined);
    }
    return (await nodeModule('url')).pathToFileURL(String(where));
}

// The folder of a package as an absolute URL that ends in a slash.
async function packageUrl(where) {
    const url = new URL(await absoluteUrl(where));
    url.hash = '';
    url.pathname = `${url.pathname.replace(/\/(manifest\.json)?$/, '')}/`;
    return url.href;
}

// ---- where the package's own files are

// Bundlers look for these expressions as they stand.
const defaultWasm = () => new URL('../build/doppler.wasm', import.meta.url);
const defaultConvert = () => new URL('../build/convert.wasm', import.meta.url);
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

// ---- conversion

// Files and folders stay what they are, places become URLs in text, which a worker can be sent.
const placeOf = async (where) => (typeof where === 'string' || where instanceof URL
    ? (await absoluteUrl(where)).href : where);

export async function convert(from, to, { quantize = 'keep', embeddings = '', head = '',
    shardBytes = 0, name = '', mirrors = [], onProgress, onNote, signal, assets,
    worker = IN_BROWSER } = {}) {
    signal?.throwIfAborted();
    const wasm = assets === undefined ? defaultConvert() : assetUrl(assets, 'convert.wasm');
    const args = { wasm: wasm.href, to: await placeOf(to),
        from: Array.isArray(from) ? await Promise.all(from.map(placeOf)) : await placeOf(from),
        quantize: String(quantize), embeddings: String(embeddings), head: String(head),
        shardBytes: count('shardBytes', shardBytes), name: String(name),
        mirrors: Array.from(mirrors, String) };
    const emit = (event) => (event.note ? onNote?.(event.note) : onProgress?.(event));
    const thread = worker === true ? startWorker(assets) : worker || null;
    try {
        return await convertIn(thread, args, { signal, emit });
    } catch (error) {
        signal?.throwIfAborted();
        throw error;
    }
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

    static async open({ device = 'auto', limits = 'device', timing = false, tuning = 'kept',
        assets, worker = IN_BROWSER } = {}) {
        const wasm = assets === undefined ? defaultWasm() : assetUrl(assets, 'doppler.wasm');
        const options = { device, limits, timing, tuning, wasm: wasm.href };
        const files = { assets, worker: typeof worker === 'boolean' ? worker : IN_BROWSER };
        if (worker === false) return new Doppler(await openHere(options), files);
        const thread = worker === true ? startWorker(assets) : worker;
        return new Doppler(await openWorker(thread, options), files);
    }

    get info() { return this.#link.info; }

    counters() { return this.#link.call('counters'); }

    kernels() { return this.#link.call('kernels'); }

    async load(url, { onPlan, onProgress, onWarning = console.warn, session, signal } = {}) {
        signal?.throwIfAborted();
        const args = { url: await packageUrl(url), session: onPlan && sessionOptions(session) };
        const emit = ({ plan, warning, ...step }) => {
            if (plan) onPlan(plan);
            else if (warning) onWarning(warning);
            else onProgress?.(step);
        };
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
    #link; #model; #forget; #tokens; #twin;
    #sessions = new Set();
    #specials = null;               // Promise of the texts of all special tokens
    #chatting = null;               // the session of chat()
    #closed = null;

    /** Use doppler.load(). twin: gives the same model on the CPU. */
    constructor(link, { model, vocab, context, chatTemplate, bos, eos, url }, forget, twin) {
        this.#link = link;
        this.#model = model;
        this.#forget = forget;
        this.#tokens = { bos_token: bos, eos_token: eos };
        this.#twin = twin;
        this.url = url;
        this.vocab = vocab;
        this.context = context;
        this.chatTemplate = chatTemplate || null;
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
        const args = { model: this.#model, text: String(text), special: specialOf(special), bos };
        return this.#link.call('tokenize', args);
    }

    async render(messages, { tools = null, documents = null, addGenerationPrompt = true,
        template = this.chatTemplate, variables = {}, now, trusted = false } = {}) {
        const given = { messages: messagesOf(messages), tools, documents,
            add_generation_prompt: addGenerationPrompt };
        const tokens = { ...this.#tokens };
        for (const [name, value] of Object.entries(variables)) {
            (name.endsWith('_token') ? tokens : given)[name] = value;
        }
        if (template === null) {
            throw new DopplerError('UNSUPPORTED', 'the model has no chat template');
        }
        this.#specials ??= this.#link.call('specials', { model: this.#model });
        const { render } = await import('./chat.js');
        const { text, marked } = render(template, tokens, await this.#specials, given,
            { now, trusted });
        const ids = await this.#link.call('tokenize',
            { model: this.#model, text: marked, special: 'unmarked', bos: false });
        return { text, ids };
    }

    chat(messages, options) {
        if (this.#chatting === null || this.#chatting.closed) this.#chatting = this.session();
        return this.#chatting.chat(messages, options);
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
    #link; #model; #options; #opened; #forget;
    #closed = null;

    /** Use model.session(). */
    constructor(link, model, options, forget) {
        this.#link = link;
        this.#model = model;
        this.#options = options;
        this.#forget = forget;
        this.#opened = link.call('createSession', options);
        this.ready = this.#opened.then(() => {});
        this.ready.catch(() => {});              // reported by whoever uses the session
        this.context = null;
        this.#opened.then(({ context }) => { this.context = context; }, () => {});
    }

    /** Whether close() was called. */
    get closed() { return this.#closed !== null; }

    generate(prompt, { special = false, bos = true, signal, ...options } = {}) {
        const args = { prompt: promptOf(prompt), special: specialOf(special), bos,
            ...this.#generation(options) };
        return new Generation((io) => this.#call('generate', args, io), signal);
    }

    chat(messages, { signal, ...options } = {}) {
        const args = { special: 'none', bos: false, ...this.#generation(options) };
        const parser = parserOf(messagesOf(messages),
            { template: this.#model.chatTemplate ?? '', ...options });
        return new Reply(async (io, reply) => {
            const { text, ids } = await this.#model.render(messages, options);
            reply.prompt = text;
            return this.#call('generate', { prompt: ids, ...args }, io);
        }, signal, parser);
    }

    #generation({ maxTokens = Infinity, temperature = 0, topK = 0, topP = 0, minP = 0,
        repetitionPenalty = 0, presencePenalty = 0, seed, stop }) {
        const sampling = { temperature: real('temperature', temperature), topK: count('topK', topK),
            topP: real('topP', topP), minP: real('minP', minP),
            repetitionPenalty: real('repetitionPenalty', repetitionPenalty),
            presencePenalty: real('presencePenalty', presencePenalty), seed: seedOf(seed) };
        return { sampling, maxTokens: count('maxTokens', maxTokens), stop: stopsOf(stop) };
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

    profile({ position = 0, tokens = 1 } = {}) {
        return this.#call('profile', { position: count('position', position),
            tokens: count('tokens', tokens) });
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
        return this.#link.call(method, { session, ...args }, io,
            { model: this.#model, options: this.#options });
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

// The parser of a Generation: text as it comes, no special tokens.
const texts = { push: (text) => (text ? [text] : []), end: () => [] };

/** One run of a model: an async iterator of text that begins when it is first asked. Leaving the
 *  loop cancels. */
export class Generation {
    promptIds = null;
    ids = [];
    stats = null;
    #pieces;

    /** Use session.generate(). parser: what becomes of text and special tokens. */
    constructor(start, signal, parser = texts) { this.#pieces = this.#run(start, signal, parser); }

    [Symbol.asyncIterator]() { return this; }
    next() { return this.#pieces.next(); }
    return(value) { return this.#pieces.return(value); }
    throw(error) { return this.#pieces.throw(error); }

    async *#run(start, signal, parser) {
        signal?.throwIfAborted();
        const stop = new AbortController();
        const abort = () => stop.abort();
        signal?.addEventListener('abort', abort);
        const pieces = [];
        let wake = () => {}, over = false;
        const emit = ({ prompt, id, text, special }) => {
            if (prompt) this.promptIds = Array.from(prompt);
            else {
                if (id !== null) this.ids.push(id);
                pieces.push(...parser.push(text, special));
            }
            wake();
        };
        const ended = start({ signal: stop.signal, emit }, this)
            .then((stats) => {
                this.stats = stats;
                pieces.push(...parser.end());
            })
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

function parserOf(messages, { format, template = '', tools, spelled = false }) {
    const chosen = format ?? formatOf(template);
    if (!replyFormats.includes(chosen)) throw bad('format', chosen, replyFormats.join(', '));
    const callsBefore = messages.reduce((sum, m) => sum + (m.tool_calls?.length ?? 0), 0);
    return new ReplyParser(chosen, { tools: (tools?.length ?? 0) > 0, spelled, callsBefore });
}

/** One answer in a conversation: a Generation of the text to show. events() has all of it. */
export class Reply extends Generation {
    prompt = null;
    #parser;

    /** Use model.chat() or session.chat(). */
    constructor(start, signal, parser) {
        super(start, signal, parser);
        this.#parser = parser;
    }

    /** What was answered so far, as a message; complete when the loop has ended. */
    get message() { return this.#parser.message; }

    async next() {
        for (;;) {
            const { value, done } = await super.next();
            if (done || value.type === 'text') return { value: done ? value : value.text, done };
        }
    }

    /** Instead of the loop over texts. */
    events() {
        return { [Symbol.asyncIterator]() { return this; }, next: () => super.next(),
            return: (value) => super.return(value), throw: (error) => super.throw(error) };
    }
}

/** The message that a whole answer makes, control tokens spelled out in it. */
export function parseReply(text, options = {}) {
    const parser = parserOf([], { spelled: true, ...options });
    parser.push(String(text));
    parser.end();
    return parser.message;
}
