// chat.test.mjs - `doppler run --chat` and `--stop`, as somebody at a shell uses them.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { converted, root } from '../models/oracle.mjs';

const micro = converted(join(root, 'tests', 'fixtures', 'micro', 'llama3'), 'micro-llama3', 'keep');
const home = mkdtempSync(join(tmpdir(), 'doppler-'));
after(() => rmSync(home, { recursive: true }));
const launcher = join(root, 'doppler');

function doppler(args, input = '') {
    const { status, stdout, stderr } = spawnSync(process.execPath,
        [launcher, 'run', micro, '--device', 'cpu', '--kv', 'f32', ...args],
        { cwd: root, encoding: 'utf8', input });
    return { status, stdout, stderr };
}

const answers = (out) => out.trim().split('\n').map((line) => JSON.parse(line));

test('one answer: the same ids as its prompt without --chat', () => {
    const chat = doppler(['--chat', '--system', 'Be brief.', '-p', 'Hi', '-n', '6', '--json']);
    assert.equal(chat.status, 0, chat.stderr);
    const [{ ids, generated, message, text, stop }] = answers(chat.stdout);
    assert.deepEqual([message.role, message.content], ['assistant', text]);
    assert.equal(stop, 'length');
    const plain = doppler(['--ids', ids.join(), '-n', '6', '--json']);
    assert.deepEqual(JSON.parse(plain.stdout).generated, generated);
    const prompt = '<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.'
        + '<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>'
        + '<|start_header_id|>assistant<|end_header_id|>\n\n';
    const spelled = doppler(['-p', prompt, '--special', '--no-bos', '-n', '6', '--json']);
    assert.deepEqual(JSON.parse(spelled.stdout).ids, ids);
    const shown = doppler(['--chat', '--system', 'Be brief.', '-p', 'Hi', '-n', '6']);
    assert.equal(shown.stdout, text.endsWith('\n') ? text : `${text}\n`);
});

test('lines of stdin are a conversation', () => {
    const { status, stdout, stderr } = doppler(['--chat', '-n', '4', '--json'],
        'One\n\nTwo <|eot_id|>\n');
    assert.equal(status, 0, stderr);
    const [first, second] = answers(stdout);
    assert.ok(second.ids.length > first.ids.length + first.generated.length);
    assert.deepEqual(second.ids.slice(0, first.ids.length), first.ids);
});

test('tools are offered to the template', () => {
    const tools = join(home, 'tools.json'), package_ = join(home, 'package');
    const from = join(home, 'from');
    spawnSync('cp', ['-r', join(root, 'tests', 'fixtures', 'micro', 'llama3'), from]);
    writeFileSync(join(from, 'chat_template.jinja'),
        '{{ tools | tojson }}{{ messages[0].content }}');
    const { status, stderr } = spawnSync(process.execPath, [launcher, 'convert', from, package_,
        '--quiet'], { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    writeFileSync(tools, JSON.stringify([{ name: 'weather' }]));
    const run = (...args) => spawnSync(process.execPath, [launcher, 'run', package_,
        '--device', 'cpu', '--chat', '-p', 'Hi', '-n', '1', ...args], { encoding: 'utf8' });
    const { ids } = JSON.parse(run('--tools', tools, '--json').stdout);
    const want = spawnSync(process.execPath, [launcher, 'tokenize', package_, '--no-bos'],
        { encoding: 'utf8', input: '[{"name": "weather"}]Hi' });
    assert.equal(ids.join(' '), want.stdout.trim().replace(/,/g, ' '));
    writeFileSync(tools, '{}');
    assert.match(run('--tools', tools).stderr, /BAD_FILE: .*tools\.json: not a list of tools/);
    assert.match(run('--tools', join(home, 'none')).stderr, /BAD_FILE: .*ENOENT/);
});

test('Ctrl-C stops an answer and leaves what was said', async () => {
    const child = spawn(process.execPath, [launcher, 'run', join(root, 'models', 'stories'),
        '--device', 'cpu', '--chat', '-p', 'Tell me a long tale.']);
    let out = '';
    child.stdout.on('data', (data) => {
        if (!out) child.kill('SIGINT');
        out += data;
    });
    const code = await new Promise((resolve) => { child.on('exit', resolve); });
    assert.equal(code, 130);
    assert.ok(out.length > 0);
});

test('--stop ends the text, natively and in Node', () => {
    for (const host of [[], ['--host', 'node']]) {
        const run = (...args) => JSON.parse(doppler(['-p', 'Once', '-n', '12', '--json', ...host,
            ...args]).stdout);
        const { text } = run();
        const cut = text.slice(3, 6);
        assert.equal(run('--stop', '\u0001', '--stop', cut).text, text.slice(0, text.indexOf(cut)));
        assert.match(doppler(['-p', 'x', '--stop', '', ...host]).stderr, /BAD_ARGUMENT: /);
    }
});

test('what does not go together is usage', () => {
    for (const [args, message] of [
        [['--system', 'x', '-p', 'x'], /--system needs --chat/],
        [['--tools', 'x', '-p', 'x'], /--tools needs --chat/],
        [['--chat', '--ids', '1'], /--ids not with --chat/],
    ]) {
        const { status, stderr } = doppler(args);
        assert.equal(status, 2);
        assert.match(stderr, message);
    }
    const { status, stderr } = spawnSync(join(root, 'build', 'doppler'), ['run', micro, '--chat'],
        { encoding: 'utf8' });
    assert.equal(status, 1);
    assert.match(stderr, /UNSUPPORTED: --chat needs Node/);
});
