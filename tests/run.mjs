// run.mjs - runs the rings of tests one after another and adds up what they say.
//
//   node tests/run.mjs [--long] [RING ...]
//
// A ring is a list of commands; each says how much passed in one of three known ways: cmocka's
// "[  PASSED  ] N test(s).", "N passed, N failed", or node:test's "# pass N". A command that
// exits with an error and names no failure counts as one. Ends with `N passed, N failed`.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const names = process.argv.slice(2).filter(a => !a.startsWith('--'));
const long = process.argv.includes('--long');
const node = process.execPath;
process.env.XDG_CACHE_HOME = join(root, 'build/cache');      // what is kept of devices

function files(folder, pattern) {
    const path = join(root, folder);
    return existsSync(path) ? readdirSync(path).filter(f => pattern.test(f)).sort() : [];
}

const nodeTests = folder => files(folder, /\.test\.mjs$/).map(f =>
    [node, '--test', '--test-reporter=tap', '--test-concurrency=1', join(folder, f)]);

const rings = {
    unit: () => files('tests/unit', /^test_.*\.c$/)
        .map(f => [join('build/san/tests/unit', basename(f, '.c'))]),
    kernels: () => [['build/san/kernels']],
    webgpu: () => [[node, 'tests/kernels/run.mjs', '--limits', 'default',
        ...(long ? ['--filter='] : [])]],        // an empty filter: the slow cases, too
    deno: () => [['node_modules/.bin/deno', 'run', '--unstable-webgpu', '-A',
        'tests/kernels/run.mjs', '--limits', 'default']],
    cli: () => [...files('tests/cli', /^test_.*\.sh$/).map(f => ['sh', join('tests/cli', f)]),
        ...nodeTests('tests/cli')],
    models: () => nodeTests('tests/models'),
    types: () => [['node_modules/.bin/tsc', '--noEmit', '-p', 'tests/browser/tsconfig.json']],
    browser: () => nodeTests('tests/browser'),
    seeds: () => files('tests/fuzz', /^fuzz_.*\.c$/).map(f => basename(f, '.c'))
        .map(f => [join('build/san/tests/fuzz', f), join('tests/fuzz/seeds', f)]),
    fuzz: () => (long ? files('tests/fuzz', /^fuzz_.*\.c$/) : []).map(f =>
        ['sh', 'tests/fuzz/run.sh', basename(f, '.c')]),
};

const counters = [
    /^\[ {2}(PASSED|FAILED|SKIPPED) {2}\] (\d+) test/gm,
    /^(?:\w+: )?(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$/gm,
    /^# (pass|fail|skipped) (\d+)$/gm,
];

// [passed, failed, skipped] as the output says.
function count(output) {
    const total = { pass: 0, fail: 0, skip: 0 };
    const kind = word => word.toLowerCase().slice(0, 4);
    for (const m of output.matchAll(counters[0])) total[kind(m[1])] += Number(m[2]);
    for (const m of output.matchAll(counters[1])) {
        total.pass += Number(m[1]);
        total.fail += Number(m[2]);
        total.skip += Number(m[3] ?? 0);
    }
    for (const m of output.matchAll(counters[2])) total[kind(m[1])] += Number(m[2]);
    return total;
}

function runCommand([program, ...args], log) {
    const r = spawnSync(program, args, {
        cwd: root, encoding: 'utf8', maxBuffer: 1 << 28,
        env: { ...process.env, ...(long ? { LONG: '1' } : {}) },
    });
    const output = `${r.stdout ?? ''}${r.stderr ?? ''}${r.error ?? ''}`;
    const total = count(output);
    const counted = total.pass + total.fail + total.skip > 0;
    if (r.status !== 0 && total.fail === 0) total.fail = 1;
    if (r.status === 0 && !counted) total.pass = 1;
    log.push(`$ ${program} ${args.join(' ')}\n${output}\n`);
    if (total.fail) console.log(`\n--- ${program} ${args.join(' ')}\n${output.slice(-6000)}`);
    for (const m of output.matchAll(/^.*# SKIP (.*)$/gm)) console.log(`    skipped: ${m[1]}`);
    for (const m of output.matchAll(/^skipped: (.*)$/gm)) console.log(`    skipped: ${m[1]}`);
    return total;
}

const sum = { pass: 0, fail: 0, skip: 0 };
mkdirSync(join(root, 'build', 'logs'), { recursive: true });
for (const [name, commands] of Object.entries(rings)) {
    if (names.length && !names.includes(name)) continue;
    const start = Date.now();
    const ring = { pass: 0, fail: 0, skip: 0 };
    const log = [];
    for (const command of commands()) {
        const total = runCommand(command, log);
        for (const key of Object.keys(ring)) ring[key] += total[key];
    }
    writeFileSync(join(root, 'build', 'logs', `${name}.txt`), log.join('\n'));
    for (const key of Object.keys(sum)) sum[key] += ring[key];
    console.log(`${name.padEnd(8)} ${ring.pass} passed, ${ring.fail} failed, ${ring.skip} skipped`
        + ` in ${((Date.now() - start) / 1000).toFixed(0)} s`);
}
console.log(`${sum.pass} passed, ${sum.fail} failed, ${sum.skip} skipped`);
process.exitCode = sum.fail ? 1 : 0;
