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

export interface OpenOptions {
    /** 'auto' (default): a GPU if there is a real one, else the CPU, with `info.reason` saying
     *  why. 'gpu': any GPU, software adapters included, or NO_GPU. */
    device?: 'auto' | 'gpu' | 'cpu';
    /** For tests: plan as for a device of WebGPU's default limits, or of 1 MiB bindings. */
    limits?: 'device' | 'default' | '1MiB';
    /** Where doppler.wasm and worker.js are, when not beside this module: a folder's URL, or a
     *  function from name to URL. */
    assets?: string | URL | ((name: 'doppler.wasm' | 'worker.js') => string | URL);
    /** true (default in browsers): run in a module worker. false (default in Node): in this
     *  thread. Or a worker that runs worker.js, which close() then ends. */
    worker?: boolean | Worker;
}

export interface LoadOptions {
    onProgress?: (progress: { bytes: number; total: number }) => void;
    signal?: AbortSignal;
}

/** One device and its compiled kernels. Several may coexist. */
export class Doppler {
    private constructor();
    static open(options?: OpenOptions): Promise<Doppler>;
    readonly info: Info;
    /** @param url folder of an RDRR package; in Node a path too. */
    load(url: string | URL, options?: LoadOptions): Promise<Model>;
    /** Cancels what runs, closes models and sessions, frees the device. Never fails. */
    close(): Promise<void>;
}

export interface SessionOptions {
    /** Tokens that the session can hold. Default: what the model was trained for, at most 8192. */
    context?: number;
    /** Most tokens of one step while reading a prompt. */
    chunk?: number;
    /** Number format of the KV cache. Default 'f16'. */
    kv?: 'f16' | 'f32';
    /** 'fast' (default) permits kernels that round activations to 8 bits. */
    precision?: 'fast' | 'exact';
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
    /** Activations, tables, logits. */
    readonly work: number;
}

/** Weights and tokenizer, shared by the sessions. */
export class Model {
    private constructor();
    /** Size of the vocabulary. */
    readonly vocab: number;
    /** Longest context that the model was trained for, in tokens. */
    readonly context: number;
    /** What a session with these options will need, before anything is allocated. */
    memory(options?: SessionOptions): Promise<Memory>;
    session(options?: SessionOptions): Session;
    tokenize(text: string, options?: TokenizeOptions): Promise<Uint32Array>;
    /** Closes its sessions and frees the weights. Never fails. */
    close(): Promise<void>;
}

export interface GenerateOptions extends TokenizeOptions {
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
    signal?: AbortSignal;
}

export interface GenerationStats {
    /** 'stop': the model ended its text. 'length': maxTokens. 'context': the session is full. */
    readonly stop: 'stop' | 'length' | 'context' | 'cancelled';
    readonly promptTokens: number;
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
    private constructor();
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

/** One token timeline. A prompt is always the whole text wanted so far; what the session holds of
 *  it already is not computed again. */
export class Session {
    private constructor();
    /** Resolves when the memory is there. generate() waits for it by itself. */
    readonly ready: Promise<void>;
    /** Tokens that the session can hold; null before `ready`. */
    readonly context: number | null;
    generate(prompt: string | Iterable<number>, options?: GenerateOptions): Generation;
    /** Logits of every position of ids: [ids.length, vocab], row by row. */
    logits(ids: Iterable<number>, options?: { signal?: AbortSignal }): Promise<Float32Array>;
    /** Negative log-likelihood, in nats, of each of ids[1..] given those before it. */
    score(ids: Iterable<number>, options?: { signal?: AbortSignal }): Promise<Float32Array>;
    /** Every intermediate tensor of ids, read in one step, in the order of computation. */
    trace(ids: Iterable<number>, onTensor: (tensor: Tensor) => void,
        options?: { signal?: AbortSignal }): Promise<void>;
    /** Cancels what runs, waits for it, frees the memory. Never fails. */
    close(): Promise<void>;
}
