// mirrors.js - a package's files from wherever they are: its own folder first, then in order the
// URLs that its manifest names. Bytes count once they have passed the caller's check; a place that
// fails or sends others is put aside with a warning, and asked again only when no other is left.
import { DopplerError } from './error.js';
import { HttpSource, openSource } from './storage.js';

const OWN = '';                     // the place that is the package's own folder

export class PackageSource {
    #own; #web; #signal; #warn;
    #aside = new Map();             // place -> why: the DopplerError

    /** base: as openSource; warn: gets a line for each place put aside.
     *  @param {string} base
     *  @param {AbortSignal} signal
     *  @param {(line: string) => void} warn */
    constructor(base, signal, warn) {
        this.#own = openSource(base, signal);
        this.#web = new HttpSource(null, signal);
        this.#signal = signal;
        this.#warn = warn;
    }

    /** A whole file of the package's own folder, of at most `limit` bytes. */
    whole(file, limit) { return this.#own.whole(file, limit); }

    /** The bytes that check() lets pass: it throws a DopplerError at others.
     *  @param {{file: string, offset: number, bytes: number, urls: string[]}} range
     *  @param {(data: Uint8Array) => Promise<void>} check */
    async read(range, check) {
        if (range.urls.length === 0) return this.#readOwn(range, check);
        const left = [OWN, ...range.urls], failures = [];
        let status;
        while (left.length > 0) {
            const next = Math.max(0, left.findIndex((url) => !this.#aside.has(placeOf(url))));
            const url = left[next];
            try {
                return await (url === OWN ? this.#readOwn(range, check)
                    : this.#readMirror(url, range, check));
            } catch (error) {
                this.#signal.throwIfAborted();
                if (!(error instanceof DopplerError)) throw error;
                if (this.#aside.get(placeOf(url)) === error) continue;   // another read's failure
                left.splice(next, 1);
                this.#putAside(url, range.file, error);
                failures.push(url === OWN ? error.message : `${url}: ${error.message}`);
                ({ status } = error);
            }
        }
        throw new DopplerError(status, `${range.file}: nowhere to be had: ${failures.join('; ')}`);
    }

    close() {
        this.#own.close();
        this.#web.close();
    }

    async #readOwn({ file, offset, bytes }, check) {
        const data = await this.#own.read(file, offset, bytes);
        await check(data);
        return data;
    }

    async #readMirror(url, { file, offset, bytes }, check) {
        if (!URL.canParse(url)) throw new DopplerError('IO', 'no URL that can be fetched');
        const data = await this.#web.readUrl(new URL(url), file, offset, bytes);
        await check(data);
        return data;
    }

    // Reads that wait there end at once and go elsewhere.
    #putAside(url, file, error) {
        const place = placeOf(url);
        if (this.#aside.has(place)) return;
        this.#aside.set(place, error);
        if (url === OWN) this.#own.end?.(error);
        else this.#web.end(error, (open) => placeOf(open) === place);
        this.#warn(`${file}: ${place || 'the package\'s own folder'} is put aside: `
            + error.message);
    }
}

// A URL's folder stands for all files of a mirror.
function placeOf(url) {
    return url === OWN || !URL.canParse(url) ? url : new URL('.', url).href;
}
