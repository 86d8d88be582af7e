// packages.mjs - the micro model's package, whole and broken in known ways. For each way, what
// loading must say.
import { cpSync, mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { converted, golden, root } from '../models/oracle.mjs';

const checkpoint = join(root, 'tests', 'fixtures', 'micro', 'llama3');
const windows = join(root, 'tests', 'fixtures', 'micro', 'gemma3');

export { root };
export const micro = converted(checkpoint, 'micro-llama3', 'keep');
/** Most layers see 8 tokens. */
export const sliding = () => converted(windows, 'micro-gemma3', 'keep');
export const { prompts } = golden(checkpoint);

/** A micro model with experts: its package and its golden's prompts. */
export function experts(name) {
    const from = join(root, 'tests', 'fixtures', 'micro', name);
    return { pack: converted(from, `micro-${name}`, 'keep'), prompts: golden(from).prompts };
}

/** The micro model with one weight of layer 1 that is not a number: row 5 of its up projection. */
export function poisoned() {
    const folder = join(root, 'build', 'models', `poisoned-${process.pid}`);
    mkdirSync(folder, { recursive: true });
    cpSync(checkpoint, folder, { recursive: true });
    const file = join(folder, 'model.safetensors');
    const bytes = readFileSync(file), start = 8 + Number(bytes.readBigUInt64LE(0));
    const header = JSON.parse(bytes.toString('utf8', 8, start));
    const { dtype, shape, data_offsets: [from] } = header['model.layers.1.mlp.up_proj.weight'];
    const size = { BF16: 2, F32: 4 }[dtype];
    bytes.writeUInt16LE(0x7FC0, start + from + size * (5 * shape[1] + 3) + size - 2);
    writeFileSync(file, bytes);
    try {
        return converted(folder, `poisoned-${process.pid}`, 'keep');
    } finally {
        rmSync(folder, { recursive: true });
    }
}

function editManifest(folder, edit) {
    const path = join(folder, 'manifest.json');
    const manifest = JSON.parse(readFileSync(path, 'utf8'));
    edit(manifest);
    writeFileSync(path, JSON.stringify(manifest));
}

function flip(path, at) {
    const bytes = readFileSync(path);
    bytes[at] ^= 1;
    writeFileSync(path, bytes);
}

const shard = (folder) => join(folder, 'shard_00000.bin');

const ways = {
    'truncated-shard': { status: 'BAD_FILE',
        message: /^shard_00000\.bin: ends at byte 70000, byte \d+ is needed$/,
        edit: (folder) => truncateSync(shard(folder), 70_000) },
    'flipped-byte': { status: 'BAD_FILE',
        message: /^shard_00000\.bin: bytes 0 to \d+ have SHA-256 /,
        edit: (folder) => flip(shard(folder), 5_000) },
    'flipped-hash': { status: 'BAD_FILE', message: /^hashes\.bin: /,
        edit: (folder) => flip(join(folder, 'hashes.bin'), 3) },
    'missing-shard': { status: 'IO',
        message: /shard_00000\.bin: HTTP 404|ENOENT.*shard_00000\.bin/,
        edit: (folder) => rmSync(shard(folder)) },
    'missing-field': { status: 'BAD_FILE', message: /heads/,
        edit: (folder) => editManifest(folder, (m) => { delete m.model.heads; }) },
    'unknown-dtype': { status: 'UNSUPPORTED', message: /q3_x/,
        edit: (folder) => editManifest(folder, (m) => { m.tensors[0].dtype = 'q3_x'; }) },
    'no-json': { status: 'BAD_FILE', message: /./,
        edit: (folder) => writeFileSync(join(folder, 'manifest.json'), '{"format":') },
    'no-manifest': { status: 'IO', message: /manifest\.json: HTTP 404|ENOENT.*manifest\.json/,
        edit: (folder) => rmSync(join(folder, 'manifest.json')) },
};

const home = join(root, 'build', 'models', `broken-${process.pid}`);

/** [{ name, folder, status, message }]; folders below build/, where a server finds them too. */
export function brokenPackages() {
    return Object.entries(ways).map(([name, { status, message, edit }]) => {
        const folder = join(home, name);
        rmSync(folder, { recursive: true, force: true });
        mkdirSync(folder, { recursive: true });
        cpSync(micro, folder, { recursive: true });
        edit(folder);
        return { name, folder, status, message };
    });
}

export function removeBrokenPackages() {
    rmSync(home, { recursive: true, force: true });
}
