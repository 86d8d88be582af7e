/* profile.c - what a step costs on the device, dispatch by dispatch. The step is the one that a
 * generation runs; the keys and values it sees are whatever the cache holds. */
#include "inference/engine.h"

#include <inttypes.h>
#include <string.h>

static void profiled(doppler_status status, void *user) {
    doppler_session *s = user;
    doppler *d = s->model->d;
    if (status) fail(&d->error, status, "%s", gpu_message(d->g));
    s->profiling = false;
    s->profiled(status, s->profiled_user);
}

doppler_status doppler_profile(doppler_session *s, uint32_t position, uint32_t tokens, double *ns,
                               size_t capacity, size_t *count, doppler_done_fn done, void *user) {
    error *e = &s->model->d->error;
    const uint32_t first = 0;
    doppler_status status = session_check(s, &first, 1);
    if (status) return status;
    if (tokens == 0 || tokens > s->chunk || position > s->context - tokens)
        return fail(e, DOPPLER_BAD_ARGUMENT, "a step of %" PRIu32 " tokens at %" PRIu32
                    ", the session takes %" PRIu32 " at a time, %" PRIu32 " in all", tokens,
                    position, s->chunk, s->context);
    gpu *g = s->model->d->g;
    recorded *r = tokens == 1 ? &s->decode_list : &s->last_list;
    gpu_list list = session_step(s, r, tokens, tokens == 1, KERNEL_ARGMAX, false);
    *count = list ? gpu_list_dispatches(g, list) : 0;
    if (*count == 0 || *count > capacity)
        return fail(e, DOPPLER_NO_MEMORY, "times of %zu dispatches", *count);
    const step_state state = {.position = position};
    s->cached_tokens = s->timeline_tokens = 0;
    kv_reuse(s, 0, 0);
    memset(s->timeline, 0, tokens * sizeof *s->timeline);
    session_write_step(s, &state, s->timeline, tokens);
    s->profiling = true;
    s->profiled = done;
    s->profiled_user = user;
    gpu_time(g, list, ns, profiled, s);
    return DOPPLER_OK;
}
