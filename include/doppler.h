/* doppler.h - LLM inference on WebGPU, for browsers and native tools.
 *
 *   doppler          one device (a GPU, or the CPU backend) and its compiled kernels
 *   doppler_model    weights and tokenizer; immutable once loaded, shared by its sessions
 *   doppler_session  one token timeline: KV cache, position, sampling state
 *
 * No call blocks and the library does no I/O of its own. Loading is a conversation: the model
 * says which bytes it wants and where they go (doppler_model_next), the host brings them
 * (doppler_model_fed). Work that waits for the device takes a callback, called once, from
 * doppler_poll() or from the browser's event loop, never from inside the call that started it.
 * Everything happens on the thread that called doppler_create(). */
#ifndef DOPPLER_H
#define DOPPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DOPPLER_VERSION "0.1.0"

#define DOPPLER_STATUSES(X)                                           \
    X(OK,            "ok")                                            \
    X(NO_MEMORY,     "host or GPU memory exhausted")                  \
    X(NO_GPU,        "no usable WebGPU adapter")                      \
    X(DEVICE_LOST,   "the GPU device was lost")                       \
    X(GPU_ERROR,     "the GPU rejected a program or an operation")    \
    X(IO,            "storage or network failure")                    \
    X(BAD_FILE,      "malformed or corrupt model file")               \
    X(UNSUPPORTED,   "architecture, format or feature not known")     \
    X(BAD_ARGUMENT,  "an argument is out of range")                   \
    X(CONTEXT_FULL,  "the session's context is full")                 \
    X(BUSY,          "the session or model is busy")                  \
    X(CANCELLED,     "cancelled by the caller")

typedef enum doppler_status {
#define X(name, text) DOPPLER_##name,
    DOPPLER_STATUSES(X)
#undef X
    DOPPLER_STATUS_COUNT
} doppler_status;

/* "BAD_FILE"; static, never NULL. */
const char *doppler_status_name(doppler_status status);
/* "malformed or corrupt model file"; static, never NULL. */
const char *doppler_status_text(doppler_status status);

typedef struct doppler doppler;
typedef struct doppler_model doppler_model;
typedef struct doppler_session doppler_session;

/* Called once, never from inside the call that was given it. */
typedef void (*doppler_done_fn)(doppler_status status, void *user);

/* ---- device */

typedef enum doppler_device { DOPPLER_DEVICE_CPU, DOPPLER_DEVICE_GPU } doppler_device;

/* What the engine plans for: the device as it is, or a smaller one, for tests: WebGPU's default
 * limits, or those with storage bindings of 1 MiB. */
typedef enum doppler_limits {
    DOPPLER_LIMITS_DEVICE, DOPPLER_LIMITS_DEFAULT, DOPPLER_LIMITS_1MIB
} doppler_limits;

/* Whether kernels that do the same are timed on a GPU, when a session is created; else rules choose
 * between them. Which are right is found out in either case. */
typedef enum doppler_tuning { DOPPLER_TUNING_ON, DOPPLER_TUNING_OFF } doppler_tuning;

/* Zero is every field's default. */
typedef struct doppler_options {
    doppler_device device;       /* GPU exists only in the wasm build, over the host's WebGPU */
    doppler_limits limits;
    doppler_tuning tuning;
    const char *device_name;     /* adapter and driver, for doppler_learn(); copied, NULL: "" */
} doppler_options;

/* NULL only when out of memory. options may be NULL. */
doppler *doppler_create(const doppler_options *options);
/* Sessions and models must have been destroyed. NULL is allowed. */
void doppler_destroy(doppler *d);

/* What has been found out about the device so far: which kernels are right on it, which the fastest.
 * Text to be kept, for doppler_learn() of a later run; free() it; NULL when out of memory. */
char *doppler_learned(const doppler *d);
/* Takes over such text, before the first session. Text of another engine or device, or damaged text,
 * is not taken: false. */
bool doppler_learn(doppler *d, const char *text, size_t bytes);
/* Grows when there is more to keep. */
uint32_t doppler_news(const doppler *d);
/* Milliseconds spent on finding out, compiling apart. */
void doppler_prepare_times(const doppler *d, double *test_ms, double *tune_ms);

/* What went wrong last, one line, owned by d; "" when nothing did. */
const char *doppler_message(const doppler *d);
/* The status that came with it; DOPPLER_OK when nothing went wrong. */
doppler_status doppler_last_status(const doppler *d);

/* Runs due work and callbacks. Returns true while more is due: call again. */
bool doppler_poll(doppler *d);

/* ---- loading */

/* Bytes [offset, offset + bytes) of the fetched range go to host memory at `host`, or where
 * host is NULL into GPU buffer `buffer` at `to`. */
typedef struct doppler_segment {
    uint32_t offset, bytes;
    void *host;
    uint32_t buffer;
    uint64_t to;
} doppler_segment;

/* One byte range that the model wants. Valid until it is fed. The host brings the bytes, checks
 * that SHA-256 of all of them equals `sha256`, and moves the segments. Shard ranges of one file
 * come in ascending order and may be streamed; several may be outstanding. */
typedef struct doppler_request {
    uint32_t id;
    const char *file;                    /* relative to the package's folder */
    uint64_t offset;
    uint32_t bytes;
    const uint8_t *sha256;               /* 32 bytes */
    const doppler_segment *segments;
    uint32_t segment_count;
    const char *const *urls;             /* where else the file is: absolute http or https URLs */
    uint32_t url_count;
} doppler_request;

typedef enum doppler_next {
    DOPPLER_NEXT_REQUEST,                /* *request is filled */
    DOPPLER_NEXT_WAIT,                   /* outstanding requests or the device come first */
    DOPPLER_NEXT_READY,                  /* loaded: sessions may be created */
    DOPPLER_NEXT_FAILED                  /* see doppler_message() */
} doppler_next;

/* Plans a model from the bytes of manifest.json, which are copied. On failure *model is NULL.
 * Nothing is allocated on the device before the first doppler_model_next. */
doppler_status doppler_model_create(doppler *d, const char *manifest, size_t bytes,
                                    doppler_model **model);
doppler_next doppler_model_next(doppler_model *model, doppler_request *request);
/* The host's answer to a request. message: why it failed, or NULL. */
void doppler_model_fed(doppler_model *model, uint32_t id, doppler_status status,
                       const char *message);
/* Bytes of all requests together, and fed so far. */
void doppler_model_progress(const doppler_model *model, uint64_t *bytes, uint64_t *total);
/* Sessions must have been destroyed; allowed while loading, when no request is outstanding. */
void doppler_model_destroy(doppler_model *model);

/* ---- text */

#define DOPPLER_NO_TOKEN UINT32_MAX

/* Which special tokens written out in a text become their ids. */
typedef enum doppler_special {
    DOPPLER_SPECIAL_NONE,        /* none: for text of unknown origin */
    DOPPLER_SPECIAL_ALL,
    DOPPLER_SPECIAL_UNMARKED     /* all but those with a marked character: a byte 0xFF, itself no
                                  * part of the text, marks the character behind it */
} doppler_special;

/* Encodes UTF-8 text (invalid bytes read as U+FFFD). Writes at most capacity ids and returns how
 * many there are. */
size_t doppler_model_encode(const doppler_model *model, const char *text, size_t bytes,
                            bool add_bos, doppler_special special, uint32_t *ids, size_t capacity);
uint32_t doppler_model_vocab(const doppler_model *model);
uint32_t doppler_model_context(const doppler_model *model);    /* longest trained context */
/* The bytes of one token, special ones by their literal text; "" when there is no such id. */
const char *doppler_model_piece(const doppler_model *model, uint32_t id, size_t *bytes);
bool doppler_model_is_special(const doppler_model *model, uint32_t id);
/* The Jinja template of a conversation; "" when the model has none. */
const char *doppler_model_chat_template(const doppler_model *model);
/* What texts begin with, or DOPPLER_NO_TOKEN; stop token i, or DOPPLER_NO_TOKEN behind the last. */
uint32_t doppler_model_bos(const doppler_model *model);
uint32_t doppler_model_stop(const doppler_model *model, uint32_t i);

/* ---- sessions */

typedef enum doppler_kv { DOPPLER_KV_F16, DOPPLER_KV_F32, DOPPLER_KV_Q8_0 } doppler_kv;
typedef enum doppler_precision { DOPPLER_EXACT, DOPPLER_FAST } doppler_precision;

/* Zero is every field's default. */
typedef struct doppler_session_options {
    uint32_t context;            /* KV capacity in tokens; 0: the model's, at most 8192 */
    uint32_t chunk;              /* most tokens of one prefill step; 0: 512 */
    doppler_kv kv;
    doppler_precision precision; /* FAST permits kernels that round activations */
    uint32_t checkpoints;        /* turn ends that can be returned to where layers slide; 0: up to
                                  * 4, in at most half of what the KV cache takes */
} doppler_session_options;

#define DOPPLER_NO_CHECKPOINTS UINT32_MAX
#define DOPPLER_MAX_CHECKPOINTS 64

/* Bytes on the device. */
typedef struct doppler_memory {
    uint64_t weights;            /* of the model, shared by its sessions */
    uint64_t kv;                 /* K and V of all layers, as long as each keeps them */
    uint64_t checkpoints;        /* copies of what sliding layers kept at turn ends */
    uint64_t work;               /* activations, tables, logits */
} doppler_memory;

/* What a session with these options will need; may be asked before the model is loaded, and before
 * anything is allocated. Status: BAD_ARGUMENT, UNSUPPORTED, NO_MEMORY when the device cannot bind a
 * part of it. */
doppler_status doppler_session_memory(doppler_model *model, const doppler_session_options *options,
                                      doppler_memory *out);
/* Plans and allocates; *session is set at once, usable after done(DOPPLER_OK). */
doppler_status doppler_session_create(doppler_model *model, const doppler_session_options *options,
                                      doppler_session **session, doppler_done_fn done,
                                      void *user);
/* Not while a callback of it is due: cancel and wait first. */
void doppler_session_destroy(doppler_session *s);
/* Tokens in the timeline, and the most it can hold. */
uint32_t doppler_session_position(const doppler_session *s);
uint32_t doppler_session_context(const doppler_session *s);
/* Tokens of the last prompt that were in the KV cache already. */
uint32_t doppler_session_reused(const doppler_session *s);

/* Zero is every field's default, and greedy. */
typedef struct doppler_sampling {
    float temperature;           /* 0: greedy */
    uint32_t top_k;              /* 0: off */
    float top_p;                 /* 0 or 1: off */
    float min_p;                 /* 0: off */
    float repetition_penalty;    /* 0 or 1: off; Keskar et al. 2019, section 4.1 */
    float presence_penalty;      /* 0: off; subtracted from each token present so far */
    uint64_t seed;               /* same seed, same ids */
    const char *stops;           /* stop strings, UTF-8, each ended by NUL; copied */
    size_t stops_bytes;          /* of all of them */
} doppler_sampling;

/* Receives each generated token and the text it completes: whole UTF-8 characters, bytes long,
 * not NUL-terminated, valid during the call, possibly empty. A character that the text breaks
 * off in comes last, as U+FFFD with id DOPPLER_NO_TOKEN. What may begin a stop string comes once
 * that is decided, at the end also with id DOPPLER_NO_TOKEN. Return false to stop. */
typedef bool (*doppler_token_fn)(uint32_t id, const char *text, size_t bytes, void *user);

/* ids is the whole timeline wanted, at least one token: the session reuses the longest prefix
 * that it already holds, prefills the rest and generates up to max_tokens, ending early at a
 * stop token of the model (which is not reported) or at a stop string, whose text and what follows
 * are not given out (its tokens are); special tokens interrupt the text that is searched. done:
 * OK, CANCELLED, CONTEXT_FULL when the context ended it, or a failure. */
doppler_status doppler_generate(doppler_session *s, const uint32_t *ids, size_t count,
                                const doppler_sampling *sampling, uint32_t max_tokens,
                                doppler_token_fn token, doppler_done_fn done, void *user);
/* What ended the last generation: the id of a stop token, the number of a stop string; each
 * DOPPLER_NO_TOKEN where it did not. */
uint32_t doppler_session_stop_token(const doppler_session *s);
uint32_t doppler_session_stop_string(const doppler_session *s);
/* Makes a running generation end with CANCELLED at the next token. */
void doppler_cancel(doppler_session *s);

/* Logits of every position of ids, from an empty timeline: out is [count, vocab] f32 and must
 * live until done. */
doppler_status doppler_logits(doppler_session *s, const uint32_t *ids, size_t count, float *out,
                              doppler_done_fn done, void *user);

/* Negative log-likelihood, in nats, of each of ids[1..] given the ids before it, from an empty
 * timeline: nll is [count - 1] f32 and must live until done. Perplexity is exp of the mean. */
doppler_status doppler_score(doppler_session *s, const uint32_t *ids, size_t count, float *nll,
                             doppler_done_fn done, void *user);

/* ---- debugging */

#define DOPPLER_NO_LAYER UINT32_MAX

/* Rows first .. first + rows - 1 of an intermediate tensor, one for each token; or for each expert
 * of each token, one behind the other. */
typedef struct doppler_tensor {
    const char *name;            /* "qkv": as in docs/PIPELINE.md; static */
    uint32_t layer;              /* or DOPPLER_NO_LAYER */
    uint32_t first, rows, cols;
    const float *data;           /* [rows, cols], valid during the call */
} doppler_tensor;

/* Receives each tensor as it is computed. Return false to stop. */
typedef bool (*doppler_tensor_fn)(const doppler_tensor *tensor, void *user);

/* Every intermediate tensor of ids, read in one step (at most the session's chunk) from an empty
 * timeline. done: OK, CANCELLED, or a failure. */
doppler_status doppler_trace(doppler_session *s, const uint32_t *ids, size_t count,
                             doppler_tensor_fn tensor, doppler_done_fn done, void *user);

/* Times each dispatch of the step that generates one token at `position`, or that reads `tokens`
 * of a prompt there: ns[i], nanoseconds, at most `capacity` of them; *count is set at once. ns
 * must live until done. The timeline is empty afterwards. done: OK or a failure. */
doppler_status doppler_profile(doppler_session *s, uint32_t position, uint32_t tokens, double *ns,
                               size_t capacity, size_t *count, doppler_done_fn done, void *user);

#ifdef __cplusplus
}
#endif
#endif
