#!/usr/bin/env node
// convert-cli.js - `node tools/convert-cli.js --input IN --output OUT --quantize q4_k_m` is
// `doppler convert`, for those who know the converter by this name.
import { spawnSync } from 'node:child_process';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';

const doppler = fileURLToPath(new URL('../doppler', import.meta.url));
const { status, signal, error } = spawnSync(process.execPath,
    [doppler, 'convert', ...process.argv.slice(2)], { stdio: 'inherit' });
if (error) throw error;
process.exit(signal ? 128 + constants.signals[signal] : status);
