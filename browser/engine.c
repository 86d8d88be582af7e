/* engine.c - doppler.h as flat functions, so that JavaScript passes numbers and pointers and
 * never knows a struct: options arrive as arguments, a request is read through accessors, and
 * callbacks leave as imports that carry the caller's ticket number. */
#include "browser/flat.h"
#include "doppler.h"

#include <stdlib.h>

/* A tensor of a trace is there; 0 stops the trace. */
IMPORT(tensor) uint32_t host_tensor(uint32_t ticket, const char *name, uint32_t layer,
                                    uint32_t first, uint32_t rows, uint32_t cols,
                                    const float *data);
/* A ticket's work has ended. */
IMPORT(done) void host_done(uint32_t ticket, uint32_t status);
/* A token was generated; 0 stops the generation. */
IMPORT(token) uint32_t host_token(uint32_t ticket, uint32_t id, const char *text, size_t bytes);

/* What browser/core.js knows. */
_Static_assert(DOPPLER_OK == 0 && DOPPLER_DEVICE_CPU == 0 && DOPPLER_DEVICE_GPU == 1 &&
                   DOPPLER_LIMITS_DEFAULT == 1 && DOPPLER_LIMITS_1MIB == 2 &&
                   DOPPLER_NEXT_REQUEST == 0 && DOPPLER_NEXT_READY == 2 &&
                   DOPPLER_NEXT_FAILED == 3 && DOPPLER_KV_F16 == 0 && DOPPLER_KV_F32 == 1 &&
                   DOPPLER_KV_Q8_0 == 2 && DOPPLER_NO_CHECKPOINTS == 0xFFFFFFFF &&
                   DOPPLER_TUNING_OFF == 1 && DOPPLER_EXACT == 0 && DOPPLER_FAST == 1 &&
                   DOPPLER_NO_TOKEN == 0xFFFFFFFF &&
                   DOPPLER_SPECIAL_NONE == 0 && DOPPLER_SPECIAL_ALL == 1 &&
                   DOPPLER_SPECIAL_UNMARKED == 2,
               "browser/core.js");

static void done(doppler_status status, void *user) {
    host_done((uint32_t)(uintptr_t)user, status);
}

static bool token(uint32_t id, const char *text, size_t bytes, void *user) {
    return host_token((uint32_t)(uintptr_t)user, id, text, bytes) != 0;
}

static bool tensor(const doppler_tensor *t, void *user) {
    return host_tensor((uint32_t)(uintptr_t)user, t->name, t->layer, t->first, t->rows, t->cols,
                       t->data) != 0;
}

static void *as_user(uint32_t ticket) { return (void *)(uintptr_t)ticket; }

/* ---- device */

EXPORT(doppler *, engine_create, uint32_t device, uint32_t limits, uint32_t tuning,
       const char *device_name) {
    return doppler_create(&(doppler_options){.device = device, .limits = limits, .tuning = tuning,
                                             .device_name = device_name});
}

EXPORT(char *, engine_learned, const doppler *d) { return doppler_learned(d); }

EXPORT(uint32_t, engine_learn, doppler *d, const char *text, size_t bytes) {
    return doppler_learn(d, text, bytes);
}

EXPORT(uint32_t, engine_news, const doppler *d) { return doppler_news(d); }

EXPORT(double, engine_test_ms, const doppler *d) {
    double test_ms, tune_ms;
    doppler_prepare_times(d, &test_ms, &tune_ms);
    return test_ms;
}

EXPORT(double, engine_tune_ms, const doppler *d) {
    double test_ms, tune_ms;
    doppler_prepare_times(d, &test_ms, &tune_ms);
    return tune_ms;
}

EXPORT(void, engine_destroy, doppler *d) { doppler_destroy(d); }

EXPORT(const char *, engine_message, const doppler *d) { return doppler_message(d); }

EXPORT(uint32_t, engine_last_status, const doppler *d) { return doppler_last_status(d); }

EXPORT(const char *, engine_status_name, uint32_t status) { return doppler_status_name(status); }

EXPORT(const char *, engine_status_text, uint32_t status) { return doppler_status_text(status); }

EXPORT(uint32_t, engine_poll, doppler *d) { return doppler_poll(d); }

/* ---- models */

EXPORT(uint32_t, engine_model_create, doppler *d, const char *manifest, size_t bytes,
       doppler_model **model) {
    return doppler_model_create(d, manifest, bytes, model);
}

EXPORT(void, engine_model_destroy, doppler_model *model) { doppler_model_destroy(model); }

EXPORT(uint32_t, engine_model_next, doppler_model *model, doppler_request *request) {
    return doppler_model_next(model, request);
}

EXPORT(void, engine_model_fed, doppler_model *model, uint32_t id, uint32_t status,
       const char *message) {
    doppler_model_fed(model, id, status, message);
}

/* File sizes cross as doubles: exact to 2^53. */
EXPORT(double, engine_model_fed_bytes, const doppler_model *model) {
    uint64_t bytes, total;
    doppler_model_progress(model, &bytes, &total);
    return (double)bytes;
}

EXPORT(double, engine_model_total_bytes, const doppler_model *model) {
    uint64_t bytes, total;
    doppler_model_progress(model, &bytes, &total);
    return (double)total;
}

EXPORT(uint32_t, engine_model_vocab, const doppler_model *model) {
    return doppler_model_vocab(model);
}

EXPORT(uint32_t, engine_model_context, const doppler_model *model) {
    return doppler_model_context(model);
}

EXPORT(size_t, engine_model_encode, const doppler_model *model, const char *text, size_t bytes,
       uint32_t add_bos, uint32_t special, uint32_t *ids, size_t capacity) {
    return doppler_model_encode(model, text, bytes, add_bos, special, ids, capacity);
}

EXPORT(const char *, engine_model_chat_template, const doppler_model *model) {
    return doppler_model_chat_template(model);
}

EXPORT(uint32_t, engine_model_bos, const doppler_model *model) { return doppler_model_bos(model); }

EXPORT(uint32_t, engine_model_stop, const doppler_model *model, uint32_t i) {
    return doppler_model_stop(model, i);
}

EXPORT(uint32_t, engine_model_is_special, const doppler_model *model, uint32_t id) {
    return doppler_model_is_special(model, id);
}

EXPORT(const char *, engine_model_piece, const doppler_model *model, uint32_t id) {
    size_t bytes;
    return doppler_model_piece(model, id, &bytes);
}

EXPORT(size_t, engine_model_piece_bytes, const doppler_model *model, uint32_t id) {
    size_t bytes;
    doppler_model_piece(model, id, &bytes);
    return bytes;
}

/* ---- requests */

/* Room for doppler_model_next's answer; NULL when out of memory; free() ends it. */
EXPORT(doppler_request *, engine_request_create, void) {
    return calloc(1, sizeof(doppler_request));
}

EXPORT(uint32_t, engine_request_id, const doppler_request *r) { return r->id; }

EXPORT(const char *, engine_request_file, const doppler_request *r) { return r->file; }

EXPORT(double, engine_request_offset, const doppler_request *r) { return (double)r->offset; }

EXPORT(uint32_t, engine_request_bytes, const doppler_request *r) { return r->bytes; }

EXPORT(const uint8_t *, engine_request_sha256, const doppler_request *r) { return r->sha256; }

EXPORT(uint32_t, engine_request_urls, const doppler_request *r) { return r->url_count; }

EXPORT(const char *, engine_request_url, const doppler_request *r, uint32_t i) {
    return r->urls[i];
}

EXPORT(uint32_t, engine_request_segments, const doppler_request *r) { return r->segment_count; }

EXPORT(uint32_t, engine_segment_offset, const doppler_request *r, uint32_t i) {
    return r->segments[i].offset;
}

EXPORT(uint32_t, engine_segment_bytes, const doppler_request *r, uint32_t i) {
    return r->segments[i].bytes;
}

EXPORT(void *, engine_segment_host, const doppler_request *r, uint32_t i) {
    return r->segments[i].host;
}

EXPORT(uint32_t, engine_segment_buffer, const doppler_request *r, uint32_t i) {
    return r->segments[i].buffer;
}

EXPORT(double, engine_segment_to, const doppler_request *r, uint32_t i) {
    return (double)r->segments[i].to;
}

/* ---- sessions */

/* out: weights, kv, checkpoints, work. */
EXPORT(uint32_t, engine_session_memory, doppler_model *model, uint32_t context, uint32_t chunk,
       uint32_t kv, uint32_t precision, uint32_t checkpoints, double out[4]) {
    doppler_session_options options = {.context = context, .chunk = chunk, .kv = kv,
                                       .precision = precision, .checkpoints = checkpoints};
    doppler_memory memory;
    doppler_status status = doppler_session_memory(model, &options, &memory);
    out[0] = (double)memory.weights;
    out[1] = (double)memory.kv;
    out[2] = (double)memory.checkpoints;
    out[3] = (double)memory.work;
    return status;
}

EXPORT(uint32_t, engine_session_create, doppler_model *model, uint32_t context, uint32_t chunk,
       uint32_t kv, uint32_t precision, uint32_t checkpoints, doppler_session **session,
       uint32_t ticket) {
    doppler_session_options options = {.context = context, .chunk = chunk, .kv = kv,
                                       .precision = precision, .checkpoints = checkpoints};
    return doppler_session_create(model, &options, session, done, as_user(ticket));
}

EXPORT(void, engine_session_destroy, doppler_session *s) { doppler_session_destroy(s); }

EXPORT(uint32_t, engine_session_context, const doppler_session *s) {
    return doppler_session_context(s);
}

EXPORT(uint32_t, engine_session_position, const doppler_session *s) {
    return doppler_session_position(s);
}

EXPORT(uint32_t, engine_session_reused, const doppler_session *s) {
    return doppler_session_reused(s);
}

EXPORT(uint32_t, engine_generate, doppler_session *s, const uint32_t *ids, size_t count,
       float temperature, uint32_t top_k, float top_p, float min_p, float repetition_penalty,
       float presence_penalty, uint64_t seed, const char *stops, size_t stops_bytes,
       uint32_t max_tokens, uint32_t ticket) {
    doppler_sampling sampling = {.temperature = temperature,
                                 .top_k = top_k,
                                 .top_p = top_p,
                                 .min_p = min_p,
                                 .repetition_penalty = repetition_penalty,
                                 .presence_penalty = presence_penalty,
                                 .seed = seed,
                                 .stops = stops,
                                 .stops_bytes = stops_bytes};
    return doppler_generate(s, ids, count, &sampling, max_tokens, token, done, as_user(ticket));
}

EXPORT(uint32_t, engine_session_stop_token, const doppler_session *s) {
    return doppler_session_stop_token(s);
}

EXPORT(uint32_t, engine_session_stop_string, const doppler_session *s) {
    return doppler_session_stop_string(s);
}

EXPORT(void, engine_cancel, doppler_session *s) { doppler_cancel(s); }

EXPORT(uint32_t, engine_logits, doppler_session *s, const uint32_t *ids, size_t count, float *out,
       uint32_t ticket) {
    return doppler_logits(s, ids, count, out, done, as_user(ticket));
}

EXPORT(uint32_t, engine_score, doppler_session *s, const uint32_t *ids, size_t count, float *nll,
       uint32_t ticket) {
    return doppler_score(s, ids, count, nll, done, as_user(ticket));
}

EXPORT(uint32_t, engine_trace, doppler_session *s, const uint32_t *ids, size_t count,
       uint32_t ticket) {
    return doppler_trace(s, ids, count, tensor, done, as_user(ticket));
}

/* Returns the status; the number of times is at count. */
EXPORT(uint32_t, engine_profile, doppler_session *s, uint32_t position, uint32_t tokens,
       double *ns, size_t capacity, size_t *count, uint32_t ticket) {
    return doppler_profile(s, position, tokens, ns, capacity, count, done, as_user(ticket));
}
