/* engine.h - the three objects behind doppler.h, as inference/ sees them. */
#ifndef INFERENCE_ENGINE_H
#define INFERENCE_ENGINE_H

#include "debug/trace.h"
#include "gpu/op.h"
#include "loader/load.h"
#include "memory/status.h"
#include "tokenizer/stop.h"
#include "tokenizer/tokenizer.h"

/* What selftest.c has found out about a program; 0: nothing yet. Without features: with them it was
 * wrong. */
enum program_trust { TRUST_RIGHT = 1, TRUST_WITHOUT_FEATURES = 2, TRUST_WRONG = 4 };

struct doppler {
    gpu *g;                      /* owned */
    bool lost;
    bool is_cpu;
    double (*now_ms)(void);      /* a clock that never goes back */
    op_programs programs;        /* compiled so far, shared by all models */
    uint8_t trust[KERNEL_COUNT][FORMAT_COUNT];     /* program_trust bits */
    doppler_tuning tuning;
    char *device_name;           /* owned */
    uint32_t news;               /* what selftest.c and tune.c have found out so far */
    double test_ms, tune_ms;     /* spent in them */
    double tune_most_ms;         /* that a session may spend */
    error error;
};

typedef enum model_stage { MODEL_LOADING, MODEL_READY, MODEL_FAILED } model_stage;

struct doppler_model {
    doppler *d;                  /* borrowed */
    model_stage stage;
    manifest manifest;
    arena memory;                /* plan and loader */
    weights weights;
    loader loader;
    tokenizer *tokenizer;        /* owned */
    bool allocated;              /* or on its way to be */
    uint32_t formats;            /* a bit for each weight_format of its matrices */
    uint32_t linear_formats;     /* of those that decode.c reads by linear */
    uint32_t expert_formats;     /* and by linear_experts */
    bool buffers_ready, programs_ready;
    uint32_t waiting;            /* device callbacks that are due */
    bool destroyed;              /* by the user, while callbacks were due */
};

/* The GPU memory of a session, planned once. All activations f32, [chunk, ...]. */
typedef struct session_buffers {
    gpu_buffer state;            /* struct step_state */
    gpu_buffer ids;              /* [chunk] u32: tokens of the step */
    gpu_buffer ring;             /* [RING_TOKENS] u32: sampled ids */
    gpu_buffer counts;           /* [vocab] u32: occurrences in the timeline */
    gpu_buffer rope[LAYER_KINDS];        /* [rope rows, head_dim / 2] pairs (cos, sin); of kinds
                                          * that do not occur one word */
    gpu_buffer x;                /* [chunk, dim] residual stream */
    gpu_buffer normed;           /* [chunk, dim] */
    gpu_buffer qkv;              /* [chunk, (heads + 2 * kv_heads) * head_dim] */
    gpu_buffer attended;         /* [chunk, heads * head_dim] */
    gpu_buffer partial;          /* [splits, heads, head_dim + 4] */
    gpu_buffer gate_up;          /* [chunk, slots of a token, 2 * hidden]; a dense model has one */
    gpu_buffer activated;        /* [chunk, slots, hidden] */
    gpu_buffer router;           /* [chunk, experts]; a word each where there are no experts: */
    gpu_buffer experts;          /* [chunk, used] u32: of each token, one a slot */
    gpu_buffer expert_weights;   /* [chunk, used] */
    gpu_buffer routing;          /* u32: slots by expert, see expert_tiles of gpu/dims.h */
    gpu_buffer expert_out;       /* [chunk, used, dim] */
    gpu_buffer logits;           /* [logit_rows, vocab] */
    gpu_buffer parts;            /* [sample_part_words(vocab)] u32 */
    gpu_buffer x_form;           /* [dim] x of one token times the next norm's gain, in s->form */
    gpu_buffer attended_form;    /* [heads * head_dim], the same */
    gpu_buffer hidden_form;      /* [hidden], the same; of experts [slots, hidden padded to whole
                                  * groups of eight runs] */
    gpu_buffer prompt_form;      /* what a prompt's projection reads, where that is not plain:
                                  * [chunk, k] or [chunk * slots, k] */
    gpu_buffer targets;          /* [chunk] u32: what follows each token, to be scored */
    gpu_buffer nll;              /* [chunk] */
} session_buffers;

enum {
    SESSION_BUFFERS = sizeof(session_buffers) / sizeof(gpu_buffer),
    RING_TOKENS = 64,            /* a power of two, more than two submits' tokens */
    MAX_CONTEXT_DEFAULT = 8192,
    DEFAULT_CHUNK = 512
};

/* A recorded step and what it was recorded for. */
typedef struct recorded {
    gpu_list list;
    uint32_t tokens;             /* of the step */
    bool decode;                 /* by decode.c */
    int sampler;                 /* kernel_id of the sampler at its end, or -1 */
    bool penalize;
} recorded;

/* Positions that a copy of the rings holds; none where end is 0. */
typedef struct checkpoint { uint32_t first, end; } checkpoint;

/* Which rows the tables of cosines and sines hold, and room to compute some. */
typedef struct rope_table {
    uint32_t rows;               /* of a table: position p is in row p % rows */
    uint32_t first, end;         /* positions that are there */
    float *frequencies[LAYER_KINDS];       /* [head_dim / 2], owned; NULL: no such layer */
    float *scratch;              /* [ROPE_AHEAD, head_dim], owned */
} rope_table;

enum { PACE_PARTS = 2 };         /* in flight: one runs while the host hears of the one before */

typedef struct pace_part { double submitted_ms; uint32_t dispatches; } pace_part;

/* What pace.c has learned, and the step that is under way. */
typedef struct pace {
    double dispatch_ms;          /* of one dispatch of a step of learned_tokens, on average */
    uint32_t learned_tokens;
    uint32_t largest;            /* dispatches of a part so far; 0: nothing learned */
    gpu_list list;
    uint32_t tokens;             /* of the step */
    uint32_t next, end;          /* dispatches of it that were not submitted yet */
    pace_part parts[PACE_PARTS];
    uint32_t launched, landed;   /* parts, in order */
    double landed_ms;            /* when the last one ended */
    gpu_readback readback;       /* behind the step; bytes 0: none */
    doppler_status status;
    doppler_done_fn done;
    void *user;
} pace;

struct generation;
struct logits_pass;
struct trace_pass;

struct doppler_session {
    doppler_model *model;        /* borrowed */
    uint32_t context, chunk;
    uint32_t splits[LAYER_KINDS];          /* of a decoded token's keys */
    uint32_t slots[LAYER_KINDS];           /* tokens that a layer's cache keeps */
    uint32_t logit_rows;         /* rows of logits that a step can leave, <= chunk */
    kv_format kv;
    uint32_t slab_heads[LAYER_KINDS];      /* KV heads in a buffer of such a layer's cache */
    uint32_t slabs[LAYER_KINDS];           /* buffers of it */
    doppler_precision precision;
    bool plain;                  /* forward.c for all: a program of decode.c was wrong here */
    x_form form;                 /* of x between the projections of a decoded token */
    session_buffers buffers;
    gpu_buffer *kv_buffers;      /* [all layers' slabs]: [KV heads, 2, slots, head_dim] each */
    uint32_t *kv_first;          /* [layers] where a layer's begin */
    rope_table rope;
    bool ready;
    uint32_t *timeline;          /* [context] ids */
    uint32_t timeline_tokens;    /* accepted */
    uint32_t cached_tokens;      /* of those, present in the KV cache */
    uint32_t stop_token, stop_string;      /* what ended the last generation, or NO_TOKEN */
    uint32_t reused_tokens;      /* of the last prompt */
    uint32_t ring_first, ring_end;         /* the rings hold positions ring_first and later, and
                                            * were written up to ring_end */
    uint32_t checkpoint_count, checkpoint_rows;      /* rows: tokens that one keeps */
    checkpoint *checkpoints;     /* [checkpoint_count] */
    gpu_buffer *checkpoint_buffers;        /* [checkpoint_count, slabs of all sliding layers]:
                                            * [KV heads, 2, checkpoint_rows, head_dim] each */
    recorded chunk_list, last_list, decode_list;
    pace pace;
    struct generation *generation;        /* running, owned; NULL when idle */
    struct logits_pass *logits_pass;      /* running, owned; NULL when idle */
    struct trace_pass *trace_pass;        /* running, owned; NULL when idle */
    bool profiling;
    doppler_done_fn profiled;    /* of doppler_profile */
    void *profiled_user;
    trace *trace;                /* where the graph marks its tensors; NULL when it does not */
    doppler_done_fn prepared;    /* of session_prepare */
    void *prepared_user;
    doppler_done_fn created;     /* of doppler_session_create */
    void *created_user;
};

/* ---- programs.c */

typedef struct program_want { kernel_id kernel; uint32_t format; } program_want;
/* Compiles what is not compiled yet. done as doppler_done_fn. NO_MEMORY is returned at once. */
doppler_status programs_compile(doppler *d, const program_want *wants, size_t count,
                                doppler_done_fn done, void *user);
/* The device that a program is made for: without features that it can do without, where with them
 * it was wrong. */
gpu_limits program_device(const doppler *d, kernel_id id, uint32_t format);
/* Whether there is such a program that is not wrong. */
bool program_exists(const doppler *d, kernel_id id, uint32_t format);
/* Whether there is one of the variants of base. */
bool program_exists_any(const doppler *d, kernel_id base, uint32_t format);
/* A program was wrong: it is used no more. */
void program_drop(doppler *d, kernel_id id, uint32_t format);

/* ---- rope.c */

/* inv_freq[i], i < head_dim / 2. */
void rope_frequencies(const rope_config *r, uint32_t head_dim, float *inv_freq);
/* Rows [first, first + count) of the table: out[count, head_dim / 2] pairs (cos, sin), both times
 * scale. */
void rope_rows(const float *inv_freq, float scale, uint32_t head_dim, uint32_t first,
               uint32_t count, float *out);
/* The factor of cosines and sines. */
float rope_table_scale(const rope_config *r);

/* ---- rope_table.c: rows for the positions at hand, a ring as the caches of sliding layers */

enum { ROPE_AHEAD = 64 };        /* positions computed at once while tokens come one by one */

/* Rows of a table for steps of up to `chunk`. */
uint32_t rope_table_rows(uint32_t context, uint32_t chunk);
/* Host memory; false when there is none. s->rope.rows is set. */
bool rope_table_init(doppler_session *s);
void rope_table_free(doppler_session *s);
/* Positions first .. first + tokens - 1, at most a chunk, are there when the next submit runs. */
void rope_table_reach(doppler_session *s, uint32_t first, uint32_t tokens);

/* ---- kv_cache.c: a full layer keeps the context, a sliding one a ring */

/* Tokens that the caches of such layers keep: in a ring, the window of the first token of a step
 * of `chunk` and the step itself. */
uint32_t kv_slots(const model_config *m, layer_kind kind, uint32_t context, uint32_t chunk);
/* Bytes of K and V of so many KV heads of a layer. */
uint64_t kv_slab_bytes(const model_config *m, kv_format format, uint32_t slots, uint32_t heads);
/* KV heads of a layer that one buffer holds on a device that binds at most `most` bytes; 0 where a
 * single one is too large. */
uint32_t kv_slab_heads(const model_config *m, kv_format format, uint32_t slots, uint64_t most);
/* Longest context whose caches such a device can bind, up to `context`. */
uint32_t kv_most_context(const model_config *m, kv_format format, uint32_t context,
                         uint32_t chunk, uint64_t most);
/* The first position that a token at `position` sees in a sliding layer. */
uint32_t kv_oldest_seen(const model_config *m, uint32_t position);
/* Positions up to end will have been written when a step ends. */
void kv_written(doppler_session *s, uint32_t end);
/* The timeline departs behind its first `same` tokens: how many of them can be reused, at most
 * `wanted`: all of those while the rings hold what the next token would see, else as many as a
 * checkpoint has, else none. Readies the rings for writing behind them. */
uint32_t kv_reuse(doppler_session *s, uint32_t same, uint32_t wanted);

/* ---- checkpoints.c */

/* Tokens that one keeps of each ring; 0 where no ring wraps. */
uint32_t checkpoint_rows(const model_config *m, uint32_t slots, uint32_t context);
/* Keeps what the rings hold of the positions before `end`, in place of a checkpoint that this makes
 * needless, else of the oldest; nothing where one serves that end already. */
void checkpoint_take(doppler_session *s, uint32_t end);
/* Drops what is not of the first `same` tokens. */
void checkpoints_keep(doppler_session *s, uint32_t same);
/* Puts back the checkpoint that reaches furthest, up to `wanted`, and returns where: 0, none. */
uint32_t checkpoint_restore(doppler_session *s, uint32_t wanted);

/* ---- forward.c: the graph, recorded */

/* Embedding and all layers for `tokens` ids at state.position; leaves the residual in x. */
void forward_layers(const doppler_session *s, uint32_t tokens);
/* Final norm and head of rows [first, first + tokens) of x into logits [tokens, vocab]. */
void forward_head(const doppler_session *s, uint32_t first, uint32_t tokens);

/* ---- decode.c: the same for one token, folded into fewer dispatches */

/* The form that a model's projections of one token read. */
x_form decode_form(const doppler_model *m, doppler_precision precision);
/* The kind of linear, and its variants, that read x so. */
kernel_id decode_kernel(x_form form);
/* The same for experts. */
kernel_id experts_kernel(x_form form);
/* Whether a layer's experts go through linear_experts, else through moe.c. */
bool decode_folds_experts(const doppler_model *m, uint32_t layer);
void decode_layers(const doppler_session *s);
/* logits [1, vocab] of the token that decode_layers has read */
void decode_head(const doppler_session *s);

/* ---- selftest.c */

/* Tests the device's programs that depend on what it may do in its own way and were not tested yet.
 * done, called if *started: OK, UNSUPPORTED when some are wrong (they have been dropped), or a
 * failure. */
doppler_status selftest_start(doppler *d, bool *started, doppler_done_fn done, void *user);

/* ---- tune.c */

enum { TUNE_MOST_MS = 150 };

/* Times kernels that do the same, at shapes for which nothing was chosen yet. done, called if
 * *started: OK, or a failure. */
doppler_status tune_start(doppler_session *s, bool *started, doppler_done_fn done, void *user);

/* ---- prepare.c */

/* Compiles the programs that depend on the session's options, tests those that a device may get
 * wrong, and chooses between those that do the same. done as doppler_done_fn, unless NO_MEMORY is
 * returned. */
double prepare_clock(void);      /* milliseconds */
doppler_status session_prepare(doppler_session *s, doppler_done_fn done, void *user);

/* ---- moe.c */

/* The same as session_prompt_form, for a layer's experts. */
x_form moe_form(const doppler_session *s, uint32_t layer, uint32_t tokens);
/* Feed-forward of a layer with experts: y (+)= what they make of `normed`, weighted. */
void moe_forward(const doppler_session *s, x_form form, uint32_t layer, uint32_t tokens,
                 gpu_buffer y, bool add);

/* ---- session.c */

/* Whether forward.c multiplies matrices of this format by int8, or by subgroup matrices where
 * there are some. */
bool session_packs(const doppler_session *s, weight_format format);
/* Whether forward.c may use subgroup matrices. */
bool session_has_matrices(const doppler_session *s);
/* The form of x in which forward.c lets a projection read that many tokens: plain, or with FAST
 * packed or half, by what the device has for all of its formats. */
x_form session_prompt_form(const doppler_session *s, const projection *p, uint32_t tokens);
op_context session_ops(const doppler_session *s);
/* Uploads the state and the token ids of a step. */
void session_write_step(doppler_session *s, const step_state *state, const uint32_t *ids,
                        uint32_t tokens);
/* The list of a step of `tokens`; decode: of one, by decode.c where that serves. With a sampler (a
 * kernel_id, else -1) it ends by sampling from the last token's logits. Recorded anew only when the
 * step differs from r's. */
gpu_list session_step(doppler_session *s, recorded *r, uint32_t tokens, bool decode, int sampler,
                      bool penalize);
/* Whether work may start; ids within the vocabulary, at most `context` of them. */
doppler_status session_check(doppler_session *s, const uint32_t *ids, size_t count);

/* ---- pace.c */

/* Submits a step of a prompt in parts, one step at a time; done is called when all have ended,
 * with what readback asks for. */
void pace_submit(doppler_session *s, gpu_list list, uint32_t tokens, const gpu_readback *readback,
                 doppler_done_fn done, void *user);
/* Whether parts have not been submitted yet: nothing else may be. */
bool pace_waits(const doppler_session *s);
/* Leaves those out; the step ends with CANCELLED where there were any. */
void pace_cancel(doppler_session *s);

/* ---- generate.c, logits.c, trace.c */

bool generation_cancel(doppler_session *s);
bool logits_cancel(doppler_session *s);
bool trace_cancel(doppler_session *s);

#endif
