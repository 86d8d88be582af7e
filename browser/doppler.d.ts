// doppler.d.ts - the API's types, by hand.

/** What went wrong, by the engine's name for it. */
export type Status = 'NO_MEMORY' | 'NO_GPU' | 'DEVICE_LOST' | 'GPU_ERROR' | 'IO' | 'BAD_FILE'
    | 'UNSUPPORTED' | 'BAD_ARGUMENT' | 'CONTEXT_FULL' | 'BUSY' | 'CANCELLED';

/** Every error that the package throws on purpose; an aborted `signal` throws its own reason. */
export class DopplerError extends Error {
    constructor(status: Status, message: string, options?: ErrorOptions);
    readonly status: Status;
}

export interface Adapter {
    readonly vendor: string;
    readonly architecture: string;
    readonly device: string;
    readonly description: string;
    /** A CPU pretends to be a GPU. */
    readonly software: boolean;
}

export interface Info {
    readonly backend: 'webgpu' | 'cpu';
    /** The GPU in use; null on the CPU. */
    readonly adapter: Adapter | null;
    /** Why the CPU is used; null on a GPU. */
    readonly reason: string | null;
}

export type Assets = string | URL
    | ((name: 'doppler.wasm' | 'convert.wasm' | 'worker.js') => string | URL);

export interface OpenOptions {
    /** 'auto' (default): a GPU if there is a real one, else the CPU, with `info.reason` saying
     *  why. 'gpu': any GPU, software adapters included, or NO_GPU. */
    device?: 'auto' | 'gpu' | 'cpu';
    /** For tests: plan as for a device of WebGPU's default limits, or of 1 MiB bindings. */
    limits?: 'device' | 'default' | '1MiB';
    /** Kernels that do the same are timed on a GPU when a session first needs them, in less than
     *  0.2 s, and the fastest are used. 'kept' (default): what an earlier run found out on this
     *  device is not asked again. 'fresh': it is. 'off': fixed rules choose. In each case a kernel
     *  that gives wrong numbers on this device is not used. */
    tuning?: 'kept' | 'fresh' | 'off';
    /** Where doppler.wasm and worker.js are, when not beside this module: a folder's URL, or a
     *  function from name to URL. */
    assets?: Assets;
    /** true (default in browsers): run in a module worker. false (default in Node): in this
     *  thread. Or a worker that runs worker.js, which close() then ends. */
    worker?: boolean | Worker;
}

export interface LoadOptions {
    /** Called once, before anything is allocated or downloaded: what the model and a session with
     *  the options in `session` will need. */
    onPlan?: (memory: Memory) => void;
    session?: SessionOptions;
    onProgress?: (progress: { bytes: number; total: number }) => void;
    /** Gets a line when a mirror, or the package's own folder, fails and another place is asked.
     *  Default: console.warn. */
    onWarning?: (line: string) => void;
    signal?: AbortSignal;
}

/** One device and its compiled kernels. Several may coexist. */
export class Doppler {
    private constructor();
    static open(options?: OpenOptions): Promise<Doppler>;
    readonly info: Info;
    /** @param url folder of an RDRR package; in Node a path too. */
    load(url: string | URL, options?: LoadOptions): Promise<Model>;
    /** Switches debugging on, for all models and sessions; null: off. */
    debug(options: DebugOptions | null): Promise<void>;
    /** What is known of kernels on this device, by this run or an earlier one. */
    kernels(): Promise<Kernels>;
    /** What the host has done for the GPU so far; null without one. For benchmarks. */
    counters(): Promise<Counters | null>;
    /** Cancels what runs, closes models and sessions, frees the device. Never fails. */
    close(): Promise<void>;
}

export interface Kernels {
    /** Programs that were compared with their twins on the CPU. `withoutFeatures`: those that use
     *  subgroups were wrong. What is not right is not used. */
    readonly tested: readonly { readonly kernel: string; readonly format: string;
        readonly right: boolean; readonly withoutFeatures: boolean }[];
    /** The fastest for weights [rows, cols] and up to so many tokens. */
    readonly chosen: readonly { readonly kernel: string; readonly format: string;
        readonly rows: number; readonly cols: number; readonly tokens: number }[];
    /** Milliseconds that this run spent on finding out, compiling apart. */
    readonly testMs: number;
    readonly tuneMs: number;
}

export interface DebugOptions {
    /** Where lines go, one for each call into the engine; true (default when another switch is
     *  on): console.debug. */
    log?: boolean | ((line: string) => void);
    /** Lines end with milliseconds: of the call, to the first token, between tokens. */
    timings?: boolean;
    /** Each generate() first checks the tensors of its prompt (64 tokens at most) as Model.check()
     *  does and says what it found: whether all are finite, with 'cpu' also what departs from the
     *  CPU backend. A function receives the report. */
    trace?: boolean | 'cpu' | ((report: Report) => void);
    /** For trace: what of a tensor's largest value is a departure. Default 1e-3. */
    tolerance?: number;
}

export interface SessionOptions {
    /** Tokens that the session can hold. Default: what the model was trained for, at most 8192. */
    context?: number;
    /** Most tokens of one step while reading a prompt. */
    chunk?: number;
    /** Number format of the KV cache. Default 'f16'; 'q8_0' takes about half as much memory. */
    kv?: 'f16' | 'f32' | 'q8_0';
    /** 'fast' (default) permits kernels that round activations to 8 bits. */
    precision?: 'fast' | 'exact';
    /** Turn ends that a prompt may return to without being read anew, where layers of the model
     *  see a window only; at most 64. Default: up to 4, in half of the KV cache's memory. */
    checkpoints?: number;
}

export interface TokenizeOptions {
    /** Recognise special tokens written out in the text. Default false. */
    special?: boolean;
    /** Begin as the model's texts begin. Default true. */
    bos?: boolean;
}

/** Bytes on the device. */
export interface Memory {
    /** Of the model, shared by its sessions. */
    readonly weights: number;
    /** Keys and values of all layers. */
    readonly kv: number;
    /** What sliding layers held at the ends of turns. */
    readonly checkpoints: number;
    /** Activations, tables, logits. */
    readonly work: number;
}

/** An element of an intermediate tensor. */
export interface Place {
    /** 'layers.3.qkv': names as in docs/PIPELINE.md. */
    readonly name: string;
    readonly token: number;
    /** Which of the token's experts, where the tensor has a row for each; else null. */
    readonly slot: number | null;
    readonly element: number;
    readonly got: number;
    /** Null where nothing was compared. */
    readonly want: number | null;
    /** |got - want|, of the tensor's largest value. */
    readonly error: number | null;
}

export interface Report {
    /** In the order of computation. error: the largest, where something was compared. */
    readonly tensors: readonly { readonly name: string; readonly rows: number;
        readonly cols: number; readonly rms: number; readonly error: number | null }[];
    /** The first NaN or infinity. */
    readonly nonFinite: Place | null;
    /** The first error above the tolerance; in that tensor, the largest. */
    readonly departure: Place | null;
    /** The largest error of all. */
    readonly worst: Place | null;
}

export interface CheckOptions {
    /** 'cpu': compare with the CPU backend, which loads the package too. */
    against?: 'cpu' | null;
    /** Default 1e-3. */
    tolerance?: number;
    /** Default 'f32'. */
    kv?: 'f16' | 'f32' | 'q8_0';
    /** Default 'exact'. */
    precision?: 'fast' | 'exact';
    signal?: AbortSignal;
}

/** Weights and tokenizer, shared by the sessions. */
export class Model {
    private constructor();
    /** Where it was loaded from. */
    readonly url: string;
    /** Size of the vocabulary. */
    readonly vocab: number;
    /** Longest context that the model was trained for, in tokens. */
    readonly context: number;
    /** What a session with these options will need, before anything is allocated. */
    memory(options?: SessionOptions): Promise<Memory>;
    session(options?: SessionOptions): Session;
    /** The model's Jinja template of a conversation; null when it has none. */
    readonly chatTemplate: string | null;
    /** Answers a conversation, in a session of the model's own that all its chats share. */
    chat(messages: readonly Message[], options?: ChatOptions): Reply;
    /** A conversation as the model's template writes it, without answering. In `ids`, special
     *  tokens are only what the template itself wrote, unless `trusted`. */
    render(messages: readonly Message[], options?: RenderOptions): Promise<Rendered>;
    tokenize(text: string, options?: TokenizeOptions): Promise<Uint32Array>;
    /** Computes every intermediate tensor of a prompt, in a session of its own, and says what is
     *  wrong with them. */
    check(prompt: string | Iterable<number>, options?: CheckOptions & TokenizeOptions):
        Promise<Report>;
    /** Closes its sessions and frees the weights. Never fails. */
    close(): Promise<void>;
}

export interface SamplingOptions {
    /** Most tokens to generate. Default: until the model stops or the context is full. */
    maxTokens?: number;
    /** 0 (default): always the likeliest token. */
    temperature?: number;
    /** Only the k likeliest; 0 (default): off. */
    topK?: number;
    /** Only the likeliest that together reach this probability; 0 (default) or 1: off. */
    topP?: number;
    /** Only tokens at least this likely, relative to the likeliest; 0 (default): off. */
    minP?: number;
    /** Divides the scores of tokens that have occurred; 0 (default) or 1: off. */
    repetitionPenalty?: number;
    /** Subtracted from the scores of tokens that have occurred; 0 (default): off. */
    presencePenalty?: number;
    /** Same seed, same text. Default: a random one, see `stats.seed`. */
    seed?: number | bigint;
    /** Texts before which the answer ends. */
    stop?: string | readonly string[];
    signal?: AbortSignal;
}

export interface GenerateOptions extends TokenizeOptions, SamplingOptions {}

export interface GenerationStats {
    /** 'stop': the model ended its text. 'length': maxTokens. 'context': the session is full. */
    readonly stop: 'stop' | 'length' | 'context' | 'cancelled';
    /** The id of the stop token that ended it; null when none did. */
    readonly stopToken: number | null;
    /** Which of `stop` ended it; null when none did. */
    readonly stopString: string | null;
    readonly promptTokens: number;
    /** Of those, what the session held already. */
    readonly reusedTokens: number;
    readonly tokens: number;
    readonly seed: number | bigint;
    /** Milliseconds from the start to the first token; null without one. */
    readonly timeToFirstToken: number | null;
    /** After the first token; null with fewer than two. */
    readonly tokensPerSecond: number | null;
    /** Milliseconds. */
    readonly duration: number;
}

/** The text of one run, piece by piece. It begins when first asked; leaving the loop cancels. */
export class Generation implements AsyncIterableIterator<string> {
    protected constructor();
    [Symbol.asyncIterator](): this;
    next(): Promise<IteratorResult<string, undefined>>;
    return(): Promise<IteratorResult<string, undefined>>;
    throw(error?: unknown): Promise<IteratorResult<string, undefined>>;
    /** Null until the prompt was encoded. */
    readonly promptIds: readonly number[] | null;
    /** Generated so far. */
    readonly ids: readonly number[];
    /** Null until the run has ended. */
    readonly stats: GenerationStats | null;
}

export interface ToolCall {
    /** Nine letters and digits, as Mistral's templates want. */
    readonly id: string;
    readonly type: 'function';
    readonly function: {
        readonly name: string;
        /** An object; the text itself where the model wrote none. */
        readonly arguments: unknown;
    };
}

/** A turn of a conversation. What else a template reads may be given, too. */
export interface Message {
    readonly role: string;
    readonly content?: unknown;
    readonly thinking?: string;
    readonly tool_calls?: readonly unknown[];
    readonly [name: string]: unknown;
}

/** A turn of the model, to be put behind the messages before it. */
export interface AssistantMessage extends Message {
    readonly role: 'assistant';
    readonly content: string;
    readonly thinking?: string;
    /** Of GPT-OSS: what it said on the way to calling tools. */
    readonly commentary?: string;
    readonly tool_calls?: readonly ToolCall[];
}

/** How a model writes thinking and tool calls: GPT-OSS, LLaMA 3, Mistral, Gemma 3, Hermes. */
export type ReplyFormat = 'plain' | 'harmony' | 'llama' | 'mistral' | 'gemma' | 'hermes';

export interface RenderOptions {
    /** What the model may call: { type: 'function', function: { name, description, parameters } },
     *  the form that templates of today read. */
    tools?: readonly unknown[] | null;
    documents?: readonly unknown[] | null;
    /** End with what opens the model's turn. Default true. */
    addGenerationPrompt?: boolean;
    /** Instead of the model's own. */
    template?: string;
    /** More variables of the template, `reasoning_effort` for example. */
    variables?: Record<string, unknown>;
    /** The time that the template is told. */
    now?: Date;
    /** Special tokens written out in messages and tools count as such. Only for texts that nobody
     *  else has written. Default false. */
    trusted?: boolean;
}

export interface Rendered {
    readonly text: string;
    readonly ids: Uint32Array;
}

export interface ChatOptions extends RenderOptions, SamplingOptions {
    /** Default: what the template shows. */
    format?: ReplyFormat;
}

export type ReplyEvent =
    | { readonly type: 'text' | 'thinking' | 'commentary'; readonly text: string }
    | { readonly type: 'tool_call'; readonly call: ToolCall };

/** One answer in a conversation: the text to show, piece by piece. */
export class Reply extends Generation {
    /** The whole prompt as the template wrote it; null until then. */
    readonly prompt: string | null;
    /** Answered so far; complete when the loop has ended. */
    readonly message: AssistantMessage;
    /** Instead of the loop over texts: thinking and tool calls, too. */
    events(): AsyncIterableIterator<ReplyEvent>;
}

/** The message that a whole answer makes, its control tokens spelled out. */
export function parseReply(text: string, options?: {
    format?: ReplyFormat;
    /** The chat template to tell the format from. */
    template?: string;
    tools?: readonly unknown[] | null;
}): AssistantMessage;

/** Rows first .. first + rows - 1 of an intermediate tensor, one for each token; or for each expert
 *  of each token, one behind the other. */
export interface Tensor {
    /** As in docs/PIPELINE.md: 'qkv', 'attended' ... */
    readonly name: string;
    /** Null outside layers. */
    readonly layer: number | null;
    readonly first: number;
    readonly rows: number;
    readonly cols: number;
    readonly values: Float32Array;
}

export interface Counters {
    readonly submits: number;
    readonly dispatches: number;
    /** GPU objects made for submits, beside an encoder, a pass and a command buffer each. */
    readonly objects: number;
    readonly readbackBytes: number;
    /** Milliseconds in submits. */
    readonly encodeMs: number;
}

/** One dispatch of a step. On the CPU backend only `ns` is there. */
export interface DispatchTime {
    /** The program: 'matvec q4_k'. */
    readonly label?: string;
    /** The words of its uniform, as in gpu/dims.h. */
    readonly dims?: readonly number[];
    /** Bytes of each storage binding; 0: to the buffer's end. */
    readonly sizes?: readonly number[];
    readonly grid?: readonly [number, number, number];
    readonly ns: number;
}

/** One token timeline. A prompt is always the whole text wanted so far; what the session holds of
 *  it already is not computed again. */
export class Session {
    private constructor();
    /** Resolves when the memory is there. generate() waits for it by itself. */
    readonly ready: Promise<void>;
    /** Whether close() was called. */
    readonly closed: boolean;
    /** Tokens that the session can hold; null before `ready`. */
    readonly context: number | null;
    generate(prompt: string | Iterable<number>, options?: GenerateOptions): Generation;
    /** Answers a conversation. Each call is given all of it; what the session has already computed
     *  of it is kept. */
    chat(messages: readonly Message[], options?: ChatOptions): Reply;
    /** Logits of every position of ids: [ids.length, vocab], row by row. */
    logits(ids: Iterable<number>, options?: { signal?: AbortSignal }): Promise<Float32Array>;
    /** Negative log-likelihood, in nats, of each of ids[1..] given those before it. */
    score(ids: Iterable<number>, options?: { signal?: AbortSignal }): Promise<Float32Array>;
    /** Every intermediate tensor of ids, read in one step, in the order of computation. */
    trace(ids: Iterable<number>, onTensor: (tensor: Tensor) => void,
        options?: { signal?: AbortSignal }): Promise<void>;
    /** Times each dispatch of the step that generates one token at a position, or that reads
     *  `tokens` of a prompt there. The timeline is empty afterwards. */
    profile(options?: { position?: number, tokens?: number }): Promise<DispatchTime[]>;
    /** Cancels what runs, waits for it, frees the memory. Never fails. */
    close(): Promise<void>;
}

/** What a package is written to: whole files, one after another, the manifest last. */
export interface Sink {
    /** data is valid until the promise settles. */
    write(name: string, data: Uint8Array): Promise<void>;
    /** All files are there. */
    commit?(): Promise<void>;
    /** The conversion failed or was aborted: what was written is to go. */
    abort?(): Promise<void>;
}

/** Format of one matrix. */
export type MatrixFormat = 'f32' | 'f16' | 'bf16' | 'q8_0' | 'q5_0' | 'q4_k' | 'q6_k' | 'mxfp4';

export interface ConvertProgress {
    /** Of the checkpoint's tensors. */
    readonly bytes: number;
    readonly total: number;
    readonly bytesPerSecond: number;
    readonly secondsLeft: number;
}

export interface ConvertOptions {
    /** Format of the matrices. 'keep' (default): as they are, where kernels read that. */
    quantize?: 'keep' | 'f32' | 'f16' | 'bf16' | 'q8_0' | 'q4_k_m' | 'mxfp4';
    /** Of the embedding; default: what `quantize` says. */
    embeddings?: MatrixFormat;
    /** Of the head, where it is not the embedding; default likewise. */
    head?: MatrixFormat;
    /** Largest shard, a multiple of 4096; default 64 MiB. One is held in memory. */
    shardBytes?: number;
    /** The model's name; default: its folder's, or its GGUF file's. */
    name?: string;
    /** URLs of folders that will hold the shards, too. */
    mirrors?: Iterable<string | URL>;
    onProgress?: (progress: ConvertProgress) => void;
    /** Gets a line for what is left out, and for each tensor that 'keep' stores in another type. */
    onNote?: (line: string) => void;
    signal?: AbortSignal;
    assets?: Assets;
    /** true (default in browsers): in a module worker of its own. false (default in Node): in this
     *  thread. Or a worker that runs worker.js, which then ends. */
    worker?: boolean | Worker;
}

export interface Converted {
    /** The package id: SHA-256 of its manifest. */
    readonly id: string;
}

/** Makes a package of a checkpoint; the command line makes the same, byte for byte.
 *  @param from a GGUF file, or the files of a Hugging Face checkpoint: File, URL, an array of
 *      these, or the folder's handle; in Node also a path of a file or a folder.
 *  @param to an empty folder's handle (the page's own, or one that the user picked); in Node a path
 *      where nothing is yet; with `worker: false` also a Sink. */
export function convert(
    from: string | URL | File | FileSystemDirectoryHandle | ReadonlyArray<string | URL | File>,
    to: string | URL | FileSystemDirectoryHandle | Sink, options?: ConvertOptions,
): Promise<Converted>;
