// learned.js - keeps what the engine has found out about a device: a text for each device's name,
// in Node in a file of the user's cache folder, else in the origin's CacheStorage. Where storage is
// denied nothing is kept, and nothing fails.
import { nodeModule } from './storage.js';

const CACHE = 'doppler-devices';
const IN_NODE = Boolean(globalThis.process?.versions?.node);

async function keyOf(name) {
    const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(name));
    const bytes = Array.from(new Uint8Array(digest, 0, 8));
    return bytes.map((b) => b.toString(16).padStart(2, '0')).join('');
}

async function nodeFile(key) {
    const { homedir } = await nodeModule('os');
    const { join } = await nodeModule('path');
    const { XDG_CACHE_HOME, LOCALAPPDATA } = process.env;
    const folder = join(XDG_CACHE_HOME || LOCALAPPDATA || join(homedir(), '.cache'), 'doppler');
    const files = await nodeModule('fs/promises');
    return { folder, path: join(folder, `device-${key}.txt`), files };
}

const cacheUrl = (key) => `https://doppler.invalid/device-${key}.txt`;

/** The text kept under a device's name; null where there is none. */
export async function readLearned(name) {
    try {
        const key = await keyOf(name);
        if (IN_NODE) {
            const { files, path } = await nodeFile(key);
            return await files.readFile(path, 'utf8');
        }
        const found = await (await caches.open(CACHE)).match(cacheUrl(key));
        return found ? await found.text() : null;
    } catch {
        return null;
    }
}

/** Keeps a text in place of the older one. Never fails. */
export async function writeLearned(name, text) {
    try {
        const key = await keyOf(name);
        if (!IN_NODE) {
            await (await caches.open(CACHE)).put(cacheUrl(key), new Response(text));
            return;
        }
        const { files, folder, path } = await nodeFile(key);
        await files.mkdir(folder, { recursive: true });
        const part = `${path}.${process.pid}`;
        await files.writeFile(part, text);
        await files.rename(part, path);
    } catch {
        // not kept
    }
}
