// storage.js - byte ranges of a package's files, over HTTP or (in Node) from a folder.
//
// Reads of one file come in ascending order, so a file is one response that is read on from call
// to call: a server needs no Range support. Only a connection that dropped is resumed with Range.
// Nothing is verified here: the caller has the hashes.
import { DopplerError } from './error.js';

const ATTEMPTS = 5;                 // without a byte in between, before giving up
const BACKOFF_MS = 200;             // before the first retry, doubled each time
const STALL_MS = 30_000;            // without a byte: the connection counts as dropped
const FAR_BYTES = 8 << 20;          // a gap that is asked for anew, not read through
const OPEN_FILES = 3;               // browsers allow six connections to a host
const RETRY_STATUS = new Set([408, 429, 500, 502, 503, 504]);

/** The files below `base`: a URL, or in Node a file: URL. Aborting `signal` ends all reads with
 *  its reason.
 *  @param {string} base
 *  @param {AbortSignal} signal */
export function openSource(base, signal) {
    const url = new URL(base);
    return url.protocol === 'file:' ? new FileSource(url, signal) : new HttpSource(url, signal);
}

const truncated = (file, have, need) =>
    new DopplerError('BAD_FILE', `${file}: ends at byte ${have}, byte ${need} is needed`);
const tooLong = (file, limit) =>
    new DopplerError('BAD_FILE', `${file}: longer than ${limit} bytes`);

function ioError(cause) {
    throw new DopplerError('IO', cause.message, { cause });
}

/** A module of Node's; its name is no constant, so that bundlers leave it alone. */
export const nodeModule = (name) =>
    import(/* webpackIgnore: true */ /* @vite-ignore */ `node:${name}`);

// The URL of a file; a query (a signed link's) is kept.
function fileUrl(base, file) {
    const url = new URL(file, base);
    url.search = base.search;
    return url;
}

function sleep(ms, signal) {
    return new Promise((resolve, reject) => {
        const stop = () => { clearTimeout(timer); reject(signal.reason); };
        const timer = setTimeout(() => {
            signal.removeEventListener('abort', stop);
            resolve();
        }, ms);
        signal.addEventListener('abort', stop, { once: true });
    });
}

/** One response, read in order; reconnects where it left off. */
class HttpFile {
    #url; #file; #signal;
    #connection = null;             // AbortController of the response, null: none is open
    #reader = null;
    #at = 0;                        // offset in the file of the response's next byte
    #length = Infinity;             // of the file, where the server says it
    #position = 0;                  // offset of the next byte that #chunk() gives
    #rest = new Uint8Array(0);      // the bytes before #position that no read has taken
    #turn = Promise.resolve();      // reads wait for each other
    #ended = null;                  // why no read goes on
    waiting = 0;                    // reads

    constructor(url, file, signal) {
        this.#url = url;
        this.#file = file;
        this.#signal = signal;
    }

    read(offset, bytes) {
        this.waiting++;
        const turn = this.#turn.then(() => this.#read(offset, bytes))
            .finally(() => this.waiting--);
        this.#turn = turn.catch(() => {});
        return turn;
    }

    async whole(limit) {
        const parts = [];
        let bytes = 0;
        for (let part; (part = await this.#chunk()) !== null;) {
            parts.push(part);
            bytes += part.byteLength;
            if (bytes > limit) throw tooLong(this.#file, limit);
        }
        return new Uint8Array(await new Blob(parts).arrayBuffer());
    }

    close() {
        this.#connection?.abort();
        this.#connection = this.#reader = null;
    }

    /** Fails the reads that wait and all to come. */
    end(error) {
        this.#ended = error;
        this.close();
    }

    async #read(offset, bytes) {
        const out = new Uint8Array(bytes);
        for (let have = 0; have < bytes;) {
            const next = offset + have;
            const skip = next - (this.#position - this.#rest.byteLength);
            if (skip < 0 || skip >= this.#rest.byteLength) {
                if (skip < 0 || skip > FAR_BYTES) this.close();
                if (this.#reader === null) this.#position = next;
                this.#rest = await this.#chunk() ?? new Uint8Array(0);
                if (this.#rest.byteLength > 0) continue;
                throw truncated(this.#file, this.#at, offset + bytes);
            }
            const part = this.#rest.subarray(skip, skip + bytes - have);
            out.set(part, have);
            have += part.byteLength;
            this.#rest = this.#rest.subarray(skip + part.byteLength);
        }
        return out;
    }

    // The bytes that come next at #position; null at the end of the file. Retries what may pass.
    async #chunk() {
        for (let failures = 0; ;) {
            if (this.#ended) throw this.#ended;
            try {
                if (this.#reader === null) await this.#connect();
                const { done, value } = await this.#within(() => this.#reader.read());
                if (done && this.#at < this.#length && this.#length < Infinity) {
                    throw new Error(`connection closed, ${this.#length} bytes were announced`);
                }
                if (done) return null;
                failures = 0;
                const before = this.#position - this.#at;   // where the server knows no Range
                this.#at += value.byteLength;
                if (this.#at <= this.#position) continue;
                this.#position = this.#at;
                return value.subarray(before);
            } catch (error) {
                this.close();
                this.#signal.throwIfAborted();
                if (error instanceof DopplerError) throw error;
                if (++failures === ATTEMPTS) throw this.#lost(error);
                await sleep(BACKOFF_MS * 2 ** (failures - 1), this.#signal);
            }
        }
    }

    #lost(error) {
        const why = error.cause?.message ?? error.message;
        return new DopplerError('IO', `${this.#url}: at byte ${this.#position}: ${why}`,
            { cause: error });
    }

    // One step of the connection, which is cut when nothing comes for STALL_MS.
    async #within(step) {
        const connection = this.#connection;
        const late = new Error(`nothing came for ${STALL_MS / 1000} s`);
        const timer = setTimeout(() => connection.abort(late), STALL_MS);
        try {
            return await step();
        } finally {
            clearTimeout(timer);
        }
    }

    // Opens a response that holds #position.
    async #connect() {
        this.#connection = new AbortController();
        const signal = AbortSignal.any([this.#signal, this.#connection.signal]);
        const headers = this.#position > 0 ? { Range: `bytes=${this.#position}-` } : {};
        const response = await this.#within(() => fetch(this.#url, { headers, signal }));
        const status = `HTTP ${response.status} ${response.statusText}`.trim();
        if (RETRY_STATUS.has(response.status)) throw new Error(status);
        if (response.status === 416) {                  // there is nothing at #position
            throw truncated(this.#file, this.#position, this.#position + 1);
        }
        if (!response.ok) throw new DopplerError('IO', `${this.#url}: ${status}`);
        this.#at = response.status === 206 ? this.#position : 0;
        // What a compressing server announces is not the length of what it sends.
        const plain = !response.headers.has('content-encoding');
        const announced = response.headers.get('content-length');
        this.#length = plain && announced !== null ? this.#at + Number(announced) : Infinity;
        this.#reader = response.body.getReader();
    }
}

export class HttpSource {
    #base; #signal;
    #files = new Map();             // URL -> HttpFile, least recently used first

    /** base: null where only readUrl is called. */
    constructor(base, signal) {
        this.#base = base;
        this.#signal = signal;
    }

    /** Exactly `bytes` bytes of a file. */
    read(file, offset, bytes) {
        return this.readUrl(fileUrl(this.#base, file), file, offset, bytes);
    }

    /** The same of a file that is elsewhere; `file` stands in messages. */
    readUrl(url, file, offset, bytes) {
        const open = this.#files.get(url.href) ?? new HttpFile(url, file, this.#signal);
        this.#files.delete(url.href);
        this.#files.set(url.href, open);
        const read = open.read(offset, bytes);
        for (const [href, idle] of this.#files) {
            if (this.#files.size <= OPEN_FILES) break;
            if (idle.waiting > 0) continue;
            this.#files.delete(href);
            idle.close();
        }
        return read;
    }

    /** Fails all reads that wait for files whose URL `which` names. */
    end(error, which = () => true) {
        for (const [href, file] of this.#files) {
            if (!which(href)) continue;
            this.#files.delete(href);
            file.end(error);
        }
    }

    /** A whole file of at most `limit` bytes. */
    async whole(file, limit) {
        const open = new HttpFile(fileUrl(this.#base, file), file, this.#signal);
        try {
            return await open.whole(limit);
        } finally {
            open.close();
        }
    }

    close() {
        for (const file of this.#files.values()) file.close();
        this.#files.clear();
    }
}

/** A folder, in Node. */
class FileSource {
    #base; #signal;
    #files = new Map();             // name -> Promise<FileHandle>

    constructor(base, signal) {
        this.#base = base;
        this.#signal = signal;
    }

    async read(file, offset, bytes) {
        const handle = await this.#open(file);
        const out = new Uint8Array(bytes);
        let have = 0;
        while (have < bytes) {
            this.#signal.throwIfAborted();
            const { bytesRead } = await handle.read(out, have, bytes - have, offset + have)
                .catch(ioError);
            if (bytesRead === 0) throw truncated(file, offset + have, offset + bytes);
            have += bytesRead;
        }
        return out;
    }

    async whole(file, limit) {
        const { size } = await (await this.#open(file)).stat();
        if (size > limit) throw tooLong(file, limit);
        return this.read(file, 0, size);
    }

    close() {
        for (const file of this.#files.values()) file.then((handle) => handle.close(), () => {});
        this.#files.clear();
    }

    #open(file) {
        if (!this.#files.has(file)) this.#files.set(file, this.#openNow(file));
        return this.#files.get(file);
    }

    async #openNow(file) {
        const files = await nodeModule('fs/promises');
        return files.open(fileUrl(this.#base, file)).catch(ioError);
    }
}
