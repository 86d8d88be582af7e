// demo.js - the storyteller's page: opens a device, loads a package, tells tales.
//
// ?device=cpu|gpu chooses the device, ?model=URL another package than models/stories.
import { Doppler, DopplerError } from '../browser/doppler.js';

const OPENINGS = {
    'A little fox': 'Once there was a little fox who was afraid of the dark. Every night',
    'The old king': 'Long ago there was an old king who had three daughters. The youngest of them',
    'By the sea': 'In a village by the sea lived a fisherman and his wife. One morning he found',
    'Anansi': 'One day Anansi the spider was very hungry. He went to his friend the tortoise',
};
// What each status means to somebody who only wants a tale.
const PLAIN_WORDS = {
    NO_MEMORY: 'There is not enough memory for the model.',
    NO_GPU: 'No usable GPU was found.',
    DEVICE_LOST: 'The GPU has stopped answering.',
    GPU_ERROR: 'The GPU refused to do the work.',
    IO: 'The model could not be fetched.',
    BAD_FILE: 'The model\'s files are damaged.',
    UNSUPPORTED: 'This model or browser is not supported.',
    BAD_ARGUMENT: 'A setting is not allowed.',
    CONTEXT_FULL: 'The opening is too long for the model.',
    BUSY: 'The storyteller is still busy.',
    CANCELLED: 'The tale was broken off.',
};

const $ = (id) => document.getElementById(id);
const parameters = new URLSearchParams(location.search);
const modelUrl = new URL(parameters.get('model') ?? '../models/stories/', location.href);

let doppler = null, session = null;
let telling = null;                 // AbortController of the tale being told

// ---- what the page shows

function say(text) { $('status').textContent = text; }

function showProblem(error) {
    const status = error instanceof DopplerError ? error.status : error.name;
    $('problem-title').textContent = PLAIN_WORDS[status] ?? 'Something went wrong.';
    $('problem-text').textContent = error.message;
    $('problem-status').textContent = status;
    $('again').hidden = session !== null;
    $('problem').hidden = false;
    say('');
}

function showBackend({ backend, adapter, reason }) {
    const names = [adapter?.description || adapter?.device, adapter?.vendor, adapter?.architecture];
    const name = names.filter(Boolean).join(', ');
    $('backend').textContent = backend === 'webgpu'
        ? `WebGPU: ${name || 'an unnamed adapter'}${adapter.software ? ' (software)' : ''}`
        : `CPU, in WebAssembly: ${reason}`;
}

function showProgress({ bytes, total }) {
    const megabytes = (n) => (n / 1e6).toFixed(1);
    $('progress').value = bytes / total;
    say(`Loading the model: ${megabytes(bytes)} of ${megabytes(total)} MB`);
}

function showFigures({ tokens, tokensPerSecond, timeToFirstToken }) {
    $('tokens').textContent = tokens;
    $('speed').textContent = tokensPerSecond ? `${tokensPerSecond.toFixed(1)} tokens/s` : '–';
    $('first').textContent = timeToFirstToken === null ? '–' : `${timeToFirstToken.toFixed(0)} ms`;
}

function enable() {
    $('tell').disabled = session === null || telling !== null;
    $('stop').disabled = telling === null;
    $('tale').ariaBusy = String(telling !== null);
}

// ---- loading

async function load() {
    $('problem').hidden = true;
    $('progress').hidden = false;
    $('progress').removeAttribute('value');
    say('Starting…');
    try {
        doppler = await Doppler.open({ device: parameters.get('device') ?? 'auto' });
        showBackend(doppler.info);
        const model = await doppler.load(modelUrl, { onProgress: showProgress });
        say('Preparing…');
        const opened = model.session();
        await opened.ready;
        session = opened;
        say('Ready.');
    } catch (error) {
        await doppler?.close();
        showProblem(error);
    }
    $('progress').hidden = true;
    enable();
}

// ---- telling

function settings() {
    const seed = $('seed').value.trim();
    return {
        temperature: Number($('temperature').value), topP: Number($('top-p').value),
        maxTokens: Number($('max-tokens').value),
        ...(seed && { seed: BigInt(seed) }),
    };
}

// Figures while the tale is still running.
function liveFigures(tale, start, first) {
    const now = performance.now(), tokens = tale.ids.length;
    showFigures({ tokens, timeToFirstToken: first - start,
        tokensPerSecond: tokens > 1 && now > first ? 1000 * (tokens - 1) / (now - first) : null });
}

async function tell() {
    const prompt = $('prompt').value;
    const opening = Object.assign(document.createElement('span'),
        { className: 'opening', textContent: prompt });
    const text = document.createTextNode('');
    const paragraph = document.createElement('p');
    paragraph.append(opening, text);
    $('tale').replaceChildren(paragraph);
    $('problem').hidden = true;
    for (const id of ['speed', 'first', 'tokens', 'used-seed']) $(id).textContent = '–';
    telling = new AbortController();
    enable();
    say('Telling…');
    let tale = null;
    try {
        tale = session.generate(prompt, { ...settings(), signal: telling.signal });
        const start = performance.now();
        let first = null;
        for await (const piece of tale) {
            first ??= performance.now();
            text.appendData(piece);
            liveFigures(tale, start, first);
        }
        say({ stop: 'The end.', length: 'Stopped at the longest length set.',
            context: 'Stopped: the model can hold no more.' }[tale.stats.stop]);
    } catch (error) {
        if (telling.signal.aborted) say('Stopped.');
        else showProblem(error);
    }
    if (tale?.stats) {
        showFigures(tale.stats);
        $('used-seed').textContent = tale.stats.seed;
    }
    telling = null;
    enable();
}

// ---- the controls

for (const [name, text] of Object.entries(OPENINGS)) {
    const button = Object.assign(document.createElement('button'),
        { type: 'button', textContent: name });
    button.addEventListener('click', () => {
        $('prompt').value = text;
        $('prompt').focus();
    });
    $('openings').append(button);
}
for (const id of ['temperature', 'top-p']) {
    const show = () => { $(`${id}-value`).textContent = Number($(id).value).toFixed(2); };
    $(id).addEventListener('input', show);
    show();
}
$('teller').addEventListener('submit', (event) => {
    event.preventDefault();
    if (!$('tell').disabled) tell();
});
// A wrong setting must be seen to be corrected.
$('teller').addEventListener('invalid', () => { $('settings').open = true; }, true);
$('prompt').addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    $('teller').requestSubmit();
});
$('stop').addEventListener('click', () => telling?.abort());
addEventListener('keydown', (event) => { if (event.key === 'Escape') telling?.abort(); });
$('again').addEventListener('click', load);
$('about').hidden = parameters.has('model');
load();
