// convert.js - a checkpoint to a package in wasm: loader/convert.h says which bytes it reads and
// what it writes, this brings and takes them, and WebCrypto hashes. One conversion has an instance
// of convert.wasm for itself, so that its memory ends with it.
//
// A shard is gathered in memory, because WebCrypto hashes only what is whole; blocks are hashed
// while the next ones are made.
import { openCheckpoint, openSink } from './convert_files.js';
import { DopplerError } from './error.js';
import { instantiate } from './wasm.js';

// As browser/convert.c asserts them.
const OK = 0;
const READ = 0, DONE = 2;

const AT_LEAST = 256 << 10;         // bytes brought at a time while the checkpoint is opened
const SHARD_LIMIT = 1 << 30;
const PROGRESS_MS = 100;

const sha256 = async (data) => new Uint8Array(await crypto.subtle.digest('SHA-256', data));
const hex = (bytes) => Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');

class Conversion {
    #wasm; #signal; #emit; #checkpoint; #sink;
    #at = 0;                        // conversion *
    #texts = [];                    // arguments, by pointer
    #lastLine = '';                 // printed by C: the text of a failed assertion
    #start = performance.now();
    #shown = 0;                     // when progress was last reported

    constructor(signal, emit) {
        this.#signal = signal;
        this.#emit = emit;
    }

    async run({ wasm, from, to, ...options }) {
        if (!globalThis.crypto?.subtle) {
            throw new DopplerError('UNSUPPORTED',
                'packages are hashed with WebCrypto, which needs https or localhost');
        }
        try {
            this.#wasm = await instantiate(wasm, { log: (line) => { this.#lastLine = line; } });
            this.#checkpoint = await openCheckpoint(from, this.#signal);
            this.#at = this.#call('create', this.#checkpoint.files.length) >>> 0;
            if (!this.#at) throw new DopplerError('NO_MEMORY', 'wasm heap');
            await this.#open(options);
            this.#sink = await openSink(to);
            await this.#blocks();
            await this.#rest();
            this.#signal.throwIfAborted();
            await this.#sink.commit();
            return { id: hex(this.#bytes(this.#call('id', this.#at), 32)) };
        } catch (error) {
            await this.#sink?.abort().catch(() => {});
            this.#signal.throwIfAborted();
            throw error;
        } finally {
            await this.#checkpoint?.close();
        }
    }

    #call(name, ...args) {
        try {
            return this.#wasm.exports[`convert_page_${name}`](...args);
        } catch (error) {
            throw new Error(`the converter has stopped: ${this.#lastLine || error.message}`,
                { cause: error });
        }
    }

    // A status that is not OK becomes an error.
    #check(status) {
        if (status !== OK) {
            throw new DopplerError(this.#wasm.string(this.#call('status_name', status)),
                this.#wasm.string(this.#call('message', this.#at)));
        }
    }

    #text(text) {
        this.#texts.push(this.#wasm.putString(text));
        return this.#texts.at(-1);
    }

    #bytes(at, count) { return this.#wasm.u8.slice(at >>> 0, (at >>> 0) + count); }

    // ---- the checkpoint

    // Tries until everything that is read on the way has been brought.
    async #open({ quantize, embeddings, head, shardBytes, name, mirrors }) {
        const { folder, file, files } = this.#checkpoint;
        for (const one of files) {
            if (!this.#call('file', this.#at, this.#text(one.name), one.bytes)) {
                throw new DopplerError('NO_MEMORY', 'wasm heap');
            }
        }
        for (const url of mirrors) this.#check(this.#call('mirror', this.#at, this.#text(url)));
        if (shardBytes > SHARD_LIMIT) {
            throw new DopplerError('BAD_ARGUMENT', `shards of ${shardBytes} bytes, here at most `
                + SHARD_LIMIT);
        }
        const args = [folder, file ?? '', name, quantize, embeddings, head]
            .map((text) => this.#text(text));
        for (;;) {
            this.#signal.throwIfAborted();
            const status = this.#call('open', this.#at, ...args, shardBytes);
            const wanted = this.#call('wanted', this.#at);
            if (wanted < 0) {
                this.#check(status);
                break;
            }
            await this.#bring(files[wanted]);
        }
        for (const text of this.#texts) this.#wasm.free(text);
        const notes = this.#wasm.string(this.#call('notes', this.#at));
        for (const note of notes.split('\n').filter((line) => line)) this.#emit({ note });
    }

    // A file may have changed since it was picked.
    async #read(file, offset, bytes) {
        const data = await file.read(offset, bytes);
        if (data.byteLength === bytes) return data;
        throw new DopplerError('IO', `${file.name}: ends at byte ${offset + data.byteLength}, `
            + `wanted ${offset + bytes}`);
    }

    async #bring(file) {
        const offset = this.#call('wanted_offset', this.#at);
        const wanted = this.#call('wanted_bytes', this.#at);
        const bytes = Math.min(Math.max(wanted, AT_LEAST), file.bytes - offset);
        const data = await this.#read(file, offset, bytes);
        if (!this.#call('bring', this.#at, this.#wasm.put(data), bytes)) {
            throw new DopplerError('NO_MEMORY', 'wasm heap');
        }
    }

    // ---- the package

    #step() {
        const get = (name) => this.#call(`step_${name}`, this.#at);
        const action = get('action');
        if (action === DONE) return { action };
        const common = { action, offset: get('offset'), bytes: get('bytes') >>> 0 };
        if (action === READ) {
            return { ...common, source: get('source') >>> 0, to: get('to') >>> 0 };
        }
        return { ...common, file: this.#wasm.string(get('file')), from: get('from') >>> 0,
            blockHash: get('block_sha256') >>> 0, fileHash: get('file_sha256') >>> 0 };
    }

    #shard() {
        const bytes = this.#call('shard_bytes', this.#at);
        try {
            return new Uint8Array(bytes);
        } catch (cause) {
            throw new DopplerError('NO_MEMORY', `a shard of ${bytes} bytes`, { cause });
        }
    }

    async #blocks() {
        const shard = this.#shard();
        const hashing = new Set();
        let failure = null;
        for (;;) {
            this.#signal.throwIfAborted();
            this.#check(this.#call('block', this.#at));
            const step = this.#step();
            if (step.action === DONE) return;
            if (step.action === READ) {
                const { source, offset, bytes, to } = step;
                const data = await this.#read(this.#checkpoint.files[source], offset, bytes);
                this.#wasm.u8.set(data, to);
                continue;
            }
            const end = step.offset + step.bytes;
            shard.set(this.#wasm.u8.subarray(step.from, step.from + step.bytes), step.offset);
            const hash = sha256(shard.subarray(step.offset, end))
                .then((digest) => this.#wasm.u8.set(digest, step.blockHash))
                .catch((error) => { failure ??= error; })
                .then(() => hashing.delete(hash));
            hashing.add(hash);
            if (step.fileHash) {
                const whole = shard.subarray(0, end);
                this.#wasm.u8.set(await sha256(whole), step.fileHash);
                await Promise.all(hashing);
                if (failure) throw failure;
                await this.#sink.write(step.file, whole);
            }
            this.#progress(step.fileHash !== 0);
        }
    }

    // The files behind the blocks.
    async #rest() {
        for (;;) {
            this.#check(this.#call('rest', this.#at));
            const step = this.#step();
            if (step.action === DONE) return;
            const data = this.#bytes(step.from, step.bytes);
            this.#wasm.u8.set(await sha256(data), step.fileHash);
            await this.#sink.write(step.file, data);
        }
    }

    #progress(always) {
        const now = performance.now(), seconds = (now - this.#start) / 1000;
        if (!always && now - this.#shown < PROGRESS_MS) return;
        this.#shown = now;
        const bytes = this.#call('made', this.#at), total = this.#call('total', this.#at);
        const bytesPerSecond = bytes / seconds;
        this.#emit({ bytes, total, bytesPerSecond, secondsLeft: (total - bytes) / bytesPerSecond });
    }
}

/** See convert() in doppler.d.ts; every option is given here, and wasm: the URL of convert.wasm.
 *  emit({ bytes, total, bytesPerSecond, secondsLeft }), emit({ note }). */
export function convert(args, { signal, emit }) {
    return new Conversion(signal, emit).run(args);
}
