// package.test.mjs - what `npm pack` makes works elsewhere, and stays small.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { micro, prompts, root } from './packages.mjs';

const elsewhere = mkdtempSync(join(tmpdir(), 'doppler-'));
const name = '@doppler-engine/doppler';
const home = join(elsewhere, 'node_modules', name);
after(() => rmSync(elsewhere, { recursive: true }));

function run(program, ...args) {
    const { status, stdout, stderr } = spawnSync(program, args,
        { cwd: elsewhere, encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    return stdout;
}

test('the packed package runs elsewhere, as a module and from the command line', () => {
    const [{ filename }] = JSON.parse(run('npm', 'pack', root, '--json', '--silent'));
    mkdirSync(home, { recursive: true });
    run('tar', '-xzf', filename, '-C', home, '--strip-components=1');
    const want = prompts[0].greedy.slice(0, 6).join();
    const script = `
        import { Doppler } from '${name}';
        const doppler = await Doppler.open({ device: 'cpu' });
        const model = await doppler.load(${JSON.stringify(micro)});
        const tale = model.session({ kv: 'f32' })
            .generate(${JSON.stringify(prompts[0].text)}, { maxTokens: 6 });
        for await (const text of tale) ;
        console.log(tale.ids.join());
        const { text } = await model.render([{ role: 'user', content: 'Hi' }]);
        console.log(text.includes('user') && text.includes('Hi'));
        await doppler.close();`;
    const out = run(process.execPath, '--input-type=module', '-e', script);
    assert.equal(out.trim(), `${want}\ntrue`);
    const json = run(process.execPath, join(home, 'doppler'), 'run', micro, '-p', prompts[0].text,
        '-n', '6', '--kv', 'f32', '--device', 'cpu', '--json');
    assert.equal(JSON.parse(json).generated.join(), want);
    assert.match(run(process.execPath, join(home, 'doppler'), 'bench', 'inference', '--shape',
        'stories', '--layers', '1', '--device', 'cpu', '--context', '4', '--prompt', '4', '-n', '2',
        '--rounds', '1'), /decode [\d.]+ tokens\/s/);
});

test('wasm and JavaScript together stay below the limit', () => {
    assert.match(run(process.execPath, join(root, 'tools', 'size.mjs')), /\d+ {2}bytes gzipped/);
});
