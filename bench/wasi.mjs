// wasi.mjs - runs a benchmark built for wasm in Node, with the files of this machine.
//
//   make build/bench/tokenize.wasm
//   node bench/wasi.mjs build/bench/tokenize.wasm TEXT TOKENIZER...
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { WASI } from 'node:wasi';

const [program, ...names] = process.argv.slice(2);
const wasi = new WASI({
    version: 'preview1', preopens: { '/': '/' },
    args: [program, ...names.map(n => resolve(n))],
});
const { instance } = await WebAssembly.instantiate(await readFile(program),
    wasi.getImportObject());
// Not process.exitCode: Node 20 crashes when it takes a WASI instance down at its ease.
process.exit(wasi.start(instance));
