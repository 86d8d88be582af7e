// wasm.js - makes an instance of the engine's wasm, in browsers, Node and Deno alike.
//
// The engine is a WASI reactor without files: what wasi-libc imports for assert() and clocks is
// answered here, everything else is refused by name. Memory may grow during any call, so views
// are asked for each time (wasm.u8, wasm.view), never kept.
import { DopplerError } from './error.js';

const ERRNO_BADF = 8;        // wasi_snapshot_preview1, errno
const ERRNO_SPIPE = 70;
const NANOSECONDS = 1_000_000n;

/** The engine's instance: exports, and memory as numbers and texts. Pointers are integers. */
export class Wasm {
    #u8 = new Uint8Array(0);
    #view = new DataView(new ArrayBuffer(0));
    #decoder = new TextDecoder();
    #encoder = new TextEncoder();

    /** @param {WebAssembly.Instance} instance */
    constructor(instance) {
        this.exports = instance.exports;
        this.memory = instance.exports.memory;
    }

    /** All of memory, as of now. */
    get u8() {
        if (this.#u8.buffer !== this.memory.buffer) this.#u8 = new Uint8Array(this.memory.buffer);
        return this.#u8;
    }

    /** All of memory, as of now; read and write with littleEndian = true. */
    get view() {
        if (this.#view.buffer !== this.memory.buffer) this.#view = new DataView(this.memory.buffer);
        return this.#view;
    }

    u32(at) { return this.view.getUint32(at >>> 0, true); }
    f64(at) { return this.view.getFloat64(at >>> 0, true); }
    setU32(at, value) { this.view.setUint32(at >>> 0, value, true); }
    setF64(at, value) { this.view.setFloat64(at >>> 0, value, true); }

    /** A uint64_t below 2^53. */
    u64(at) { return this.u32(at) + this.u32(at + 4) * 2 ** 32; }
    setU64(at, value) { this.view.setBigUint64(at >>> 0, BigInt(value), true); }

    /** UTF-8 text of a known length. */
    text(at, bytes) { return this.#decoder.decode(this.u8.subarray(at >>> 0, (at >>> 0) + bytes)); }

    /** NUL-terminated UTF-8 text. */
    string(at) { return this.text(at, this.u8.indexOf(0, at >>> 0) - (at >>> 0)); }

    /** Writes text as NUL-terminated UTF-8 of at most `bytes` bytes, cut between characters. */
    setString(at, bytes, text) {
        const room = this.u8.subarray(at >>> 0, (at >>> 0) + bytes - 1);
        room[this.#encoder.encodeInto(text, room).written] = 0;
        this.u8[(at >>> 0) + bytes - 1] = 0;
    }

    /** malloc; throws a DopplerError NO_MEMORY. */
    malloc(bytes) {
        const at = this.exports.malloc(Math.max(bytes, 1)) >>> 0;
        if (at !== 0) return at;
        throw new DopplerError('NO_MEMORY', `wasm heap: no ${bytes} bytes`);
    }

    free(at) { this.exports.free(at); }

    /** A malloc'ed copy of bytes; the caller frees it. */
    put(bytes) {
        const at = this.malloc(bytes.byteLength);
        this.u8.set(bytes, at);
        return at;
    }

    /** A malloc'ed NUL-terminated copy of text; the caller frees it. */
    putString(text) { return this.put(this.#encoder.encode(`${text}\0`)); }
}

/** Bytes or a URL to a module. In Node file: URLs work too.
 *  @param {WebAssembly.Module | BufferSource | URL | string} source */
export async function compile(source) {
    if (source instanceof WebAssembly.Module) return source;
    if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) {
        return WebAssembly.compile(source);
    }
    const url = new URL(source, globalThis.location?.href ?? import.meta.url);
    if (url.protocol === 'file:') {
        const name = 'node:fs/promises';     // a variable, so that bundlers leave it alone
        const files = await import(/* webpackIgnore: true */ /* @vite-ignore */ name);
        return WebAssembly.compile(await files.readFile(url)
            .catch((e) => { throw new DopplerError('IO', e.message, { cause: e }); }));
    }
    const response = await fetch(url);
    if (!response.ok) throw new DopplerError('IO', `${url}: HTTP ${response.status}`);
    return WebAssembly.compile(await response.arrayBuffer());
}

// What wasi-libc asks for. Output comes line by line to log.
function wasiImports(wasm, log) {
    const lines = { 1: '', 2: '' };
    const decoder = new TextDecoder();
    return {
        fd_write(fd, vectors, count, written) {
            if (!(fd in lines)) return ERRNO_BADF;
            let bytes = 0;
            for (let i = 0; i < count; i++) {
                const at = wasm().u32(vectors + 8 * i), length = wasm().u32(vectors + 8 * i + 4);
                lines[fd] += decoder.decode(wasm().u8.slice(at, at + length), { stream: true });
                bytes += length;
            }
            const whole = lines[fd].split('\n');
            lines[fd] = whole.pop();
            for (const line of whole) log(line);
            wasm().setU32(written, bytes);
            return 0;
        },
        clock_time_get(id, precision, out) {
            const ms = id === 0 ? Date.now() : performance.now();
            wasm().view.setBigUint64(out >>> 0, BigInt(Math.round(ms * 1e6)), true);
            return 0;
        },
        clock_res_get(id, out) {
            wasm().view.setBigUint64(out >>> 0, NANOSECONDS, true);
            return 0;
        },
        environ_sizes_get(count, bytes) {
            wasm().setU32(count, 0);
            wasm().setU32(bytes, 0);
            return 0;
        },
        environ_get: () => 0,
        fd_close: () => ERRNO_BADF,
        fd_seek: () => ERRNO_SPIPE,
        fd_fdstat_get: () => ERRNO_BADF,
        proc_exit(code) { throw new Error(`wasm: exit(${code})`); },
    };
}

/** An instance whose _initialize has run.
 *  @param {WebAssembly.Module | BufferSource | URL | string} source
 *  @param {{gpu?: import('./gpu.js').GpuHost, imports?: WebAssembly.Imports,
 *           log?: (line: string) => void}} options
 *    gpu: the device behind gpu_web_create(); without one that function must not be called.
 *    imports: the caller's own, by module name.
 *    log: receives lines printed by C (failed assertions); console.error unless given.
 *  @returns {Promise<Wasm>} */
export async function instantiate(source, { gpu, imports = {}, log = console.error } = {}) {
    const module = await compile(source);
    let wasm = null;
    const known = { ...imports, gpu: gpu?.imports,
        wasi_snapshot_preview1: wasiImports(() => wasm, log) };
    const linked = {};
    for (const { module: from, name } of WebAssembly.Module.imports(module)) {
        linked[from] ??= {};
        linked[from][name] = known[from]?.[name]
            ?? (() => { throw new Error(`wasm: ${from}.${name} is not available`); });
    }
    wasm = new Wasm(await WebAssembly.instantiate(module, linked));
    gpu?.attach(wasm);
    wasm.exports._initialize?.();
    return wasm;
}
