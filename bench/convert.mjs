// convert.mjs - speed and memory of `doppler convert`, by hand, on an idle machine:
//
//   node bench/convert.mjs CHECKPOINT [--runs 5] [--out FOLDER]
//
// For q4_k_m and keep, on one thread, on two and in wasm (in Node, whose start of 0.04 s and 40 MB
// count), the fastest of the runs: MB/s of the checkpoint's tensors by the clock and by processor
// time, and the largest resident set seen. Then `cp` and `sync` of the same files, which keep competes
// with: it, too, ends with bytes on the disk.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const TICKS = 100;                           // of /proc's processor time, a second
const program = fileURLToPath(new URL('../build/doppler', import.meta.url));
const module = new URL('../browser/doppler.js', import.meta.url);
const { values, positionals: [checkpoint] } = parseArgs({ allowPositionals: true,
    options: { runs: { type: 'string', default: '5' }, out: { type: 'string' } } });
const work = mkdtempSync(join(values.out ?? tmpdir(), 'convert-'));
const files = readdirSync(checkpoint).filter(f => f.endsWith('.safetensors'))
    .map(f => join(checkpoint, f));
const megabytes = files.reduce((sum, f) => sum + statSync(f).size, 0) / 1e6;

// Seconds by the clock, of processor time (of what ended in time to be seen), and peak MB.
async function measure(command, args) {
    const start = performance.now();
    const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] });
    const seen = { cpu: 0, peak: 0 };
    const look = setInterval(() => {
        const at = `/proc/${child.pid}`;
        if (!existsSync(at)) return;
        const stat = readFileSync(`${at}/stat`, 'utf8').split(') ')[1].split(' ');
        const status = /VmHWM:\s+(\d+)/.exec(readFileSync(`${at}/status`, 'utf8'));
        seen.cpu = Math.max(seen.cpu, (Number(stat[11]) + Number(stat[12])) / TICKS);
        if (status) seen.peak = Math.max(seen.peak, Number(status[1]) / 1e3);
    }, 5);
    const code = await new Promise(resolve => { child.on('close', resolve); });
    clearInterval(look);
    if (code !== 0) throw new Error(`${command} ${args.join(' ')}: exit ${code}`);
    return { wall: (performance.now() - start) / 1e3, ...seen };
}

async function best(makeArgs) {
    let fastest = { wall: Infinity };
    for (let run = 0; run < Number(values.runs); run++) {
        const out = join(work, 'out');
        rmSync(out, { recursive: true, force: true });
        spawnSync('sync');
        const r = await measure(...makeArgs(out));
        if (r.wall < fastest.wall) fastest = r;
    }
    return fastest;
}

// The same conversion as a page does it, by a program for `node -e`.
const inWasm = (out, quantize) => `import { convert } from ${JSON.stringify(module)};
    await convert(...${JSON.stringify([checkpoint, out, { quantize }])});`;

const mbs = seconds => (megabytes / seconds).toFixed(0);
console.log(`${checkpoint}: ${megabytes.toFixed(0)} MB`);
console.log('| | MB/s | MB/s of processor time | peak MB |\n|---|---|---|---|');
for (const target of ['q4_k_m', 'keep']) {
    const ways = [...['1', '2'].map(threads => [`threads: ${threads}`, out => [program, ['convert',
        checkpoint, out, '--quantize', target, '--threads', threads, '--quiet']]]),
    ['wasm', out => [process.execPath, ['--input-type=module', '-e', inWasm(out, target)]]]];
    for (const [name, args] of ways) {
        const r = await best(args);
        console.log(`| ${target}, ${name} | ${mbs(r.wall)} | ${mbs(r.cpu)} | `
            + `${r.peak.toFixed(0)} |`);
    }
}
const r = await best(out => ['sh', ['-c', 'mkdir "$0" && cp "$@" "$0" && sync "$0"/*', out,
    ...files]]);
console.log(`| cp and sync | ${mbs(r.wall)} | | |`);
rmSync(work, { recursive: true, force: true });
