// reply.test.mjs - answers of each family taken apart, whatever pieces they come in.
import assert from 'node:assert/strict';
import { readFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseReply } from '../../browser/doppler.js';
import { formatOf, replyFormats, ReplyParser } from '../../browser/reply.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const weather = (city, n = 0, more = {}) => ({ id: `call${String(n).padStart(5, '0')}`,
    type: 'function', function: { name: 'weather', arguments: { city } }, ...more });
const call = (name, given, n = 0) => ({ id: `call${String(n).padStart(5, '0')}`, type: 'function',
    function: { name, arguments: given } });

// [what it shows, format, tools offered, answer, message without its role]
const cases = [
    ['a final channel', 'harmony', false,
        '<|channel|>analysis<|message|>2 + 2, easy.<|end|><|start|>assistant<|channel|>final'
        + '<|message|>It is 4.', { content: 'It is 4.', thinking: '2 + 2, easy.' }],
    ['thinking alone', 'harmony', false, '<|channel|>analysis<|message|>Hm', { content: '',
        thinking: 'Hm' }],
    ['a preamble and a call, addressed behind the channel', 'harmony', true,
        '<|channel|>commentary<|message|>I look.<|end|><|start|>assistant<|channel|>commentary '
        + 'to=functions.weather <|constrain|>json<|message|>{"city": "Rome"}<|call|>',
        { content: '', commentary: 'I look.', tool_calls: [weather('Rome')] }],
    ['a call addressed in the role', 'harmony', true,
        ' to=functions.weather<|channel|>commentary json<|message|>{"city":"Oslo"}',
        { content: '', tool_calls: [weather('Oslo')] }],
    ['a built-in tool with code', 'harmony', true,
        '<|channel|>analysis to=python code<|message|>print(1)<|call|>',
        { content: '', tool_calls: [call('python', 'print(1)')] }],
    ['what it makes up for others is dropped', 'harmony', true,
        '<|channel|>final<|message|>a<|end|><|start|>user<|message|>b<|end|><|start|>weather '
        + 'to=assistant<|channel|>commentary<|message|>{}<|end|>', { content: 'a' }],
    ['no format at all', 'harmony', false, '  Hello <|end|>', { content: '  Hello ' }],
    ['a channel that nobody knows', 'harmony', false, '<|channel|>constructor<|message|>a',
        { content: 'a' }],
    ['nothing', 'harmony', true, '', { content: '' }],
    ['an unfinished header', 'harmony', true, '<|channel|>commentary to=functions.wea',
        { content: '' }],
    ['an unfinished call keeps its text', 'harmony', true,
        '<|channel|>commentary to=functions.f<|message|>{"a": ', { content: '',
            tool_calls: [call('f', '{"a": ')] }],

    ['a call in JSON', 'llama', true, '{"name": "weather", "parameters": {"city": "Rome"}}',
        { content: '', tool_calls: [weather('Rome')] }],
    ['two calls', 'llama', true, '\n{"name": "weather", "parameters": {"city": "Rome {1}"}}; '
        + '{"type": "function", "function": {"name": "weather", "parameters": {"city": "\\"}"}}}',
    { content: '', tool_calls: [weather('Rome {1}'), weather('"}', 1)] }],
    ['JSON that is no call', 'llama', true, '{"city": "Rome"} is JSON', {
        content: '{"city": "Rome"} is JSON' }],
    ['JSON when no tools were offered', 'llama', false, '{"name": "weather", "parameters": {}}',
        { content: '{"name": "weather", "parameters": {}}' }],
    ['a call and then words', 'llama', true, '{"name": "f", "parameters": {}}\nDone.',
        { content: '\nDone.', tool_calls: [call('f', {})] }],
    ['braces never closed', 'llama', true, ' {"name": "f', { content: ' {"name": "f' }],
    ['python_tag with JSON', 'llama', true,
        '<|python_tag|>{"name": "weather", "parameters": {"city": "Rome"}}',
        { content: '', tool_calls: [weather('Rome')] }],
    ['a built-in tool', 'llama', false, 'Well.<|python_tag|>brave_search.call(query="a, (b)")',
        { content: 'Well.', tool_calls: [call('brave_search', { query: 'a, (b)' })] }],
    ['code', 'llama', false, '<|python_tag|>x = 1\nprint(x)', { content: '',
        tool_calls: [call('python', { code: 'x = 1\nprint(x)' })] }],

    ['a list of calls', 'mistral', true, 'I look. [TOOL_CALLS] [{"name": "weather", "arguments": '
        + '{"city": "Rome"}, "id": "abcdef123"}, {"name": "weather", "arguments": '
        + '{"city": "Oslo"}}]', { content: 'I look. ',
        tool_calls: [weather('Rome', 0, { id: 'abcdef123' }), weather('Oslo', 1)] }],
    ['calls by name', 'mistral', true, '[TOOL_CALLS]weather[CALL_ID]abcdef123[ARGS]{"city": "Rome"}'
        + '[TOOL_CALLS]weather[ARGS]{"city": "Oslo"}', { content: '',
        tool_calls: [weather('Rome', 0, { id: 'abcdef123' }), weather('Oslo', 1)] }],
    ['thinking', 'mistral', false, '[THINK]Hm.[/THINK]Yes.', { content: 'Yes.', thinking: 'Hm.' }],
    ['calls that are none', 'mistral', true, '[TOOL_CALLS] nothing', { content: ' nothing' }],

    ['a fence of tool_code', 'gemma', true, 'I look.\n```tool_code\nweather(city="Rome")\n'
        + "print(weather(city='O\\'slo'))\n```\nSo.", { content: 'I look.\n\nSo.',
        tool_calls: [weather('Rome'), weather("O'slo", 1)] }],
    ['a list in Python', 'gemma', true, "[weather(city='Rome'), f(a=[1, -2.5e3], b={'c': (True, "
        + 'None)}, d="\\u00e9\\n")]', { content: '', tool_calls: [weather('Rome'),
        call('f', { a: [1, -2500], b: { c: [true, null] }, d: 'é\n' }, 1)] }],
    ['a fence of JSON', 'gemma', true, '```json\n{"name": "weather", "parameters": '
        + '{"city": "Rome"}}\n```', { content: '', tool_calls: [weather('Rome')] }],
    ['bare JSON', 'gemma', true, '{"name": "weather", "parameters": {"city": "Rome"}}',
        { content: '', tool_calls: [weather('Rome')] }],
    ['code that is only shown', 'gemma', true, 'See `x` and\n```python\nx = 1\n```\n```js\nf()\n```'
        + ' ``', { content: 'See `x` and\n```python\nx = 1\n```\n```js\nf()\n``` ``' }],
    ['a remark in brackets', 'gemma', true, '[Note] hello', { content: '[Note] hello' }],
    ['fences when no tools were offered', 'gemma', false, '```tool_code\nf()\n```',
        { content: '```tool_code\nf()\n```' }],

    ['thinking and calls', 'hermes', true, '<think>Hm <b></think>\n<tool_call>\n{"name": "weather",'
        + ' "arguments": {"city": "Rome"}}\n</tool_call><tool_call>{"name": "f", "arguments": {}}',
    { content: '\n', thinking: 'Hm <b>', tool_calls: [weather('Rome'), call('f', {}, 1)] }],
    ['tags of other kinds', 'hermes', true, 'a <tool_cal <tool_caller> b', {
        content: 'a <tool_cal <tool_caller> b' }],
    ['everything', 'plain', true, '{"name": "f"} <|x|>', { content: '{"name": "f"} <|x|>' }],
];

// Of neighbouring texts of one type, one.
function joined(events) {
    const out = [];
    for (const event of events) {
        if (event.text && out.at(-1)?.type === event.type) out.at(-1).text += event.text;
        else out.push({ ...event });
    }
    return out;
}

function random(seed) {
    let state = seed >>> 0;
    return (n) => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return Math.floor(state / 2 ** 32 * n);
    };
}

const markers = /<\|[a-z_]+\|>|\[\/?[A-Z_]+\]/;

// Special tokens as such, the text between them in random pieces.
function asTokens(parser, answer, below) {
    const events = [];
    for (const [i, part] of answer.split(new RegExp(`(${markers.source})`)).entries()) {
        if (i % 2) {
            events.push(...parser.push('', part));
            continue;
        }
        for (let at = 0; at < part.length;) {
            const n = 1 + below(6);
            events.push(...parser.push(part.slice(at, at += n)));
        }
    }
    return [...events, ...parser.end()];
}

function asText(parser, answer, below) {
    const events = [];
    for (let at = 0; at < answer.length;) {
        const n = 1 + below(answer.length);
        events.push(...parser.push(answer.slice(at, at += n)));
    }
    return [...events, ...parser.end()];
}

for (const [what, format, tools, answer, want] of cases) {
    test(`${format}: ${what}`, () => {
        assert.deepEqual(parseReply(answer, { format, tools: tools ? [{}] : [] }),
            { role: 'assistant', ...want });
        const whole = new ReplyParser(format, { tools, spelled: true });
        const events = joined([...whole.push(answer), ...whole.end()]);
        const below = random(answer.length);
        for (let i = 0; i < 50; i++) {
            const spelled = new ReplyParser(format, { tools, spelled: true });
            assert.deepEqual(joined(asText(spelled, answer, below)), events);
            assert.deepEqual(spelled.message, whole.message);
            if (format === 'plain') continue;    // there all spelled tokens are text
            const tokens = new ReplyParser(format, { tools });
            assert.deepEqual(joined(asTokens(tokens, answer, below)), events);
            assert.deepEqual(tokens.message, whole.message);
        }
    });
}

test('any mixture of a format\'s parts gives the same in any pieces, and never throws', () => {
    const below = random(7);
    const parts = ['<|channel|>', '<|message|>', '<|start|>', '<|end|>', '<|call|>', 'assistant',
        'analysis', 'final', '__proto__', ' to=f', '<|constrain|>', '<|python_tag|>', '[TOOL_CALLS]', '[ARGS]',
        '[CALL_ID]', '[THINK]', '[/THINK]', '<tool_call>', '</tool_call>', '<think>', '{', '}',
        '[', ']', '(', ')', '"', "'", '\\', '`', '```', '```tool_code', '\n', ' ', ';', ',',
        '{"name": "f", "arguments": {}}', 'f(x=1)', 'print(', 'a', '<', '<|', '😀', 'é'];
    let calls = 0;
    for (let i = 0; i < 4000; i++) {
        const some = Array.from({ length: 1 + below(14) }, () => parts[below(parts.length)]);
        const answer = some.join('');
        const format = replyFormats[below(replyFormats.length)], tools = below(2) === 1;
        const whole = new ReplyParser(format, { tools, spelled: true });
        const events = joined([...whole.push(answer), ...whole.end()]);
        const cut = new ReplyParser(format, { tools, spelled: true });
        assert.deepEqual(joined(asText(cut, answer, below)), events, JSON.stringify(answer));
        calls += whole.message.tool_calls?.length ?? 0;
    }
    assert.ok(calls > 100, `${calls} calls`);
});

test('what streams is given out at once', () => {
    const parser = new ReplyParser('harmony');
    parser.push('', '<|channel|>');
    parser.push('final');
    assert.deepEqual(parser.push('', '<|message|>'), []);
    assert.deepEqual(parser.push('It '), [{ type: 'text', text: 'It ' }]);
    assert.deepEqual(parser.push('is <|end|>'), [{ type: 'text', text: 'is <|end|>' }]);
    assert.deepEqual(parser.push('', '<|end|>'), []);
});

test('calls are numbered through a conversation', () => {
    const parser = new ReplyParser('llama', { tools: true, callsBefore: 41 });
    parser.push('{"name": "f", "parameters": {}}');
    parser.end();
    assert.equal(parser.message.tool_calls[0].id, 'call00041');
});

test('a long answer takes time of its length', () => {
    const parser = new ReplyParser('gemma', { tools: true });
    const piece = '`'.repeat(1000) + '{'.repeat(1000);
    for (let i = 0; i < 200; i++) parser.push(piece);
    parser.end();
    assert.equal(parser.message.content.length, 400_000);
});

test('the format is told from the template', () => {
    const micro = (name) => readFileSync(
        join(root, 'tests', 'fixtures', 'micro', name, 'chat_template.jinja'), 'utf8');
    const want = { gptoss: 'harmony', llama3: 'llama', gemma3: 'gemma', mistral: 'plain' };
    for (const [name, format] of Object.entries(want)) assert.equal(formatOf(micro(name)), format);
    assert.equal(formatOf(''), 'plain');
    assert.equal(formatOf("{{ '[TOOL_CALLS]' }}"), 'mistral');
    assert.equal(formatOf("{{ '<|im_start|>' }}<tool_call>"), 'hermes');
});

const harmonyFolder = join(root, '..', 'shared', 'vectors', 'chat', 'harmony-test-data');
test('a stream of OpenAI\'s own tests', { skip: !existsSync(harmonyFolder)
    && '../shared/vectors is not here' }, () => {
    const text = readFileSync(join(harmonyFolder, 'test_streamable_parser.txt'), 'utf8');
    const { content, thinking, tool_calls: calls } = parseReply(text, { format: 'harmony' });
    assert.equal(content, '');
    assert.match(thinking, /^User asks "Who is the current US president\?".*browse to confirm\.$/s);
    assert.deepEqual(calls, [call('browser.search', { query: 'current US president July 2025',
        topn: 10, source: 'news' })]);
});
