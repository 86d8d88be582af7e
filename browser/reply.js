// reply.js - what a model answered, taken apart as it comes: text to show, thinking, tool calls.
//
// Each family's format is a coroutine that is given one symbol at a time (a character, a Marker or
// END) and looks no further, so that the result cannot depend on how the stream was cut.

const END = null;

/** A control token of the format. */
class Marker {
    constructor(text) { this.text = text; }
}

const isText = (symbol) => typeof symbol === 'string';
const isSpace = (symbol) => isText(symbol) && /\s/.test(symbol);

// ---- values

/** The object that text says in JSON; else the text. */
function jsonObject(text) {
    try {
        const value = JSON.parse(text);
        if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
    } catch {
        // a text
    }
    return text;
}

// The call that an object describes; null when it describes none.
function callOf(object) {
    const call = object?.function ?? object;
    if (typeof call?.name !== 'string') return null;
    const given = call.arguments ?? call.parameters ?? {};
    return { name: call.name, arguments: isText(given) ? jsonObject(given) : given,
        ...(isText(object.id) && { id: object.id }) };
}

// A bracketed value: [its text, the symbol behind it]. Whole when its brackets are balanced.
function* bracketed(symbol, quotes) {
    const open = [];
    let raw = '', quote = null, escaped = false;
    for (; isText(symbol); symbol = yield) {
        raw += symbol;
        if (quote) {
            if (escaped) escaped = false;
            else if (symbol === '\\') escaped = true;
            else if (symbol === quote) quote = null;
        } else if (quotes.includes(symbol)) quote = symbol;
        else if ('{[('.includes(symbol)) open.push(symbol);
        else if ('}])'.includes(symbol) && (open.pop(), open.length === 0)) return [raw, yield];
    }
    return [raw, symbol];
}

// Calls in JSON: an object, a list of them, or several behind one another; null: none.
function jsonCalls(text) {
    const objects = [];
    let rest = text.trim();
    while (rest) {
        const scanner = bracketed(rest[0], '"');
        let step = scanner.next(), at = 1;
        while (!step.done && at < rest.length) step = scanner.next(rest[at++]);
        if (!step.done) step = scanner.next(END);
        const [raw] = step.value;
        try {
            objects.push(...[JSON.parse(raw)].flat());
        } catch {
            return null;
        }
        rest = rest.slice(raw.length).replace(/^[\s;,]+/, '');
    }
    const calls = objects.map(callOf);
    return calls.length > 0 && calls.every(Boolean) ? calls : null;
}

/** Reads Python's literals and calls with keyword arguments. */
class Python {
    #text; #at = 0;
    constructor(text) { this.#text = text; }

    #take(pattern) {
        const sticky = new RegExp(`\\s*(?:${pattern})`, 'uy');
        sticky.lastIndex = this.#at;
        const found = sticky.exec(this.#text);
        if (found) this.#at = sticky.lastIndex;
        return found;
    }

    #need(pattern) {
        const found = this.#take(pattern);
        if (!found) throw new SyntaxError(`wanted ${pattern}`);
        return found;
    }

    // What stands between brackets, separated by commas.
    #list(close, item) {
        const items = [];
        while (!this.#take(close)) {
            items.push(item());
            if (!this.#take(',')) {
                this.#need(close);
                break;
            }
        }
        return items;
    }

    #string(quote) {
        const [, raw] = this.#need(quote === '"' ? '((?:[^"\\\\]|\\\\[^])*)"'
            : "((?:[^'\\\\]|\\\\[^])*)'");
        const named = { n: '\n', t: '\t', r: '\r', '\n': '' };
        return raw.replace(/\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[^])/g, (_, code) => (
            code.length > 1 ? String.fromCharCode(parseInt(code.slice(1), 16))
                : named[code] ?? code));
    }

    #value() {
        const quote = this.#take('["\']');
        if (quote) return this.#string(quote[0].trim());
        if (this.#take('\\[')) return this.#list('\\]', () => this.#value());
        if (this.#take('\\(')) return this.#list('\\)', () => this.#value());
        if (this.#take('\\{')) {
            return Object.fromEntries(this.#list('\\}', () => {
                const key = this.#value();
                this.#need(':');
                return [String(key), this.#value()];
            }));
        }
        const word = this.#take('(True|False|None)\\b');
        if (word) return { True: true, False: false, None: null }[word[1]];
        return Number(this.#need('([-+]?(?:\\d+\\.?\\d*|\\.\\d+)(?:[eE][-+]?\\d+)?)')[1]);
    }

    #call() {
        const [, name] = this.#need('([\\p{L}_][\\p{L}\\p{N}_.]*)\\s*\\(');
        if (name === 'print') {
            const call = this.#call();
            this.#need('\\)');
            return call;
        }
        const pairs = this.#list('\\)', () => {
            const [, key] = this.#need('([\\p{L}_][\\p{L}\\p{N}_]*)\\s*=');
            return [key, this.#value()];
        });
        return { name: name.replace(/\.call$/, ''), arguments: Object.fromEntries(pairs) };
    }

    /** Calls, one behind the other or in a list; null when there is anything else. */
    calls() {
        const calls = [];
        try {
            if (this.#take('\\[')) calls.push(...this.#list('\\]', () => this.#call()));
            while (!this.#take('$')) {
                calls.push(this.#call());
                this.#take(';');
            }
        } catch {
            return null;
        }
        return calls.length > 0 ? calls : null;
    }
}

const anyCalls = (text) => jsonCalls(text) ?? new Python(text).calls();

// ---- the formats: each takes out (an Events) and whether tools were offered

function* plain(out) {
    for (let symbol = yield; symbol !== END; symbol = yield) {
        if (isText(symbol)) out.add('text', symbol);
    }
}

const HARMONY_KINDS = new Map([['analysis', 'thinking'], ['commentary', 'commentary']]);
const HARMONY_SECTIONS = { '<|channel|>': 'channel', '<|constrain|>': 'constraint' };
const HARMONY_ENDS = ['<|end|>', '<|call|>', '<|return|>', '<|start|>'];

// GPT-OSS, from behind "<|start|>assistant": [to=RECIPIENT] <|channel|> CHANNEL [to=RECIPIENT]
// [<|constrain|> TYPE] <|message|> BODY, one such message after the other.
// Source: openai/harmony, docs/format.md.
function* harmony(out) {
    let symbol = yield, first = true;
    while (symbol !== END) {
        const head = { role: '', channel: '', constraint: '' };
        let section = 'role', bare = false;
        for (; symbol !== END && symbol.text !== '<|message|>'; symbol = yield) {
            if (isText(symbol)) head[section] += symbol;
            else if (HARMONY_SECTIONS[symbol.text]) section = HARMONY_SECTIONS[symbol.text];
            else Object.assign(head, { role: '', channel: '', constraint: '' });
            // a model that does not keep to the format begins with its text
            bare = first && section === 'role' && !'to='.startsWith(head.role.trim().slice(0, 3));
            if (bare) break;
        }
        first = false;
        if (bare) out.add('text', head.role);
        const to = /(?:^|\s)to=(\S+)/.exec(`${head.role} ${head.channel}`)?.[1];
        const foreign = !bare && !/^\s*(assistant\b|to=|$)/.test(head.role);
        const channel = head.channel.trim().split(/\s/)[0];
        const kind = HARMONY_KINDS.get(channel) ?? 'text';
        let body = '', begun = symbol !== END;
        if (begun) symbol = yield;
        for (; symbol !== END && !HARMONY_ENDS.includes(symbol.text); symbol = yield) {
            if (!isText(symbol)) continue;
            if (to) body += symbol;
            else if (!foreign) out.add(kind, symbol);
        }
        if (to && begun && !foreign) {
            out.call({ name: to.replace(/^functions\./, ''), arguments: jsonObject(body) });
        }
        if (symbol !== END) symbol = yield;
    }
}

// At a reply's start: calls as JSON objects or, with lists, as "[f(x=1)]". Returns the symbol
// behind them; what is none comes as text.
function* leadingCalls(out, symbol, opening) {
    let lead = '';
    for (; isSpace(symbol); symbol = yield) lead += symbol;
    while (isText(symbol) && opening.includes(symbol)) {
        const [raw, next] = yield* bracketed(symbol, symbol === '[' ? '"\'' : '"');
        const calls = anyCalls(raw);
        symbol = next;
        if (!calls) {
            lead += raw;
            break;
        }
        calls.forEach((call) => out.call(call));
        for (lead = ''; isText(symbol) && /[\s;,]/.test(symbol); symbol = yield) lead += symbol;
        if (symbol === END) lead = '';
    }
    out.add('text', lead);
    return symbol;
}

// LLaMA 3.x: JSON at the start, or <|python_tag|> and JSON, a built-in tool's call or code.
// Source: meta-llama/llama-models, models/llama3_1/prompt_format.md.
function* llama(out, tools) {
    let symbol = yield;
    if (tools) symbol = yield* leadingCalls(out, symbol, '{');
    for (; symbol !== END && symbol.text !== '<|python_tag|>'; symbol = yield) {
        if (isText(symbol)) out.add('text', symbol);
    }
    if (symbol === END) return;
    let raw = '';
    for (symbol = yield; symbol !== END; symbol = yield) if (isText(symbol)) raw += symbol;
    const calls = anyCalls(raw) ?? [{ name: 'python', arguments: { code: raw } }];
    if (raw.trim()) calls.forEach((call) => out.call(call));
}

// Mistral: [TOOL_CALLS] and a list in JSON, or since v11 [TOOL_CALLS] NAME [CALL_ID] ID [ARGS] JSON
// for each call; thinking between [THINK] and [/THINK].
// Source: mistral-common, tokens/tokenizers/instruct.py.
function* mistral(out) {
    let symbol = yield, kind = 'text';
    while (symbol !== END) {
        if (symbol.text !== '[TOOL_CALLS]') {
            if (isText(symbol)) out.add(kind, symbol);
            else if (symbol.text === '[THINK]') kind = 'thinking';
            else if (symbol.text === '[/THINK]') kind = 'text';
            symbol = yield;
            continue;
        }
        const parts = { '[TOOL_CALLS]': '' };
        let section = '[TOOL_CALLS]';
        for (symbol = yield; symbol !== END && symbol.text !== '[TOOL_CALLS]'; symbol = yield) {
            if (isText(symbol)) parts[section] += symbol;
            else if (['[CALL_ID]', '[ARGS]'].includes(symbol.text)) {
                section = symbol.text;
                parts[section] = '';
            }
        }
        const { '[TOOL_CALLS]': name, '[CALL_ID]': id, '[ARGS]': given } = parts;
        if (given !== undefined) {
            out.call({ name: name.trim(), arguments: jsonObject(given),
                ...(id !== undefined && { id: id.trim() }) });
        } else {
            const calls = jsonCalls(name);
            if (calls) calls.forEach((call) => out.call(call));
            else out.add('text', name);
        }
    }
}

const TOOL_FENCE = /^```(?:tool_code|tool_call|json|python)$/;

// Gemma 3, which has no tokens for tools: calls in Python or JSON, at the start or in a fence.
// Source: ai.google.dev/gemma/docs/capabilities/function-calling.
function* gemma(out, tools) {
    let symbol = yield;
    if (tools) symbol = yield* leadingCalls(out, symbol, '{[');
    while (symbol !== END) {
        if (!isText(symbol)) {
            symbol = yield;
            continue;
        }
        if (!tools || symbol !== '`') {
            out.add('text', symbol);
            symbol = yield;
            continue;
        }
        let raw = '';                            // "```tool_code\n"
        for (; isText(symbol) && symbol !== '\n' && /^(`{1,3}|```\w{0,9})$/.test(raw + symbol);
            symbol = yield) raw += symbol;
        if (symbol !== '\n' || !TOOL_FENCE.test(raw)) {
            out.add('text', raw);
            continue;
        }
        let body = '';
        for (; isText(symbol) && !body.endsWith('\n```'); symbol = yield) body += symbol;
        const calls = anyCalls(body.replace(/\n```$/, ''));
        if (calls) calls.forEach((call) => out.call(call));
        else out.add('text', raw + body);
    }
}

// Hermes, on LLaMA and others: <tool_call> JSON </tool_call>, thinking in <think> </think>.
function* hermes(out) {
    let symbol = yield, kind = 'text';
    while (symbol !== END) {
        if (isText(symbol)) out.add(kind, symbol);
        else if (symbol.text === '<think>') kind = 'thinking';
        else if (symbol.text === '</think>') kind = 'text';
        else if (symbol.text === '<tool_call>') {
            let raw = '';
            for (symbol = yield; isText(symbol); symbol = yield) raw += symbol;
            const calls = jsonCalls(raw);
            if (calls) calls.forEach((call) => out.call(call));
            else out.add('text', raw);
            if (symbol?.text !== '</tool_call>') continue;
        }
        symbol = yield;
    }
}

// said: markers that a model may spell with ordinary tokens.
const formats = {
    plain: { run: plain, markers: [] },
    harmony: { run: harmony, markers: ['<|message|>', ...HARMONY_ENDS,
        ...Object.keys(HARMONY_SECTIONS)] },
    llama: { run: llama, markers: ['<|python_tag|>'] },
    mistral: { run: mistral,
        markers: ['[TOOL_CALLS]', '[CALL_ID]', '[ARGS]', '[THINK]', '[/THINK]'] },
    gemma: { run: gemma, markers: [] },
    hermes: { run: hermes, markers: ['<tool_call>', '</tool_call>', '<think>', '</think>'],
        said: true },
};

/** The names of the formats. */
export const replyFormats = Object.keys(formats);

/** The format that a chat template speaks. */
export function formatOf(template) {
    const signs = { '<|channel|>': 'harmony', '<tool_call>': 'hermes', '[TOOL_CALLS]': 'mistral',
        '<start_of_turn>': 'gemma', '<|start_header_id|>': 'llama' };
    const sign = Object.keys(signs).find((text) => template.includes(text));
    return signs[sign] ?? 'plain';
}

// ---- streaming

// What a format says: events of one step, and the whole message.
class Events {
    events = [];
    content = { text: '', thinking: '', commentary: '' };
    calls = [];

    /** callsBefore: of the conversation, for the numbers of calls. */
    constructor(callsBefore) { this.callsBefore = callsBefore; }

    add(type, text) {
        if (!text) return;
        this.content[type] += text;
        const last = this.events.at(-1);
        if (last?.type === type) last.text += text;
        else this.events.push({ type, text });
    }

    // Templates of Mistral want ids of nine letters and digits.
    call({ name, arguments: given, id }) {
        const number = String(this.callsBefore + this.calls.length).padStart(5, '0');
        const call = { id: id ?? `call${number}`, type: 'function',
            function: { name, arguments: given } };
        this.calls.push(call);
        this.events.push({ type: 'tool_call', call });
    }
}

/** Takes a reply apart. Pieces in, events out. */
export class ReplyParser {
    #out; #run; #markers;
    #said;                          // whether markers are looked for in the text
    #held = '';                     // may become a marker

    /** spelled: special tokens come as text. */
    constructor(format, { tools = false, spelled = false, callsBefore = 0 } = {}) {
        const { run, markers, said = false } = formats[format];
        this.#out = new Events(callsBefore);
        this.#run = run(this.#out, tools);
        this.#run.next();
        this.#markers = markers;
        this.#said = said || spelled;
    }

    /** Text and then, perhaps, the literal text of a special token. */
    push(text, special = null) {
        if (this.#said) this.#search(text);
        else this.#feed(text);
        if (special !== null) {
            this.#flush();
            if (this.#markers.includes(special)) this.#run.next(new Marker(special));
        }
        return this.#take();
    }

    /** The reply is over. */
    end() {
        this.#flush();
        this.#run.next(END);
        return this.#take();
    }

    /** All of it, as a message of the conversation. */
    get message() {
        const { content: { text, thinking, commentary }, calls } = this.#out;
        return { role: 'assistant', content: text, ...(thinking && { thinking }),
            ...(commentary && { commentary }), ...(calls.length > 0 && { tool_calls: calls }) };
    }

    #feed(text) {
        for (let i = 0; i < text.length; i++) this.#run.next(text[i]);
    }

    #flush() {
        this.#feed(this.#held);
        this.#held = '';
    }

    #search(text) {
        for (let i = 0; i < text.length; i++) {
            this.#held += text[i];
            while (this.#held && !this.#markers.some((marker) => marker.startsWith(this.#held))) {
                this.#feed(this.#held[0]);
                this.#held = this.#held.slice(1);
            }
            if (!this.#markers.includes(this.#held)) continue;
            this.#run.next(new Marker(this.#held));
            this.#held = '';
        }
    }

    #take() { return this.#out.events.splice(0); }
}
