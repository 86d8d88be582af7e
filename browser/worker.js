// worker.js - core.js in a module worker. Messages in: { call, method, args } starts a call,
// { abort: call } aborts it. Messages out, any number: { call, event }; then one of
// { call, result } and { call, error }. The first call is 'open', or 'convert', which needs no
// core.
import { Core } from './core.js';
import { packError } from './error.js';

let core = null;
const running = new Map();          // call -> AbortController

async function answer(call, method, args) {
    const stop = new AbortController();
    running.set(call, stop);
    try {
        const io = { signal: stop.signal, emit: (event) => postMessage({ call, event }) };
        if (method === 'convert') {
            const { convert } = await import('./convert.js');
            return postMessage({ call, result: await convert(args, io) });
        }
        if (method !== 'open') return postMessage({ call, result: await core[method](args, io) });
        core = await Core.open(args);
        postMessage({ call, result: core.info });
    } catch (error) {
        postMessage({ call, error: packError(error) });
    } finally {
        running.delete(call);
    }
}

addEventListener('message', ({ data: { abort, call, method, args } }) => {
    if (abort === undefined) answer(call, method, args);
    else running.get(abort)?.abort();
});
