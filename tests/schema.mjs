// schema.mjs - whether packages obey docs/rdrr.schema.json. As a program:
//
//   node tests/schema.mjs PACKAGE_FOLDER ...
//
// prints a line for every violation and ends with `N passed, N failed`.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Ajv from 'ajv/dist/2020.js';

const path = join(dirname(fileURLToPath(import.meta.url)), '..', 'docs', 'rdrr.schema.json');

// strict: a keyword that ajv does not know or that can have no effect is an error in the schema.
const check = new Ajv({ strict: true, strictRequired: false, strictTypes: false, allErrors: true })
    .compile(JSON.parse(readFileSync(path, 'utf8')));

/** A line for everything in a manifest that the schema does not allow. */
export function manifestViolations(manifest) {
    return check(manifest) ? [] : check.errors.map(({ instancePath, message, params }) =>
        `${instancePath || '/'} ${message} ${JSON.stringify(params)}`);
}

/** The same for the package in a folder. */
export function violations(folder) {
    return manifestViolations(JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
    const bad = process.argv.slice(2).map(folder => [folder, violations(folder)])
        .filter(([, lines]) => lines.length);
    for (const [folder, lines] of bad) for (const line of lines) console.log(`${folder}: ${line}`);
    console.log(`${process.argv.length - 2 - bad.length} passed, ${bad.length} failed`);
    process.exitCode = bad.length ? 1 : 0;
}
