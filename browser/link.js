// link.js - calls to core.js, in this thread or in a worker. A link has
//
//   call(method, args, { signal, emit })   aborting signal ends the call early; emit gets events
//   close()                                after the core was closed
//
// and `info`, what the core runs on.
import { DopplerError, packError, unpackError } from './error.js';

const never = new AbortController().signal;
const ignore = () => {};

const plain = (error) => {
    throw error instanceof DopplerError ? error : unpackError(packError(error));
};

/** The core in the caller's own thread. */
export async function openHere(options) {
    const { Core } = await import('./core.js');
    const core = await Core.open(options).catch(plain);
    return {
        info: core.info,
        call: async (method, args, { signal = never, emit = ignore } = {}) => {
            try {
                return await core[method](args, { signal, emit });
            } catch (error) {
                return plain(error);
            }
        },
        close: ignore,
    };
}

/** The core in a worker that runs worker.js; the link ends the worker. */
export async function openWorker(worker, options) {
    const link = new WorkerLink(worker);
    try {
        link.info = await link.call('open', options);
        return link;
    } catch (error) {
        link.close();
        throw error;
    }
}

/** A conversion (convert.js) in a worker of its own, or where worker is null in this thread. */
export async function convertIn(worker, args, { signal = never, emit = ignore }) {
    if (worker === null) {
        const { convert } = await import('./convert.js');
        return convert(args, { signal, emit }).catch(plain);
    }
    const link = new WorkerLink(worker);
    try {
        return await link.call('convert', args, { signal, emit });
    } finally {
        link.close();
    }
}

class WorkerLink {
    info;
    #worker;
    #calls = new Map();             // number -> { resolve, reject, emit }
    #last = 0;
    #dead = null;                   // why no call can be made any more

    constructor(worker) {
        this.#worker = worker;
        worker.addEventListener('message', ({ data }) => this.#receive(data));
        worker.addEventListener('error', (event) => {
            event.preventDefault();
            this.#die(event.message ? new Error(`worker: ${event.message}`)
                : new DopplerError('IO', 'the worker could not be started: is worker.js where '
                    + 'open({ assets }) says, and allowed by the page\'s security policy?'));
        });
    }

    async call(method, args, { signal = never, emit = ignore } = {}) {
        if (this.#dead) throw this.#dead;
        const call = ++this.#last;
        const abort = () => this.#worker.postMessage({ abort: call });
        signal.addEventListener('abort', abort);
        try {
            return await new Promise((resolve, reject) => {
                this.#calls.set(call, { resolve, reject, emit });
                this.#worker.postMessage({ call, method, args });
                if (signal.aborted) abort();
            });
        } finally {
            signal.removeEventListener('abort', abort);
            this.#calls.delete(call);
        }
    }

    close() {
        this.#die(new DopplerError('BAD_ARGUMENT', 'the engine is closed'));
        this.#worker.terminate();
    }

    #receive({ call, event, result, error }) {
        const waiting = this.#calls.get(call);
        if (event !== undefined) waiting?.emit(event);
        else if (error) waiting?.reject(unpackError(error));
        else waiting?.resolve(result);
    }

    #die(error) {
        this.#dead ??= error;
        for (const { reject } of this.#calls.values()) reject(this.#dead);
    }
}
