// chat.mjs - `doppler run --chat`: one answer to -p, or a conversation, line by line. Ctrl-C stops
// an answer; at the prompt it ends the conversation.
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { DopplerError } from '../browser/doppler.js';

const STOPPED = 130;                // as a shell reports SIGINT

async function toolsOf(file) {
    if (file === undefined) return null;
    try {
        const tools = JSON.parse(await readFile(file, 'utf8'));
        if (Array.isArray(tools)) return tools;
    } catch (error) {
        throw new DopplerError('BAD_FILE', `${file}: ${error.message}`);
    }
    throw new DopplerError('BAD_FILE', `${file}: not a list of tools`);
}

// Text to stdout as it comes, thinking to stderr, tool calls as a line each.
async function show(reply) {
    let thinking = false, text = '';
    for await (const event of reply.events()) {
        const { type, text: piece, call } = event;
        if (thinking && type !== 'thinking') process.stderr.write('\n');
        thinking = type === 'thinking';
        if (thinking) process.stderr.write(piece);
        else if (type === 'tool_call') {
            const { name, arguments: given } = call.function;
            process.stdout.write(`${text && !text.endsWith('\n') ? '\n' : ''}`
                + `[${name} ${JSON.stringify(given)}]\n`);
            text = '\n';
        } else {
            process.stdout.write(piece);
            text = piece;
        }
    }
    if (!text.endsWith('\n')) process.stdout.write('\n');
}

function jsonOf(reply, { info, loadMs }) {
    const { timeToFirstToken, duration, stop } = reply.stats;
    const firstMs = timeToFirstToken ?? 0;
    return JSON.stringify({ ids: reply.promptIds, generated: reply.ids,
        text: reply.message.content, message: reply.message, stop, backend: info.backend,
        adapter: info.adapter, load_ms: loadMs, first_token_ms: firstMs,
        decode_ms: duration - firstMs });
}

// What the user says next: of `ask`, answered by lines of stdin. null: no more.
function listener(interrupted) {
    const lines = createInterface({ input: process.stdin, output: process.stderr,
        terminal: process.stdin.isTTY === true, prompt: '' });
    const iterator = lines[Symbol.asyncIterator]();
    lines.on('SIGINT', () => { if (!interrupted()) lines.close(); });
    return {
        ask: async (prompt) => {
            if (process.stdin.isTTY) {
                lines.setPrompt(prompt);
                lines.prompt();
            }
            const { value, done } = await iterator.next();
            return done ? null : value;
        },
        close: () => lines.close(),
    };
}

/** Talks with session as the values of the command line say. host: { info, loadMs }. */
export async function chat(session, values, options, host) {
    const tools = await toolsOf(values.tools);
    const messages = values.system === undefined ? []
        : [{ role: 'system', content: values.system }];
    let answering = null;
    const interrupted = () => {
        const was = answering !== null;
        answering?.abort();
        return was;
    };
    const answer = async () => {
        answering = new AbortController();
        const reply = session.chat(messages, { ...options, tools, signal: answering.signal });
        try {
            if (values.json) for await (const text of reply) ;
            else await show(reply);
        } catch (error) {
            if (!answering.signal.aborted) throw error;
            if (!values.json) process.stdout.write('\n');
        }
        const { aborted } = answering.signal;
        answering = null;
        messages.push(reply.message);
        if (values.json && reply.stats) console.log(jsonOf(reply, host));
        if (reply.stats?.stop === 'context') {
            process.stderr.write(`doppler run: the context of ${session.context} tokens is full\n`);
        }
        return !aborted;
    };
    const stop = () => { if (!interrupted()) process.exit(STOPPED); };
    process.on('SIGINT', stop);
    try {
        if (values.prompt !== undefined) {
            messages.push({ role: 'user', content: values.prompt });
            return await answer() ? 0 : STOPPED;
        }
        return await converse(messages, answer, listener(interrupted));
    } finally {
        process.off('SIGINT', stop);
    }
}

// Turns until there are no more lines. Where tools were called, the next lines are their results.
async function converse(messages, answer, user) {
    try {
        for (;;) {
            const calls = messages.at(-1)?.tool_calls ?? [];
            for (const { id, function: { name } } of calls) {
                const content = await user.ask(`${name}> `);
                if (content === null) return 0;
                messages.push({ role: 'tool', name, tool_call_id: id, content });
            }
            if (calls.length === 0) {
                const content = await user.ask('> ');
                if (content === null) return 0;
                if (!content.trim()) continue;
                messages.push({ role: 'user', content });
            }
            await answer();
        }
    } finally {
        user.close();
    }
}
