// wasm.test.mjs - browser/wasm.js: memory as numbers and texts, and what C finds to import.
import { describe, it } from 'node:test';
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Wasm, compile, instantiate } from '../../browser/wasm.js';

// A module assembled by hand (WebAssembly Core 1.0, section 5): imports from.name, of type
// (i32, i32, i32, i32) -> i32, and exports it again as `call`, beside one page of memory.
function importing(from, name) {
    const bytes = (text) => [text.length, ...new TextEncoder().encode(text)];
    const section = (id, ...content) => [id, content.length, ...content];
    return new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
        ...section(1, 1, 0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f),
        ...section(2, 1, ...bytes(from), ...bytes(name), 0, 0),
        ...section(5, 1, 0, 1),
        ...section(7, 2, ...bytes('memory'), 2, 0, ...bytes('call'), 0, 0)]);
}

// Memory and a malloc that hands out what is left of it.
function plainWasm(pages = 1) {
    const memory = new WebAssembly.Memory({ initial: pages });
    let next = 16;
    const malloc = (bytes) => {
        if (next + bytes > memory.buffer.byteLength) return 0;
        next += bytes;
        return next - bytes;
    };
    return new Wasm({ exports: { memory, malloc, free() {} } });
}

describe('Wasm', () => {
    it('views_follow_memory_that_grows', () => {
        const wasm = plainWasm();
        wasm.setU32(16, 7);
        const { u8 } = wasm;
        wasm.memory.grow(1);
        assert.equal(u8.length, 0);                              // the old one is detached
        assert.equal(wasm.u32(16), 7);
        wasm.u8[65536] = 1;
        assert.equal(wasm.u8.length, 131072);
    });

    it('offsets_beyond_32_bits_are_read_exactly', () => {
        const wasm = plainWasm();
        wasm.setU64(16, 2 ** 40 + 5);
        assert.equal(wasm.u64(16), 2 ** 40 + 5);
    });

    it('pointers_above_2_gib_may_be_negative', () => {
        const wasm = plainWasm();
        assert.throws(() => wasm.u32(-8), RangeError);           // not the bytes before 0
    });

    it('text_survives_the_round_trip_and_is_cut_between_characters', () => {
        const wasm = plainWasm();
        assert.equal(wasm.string(wasm.putString('größe 🙂')), 'größe 🙂');
        wasm.setString(1024, 8, 'abcd🙂');                       // 4 + 4 bytes and the NUL: 9
        assert.equal(wasm.string(1024), 'abcd');
        wasm.setString(1024, 9, 'abcd🙂');
        assert.equal(wasm.string(1024), 'abcd🙂');
        assert.equal(wasm.u8[1033], 0);
    });

    it('a_full_heap_is_no_memory', () => {
        assert.throws(() => plainWasm().malloc(1 << 20), (e) => e.status === 'NO_MEMORY'
            && e.message === 'wasm heap: no 1048576 bytes');
    });
});

describe('instantiate', () => {
    it('lines_that_c_prints_reach_the_log_whole', async () => {
        const lines = [];
        const wasm = await instantiate(importing('wasi_snapshot_preview1', 'fd_write'),
            { log: (line) => lines.push(line) });
        const bytes = new TextEncoder().encode('one\ntwo größe\nrest');
        const cut = 11;                                          // inside the two bytes of ö
        wasm.u8.set(bytes, 1024);
        wasm.setU32(0, 1024), wasm.setU32(4, 5);
        wasm.setU32(8, 1029), wasm.setU32(12, cut - 5);
        assert.equal(wasm.exports.call(2, 0, 2, 512), 0);
        assert.equal(wasm.u32(512), cut);
        wasm.setU32(0, 1024 + cut), wasm.setU32(4, bytes.length - cut);
        wasm.exports.call(2, 0, 1, 512);
        assert.deepEqual(lines, ['one', 'two größe']);
        assert.equal(wasm.exports.call(5, 0, 1, 512), 8);        // no such file: EBADF
    });

    it('a_missing_import_is_named_when_it_is_called', async () => {
        const wasm = await instantiate(importing('gpu', 'submit'));
        assert.throws(() => wasm.exports.call(0, 0, 0, 0), /gpu\.submit is not available/);
    });

    it('imports_of_the_caller_are_linked', async () => {
        const imports = { host: { sum: (a, b, c, d) => a + b + c + d } };
        const wasm = await instantiate(importing('host', 'sum'), { imports });
        assert.equal(wasm.exports.call(1, 2, 3, 4), 10);
    });

    it('a_module_is_read_from_a_file_url', async () => {
        const folder = await mkdtemp(join(tmpdir(), 'doppler-'));
        try {
            const file = join(folder, 'a b.wasm');
            await writeFile(file, importing('host', 'sum'));
            assert.ok(await compile(pathToFileURL(file)) instanceof WebAssembly.Module);
        } finally {
            await rm(folder, { recursive: true });
        }
    });
});
