// run.mjs - runs the rings of tests and adds up what they say.
//
//   node tests/run.mjs [--long] [--jobs N] [RING ...]
//
// A ring is a list of commands; each says how much passed in one of three known ways: cmocka's
// "[  PASSED  ] N test(s).", "N passed, N failed", or node:test's "# pass N". A command that
// exits with an error and names no failure counts as one. Ends with `N passed, N failed`.
//
// Commands are started in the rings' order, N at a time (two where there are two cores): none may
// write where another reads. What one says is shown when it has ended; a ring's seconds are the
// sum of its commands'.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const { values: { long, jobs }, positionals: names } = parseArgs({ allowPositionals: true,
    options: {
        long: { type: 'boolean', default: false },
        jobs: { type: 'string', default: String(Math.min(2, availableParallelism())) },
    } });
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
        'tests/kernels/run.mjs', '--limits', 'default',
        `--filter=${long ? '' : '-20000 rows'}`]],
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

// What a command wrote, its exit status and its seconds.
function run([program, ...args]) {
    const start = performance.now();
    const child = spawn(program, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'],
        env: { ...process.env, ...(long ? { LONG: '1' } : {}) } });
    const texts = [child.stdout, child.stderr].map((stream) => {
        const parts = [];
        stream.on('data', (part) => parts.push(part));
        return parts;
    });
    return new Promise((resolve) => {
        const ended = (status, error = '') => resolve({ status,
            output: `${texts.map((parts) => Buffer.concat(parts)).join('')}${error}`,
            seconds: (performance.now() - start) / 1000 });
        child.on('error', (error) => ended(-1, error));
        child.on('close', (status) => ended(status ?? -1));
    });
}

async function runCommand(command, ring) {
    const { status, output, seconds } = await run(command);
    const total = count(output);
    const counted = total.pass + total.fail + total.skip > 0;
    if (status !== 0 && total.fail === 0) total.fail = 1;
    if (status === 0 && !counted) total.pass = 1;
    const title = command.join(' ');
    ring.log.push(`$ ${title}\n${output}\n${seconds.toFixed(1)} s\n`);
    if (total.fail) console.log(`\n--- ${title}\n${output.slice(-6000)}`);
    for (const m of output.matchAll(/^.*# SKIP (.*)$/gm)) console.log(`    skipped: ${m[1]}`);
    for (const m of output.matchAll(/^skipped: (.*)$/gm)) console.log(`    skipped: ${m[1]}`);
    for (const key of Object.keys(total)) ring.total[key] += total[key];
    ring.seconds += seconds;
    if (--ring.left === 0) finish(ring);
}

function finish({ name, log, total, seconds }) {
    writeFileSync(join(root, 'build', 'logs', `${name}.txt`), log.join('\n'));
    for (const key of Object.keys(sum)) sum[key] += total[key];
    console.log(`${name.padEnd(8)} ${total.pass} passed, ${total.fail} failed, `
        + `${total.skip} skipped in ${seconds.toFixed(0)} s`);
}

// Packages that an older program converted: tests share the others, and convert what is missing.
function removeStale() {
    const folder = join(root, 'build', 'models'), program = join(root, 'build', 'doppler');
    const manifest = (name) => join(folder, name, 'manifest.json');
    for (const name of existsSync(folder) && existsSync(program) ? readdirSync(folder) : []) {
        if (existsSync(manifest(name))
            && statSync(manifest(name)).mtimeMs <= statSync(program).mtimeMs) {
            rmSync(join(folder, name), { recursive: true });
        }
    }
}

const sum = { pass: 0, fail: 0, skip: 0 };
const start = performance.now();
mkdirSync(join(root, 'build', 'logs'), { recursive: true });
removeStale();
const queue = [];
for (const [name, commands] of Object.entries(rings)) {
    if (names.length && !names.includes(name)) continue;
    const list = commands();
    const ring = { name, log: [], total: { pass: 0, fail: 0, skip: 0 }, seconds: 0,
        left: list.length };
    if (!ring.left) finish(ring);
    queue.push(...list.map((command) => ({ command, ring })));
}
const worker = async () => {
    for (let next; (next = queue.shift());) await runCommand(next.command, next.ring);
};
await Promise.all(Array.from({ length: Math.max(1, Number(jobs)) }, worker));
console.log(`${((performance.now() - start) / 1000).toFixed(0)} s`);
console.log(`${sum.pass} passed, ${sum.fail} failed, ${sum.skip} skipped`);
process.exitCode = sum.fail ? 1 : 0;
