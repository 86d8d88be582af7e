// A folder includes headers only from the folders below it (docs/ARCHITECTURE.md), so that the
// root listing stays the map of the program.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { root } from '../models/oracle.mjs';

const order = ['browser', 'tools', 'inference', 'loader', 'bridge', 'tokenizer', 'storage', 'debug', 'gpu',
    'memory', 'include'];

test('folders include only from folders below them', () => {
    const wrong = [];
    for (const [rank, folder] of order.entries()) {
        const files = readdirSync(join(root, folder), { recursive: true })
            .filter(f => /\.[ch]$/.test(f)).map(f => join(folder, f));
        for (const file of files)
            for (const [, target] of readFileSync(join(root, file), 'utf8')
                .matchAll(/^#include "([^"]+)"/gm)) {
                const to = target === 'doppler.h' ? 'include' : dirname(target).split('/')[0];
                if (order.indexOf(to) < rank) wrong.push(`${file} includes ${target}`);
            }
    }
    assert.deepEqual(wrong, []);
});

test('the order covers every folder with C in it', () => {
    const folders = readdirSync(root, { withFileTypes: true })
        .filter(e => e.isDirectory() && !['build', 'tests', 'bench', 'node_modules'].includes(e.name))
        .filter(e => readdirSync(join(root, e.name)).some(f => /\.[ch]$/.test(f)));
    assert.deepEqual(folders.map(e => e.name).filter(f => !order.includes(f)), []);
});
