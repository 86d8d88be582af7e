/* pace.c - a step of a prompt, handed to the device in parts. A page is drawn between submits, so
 * none should keep the device for longer than about a tenth of a second, whatever the device.
 *
 * The step's list stays as it was recorded and its numbers do not depend on the parts; only how
 * many of its dispatches make a part is learned, from the parts that have ended. */
#include "inference/engine.h"

#include <assert.h>

enum {
    FIRST_OF_LAYER = 4,          /* the first part is this part of a layer */
    FEW_TOKENS = 64,             /* a step of fewer takes no less */
    GROWTH = 4                   /* a part is at most so many times the largest before */
};
static const double PART_MS = 50;

static uint32_t max_u32(uint32_t a, uint32_t b) { return a > b ? a : b; }

/* What a dispatch of the step may take: never less than one of fewer tokens has taken. */
static double expected_ms(const pace *p) {
    bool more = p->tokens > p->learned_tokens;
    double tokens = more ? p->tokens : max_u32(p->tokens, FEW_TOKENS);
    return p->dispatch_ms * tokens / (more ? p->learned_tokens
                                           : max_u32(p->learned_tokens, FEW_TOKENS));
}

/* Dispatches of the next part. */
static uint32_t part_dispatches(const doppler_session *s) {
    const pace *p = &s->pace;
    uint32_t left = p->end - p->next;
    uint32_t most = p->largest * GROWTH;
    if (!p->largest) {
        most = p->end / s->model->manifest.model.layers / FIRST_OF_LAYER;
        return most < 1 ? 1 : most < left ? most : left;
    }
    double fit = PART_MS / expected_ms(p);
    if (fit < most) most = fit < 1 ? 1 : (uint32_t)fit;
    return most < left ? most : left;
}

/* Rises at once and falls slowly: dispatches differ, and a part of a layer may have the light ones
 * only. Kept of the largest step so far. */
static void learn(pace *p, const pace_part *part, double now_ms) {
    double since = part->submitted_ms > p->landed_ms ? part->submitted_ms : p->landed_ms;
    double ms = (now_ms - since) / part->dispatches;
    if (p->tokens > p->learned_tokens || ms > p->dispatch_ms) p->dispatch_ms = ms;
    else if (p->tokens == p->learned_tokens) p->dispatch_ms = (3 * p->dispatch_ms + ms) / 4;
    p->learned_tokens = max_u32(p->learned_tokens, p->tokens);
    p->largest = max_u32(p->largest, part->dispatches);
    p->landed_ms = now_ms;
}

static void part_done(doppler_status status, void *user);

static void push(doppler_session *s) {
    pace *p = &s->pace;
    while (p->next < p->end && p->launched - p->landed < PACE_PARTS) {
        uint32_t count = part_dispatches(s);
        bool last = p->next + count == p->end;
        p->parts[p->launched++ % PACE_PARTS] = (pace_part){s->model->d->now_ms(), count};
        gpu_submit_part(s->model->d->g, p->list, p->next, count,
                        last && p->readback.bytes ? &p->readback : NULL, part_done, s);
        p->next += count;
    }
}

static void part_done(doppler_status status, void *user) {
    doppler_session *s = user;
    pace *p = &s->pace;
    learn(p, &p->parts[p->landed++ % PACE_PARTS], s->model->d->now_ms());
    if (status) {
        p->status = status;
        p->end = p->next;
    }
    push(s);
    if (p->landed == p->launched) p->done(p->status, p->user);
}

void pace_submit(doppler_session *s, gpu_list list, uint32_t tokens, const gpu_readback *readback,
                 doppler_done_fn done, void *user) {
    pace *p = &s->pace;
    assert(p->landed == p->launched && p->next == p->end);
    p->list = list;
    p->tokens = tokens;
    p->next = 0;
    p->end = gpu_list_dispatches(s->model->d->g, list);
    p->readback = readback ? *readback : (gpu_readback){0};
    p->status = DOPPLER_OK;
    p->done = done;
    p->user = user;
    push(s);
}

bool pace_waits(const doppler_session *s) { return s->pace.next < s->pace.end; }

void pace_cancel(doppler_session *s) {
    if (!pace_waits(s)) return;
    s->pace.end = s->pace.next;
    s->pace.status = DOPPLER_CANCELLED;
}
