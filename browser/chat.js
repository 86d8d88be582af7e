// chat.js - a conversation as the model's own Jinja template writes it, and which of it came from
// the caller.
//
// Whatever the caller gave (contents, tool results, tools ...) must not become control tokens, only
// what the template itself writes may. So the template runs twice: as it is, and with stand-ins
// (characters of the private use area) for those characters of the caller's texts that special
// tokens begin or end with. Where both agree, the stand-ins show where the caller's characters
// went, and each is marked for the tokenizer, which makes no special token of it (doppler.h,
// DOPPLER_SPECIAL_UNMARKED). Text without any special token's spelling has the same ids either way.
import { Environment, Interpreter, Template } from '../build/jinja.js';
import { DopplerError } from './error.js';

const MARK = 0xFF;
const PRIVATE_FIRST = 0xE000, PRIVATE_LAST = 0xF8FF;
const LONGEST_RANGE = 100_000;      // as Jinja's sandbox

// ---- what templates call, as transformers offers it

class Raised extends Error {}

function range(start, stop, step = 1) {
    const [from, to] = stop === undefined ? [0, start] : [start, stop];
    const length = Math.max(Math.ceil((to - from) / step), 0);
    if (!(length <= LONGEST_RANGE)) throw new Error(`range of ${length} numbers`);
    return Array.from({ length }, (_, i) => from + i * step);
}

const MONTHS = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August',
    'September', 'October', 'November', 'December'];
const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const dayOfYear = (d) => Math.round((Date.UTC(d.getFullYear(), d.getMonth(), d.getDate())
    - Date.UTC(d.getFullYear(), 0, 0)) / 86_400_000);
// strftime's directives: [width, value]; numbers are filled with zeros to the width.
const DIRECTIVES = {
    Y: (d) => [4, d.getFullYear()], y: (d) => [2, d.getFullYear() % 100],
    m: (d) => [2, d.getMonth() + 1], d: (d) => [2, d.getDate()], j: (d) => [3, dayOfYear(d)],
    H: (d) => [2, d.getHours()], I: (d) => [2, d.getHours() % 12 || 12],
    M: (d) => [2, d.getMinutes()], S: (d) => [2, d.getSeconds()],
    p: (d) => [0, d.getHours() < 12 ? 'AM' : 'PM'],
    B: (d) => [0, MONTHS[d.getMonth()]], b: (d) => [0, MONTHS[d.getMonth()].slice(0, 3)],
    A: (d) => [0, DAYS[d.getDay()]], a: (d) => [0, DAYS[d.getDay()].slice(0, 3)],
    '%': () => [0, '%'],
};

/** Python's strftime in the C locale; "-" before a letter leaves out zeros. */
export function strftime(date, format) {
    return format.replace(/%(-?)([a-zA-Z%])/g, (directive, bare, letter) => {
        if (!Object.hasOwn(DIRECTIVES, letter)) return directive;
        const [width, value] = DIRECTIVES[letter](date);
        return String(value).padStart(bare ? 0 : width, '0');
    });
}

const compiled = new Map();         // source -> Template; a page has few models

function compile(source) {
    if (!compiled.has(source)) {
        try {
            compiled.set(source, new Template(source));
        } catch (error) {
            throw new DopplerError('UNSUPPORTED', `chat template: ${error.message}`,
                { cause: error });
        }
    }
    return compiled.get(source);
}

// Why not template.render(): months would be in the page's language, ranges without bounds.
function run(template, context, now) {
    const globals = {
        true: true, false: false, none: null, True: true, False: false, None: null, range,
        raise_exception: (message) => { throw new Raised(message); },
        strftime_now: (format) => strftime(now, format),
    };
    try {
        const environment = new Environment();
        for (const [name, value] of Object.entries({ ...globals, ...context })) {
            environment.set(name, value);
        }
        return new Interpreter(environment).run(template.parsed).value;
    } catch (error) {
        throw new DopplerError('BAD_ARGUMENT', error instanceof Raised ? error.message
            : `chat template: ${error.message}`, { cause: error });
    }
}

// ---- what came from the caller

const escape = (text) => text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&').replace(/-/g, '\\x2d');

function allTexts(value) {
    const texts = [];
    mapTexts(value, (text) => (texts.push(text), text));
    return texts;
}

// Changes every string inside, keys too.
function mapTexts(value, change) {
    if (typeof value === 'string') return change(value);
    if (Array.isArray(value)) return value.map((item) => mapTexts(item, change));
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value)
        .map(([key, item]) => [change(key), mapTexts(item, change)]));
}

// Stand-ins for the characters that special tokens begin or end with: Map from character to
// stand-in, none of which occurs in `used`.
function standIns(specials, used) {
    const edges = new Set();
    for (const text of specials) {
        const characters = Array.from(text);
        if (characters.length > 0) edges.add(characters[0]).add(characters.at(-1));
    }
    const standing = new Map();
    let next = PRIVATE_FIRST;
    for (const character of edges) {
        while (used.includes(String.fromCharCode(next))) next++;
        if (next > PRIVATE_LAST) throw new DopplerError('UNSUPPORTED', 'too many special tokens');
        standing.set(character, String.fromCharCode(next++));
    }
    return standing;
}

// Ways to put stand-ins into a text, the safest first: for all edges of special tokens, or, where
// a template looks for such characters itself, only for those of whole special tokens.
function substitutions(specials, standing) {
    const one = new RegExp(`[${[...standing.keys()].map(escape).join('')}]`, 'gu');
    const whole = [...specials].filter(Boolean).sort((a, b) => b.length - a.length);
    const stand = (character) => standing.get(character) ?? character;
    const ends = (text) => {
        const characters = Array.from(text);
        characters[0] = stand(characters[0]);
        if (characters.length > 1) characters.push(stand(characters.pop()));
        return characters.join('');
    };
    return [
        (text) => text.replace(one, stand),
        (text) => text.replace(new RegExp(whole.map(escape).join('|'), 'gu'), ends),
    ];
}

const join = (parts) => {
    const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
        bytes.set(part, at);
        at += part.length;
    }
    return bytes;
};

// UTF-8 of a text in which stand-ins become marked characters.
function markedBytes(text, standing) {
    const encoder = new TextEncoder(), back = new Map([...standing].map(([c, s]) => [s, c]));
    const parts = text.split(new RegExp(`([${[...back.keys()].join('')}])`));
    return join(parts.flatMap((part, i) => (i % 2 ? [[MARK], encoder.encode(back.get(part))]
        : [encoder.encode(part)])));
}

/** Renders messages. tokens: bos_token and others; specials: texts of all special tokens; given:
 *  the caller's variables (messages, tools ...).
 *  @returns {{ text: string, marked: Uint8Array }} marked: for DOPPLER_SPECIAL_UNMARKED. */
export function render(source, tokens, specials, given, { now = new Date(), trusted = false }) {
    const template = compile(source);
    const text = run(template, { ...tokens, ...given }, now);
    const used = [text, source, ...allTexts({ tokens, given })].join('');
    const standing = standIns(specials, used);
    const plain = { text, marked: new TextEncoder().encode(text) };
    if (trusted || standing.size === 0) return plain;
    const back = new Map([...standing].map(([character, stand]) => [stand, character]));
    const restore = (stood) => stood.replace(new RegExp(`[${[...back.keys()].join('')}]`, 'g'),
        (stand) => back.get(stand));
    for (const change of substitutions(specials, standing)) {
        // names of variables stay
        const changed = Object.fromEntries(Object.entries(given)
            .map(([name, value]) => [name, mapTexts(value, change)]));
        let stood = null;
        try {
            stood = run(template, { ...tokens, ...changed }, now);
        } catch {
            continue;                            // it looked for those characters, and misses them
        }
        if (restore(stood) === text) return { text, marked: markedBytes(stood, standing) };
    }
    throw new DopplerError('UNSUPPORTED', 'the chat template gives special tokens in a message '
        + 'a meaning of its own: remove them, or allow them with trusted: true');
}
