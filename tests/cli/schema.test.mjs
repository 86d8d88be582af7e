// The schema of manifests: it allows what the converter writes and the loader reads, and refuses
// what the loader refuses, as far as a schema can say it. Packages that other tests make are
// checked where they are made (tests/models/oracle.mjs, tests/cli/test_convert.sh).
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { converted, root } from '../models/oracle.mjs';
import { manifestViolations, violations } from '../schema.mjs';

const micro = converted(join(root, 'tests', 'fixtures', 'micro', 'llama3'), 'micro-llama3',
    'keep');
const text = readFileSync(join(micro, 'manifest.json'), 'utf8');

// The loader's word on a manifest, by the sanitized program: '' when it takes it.
function loader(manifest) {
    const folder = mkdtempSync(join(tmpdir(), 'doppler-'));
    writeFileSync(join(folder, 'manifest.json'), JSON.stringify(manifest));
    const r = spawnSync(join(root, 'build', 'san', 'doppler'), ['inspect', folder],
        { encoding: 'utf8' });
    rmSync(folder, { recursive: true });
    return r.status === 0 ? '' : r.stderr;
}

function edited(edit) {
    const manifest = JSON.parse(text);
    edit(manifest);
    return manifest;
}

// The path to every object, through first elements of arrays.
function objects(node, path = []) {
    if (node === null || typeof node !== 'object') return [];
    const children = Array.isArray(node) ? [[0, node[0]]] : Object.entries(node);
    return [...(Array.isArray(node) ? [] : [path]),
        ...children.flatMap(([key, child]) => objects(child, [...path, key]))];
}

const at = (manifest, path) => path.reduce((node, key) => node[key], manifest);

test('the package that ships obeys the schema', () => {
    assert.deepEqual(violations(join(root, 'models', 'stories')), []);
});

test('every field is required, by the schema and by the loader', () => {
    for (const path of objects(JSON.parse(text))) {
        for (const key of Object.keys(at(JSON.parse(text), path))) {
            const without = edited(m => delete at(m, path)[key]);
            assert.notDeepEqual(manifestViolations(without), [], `${path}.${key}`);
            assert.match(loader(without), /BAD_FILE/, `${path}.${key}`);
        }
    }
});

test('every object takes x- fields and no others', () => {
    const all = objects(JSON.parse(text));
    assert.ok(all.length >= 10, `${all.length}`);
    for (const path of all) {
        const free = edited(m => { at(m, path)['x-note'] = [1]; });
        assert.deepEqual(manifestViolations(free), [], `${path}`);
        assert.equal(loader(free), '', `${path}`);
        const unknown = edited(m => { at(m, path).note = 1; });
        assert.notDeepEqual(manifestViolations(unknown), [], `${path}`);
        assert.match(loader(unknown), /BAD_FILE: .*"note"/, `${path}`);
    }
});

test('mirrors are taken by both', () => {
    const mirrored = edited(m => { m.shards[0].urls = ['https://a.example:8443/b/c.bin?key=%20~',
        'http://[::1]/s', `http://a/${'b'.repeat(2039)}`]; });
    assert.deepEqual(manifestViolations(mirrored), []);
    assert.equal(loader(mirrored), '');
});

test('wrong types and values are refused by both', () => {
    const edits = {
        'format': m => { m.format = 'gguf'; },
        'version': m => { m.version = '2.0'; },
        'features': m => { m.features = ['sparse']; },
        'architecture': m => { m.model.architecture = 'rwkv'; },
        'layers': m => { m.model.layers = 0; },
        'a text for a number': m => { m.model.dim = '64'; },
        'dim': m => { m.model.dim = 65; },
        'head_dim': m => { m.model.head_dim = 31; },
        'norm_eps': m => { m.model.norm_eps = 0; },
        'activation': m => { m.model.activation = 'sine'; },
        'rope': m => { m.model.rope = { full: { type: 'spiral', theta: 1 } }; },
        'rope of another type': m => { m.model.rope = { full: { type: 'linear', theta: 1 } }; },
        'stop': m => { m.tokens.stop = [-1]; },
        'tokenizer kind': m => { m.tokenizer.kind = 'whitespace'; },
        'file outside': m => { m.shards[0].file = '../shard'; },
        'file hidden': m => { m.hashes.file = '.hashes'; },
        'sha256': m => { m.shards[0].sha256 = 'AB'.repeat(32); },
        'block_bytes': m => { m.hashes.block_bytes = 4096; },
        'dtype': m => { m.tensors[0].dtype = 'q3_x'; },
        'layout': m => { m.tensors[0].layout = 'columns'; },
        'role': m => { m.tensors[0].role = 'attn_x'; },
        'shape': m => { m.tensors[0].shape.push(1); },
        'span alignment': m => { m.tensors[0].spans[0].offset += 16; },
        'no spans': m => { m.tensors[0].spans = []; },
        'no shards': m => { m.shards = []; },
        'no mirrors': m => { m.shards[0].urls = []; },
        'too many mirrors': m => { m.shards[0].urls = Array(17).fill('https://a/b'); },
        'a mirror that is no array': m => { m.shards[0].urls = 'https://a/b'; },
        'a mirror of scripts': m => { m.shards[0].urls = ['javascript:alert(1)']; },
        'a mirror on the disk': m => { m.shards[0].urls = ['file:///etc/passwd']; },
        'a mirror that is no URL': m => { m.shards[0].urls = ['shard_00000.bin']; },
        'a mirror with a user': m => { m.shards[0].urls = ['https://me@a/b']; },
        'a mirror for the tokenizer': m => { m.tokenizer.urls = ['https://a/b']; },
    };
    for (const [name, edit] of Object.entries(edits)) {
        assert.notDeepEqual(manifestViolations(edited(edit)), [], name);
        assert.match(loader(edited(edit)), /BAD_FILE|UNSUPPORTED/, name);
    }
});
