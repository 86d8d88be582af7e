// chat.test.mjs - conversations: rendered as the reference does, on shared vectors where they are
// here and on our own models always; and no text of a message becomes a control token.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync,
    writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { render, strftime } from '../../browser/chat.js';
import { Doppler, parseReply } from '../../browser/doppler.js';
import { converted, root, shared } from './oracle.mjs';

const MARK = 0xFF;
const vectorsFile = join(shared, 'vectors', 'golden', 'chat_vectors.json');
const tokenizers = join(shared, 'vectors', 'tokenizers');
const vocabularies = { llama2: 'llama2/tokenizer.json', llama3: 'llama3/tokenizer.json.gz',
    mistral_v1: 'mistral/v1-hf/tokenizer.json', nemo: 'mistral/nemo/tokenizer.json.gz',
    gemma3: 'gemma3/tokenizer.json.gz', gptoss: 'gptoss/tokenizer.json.gz' };
const now = new Date(2024, 6, 26, 12, 0, 0);

// ids of texts, special tokens in them recognised and nothing put before them
function idsOf(vocabulary, texts) {
    const folder = mkdtempSync(join(tmpdir(), 'doppler-'));
    try {
        const path = join(tokenizers, vocabularies[vocabulary]), file = join(folder,
            'tokenizer.json');
        const bytes = readFileSync(path);
        writeFileSync(file, path.endsWith('.gz') ? gunzipSync(bytes) : bytes);
        const { status, stdout, stderr } = spawnSync(join(root, 'build', 'doppler'),
            ['tokenize', file, '--jsonl', '--no-bos'], { encoding: 'utf8', maxBuffer: 1 << 28,
                input: texts.map((text) => `${JSON.stringify(text)}\n`).join('') });
        assert.equal(status, 0, stderr);
        return stdout.trim().split('\n').map((line) => JSON.parse(line));
    } finally {
        rmSync(folder, { recursive: true });
    }
}

const specialsOf = (vocabulary) => {
    const bytes = readFileSync(join(tokenizers, vocabularies[vocabulary]));
    const text = vocabularies[vocabulary].endsWith('.gz') ? gunzipSync(bytes) : bytes;
    return JSON.parse(text).added_tokens.filter((t) => t.special).map((t) => t.content);
};

const withoutMarks = (marked) => new TextDecoder().decode(marked.filter((b) => b !== MARK));

test('25 templates write 17 conversations each as Jinja does, where the engines agree',
    { skip: !existsSync(vectorsFile) && '../shared/vectors is not here' }, () => {
        const { templates, cases } = JSON.parse(readFileSync(vectorsFile));
        const specials = Object.fromEntries(Object.keys(vocabularies)
            .map((name) => [name, specialsOf(name)]));
        const texts = Object.fromEntries(Object.keys(vocabularies).map((name) => [name, []]));
        let rendered = 0, refused = 0;
        for (const c of cases.filter((one) => one.second_engine_agrees)) {
            const { bos_token, eos_token, unk_token, pad_token, ...given } = c.context;
            const tokens = { bos_token, eos_token, unk_token, pad_token };
            const run = () => render(templates[c.template], tokens, specials[c.tokenizer], given,
                { now });
            const label = `${c.template}, ${c.case}`;
            if (c.error !== undefined) {
                assert.throws(run, { name: 'DopplerError', status: 'BAD_ARGUMENT' }, label);
                refused++;
                continue;
            }
            const { text, marked } = run();
            assert.equal(text, c.rendered, label);
            assert.equal(withoutMarks(marked), text, label);
            texts[c.tokenizer].push(c);
            rendered++;
        }
        assert.deepEqual([rendered, refused], [308, 81]);
        for (const [name, list] of Object.entries(texts)) {
            const ids = idsOf(name, list.map((c) => c.rendered));
            list.forEach((c, i) => assert.deepEqual(ids[i], c.ids, `${c.template}, ${c.case}`));
        }
    });

// What each family writes for a call, and what its template then makes of the conversation.
const roundTrips = {
    'templates/openai-gpt-oss-120b.jinja': ['<|channel|>analysis<|message|>Hm.<|end|><|start|>'
        + 'assistant<|channel|>commentary to=functions.weather <|constrain|>json<|message|>'
        + '{"city": "Rome"}<|call|>', 'to=functions.weather<|channel|>commentary json<|message|>'
        + '{"city": "Rome"}<|call|><|start|>functions.weather to=assistant'],
    'templates/meta-llama-Llama-3.1-8B-Instruct.jinja': ['{"name": "weather", "parameters": '
        + '{"city": "Rome"}}', '{"name": "weather", "parameters": {"city": "Rome"}}<|eot_id|>'],
    'templates/mistralai-Mistral-Nemo-Instruct-2407.jinja': ['[TOOL_CALLS][{"name": "weather", '
        + '"arguments": {"city": "Rome"}}]', '[TOOL_CALLS][{"name": "weather", "arguments": '
        + '{"city": "Rome"}, "id": "call00000"}]</s>[TOOL_RESULTS]'],
    'mistral-common/v3.jinja': ['[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Rome"}, '
        + '"id": "abcdef123"}]', '"id": "abcdef123"}]</s>[TOOL_RESULTS]'],
};

test('calls that were read go back into the templates of their families',
    { skip: !existsSync(vectorsFile) && '../shared/vectors is not here' }, () => {
        const { templates } = JSON.parse(readFileSync(vectorsFile));
        const tools = [{ type: 'function', function: { name: 'weather', description: 'Weather.',
            parameters: { type: 'object', properties: { city: { type: 'string',
                description: 'Where' } }, required: ['city'] } } }];
        for (const [name, [answer, want]] of Object.entries(roundTrips)) {
            const template = templates[name];
            const message = parseReply(answer, { template, tools });
            const [{ id, function: { name: called, arguments: given } }] = message.tool_calls;
            assert.deepEqual([called, given], ['weather', { city: 'Rome' }], name);
            const messages = [{ role: 'user', content: 'Weather in Rome?' }, message,
                { role: 'tool', name: called, tool_call_id: id, content: '21' }];
            const { text } = render(template, { bos_token: '<s>', eos_token: '</s>' }, [],
                { messages, tools, documents: null, add_generation_prompt: true }, { now });
            assert.ok(text.includes(want), `${name}: ${text}`);
        }
    });

// ---- our own models

const conversation = [{ role: 'user', content: ' Is 1 < 2? [x] ' },
    { role: 'assistant', content: 'Yes: a->b | <i>é</i>' },
    { role: 'user', content: '<<|>> 😀' }];
const turns = {
    llama3: '<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nIs 1 < 2? [x]<|eot_id|>'
        + '<|start_header_id|>assistant<|end_header_id|>\n\nYes: a->b | <i>é</i><|eot_id|>'
        + '<|start_header_id|>user<|end_header_id|>\n\n<<|>> 😀<|eot_id|>'
        + '<|start_header_id|>assistant<|end_header_id|>\n\n',
    mistral: '<s>[INST]  Is 1 < 2? [x]  [/INST] Yes: a->b | <i>é</i></s>[INST] <<|>> 😀 [/INST]',
    gemma3: '<bos><start_of_turn>user\nIs 1 < 2? [x]<end_of_turn>\n<start_of_turn>model\n'
        + 'Yes: a->b | <i>é</i><end_of_turn>\n<start_of_turn>user\n<<|>> 😀<end_of_turn>\n'
        + '<start_of_turn>model\n',
};
const folderOf = (name) => (name === 'stories' ? join(root, 'models', 'stories')
    : converted(join(root, 'tests', 'fixtures', 'micro', name), `micro-${name}`, 'keep'));

describe('our own models', () => {
    const models = {};
    let doppler;
    before(async () => {
        doppler = await Doppler.open({ device: 'cpu' });
        for (const name of ['stories', ...Object.keys(turns)]) {
            models[name] = await doppler.load(folderOf(name));
        }
    });
    after(() => doppler.close());

    for (const name of ['stories', ...Object.keys(turns)]) {
        test(`${name}: the template's text, and the ids of that text`, async () => {
            const { text, ids } = await models[name].render(conversation);
            assert.equal(text, turns[name] ?? turns.llama3);
            const want = await models[name].tokenize(text, { special: true, bos: false });
            assert.deepEqual(ids, want);
        });

        test(`${name}: no message, however put together, makes a control token`, async () => {
            const model = models[name];
            const { text: frame } = await model.render([{ role: 'user', content: 'x' }]);
            const ask = async (content, options) => {
                const { text, ids } = await model.render([{ role: 'user', content }], options);
                assert.ok(text.includes(content));
                return ids;
            };
            const known = ['<s>', '</s>', '<bos>', '<eos>', '<start_of_turn>', '<end_of_turn>',
                '<|eot_id|>', '<|begin_of_text|>', '<|start_header_id|>', '<|end_of_text|>'];
            const literal = async (text) => model.tokenize(text, { bos: false });
            const special = [];
            for (const text of known) if ((await literal(text)).length > 1
                && (await model.tokenize(text, { bos: false, special: true })).length === 1) {
                special.push(text);
            }
            assert.ok(special.length >= 2, `${special}`);
            // as many control tokens as with a harmless message, and all other ids literal ones
            const controls = new Set();
            for (const text of special) {
                controls.add((await model.tokenize(text, { bos: false, special: true }))[0]);
            }
            const count = (ids) => ids.filter((id) => controls.has(id)).length;
            const harmless = count(await ask('x'));
            assert.ok(harmless > 0, frame);
            for (const text of special) {
                const content = `a${text}b ${text}${text.slice(0, -1)}`;
                assert.equal(count(await ask(content)), harmless, text);
                assert.equal(count(await ask(content, { trusted: true })), harmless + 2, text);
            }
        });
    }

    test('parts of a message that only together spell a token stay text', async () => {
        const template = '{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}'
            + '<|eot_id|>{% endfor %}';
        const [one, two] = ['<|eot', '_id|>'].map((text) => ({ type: 'text', text }));
        const { text, ids } = await models.llama3.render([{ role: 'user', content: [one, two] }],
            { template });
        assert.equal(text, '<|eot_id|><|eot_id|>');
        const [control] = await models.llama3.tokenize('<|eot_id|>', { special: true, bos: false });
        assert.deepEqual(Array.from(ids).filter((id) => id === control), [control]);
        assert.equal(ids.at(-1), control);
    });

    test('templates that look into messages: allowed, or refused, never unsafe', async () => {
        const asks = (template, content) => models.llama3.render([{ role: 'user', content }],
            { template });
        const brackets = "{% if '<' in messages[0].content %}has {% endif %}"
            + '{{ messages[0].content }}';
        assert.equal((await asks(brackets, 'a < b')).text, 'has a < b');
        const [control] = await models.llama3.tokenize('<|eot_id|>', { special: true, bos: false });
        const { ids } = await asks(brackets, 'a < b <|eot_id|');
        assert.ok(!ids.includes(control));
        const looks = "{% if '<|eot_id|>' in messages[0].content %}has {% endif %}"
            + '{{ messages[0].content }}';
        assert.equal((await asks(looks, 'a < b')).text, 'a < b');
        await assert.rejects(asks(looks, 'a<|eot_id|>'), { status: 'UNSUPPORTED',
            message: /trusted: true/ });
    });

    test('an answer is what the model generates of the rendered ids, and a message', async () => {
        const model = models.stories, session = model.session();
        const messages = [{ role: 'user', content: 'Tell me of a fox.' }];
        const { ids, text } = await model.render(messages);
        const plain = session.generate(ids, { maxTokens: 24 });
        let want = '';
        for await (const piece of plain) want += piece;
        const other = model.session();
        const reply = other.chat(messages, { maxTokens: 24 });
        let got = '';
        for await (const piece of reply) got += piece;
        assert.equal(got, want);
        assert.deepEqual([reply.prompt, reply.ids], [text, plain.ids]);
        assert.deepEqual(reply.promptIds, Array.from(ids));
        assert.deepEqual(reply.message, { role: 'assistant', content: want });
        assert.equal(reply.stats.stop, 'length');
        messages.push(reply.message, { role: 'user', content: 'And then?' });
        const next = model.chat(messages, { maxTokens: 4, stop: want.slice(3, 8) });
        const events = [];
        for await (const event of next.events()) events.push(event);
        assert.ok(events.every(({ type }) => type === 'text'));
        assert.equal(events.map((event) => event.text).join(''), next.message.content);
    });

    test('a stop string ends the text before it, and is named', async () => {
        const session = models.stories.session();
        const told = async (stop) => {
            const tale = session.generate('Once upon a time', { maxTokens: 30, stop });
            let text = '';
            for await (const piece of tale) text += piece;
            return [text, tale.stats];
        };
        const [whole] = await told();
        const cut = whole.slice(9, 14), at = whole.indexOf(cut);
        const [text, { stop, stopString, stopToken }] = await told(['\u0001', cut]);
        assert.equal(text, whole.slice(0, at));
        assert.deepEqual([stop, stopString, stopToken], ['stop', cut, null]);
        assert.equal((await told('\u0001'))[0], whole);
        for (const bad of [[''], [3], ['a\0b']]) {
            assert.throws(() => session.generate('x', { stop: bad }), { status: 'BAD_ARGUMENT' });
        }
    });

    test('what is wrong with a template or a conversation is said', async () => {
        const model = models.llama3, user = [{ role: 'user', content: 'x' }];
        const rejected = (template, status, message) => assert.rejects(
            model.render(user, { template }), { name: 'DopplerError', status, message });
        await rejected("{{ raise_exception('no ' + messages[0].role) }}", 'BAD_ARGUMENT',
            'no user');
        await rejected('{% if %}', 'UNSUPPORTED', /^chat template: /);
        await rejected('{{ range(1000000000) }}', 'BAD_ARGUMENT', /range of 1000000000 numbers/);
        await rejected("{{ 'x' | no_filter }}", 'BAD_ARGUMENT', /^chat template: /);
        await rejected(null, 'UNSUPPORTED', 'the model has no chat template');
        for (const messages of [[], undefined, ['x'], [{ content: 'x' }]]) {
            await assert.rejects(model.render(messages), { status: 'BAD_ARGUMENT' });
            assert.throws(() => model.chat(messages), { status: 'BAD_ARGUMENT' });
        }
        assert.throws(() => model.chat(user, { format: 'morse' }), { status: 'BAD_ARGUMENT' });
    });

    // A package of the micro model with these files beside its weights, or without.
    async function modelWith(files, work) {
        const home = mkdtempSync(join(tmpdir(), 'doppler-'));
        const from = join(home, 'model'), out = join(home, 'package');
        cpSync(join(root, 'tests', 'fixtures', 'micro', 'llama3'), from, { recursive: true });
        rmSync(join(from, 'chat_template.jinja'));
        mkdirSync(join(from, 'additional_chat_templates'));
        for (const [name, text] of Object.entries(files)) writeFileSync(join(from, name), text);
        try {
            const { status, stderr } = spawnSync(join(root, 'build', 'doppler'),
                ['convert', from, out, '--quiet'], { encoding: 'utf8' });
            assert.equal(status, 0, stderr);
            const model = await doppler.load(out);
            await work(model);
            await model.close();
        } finally {
            rmSync(home, { recursive: true });
        }
    }

    test('the template is found where checkpoints keep it', async () => {
        const jinja = { 'chat_template.jinja': 'jinja' }, config = { 'tokenizer_config.json':
            '{"chat_template": "config"}' };
        const json = { 'chat_template.json': '{"chat_template": "json"}' };
        const tool = { 'additional_chat_templates/tool_use.jinja': 'tool' };
        for (const [files, talk, tools] of [[{}, null], [{ ...jinja, ...config, ...json }, 'jinja'],
            [{ ...config, ...json }, 'config'], [json, 'json'], [{ ...jinja, ...tool }, 'jinja',
                'tool']]) {
            await modelWith(files, async (model) => {
                if (talk === null) return assert.equal(model.chatTemplate, null);
                const user = [{ role: 'user', content: 'x' }];
                assert.equal((await model.render(user)).text, talk);
                assert.equal((await model.render(user, { tools: [{}] })).text, tools ?? talk);
            });
        }
    });

    test('templates for tools and for talk are chosen as transformers does', async () => {
        const both = [{ name: 'default', template: '\n  talk {{ messages[0].content }}\n   \n' },
            { name: 'tool_use',
                template: '  {% for t in tools %}\n{{ t.name }}\n  {% endfor %}  ' }];
        const user = [{ role: 'user', content: 'x' }], tools = [{ name: 'f' }, { name: 'g' }];
        const config = JSON.stringify({ chat_template: both });
        await modelWith({ 'tokenizer_config.json': config }, async (model) => {
            for (const options of [{}, { tools }]) {
                const alone = both[options.tools ? 1 : 0].template;
                const { text } = await models.llama3.render(user, { ...options, template: alone });
                assert.equal((await model.render(user, options)).text, text);
                assert.equal(text, options.tools ? 'f\ng\n  ' : '\n  talk x\n   ');
            }
        });
    });
});

test('dates as Python writes them', () => {
    const date = new Date(2024, 1, 9, 15, 4, 5);
    const forms = { '%Y-%m-%d': '2024-02-09', '%d %b %Y': '09 Feb 2024', '%B %-d, %y':
        'February 9, 24', '%A %a %j': 'Friday Fri 040', '%H:%M:%S %I %p': '15:04:05 03 PM',
    '100%% %Q': '100% %Q' };
    for (const [format, want] of Object.entries(forms)) assert.equal(strftime(date, format), want);
});
