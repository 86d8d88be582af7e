/* generate.c - prompt in, tokens out, as a state machine over submits.
 *
 * The GPU keeps position, sampled token and RNG counter, so several steps are encoded ahead and
 * the host only reads ids: two submits are in flight, and a stop token is noticed a few tokens
 * late and trimmed. A step i feeds the token that step i - 1 sampled; step 0 ends the prompt. */
#include "inference/engine.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    FLIGHTS = 2,                 /* submits in flight on a GPU */
    FLIGHT_TOKENS = 4            /* steps of one submit there */
};

typedef struct flight { uint32_t ids[FLIGHT_TOKENS], count; } flight;

struct generation {
    doppler_session *s;
    uint32_t prompt_tokens, prefilled;     /* prefilled: of the prompt, submitted or cached */
    uint32_t chunk_tokens;                 /* of these, those of the last step */
    uint32_t limit;                        /* most tokens to sample */
    bool context_bound;                    /* limit is the context's, not the caller's */
    uint32_t steps, accepted;              /* sampled: submitted, and delivered */
    step_state state;
    kernel_id sampler;
    bool penalize;
    flight flights[FLIGHTS];
    uint32_t launched, landed;             /* flights, in order */
    bool chunk_running, ended, cancelled;
    doppler_status status;
    token_stream stream;                   /* goes on from the prompt */
    stop_scanner stops;
    char *text;                            /* [tokenizer_stream_max + longest stop string] */
    char *piece;                           /* [tokenizer_stream_max], in the same memory */
    doppler_token_fn token;
    doppler_done_fn done;
    void *user;
};

static void advance(struct generation *g);

static void end(struct generation *g, doppler_status status) {
    if (g->ended) return;
    g->ended = true;
    g->status = status;
}

static void generation_free(struct generation *g) {
    if (!g) return;
    stop_close(&g->stops);
    free(g->text);
    free(g);
}

/* Text that a token completes, into g->text; *stopped: with it a stop string has come. */
static size_t token_text(struct generation *g, uint32_t id, bool *stopped) {
    const tokenizer *t = g->s->model->tokenizer;
    *stopped = false;
    if (tokenizer_is_special(t, id)) return stop_end(&g->stops, g->text);
    size_t bytes = tokenizer_stream(t, &g->stream, id, g->piece);
    return stop_take(&g->stops, g->piece, bytes, g->text, stopped);
}

/* What was held back, into g->text. */
static size_t last_text(struct generation *g) {
    bool stopped;
    size_t bytes = tokenizer_stream_end(&g->stream, g->piece);
    size_t n = stop_take(&g->stops, g->piece, bytes, g->text, &stopped);
    if (stopped) g->s->stop_string = g->stops.found;
    return stopped ? n : n + stop_end(&g->stops, g->text + n);
}

/* Nothing is in flight: settle the timeline and tell the caller. */
static void finish(struct generation *g) {
    doppler_session *s = g->s;
    uint32_t fed = g->steps ? g->steps - 1 : 0;          /* sampled tokens that were fed back */
    bool broken = g->status && g->status != DOPPLER_CANCELLED &&
                  g->status != DOPPLER_CONTEXT_FULL;
    s->cached_tokens = broken ? 0 : g->prefilled + (fed < g->accepted ? fed : g->accepted);
    if (g->prefilled < g->prompt_tokens) s->timeline_tokens = s->cached_tokens;
    size_t bytes = s->stop_string == DOPPLER_NO_TOKEN ? last_text(g) : 0;
    if (bytes) g->token(DOPPLER_NO_TOKEN, g->text, bytes, g->user);
    s->generation = NULL;
    g->done(g->status, g->user);
    generation_free(g);
}

static bool is_stop(const model_config *m, uint32_t id) {
    for (uint32_t i = 0; i < m->stop_count; i++)
        if (m->stops[i] == id) return true;
    return false;
}

/* Delivers one sampled token. */
static void accept(struct generation *g, uint32_t id) {
    doppler_session *s = g->s;
    if (g->accepted == g->limit) return;
    if (is_stop(&s->model->manifest.model, id)) {
        s->stop_token = id;
        end(g, DOPPLER_OK);
        return;
    }
    s->timeline[s->timeline_tokens++] = id;
    g->accepted++;
    bool stopped;
    size_t bytes = token_text(g, id, &stopped);
    if (stopped) s->stop_string = g->stops.found;
    if (!g->token(id, g->text, bytes, g->user)) end(g, DOPPLER_CANCELLED);
    else if (stopped) end(g, DOPPLER_OK);
    else if (g->accepted == g->limit) end(g, g->context_bound ? DOPPLER_CONTEXT_FULL : DOPPLER_OK);
}

/* A submit has ended badly, or it was a prompt's step that was cancelled halfway. */
static void failed(struct generation *g, doppler_status status) {
    if (status == DOPPLER_CANCELLED) g->prefilled -= g->chunk_tokens;
    else fail(&g->s->model->d->error, status, "%s", gpu_message(g->s->model->d->g));
    end(g, status);
}

static void flight_landed(doppler_status status, void *user) {
    struct generation *g = user;
    const flight *f = &g->flights[g->landed++ % FLIGHTS];
    if (status) failed(g, status);
    for (uint32_t i = 0; i < f->count && !g->ended; i++) accept(g, f->ids[i]);
    advance(g);
}

/* Where the ids of `count` steps that end by sampling come from, and where they go. */
static gpu_readback take_off(struct generation *g, uint32_t count) {
    flight *f = &g->flights[g->launched++ % FLIGHTS];
    f->count = count;
    gpu_readback ids = {g->s->buffers.ring, g->steps % RING_TOKENS * sizeof(uint32_t),
                        count * sizeof(uint32_t), f->ids};
    g->steps += count;
    kv_written(g->s, g->prompt_tokens + g->steps - 1);
    return ids;
}

static void chunk_done(doppler_status status, void *user) {
    struct generation *g = user;
    g->chunk_running = false;
    if (status) failed(g, status);
    advance(g);
}

/* The next chunk of the prompt; the last one samples. */
static void prefill(struct generation *g) {
    doppler_session *s = g->s;
    uint32_t left = g->prompt_tokens - g->prefilled;
    uint32_t tokens = left < s->chunk ? left : s->chunk;
    g->state.position = g->prefilled;
    session_write_step(s, &g->state, s->timeline + g->prefilled, tokens);
    g->prefilled += tokens;
    g->chunk_tokens = tokens;
    kv_written(s, g->prefilled);
    if (tokens == left) {
        gpu_readback id = take_off(g, 1);
        pace_submit(s, session_step(s, &s->last_list, tokens, false, (int)g->sampler, g->penalize),
                    tokens, &id, flight_landed, g);
        return;
    }
    g->chunk_running = true;
    pace_submit(s, session_step(s, &s->chunk_list, tokens, false, -1, false), tokens, NULL,
                chunk_done, g);
}

/* Decode steps for one submit: within the ring's end and the limit. One at a time on the CPU,
 * where looking ahead would be computing in vain. */
static uint32_t flight_steps(const struct generation *g) {
    uint32_t count = g->s->model->d->is_cpu ? 1 : FLIGHT_TOKENS;
    uint32_t ring = RING_TOKENS - g->steps % RING_TOKENS, left = g->limit - g->steps;
    if (count > ring) count = ring;
    return count < left ? count : left;
}

/* Steps that each feed the token sampled by the one before. */
static void decode(struct generation *g) {
    doppler_session *s = g->s;
    uint32_t steps = flight_steps(g);
    if (g->steps == 1) checkpoint_take(s, g->prompt_tokens);         /* for another try */
    rope_table_reach(s, g->prompt_tokens + g->steps - 1, steps);
    gpu_readback ids = take_off(g, steps);
    gpu_submit(s->model->d->g,
               session_step(s, &s->decode_list, 1, true, (int)g->sampler, g->penalize), steps, &ids,
               flight_landed, g);
}

/* One arrow of the state machine: starts what can be started, or finishes. */
static void advance(struct generation *g) {
    doppler_session *s = g->s;
    if (g->cancelled) end(g, DOPPLER_CANCELLED);
    uint32_t flights = s->model->d->is_cpu ? 1 : FLIGHTS;
    while (!g->ended && !g->chunk_running && !pace_waits(s) &&
           g->launched - g->landed < flights) {
        if (g->prefilled < g->prompt_tokens) prefill(g);
        else if (g->steps < g->limit) decode(g);
        else if (g->launched == g->landed)
            end(g, g->context_bound ? DOPPLER_CONTEXT_FULL : DOPPLER_OK);
        else break;
    }
    if (g->ended && !g->chunk_running && g->launched == g->landed) finish(g);
}

bool generation_cancel(doppler_session *s) {
    if (!s->generation) return false;
    s->generation->cancelled = true;
    pace_cancel(s);
    return true;
}

/* ---- start */

static doppler_status check_sampling(error *e, const doppler_sampling *p) {
    const struct { const char *name; float value, max; } ranges[] = {
        {"temperature", p->temperature, 1e6f}, {"top_p", p->top_p, 1},
        {"min_p", p->min_p, 1}, {"repetition penalty", p->repetition_penalty, 1e6f}};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (!(ranges[i].value >= 0 && ranges[i].value <= ranges[i].max))
            return fail(e, DOPPLER_BAD_ARGUMENT, "%s is %g, allowed are 0 to %g", ranges[i].name,
                        (double)ranges[i].value, (double)ranges[i].max);
    if (!isfinite(p->presence_penalty))
        return fail(e, DOPPLER_BAD_ARGUMENT, "presence penalty is not a number");
    return DOPPLER_OK;
}

static void set_sampling(struct generation *g, const doppler_sampling *p) {
    g->sampler = p->temperature > 0 ? KERNEL_SAMPLE : KERNEL_ARGMAX;
    g->state = (step_state){
        .seed_lo = (uint32_t)p->seed, .seed_hi = (uint32_t)(p->seed >> 32),
        .temperature = p->temperature, .top_k = p->top_k,
        .top_p = p->top_p > 0 ? p->top_p : 1, .min_p = p->min_p,
        .repetition_penalty = p->repetition_penalty > 0 ? p->repetition_penalty : 1,
        .presence_penalty = p->presence_penalty};
    g->penalize = g->state.repetition_penalty != 1 || g->state.presence_penalty != 0;
}

/* counts[id]: how often id stands in the prompt. */
static doppler_status write_counts(doppler_session *s, const uint32_t *ids, size_t count) {
    uint32_t vocab = s->model->manifest.model.vocab;
    uint32_t *counts = calloc(vocab, sizeof *counts);
    if (!counts) return fail(&s->model->d->error, DOPPLER_NO_MEMORY, "token counts");
    for (size_t i = 0; i < count; i++) counts[ids[i]]++;
    gpu_write(s->model->d->g, s->buffers.counts, 0, counts, vocab * sizeof *counts);
    free(counts);
    return DOPPLER_OK;
}

/* How many tokens of ids need not be fed: those the cache holds. The last one always is, for its
 * logits. Where the new timeline leaves the old one a turn has ended: a checkpoint. */
static uint32_t reuse_prefix(doppler_session *s, const uint32_t *ids, uint32_t count) {
    uint32_t same = 0;
    while (same < s->cached_tokens && same < count && s->timeline[same] == ids[same]) same++;
    s->reused_tokens = kv_reuse(s, same, same < count ? same : count - 1);
    checkpoint_take(s, s->reused_tokens);
    return s->reused_tokens;
}

/* With its memory and its sampling; NULL without memory. */
static struct generation *new_generation(doppler_session *s, const doppler_sampling *p,
                                         doppler_status *status) {
    error *e = &s->model->d->error;
    struct generation *g = calloc(1, sizeof *g);
    if (!g) {
        *status = fail(e, DOPPLER_NO_MEMORY, "generation");
        return NULL;
    }
    g->s = s;
    g->stream.started = true;
    set_sampling(g, p);
    if ((*status = stop_open(e, p->stops, p->stops_bytes, &g->stops))) return g;
    size_t most = tokenizer_stream_max(s->model->tokenizer);
    g->text = malloc(2 * most + g->stops.longest_bytes);
    if (g->text) g->piece = g->text + most + g->stops.longest_bytes;
    else *status = fail(e, DOPPLER_NO_MEMORY, "generation");
    return g;
}

doppler_status doppler_generate(doppler_session *s, const uint32_t *ids, size_t count,
                                const doppler_sampling *sampling, uint32_t max_tokens,
                                doppler_token_fn token, doppler_done_fn done, void *user) {
    error *e = &s->model->d->error;
    const doppler_sampling p = sampling ? *sampling : (doppler_sampling){0};
    doppler_status status = session_check(s, ids, count);
    if (!status) status = check_sampling(e, &p);
    if (status) return status;
    struct generation *g = new_generation(s, &p, &status);
    if (!status && g->penalize) status = write_counts(s, ids, count);
    if (status) {
        generation_free(g);
        return status;
    }
    uint32_t room = s->context - (uint32_t)count;
    g->prompt_tokens = (uint32_t)count;
    g->prefilled = reuse_prefix(s, ids, (uint32_t)count);
    g->context_bound = room < max_tokens;
    g->limit = g->context_bound ? room : max_tokens;
    g->token = token;
    g->done = done;
    g->user = user;
    memcpy(s->timeline, ids, count * sizeof *ids);
    s->timeline_tokens = (uint32_t)count;
    s->stop_token = s->stop_string = DOPPLER_NO_TOKEN;
    s->generation = g;
    advance(g);
    return DOPPLER_OK;
}
