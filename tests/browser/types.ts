// types.ts - uses the whole API; `npx tsc --noEmit --strict` says whether doppler.d.ts allows it.
import { convert, Doppler, DopplerError, Generation, Model, parseReply, Reply,
    Session } from '../../browser/doppler.js';
import type { GenerationStats, Info, Kernels, Message, Status } from '../../browser/doppler.js';

export async function everything(worker: Worker): Promise<GenerationStats | null> {
    const doppler: Doppler = await Doppler.open();
    for (const options of [
        { device: 'gpu' as const, worker: false }, { device: 'cpu' as const, worker },
        { assets: 'https://cdn.example/doppler/' }, { assets: new URL('https://cdn.example/') },
        { assets: (name: string) => `/static/${name}` }, { tuning: 'fresh' as const },
    ]) await (await Doppler.open(options)).close();

    const { backend, adapter, reason }: Info = doppler.info;
    const line: string = backend === 'webgpu' ? adapter?.description ?? '' : reason ?? '';
    const { tested, chosen, testMs, tuneMs }: Kernels = await doppler.kernels();
    console.log(tested.filter(({ right }) => !right).length, chosen[0]?.kernel, testMs + tuneMs);
    const stop = new AbortController();
    const model: Model = await doppler.load('models/stories/', {
        onProgress: ({ bytes, total }) => console.log(line, bytes / total), signal: stop.signal,
        onPlan: (memory) => console.log(memory.weights), session: { context: 512 },
    });
    const ids: Uint32Array = await model.tokenize('Once', { special: true, bos: false });
    const session: Session = model.session({ context: Math.min(model.context, 512), chunk: 64,
        kv: 'q8_0', precision: 'exact', checkpoints: 2 });
    const { weights, kv, checkpoints, work } = await model.memory({ kv: 'f16' });
    console.log(weights + kv + checkpoints + work);
    await session.ready;
    const full: boolean = ids.length > (session.context ?? model.vocab);
    const tale: Generation = session.generate(full ? ids : 'Once upon a time', {
        maxTokens: 64, temperature: 0.8, topK: 40, topP: 0.95, minP: 0.05, repetitionPenalty: 1.1,
        presencePenalty: 0.5, seed: 7n, special: true, bos: true, signal: stop.signal,
        stop: ['The end', '\n\n'],
    });
    try {
        for await (const text of tale) {
            console.log(text.length, tale.ids.length, tale.promptIds?.[0]);
        }
    } catch (error) {
        const status: Status | null = error instanceof DopplerError ? error.status : null;
        if (status !== 'CANCELLED') throw error;
    }
    const messages: Message[] = [{ role: 'system', content: 'Be brief.' },
        { role: 'user', content: [{ type: 'text', text: 'Hi' }] }];
    const reply: Reply = model.chat(messages, { tools: [{ type: 'function' }], maxTokens: 64,
        variables: { reasoning_effort: 'low' }, format: 'harmony', now: new Date() });
    for await (const event of reply.events()) {
        if (event.type === 'tool_call') console.log(event.call.function.name, event.call.id);
        else console.log(event.text.length);
    }
    messages.push(reply.message, { role: 'tool', tool_call_id: 'call00000', content: '{}' });
    for await (const text of session.chat(messages, { stop: 'x' })) console.log(text.length);
    const { text, ids: rendered } = await model.render(messages, { addGenerationPrompt: false });
    console.log(text.length + rendered.length, reply.stats?.stopString, model.chatTemplate?.length);
    console.log(parseReply('Hi', { format: 'llama' }).content.length);
    await doppler.debug({ log: (line) => console.log(line.length), timings: true, trace: 'cpu' });
    const { departure, nonFinite } = await model.check('Once', { against: 'cpu', tolerance: 1e-3 });
    console.log(departure?.name, departure?.error, nonFinite?.token, model.url);
    await doppler.debug(null);
    const logits: Float32Array = await session.logits(ids, { signal: stop.signal });
    const nll: Float32Array = await session.score([1, 2, 3]);
    console.log(logits.length, nll.length);
    await session.close();
    await model.close();
    await doppler.close();
    return tale.stats;
}

export async function convertAll(file: File, folder: FileSystemDirectoryHandle): Promise<string> {
    const notes: string[] = [];
    const { id } = await convert([file, 'https://a.example/config.json'], folder, {
        quantize: 'q4_k_m', head: 'q8_0', shardBytes: 1 << 26, mirrors: ['https://b.example/'],
        onProgress: ({ bytes, total, secondsLeft }) => {
            notes.push(`${bytes / total} ${secondsLeft}`);
        },
        onNote: (line) => notes.push(line),
    });
    await convert('model.gguf', {
        write: async (name, data) => { notes.push(name + data.length); },
    });
    return id + notes.length;
}

// @ts-expect-error iq4_xs is nothing that weights are converted to
convert('a', 'b', { quantize: 'iq4_xs' });
// @ts-expect-error the device is one of three
Doppler.open({ device: 'npu' });
// @ts-expect-error the status is one of the engine's
new DopplerError('OOPS', 'no such status');
// @ts-expect-error a Doppler is opened, not made
new Doppler();
