// convert_files.js - where a conversion reads and writes: files that a page's user picked, URLs,
// or in Node a folder; into the page's own file system, a picked folder, or in Node a folder.
//
// A checkpoint is { folder, file, files: [{ name, bytes, read(offset, bytes) }], close() }: what
// loader/checkpoint.h wants of a host; a file in a folder of the folder is "FOLDER/FILE". A sink takes whole files, then commit() or abort().
import { DopplerError } from './error.js';
import { HttpSource, nodeModule } from './storage.js';

function ioError(what) {
    return (cause) => {
        if (cause instanceof DopplerError) throw cause;
        throw new DopplerError('IO', `${what}: ${cause.message}`, { cause });
    };
}

// ---- checkpoints

// A picked folder's files say which folders they are in, that one first.
const pathOf = ({ webkitRelativePath, name }) => (webkitRelativePath || `/${name}`).split('/');

function blobFile(file, name = pathOf(file).slice(1).join('/')) {
    return { name, bytes: file.size,
        read: async (offset, bytes) => new Uint8Array(await file.slice(offset, offset + bytes)
            .arrayBuffer().catch(ioError(name))) };
}

// Read by ranges where the server says how long it is; else, and where it is compressed on the way,
// fetched whole. Links signed for GET alone refuse HEAD, so it is asked for and broken off.
async function urlFile(href, web, signal) {
    const url = new URL(href);
    const name = decodeURIComponent(url.pathname.split('/').at(-1));
    const stop = new AbortController();
    const lost = (error) => {
        signal.throwIfAborted();
        return ioError(url)(error);
    };
    const response = await fetch(url, { signal: AbortSignal.any([signal, stop.signal]) })
        .catch(lost);
    if (!response.ok) throw new DopplerError('IO', `${url}: HTTP ${response.status}`);
    const bytes = response.headers.get('content-length');
    if (bytes === null || response.headers.has('content-encoding')) {
        return blobFile(new File([await response.blob().catch(lost)], name));
    }
    stop.abort();
    return { name, bytes: Number(bytes),
        read: (offset, count) => web.readUrl(url, name, offset, count) };
}

// A file: URL, of a folder or of a file and all that are beside it.
async function nodeCheckpoint(href) {
    const files = await nodeModule('fs/promises');
    const { fileURLToPath } = await nodeModule('url');
    const { basename, dirname, join } = await nodeModule('path');
    const path = fileURLToPath(href).replace(/(.)\/+$/, '$1');
    const isFolder = (await files.stat(path).catch(ioError(path))).isDirectory();
    const folder = isFolder ? path : dirname(path);
    const handles = new Map();
    const read = async (name, offset, bytes) => {
        if (!handles.has(name)) handles.set(name, await files.open(join(folder, name)));
        const out = new Uint8Array(bytes);
        const { bytesRead } = await handles.get(name).read(out, 0, bytes, offset);
        if (bytesRead === bytes) return out;
        throw new DopplerError('IO',
            `${name}: ends at byte ${offset + bytesRead}, wanted ${offset + bytes}`);
    };
    const list = [];
    const add = async (prefix, deeper) => {
        for (const last of await files.readdir(join(folder, prefix)).catch(ioError(folder))) {
            const name = prefix + last;
            const about = await files.stat(join(folder, name)).catch(() => null);
            if (about?.isDirectory() && deeper) await add(`${name}/`, false);
            if (!about?.isFile()) continue;
            list.push({ name, bytes: about.size,
                read: (offset, bytes) => read(name, offset, bytes).catch(ioError(name)) });
        }
    };
    await add('', isFolder);
    return { folder: basename(folder), file: isFolder ? null : basename(path), files: list,
        close: () => Promise.all([...handles.values()].map((handle) => handle.close())) };
}

async function handleFiles(folder, prefix = '') {
    const list = [];
    for await (const entry of folder.values()) {
        const name = prefix + entry.name;
        if (entry.kind === 'file') list.push(blobFile(await entry.getFile(), name));
        else if (prefix === '') list.push(...await handleFiles(entry, `${name}/`));
    }
    return list;
}

/** from: a file: URL; a URL, a File or an array of these; or a FileSystemDirectoryHandle. URLs are
 *  strings. */
export async function openCheckpoint(from, signal) {
    if (typeof from === 'string' && from.startsWith('file:')) return nodeCheckpoint(from);
    if (from.kind === 'directory') {
        return { folder: from.name, file: null, files: await handleFiles(from), close() {} };
    }
    const web = new HttpSource(null, signal);
    const all = Array.isArray(from) ? from : [from];
    const files = await Promise.all(all.map((one) => (typeof one === 'string'
        ? urlFile(one, web, signal) : blobFile(one))));
    const folder = all.map((one) => (typeof one === 'string'
        ? decodeURIComponent(new URL('.', one).pathname.split('/').at(-2))
        : pathOf(one)[0])).find((name) => name) ?? 'model';
    const gguf = files.map(({ name }) => name).filter((name) => name.endsWith('.gguf')).sort()[0];
    const file = gguf ?? (Array.isArray(from) ? null : files[0].name);
    return { folder, file, files, close: () => web.close() };
}

// ---- sinks

// A FileSystemDirectoryHandle: the page's own (OPFS) or one that the user picked. The manifest
// comes last: without it there is no package.
class HandleSink {
    #folder;
    #written = [];

    static async open(folder) {
        for await (const name of folder.keys()) {
            throw new DopplerError('IO', `${folder.name}: is not empty but holds ${name}`);
        }
        const sink = new HandleSink();
        sink.#folder = folder;
        return sink;
    }

    async write(name, data) {
        const handle = await this.#folder.getFileHandle(name, { create: true });
        this.#written.push(name);
        // Only workers have it, and only for the page's own files; it is the faster one.
        const sync = await handle.createSyncAccessHandle?.().catch(() => null);
        if (sync) {
            try {
                const bytes = sync.write(data, { at: 0 });
                sync.flush();
                if (bytes === data.byteLength) return;
                throw new Error(`took ${bytes} of ${data.byteLength} bytes`);
            } finally {
                sync.close();
            }
        }
        const stream = await handle.createWritable();
        await stream.write(data);
        await stream.close();
    }

    commit() {}

    async abort() {
        for (const name of this.#written) await this.#folder.removeEntry(name).catch(() => {});
    }
}

// A file: URL of a folder that must not exist: written beside it, synced and renamed.
class NodeSink {
    #files; #path; #partial; #join;

    static async open(href) {
        const sink = new NodeSink();
        const { fileURLToPath } = await nodeModule('url');
        const files = sink.#files = await nodeModule('fs/promises');
        sink.#join = (await nodeModule('path')).join;
        sink.#path = fileURLToPath(href).replace(/(.)\/+$/, '$1');
        sink.#partial = `${sink.#path}.partial`;
        if (await files.stat(sink.#path).catch(() => null)) {
            throw new DopplerError('IO', `${sink.#path}: exists already; remove it or choose `
                + 'another name');
        }
        await files.mkdir(sink.#partial);
        return sink;
    }

    async write(name, data) {
        const handle = await this.#files.open(this.#join(this.#partial, name), 'w');
        try {
            for (let at = 0; at < data.byteLength;) {
                at += (await handle.write(data, at, data.byteLength - at, at)).bytesWritten;
            }
            await handle.sync();
        } finally {
            await handle.close();
        }
    }

    commit() { return this.#files.rename(this.#partial, this.#path); }

    abort() { return this.#files.rm(this.#partial, { recursive: true, force: true }); }
}

/** to: a FileSystemDirectoryHandle, empty; a file: URL; or a sink itself. Failures are IO. */
export async function openSink(to) {
    const what = typeof to === 'string' ? to : to.name ?? 'sink';
    const sink = await (typeof to === 'string' ? NodeSink.open(to)
        : to.kind === 'directory' ? HandleSink.open(to) : Promise.resolve(to))
        .catch(ioError(what));
    return {
        write: async (name, data) => {
            try {
                await sink.write(name, data);
            } catch (error) {
                ioError(`${what}: ${name}`)(error);
            }
        },
        commit: async () => sink.commit?.(),
        abort: async () => sink.abort?.(),
    };
}
