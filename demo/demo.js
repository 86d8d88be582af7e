// demo.js - the storyteller's page: opens a device, loads a package, tells tales; with a model that
// has a chat template it talks, too.
//
// ?device=cpu|gpu chooses the device, ?model=URL another package than models/stories, which has
// only learnt to tell; others with a template start by talking. ?mode=tale|chat chooses.
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
    CONTEXT_FULL: 'This is too long for the model.',
    BUSY: 'The storyteller is still busy.',
    CANCELLED: 'The tale was broken off.',
};
// What differs between telling and talking.
const MODES = {
    tale: { label: 'How does the tale begin?', button: 'Tell', working: 'Telling…',
        hint: 'Your tale will appear here.',
        ends: { stop: 'The end.', length: 'Stopped at the longest length set.',
            context: 'Stopped: the model can hold no more.' } },
    chat: { label: 'Your message', button: 'Send', working: 'Answering…',
        hint: 'The conversation will appear here.',
        ends: { stop: 'Your turn.', length: 'Stopped at the longest length set.',
            context: 'Stopped: the model can hold no more. Start anew.' } },
};

const $ = (id) => document.getElementById(id);
const parameters = new URLSearchParams(location.search);
const modelUrl = new URL(parameters.get('model') ?? '../models/stories/', location.href);

let doppler = null, session = null;
let telling = null;                 // AbortController of the tale being told
let mode = MODES.tale;
let turns = [];                     // messages of the conversation, the system's left out

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
    for (const id of ['anew', 'mode-tale', 'mode-chat']) $(id).disabled = telling !== null;
    $('tale').ariaBusy = String(telling !== null);
}

function paragraph(className, ...content) {
    const p = Object.assign(document.createElement('p'), { className });
    p.append(...content);
    return p;
}

const span = (className, textContent = '') => Object.assign(document.createElement('span'),
    { className, textContent });

function clearPage() {
    turns = [];
    $('tale').replaceChildren(paragraph('hint', mode.hint));
}

function setMode(name) {
    if (mode === MODES[name]) return;
    mode = MODES[name];
    const chat = name === 'chat';
    $(`mode-${name}`).checked = true;
    $('prompt-label').textContent = mode.label;
    $('tell').textContent = mode.button;
    $('openings').hidden = chat;
    $('anew').hidden = !chat;
    for (const element of document.querySelectorAll('.of-chat')) element.hidden = !chat;
    if (chat) $('teller').before($('page'));     // what one writes stands below what was said
    else $('figures').before($('page'));
    $('prompt').value = chat ? '' : $('prompt').defaultValue;
    clearPage();
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
        const talks = model.chatTemplate !== null;
        $('modes').hidden = !talks;
        setMode(talks && (parameters.get('mode') ?? (parameters.has('model') ? 'chat' : 'tale'))
            === 'chat' ? 'chat' : 'tale');
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

// Runs what start(signal) gives, an iterator of texts or of events, into take(piece).
async function run(start, take) {
    $('problem').hidden = true;
    for (const id of ['speed', 'first', 'tokens', 'used-seed']) $(id).textContent = '–';
    telling = new AbortController();
    enable();
    say(mode.working);
    let running = null, failed = false;
    try {
        running = start(telling.signal);
        const began = performance.now();
        let first = null;
        for await (const piece of running.events?.() ?? running) {
            first ??= performance.now();
            take(piece);
            liveFigures(running, began, first);
        }
        say(mode.ends[running.stats.stop]);
    } catch (error) {
        failed = !telling.signal.aborted;
        if (failed) showProblem(error);
        else say('Stopped.');
    }
    if (running?.stats) {
        showFigures(running.stats);
        $('used-seed').textContent = running.stats.seed;
    }
    telling = null;
    enable();
    return failed ? null : running;
}

async function tell() {
    const prompt = $('prompt').value, text = document.createTextNode('');
    $('tale').replaceChildren(paragraph('', span('opening', prompt), text));
    await run((signal) => session.generate(prompt, { ...settings(), signal }),
        (piece) => text.appendData(piece));
}

async function talk() {
    const message = { role: 'user', content: $('prompt').value };
    if (!message.content.trim()) return;
    if (turns.length === 0) $('tale').replaceChildren();
    const thinking = span('thinking'), text = document.createTextNode('');
    const asked = paragraph('user', message.content), answer = paragraph('model', thinking, text);
    $('tale').append(asked, answer);
    $('prompt').value = '';
    const system = $('system').value.trim();
    const messages = [...(system ? [{ role: 'system', content: system }] : []), ...turns, message];
    const reply = await run((signal) => session.chat(messages, { ...settings(), signal }),
        ({ type, text: piece }) => {
            if (type === 'thinking') thinking.textContent += piece;
            else text.appendData(piece ?? '');
            answer.scrollIntoView({ block: 'end' });
        });
    if (reply !== null) {
        turns.push(message, reply.message);
        return;
    }
    asked.remove();                              // as if it had not been asked
    answer.remove();
    $('prompt').value = message.content;
    if (turns.length === 0) clearPage();
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
    if (!$('tell').disabled) (mode === MODES.chat ? talk : tell)();
});
// A wrong setting must be seen to be corrected.
$('teller').addEventListener('invalid', () => { $('settings').open = true; }, true);
$('prompt').addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    $('teller').requestSubmit();
});
$('stop').addEventListener('click', () => telling?.abort());
$('anew').addEventListener('click', clearPage);
for (const name of Object.keys(MODES)) {
    $(`mode-${name}`).addEventListener('change', () => setMode(name));
}
addEventListener('keydown', (event) => { if (event.key === 'Escape') telling?.abort(); });
$('again').addEventListener('click', load);
$('about').hidden = parameters.has('model');
clearPage();
load();
