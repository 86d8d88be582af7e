// args.mjs - command line options in Node, with the manners of tools/options.c: exit code 2 and
// one line for wrong usage, --help from the same table.
import { parseArgs } from 'node:util';

const HELP_COLUMN = 28;

/** Wrong usage of the command line. */
export class UsageError extends Error {}

// Each kind of value: what was wanted, and the value of a word, undefined when it is none.
const whole = (word) => (/^\d+$/.test(word) ? Number(word) : undefined);
const kinds = {
    text: ['text', (word) => word],
    texts: ['text', (word) => word],             // a list: may be given again
    count: ['an integer', whole],
    seed: ['an integer', (word) => (/^\d+$/.test(word) && BigInt(word) < 2n ** 64n ? BigInt(word)
        : undefined)],
    real: ['a number', (word) => (/^-?(\d|\.\d)/.test(word) && Number.isFinite(Number(word))
        ? Number(word) : undefined)],
};

function valueOf(name, { kind, min, max }, word) {
    if (Array.isArray(kind)) {
        if (kind.includes(word)) return word;
        throw new UsageError(`--${name} ${word}: wanted one of ${kind.join('|')}`);
    }
    const [wanted, parse] = kinds[kind];
    const value = parse(word);
    if (value !== undefined && !(value < min) && !(value > max)) return value;
    const range = min === undefined ? '' : ` from ${min} to ${max}`;
    throw new UsageError(`--${name} ${word}: wanted ${wanted}${range}`);
}

function help(verb, { summary, operands, options }) {
    const row = (left, text) => `  ${left.length + 2 < HELP_COLUMN ? left.padEnd(HELP_COLUMN - 2)
        : `${left}\n${' '.repeat(HELP_COLUMN)}`}${text}\n`;
    let out = `usage: ${['doppler', verb, ...Object.keys(operands), '[options]'].join(' ')}\n\n`
        + `${summary}\n\n`;
    for (const [name, text] of Object.entries(operands)) out += row(name, text);
    for (const [name, { short, kind, metavar, help: text }] of Object.entries(options)) {
        const value = Array.isArray(kind) ? kind.join('|') : metavar;
        out += row(`${short ? `-${short}, ` : '    '}--${name}${value ? ` ${value}` : ''}`, text);
    }
    return out + row('-h, --help', 'print this');
}

// parseArgs wants a value that starts with a dash in the option's own word: --temp=-1.
function joinValues(argv, options) {
    const out = [];
    for (let i = 0; i < argv.length; i++) {
        const option = Object.entries(options).find(([name, { kind, short }]) =>
            kind !== 'flag' && (argv[i] === `--${name}` || (short && argv[i] === `-${short}`)));
        if (argv[i] === '--') return [...out, ...argv.slice(i)];
        if (option && i + 1 < argv.length) out.push(`--${option[0]}=${argv[++i]}`);
        else out.push(argv[i]);
    }
    return out;
}

/** Reads argv against { summary, operands: { NAME: help }, options: { name: { short, kind, metavar,
 *  default, required, min, max, help } } }; kind is 'flag', a name in `kinds` or a list of words.
 *  Returns values by name, operands among them, or null after having printed the help. */
export function parse(verb, table, argv) {
    const options = { help: { type: 'boolean', short: 'h' } };
    for (const [name, { short, kind }] of Object.entries(table.options)) {
        options[name] = { type: kind === 'flag' ? 'boolean' : 'string', ...(short && { short }),
            multiple: kind === 'texts' };
    }
    let words;
    try {
        words = parseArgs({ args: joinValues(argv, table.options), options,
            allowPositionals: true });
    } catch (error) {
        throw new UsageError(error.message.split(/\. |\n/)[0]);
    }
    if (words.values.help) {
        process.stdout.write(help(verb, table));
        return null;
    }
    const names = Object.keys(table.operands);
    if (words.positionals.length > names.length) {
        throw new UsageError(`unexpected argument ${words.positionals[names.length]}`);
    }
    const values = {};
    for (const [i, name] of names.entries()) {
        if (words.positionals[i] === undefined) throw new UsageError(`missing ${name}`);
        values[name] = words.positionals[i];
    }
    for (const [name, option] of Object.entries(table.options)) {
        const word = words.values[name];
        if (word === undefined && option.required) throw new UsageError(`missing --${name}`);
        values[name] = word === undefined || option.kind === 'flag' ? word ?? option.default
            : Array.isArray(word) ? word.map((item) => valueOf(name, option, item))
                : valueOf(name, option, word);
    }
    return values;
}
