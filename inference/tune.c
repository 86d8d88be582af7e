/* tune.c - where several programs do the same, the session times them on this device at the model's
 * shapes, and op.c takes the fastest. Bounded in time: what is not measured goes by op.c's rules.
 *
 * A job is an operation at one shape. Each of its kernels is recorded over as many matrices of that
 * shape as the model has, up to MATRICES, so that weights come from memory as they do in use; then
 * they take turns, two times or three, and the least time counts. */
#include "inference/engine.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { MATRICES = 8, ROUNDS = 3, MOST_KERNELS = 8, MOST_REPEATS = 64 };
static const double ROUND_NS = 1e6, GAIN = 1.03;

/* A projection of a layer as a step runs it, and buffers: from, to, and where `linear` leaves a
 * form. */
typedef struct part {
    size_t projection;           /* in layer_weights */
    uint32_t flags;
    size_t x, x_form, y, out;    /* in session_buffers */
} part;

#define PART(p, flags, x, x_form, y, out)                                            \
    {offsetof(layer_weights, p), flags, offsetof(session_buffers, x),                \
     offsetof(session_buffers, x_form), offsetof(session_buffers, y),                \
     offsetof(session_buffers, out)}
static const part parts[] = {
    PART(qkv, LINEAR_NORM, normed, x_form, qkv, attended_form),
    PART(attn_out, LINEAR_ADD | LINEAR_FORM | LINEAR_GAIN, attended, attended_form, x, x_form),
    PART(gate_up, LINEAR_NORM | LINEAR_ACT | LINEAR_FORM, normed, x_form, gate_up, hidden_form),
    PART(down, LINEAR_ADD | LINEAR_FORM | LINEAR_GAIN, activated, hidden_form, x, x_form),
};
enum { PARTS = sizeof parts / sizeof *parts, EXPERT_PARTS = 2 };    /* those may be of experts */

typedef struct tuner {
    doppler_session *s;
    doppler_done_fn done;
    void *user;
    double start_ms;
    uint32_t operation, at;      /* of the next job */
    op_shape shape;              /* of this one */
    uint32_t count;              /* of its kernels */
    kernel_id ids[MOST_KERNELS];
    gpu_list lists[MOST_KERNELS];
    double least[MOST_KERNELS];  /* ns */
    uint32_t runs, repeat;
    double ns;                   /* of the run under way */
} tuner;

/* Kernels that do the same work; KERNEL_GATHER ends them. */
typedef struct tunable {
    kernel_id ids[MOST_KERNELS];
    /* Shape number i, with the session's options; false where there is none, *more says whether
     * later numbers have one. */
    bool (*shape)(const doppler_session *s, uint32_t i, op_shape *shape, bool *more);
    void (*record)(const doppler_session *s, op_context o, op_shape shape, kernel_id id);
    kernel_id (*rule)(const doppler_session *s, op_shape shape);
} tunable;

/* ---- projections */

static gpu_buffer buffer_at(const doppler_session *s, size_t offset) {
    return *(const gpu_buffer *)(const void *)((const char *)&s->buffers + offset);
}

static const projection *projection_at(const doppler_session *s, uint32_t layer, const part *p) {
    const char *weights = (const char *)&s->model->weights.layers[layer];
    return (const projection *)(const void *)(weights + p->projection);
}

/* Matrix i of all layers' parts, those of one layer, then the next's, at last the head's. NULL
 * where there is none. */
static const matrix *matrix_at(const doppler_session *s, uint32_t i, const part **of, bool *more) {
    const model_config *m = &s->model->manifest.model;
    static const part head = PART(qkv, LINEAR_NORM, normed, x_form, logits, attended_form);
    uint32_t layer = i / (PARTS * PROJECTION_PARTS), which = i / PROJECTION_PARTS % PARTS;
    bool is_head = layer == m->layers;
    *more = layer <= m->layers;
    if (!*more || (is_head && which > 0) || (m->experts && which >= EXPERT_PARTS)) return NULL;
    *of = is_head ? &head : &parts[which];
    const projection *p = is_head ? &s->model->weights.head : projection_at(s, layer, *of);
    if (i % PROJECTION_PARTS >= p->count || ((*of)->flags & LINEAR_ACT && p->count > 1))
        return NULL;
    const matrix *w = &p->part[i % PROJECTION_PARTS];
    return op_binds(s->model->d->g, w) ? w : NULL;
}

static bool matrix_shape(const doppler_session *s, uint32_t i, uint32_t tokens, op_shape *shape,
                         bool *more) {
    const part *of;
    const matrix *w = matrix_at(s, i, &of, more);
    if (w) *shape = (op_shape){w->format, w->rows, w->cols, tokens};
    return w != NULL;
}

static bool decode_shape(const doppler_session *s, uint32_t i, op_shape *shape, bool *more) {
    return matrix_shape(s, i, 1, shape, more);
}

static struct linear_dims dims_of(const doppler_session *s, const part *p, const matrix *w) {
    uint32_t rows = p->flags & LINEAR_ACT ? w->rows / 2 : w->rows;
    return (struct linear_dims){.rows = rows, .k = w->cols, .out_k = rows, .up = rows,
                                .activation = s->model->manifest.model.activation,
                                .flags = p->flags & ~(uint32_t)LINEAR_GAIN, .eps = 1e-5f};
}

static bool is_shape(const matrix *w, op_shape shape) {
    return w && w->format == shape.format && w->rows == shape.rows && w->cols == shape.k;
}

static void record_linear(const doppler_session *s, op_context o, op_shape shape, kernel_id id) {
    const part *of;
    bool more = true;
    (void)id;
    for (uint32_t i = 0, count = 0; more && count < MATRICES; i++) {
        const matrix *w = matrix_at(s, i, &of, &more);
        if (!is_shape(w, shape)) continue;
        op_linear(o, s->form, buffer_at(s, of->y), buffer_at(s, of->out), w,
                  buffer_at(s, of->x_form), s->model->weights.vectors, dims_of(s, of, w));
        count++;
    }
}

static kernel_id linear_rule(const doppler_session *s, op_shape shape) {
    const part *of = NULL;
    const matrix *w = NULL;
    bool more = true;
    for (uint32_t i = 0; more && !is_shape(w, shape); i++) w = matrix_at(s, i, &of, &more);
    const struct linear_dims dims = dims_of(s, of, w);
    return op_linear_rule(s->form, &dims);
}

/* Of a prompt's step, all but the head. */
static bool prompt_shape(const doppler_session *s, uint32_t i, op_shape *shape, bool *more) {
    bool is_last = i / (PARTS * PROJECTION_PARTS) == s->model->manifest.model.layers;
    return matrix_shape(s, i, op_token_class(s->chunk), shape, more) && !is_last;
}

static bool exact_shape(const doppler_session *s, uint32_t i, op_shape *shape, bool *more) {
    return prompt_shape(s, i, shape, more) && s->form != X_PACKED;
}

static bool fast_shape(const doppler_session *s, uint32_t i, op_shape *shape, bool *more) {
    return prompt_shape(s, i, shape, more) && s->form == X_PACKED;
}

/* One matrix is enough: tokens share it. */
static void record_project(const doppler_session *s, op_context o, op_shape shape, kernel_id id) {
    const part *of = NULL;
    const matrix *w = NULL;
    gpu_buffer vectors = s->model->weights.vectors;
    x_form form = kernel_base(id) == KERNEL_MATMUL_PACKED ? X_PACKED : X_PLAIN;
    uint32_t tokens = s->chunk;
    bool more = true;
    for (uint32_t i = 0; more && !is_shape(w, shape); i++) w = matrix_at(s, i, &of, &more);
    gpu_buffer x = buffer_at(s, of->x);
    if (form != X_PLAIN) {
        op_form(o, form, s->buffers.prompt_form, x, vectors,
                (struct form_dims){.k = w->cols, .tokens = tokens});
        x = s->buffers.prompt_form;
    }
    op_project(o, form, buffer_at(s, of->y), 0, w->rows, w, x, tokens, vectors, OP_NO_BIAS, false);
}

static kernel_id project_rule(const doppler_session *s, op_shape shape) {
    shape.tokens = s->chunk;
    return op_project_rule(s->form == X_PACKED ? X_PACKED : X_PLAIN, shape);
}

static const tunable tunables[] = {
    {{KERNEL_LINEAR_PACKED, KERNEL_LINEAR_PACKED_WIDE, KERNEL_LINEAR_PACKED_LONG}, decode_shape,
     record_linear, linear_rule},
    {{KERNEL_LINEAR_DIGITS, KERNEL_LINEAR_DIGITS_WIDE}, decode_shape, record_linear,
     linear_rule},
    {{KERNEL_LINEAR, KERNEL_LINEAR_WIDE}, decode_shape, record_linear,
     linear_rule},
    {{KERNEL_MATMUL_PACKED, KERNEL_MATMUL_PACKED_LARGE}, fast_shape, record_project,
     project_rule},
    {{KERNEL_MATMUL, KERNEL_MATMUL_LARGE}, exact_shape, record_project, project_rule},
};
enum { TUNABLES = sizeof tunables / sizeof *tunables };

/* ---- jobs */

static void job_end(tuner *t) {
    for (uint32_t i = 0; i < t->count; i++) gpu_list_destroy(t->s->model->d->g, t->lists[i]);
    t->count = 0;
}

/* The kernels of a job: the programs that there are. */
static void find_kernels(tuner *t) {
    const op_programs *programs = &t->s->model->d->programs;
    const kernel_id *ids = tunables[t->operation].ids;
    t->count = 0;
    for (uint32_t i = 0; i < MOST_KERNELS && ids[i]; i++)
        if (programs->of[ids[i]][t->shape.format]) t->ids[t->count++] = ids[i];
}

/* Prepares the next shape that has several kernels and no choice yet. */
static bool next_job(tuner *t) {
    doppler *d = t->s->model->d;
    for (; t->operation < TUNABLES; t->operation++, t->at = 0) {
        const tunable *o = &tunables[t->operation];
        for (bool more = true; more;) {
            if (!o->shape(t->s, t->at++, &t->shape, &more)) continue;
            if (op_chosen(&d->programs, o->ids[0], t->shape)) continue;
            find_kernels(t);
            if (t->count > 1) return true;
        }
    }
    t->count = 0;
    return false;
}

static bool record_job(tuner *t) {
    doppler *d = t->s->model->d;
    bool ok = true;
    t->runs = 0;
    t->repeat = 1;
    for (uint32_t i = 0; i < t->count; i++) {
        op_programs only;
        op_programs_only(&d->programs, t->ids[i], &only);
        gpu_record_begin(d->g);
        tunables[t->operation].record(t->s, (op_context){d->g, &only}, t->shape, t->ids[i]);
        t->lists[i] = gpu_record_end(d->g);
        t->least[i] = 1e300;
        ok = ok && t->lists[i];
    }
    return ok;
}

static void end(tuner *t, doppler_status status) {
    doppler *d = t->s->model->d;
    job_end(t);
    if (status) fail(&d->error, status, "timing kernels: %s", gpu_message(d->g));
    d->tune_ms += prepare_clock() - t->start_ms;
    t->done(status, t->user);
    free(t);
}

/* The choice for this job; KERNEL_GATHER: left to the rule. */
static void choose(tuner *t, kernel_id best) {
    op_programs *p = &t->s->model->d->programs;
    if (p->choice_count == OP_MAX_CHOICES)           /* the oldest goes */
        memmove(p->choices, p->choices + 1, --p->choice_count * sizeof *p->choices);
    p->choices[p->choice_count++] =
        (op_choice){t->shape, tunables[t->operation].ids[0], best};
    t->s->model->d->news++;
}

static kernel_id fastest(const tuner *t) {
    uint32_t best = 0;
    kernel_id rule = tunables[t->operation].rule(t->s, t->shape);
    for (uint32_t i = 1; i < t->count; i++)
        if (t->least[i] < t->least[best]) best = i;
    for (uint32_t i = 0; i < t->count; i++)
        if (t->ids[i] == rule && t->least[i] < GAIN * t->least[best]) return rule;
    return t->ids[best];
}

/* Whether more rounds could change the choice: not where one is faster by a quarter. */
static bool is_close(const tuner *t) {
    double best = t->least[0], second = 1e300;
    for (uint32_t i = 1; i < t->count; i++) {
        double ns = t->least[i];
        second = ns < best ? best : ns < second ? ns : second;
        best = ns < best ? ns : best;
    }
    return second < 1.25 * best;
}

static void run(tuner *t);

/* Round 0 warms up, and says how often a list is to be repeated. */
static void run_done(doppler_status status, void *user) {
    tuner *t = user;
    uint32_t i = t->runs % t->count, round = t->runs / t->count;
    if (status) {
        end(t, status);
        return;
    }
    if (t->ns > 0 && t->ns < t->least[i] && round > 0) t->least[i] = t->ns;
    if (round == 0 && i == 0 && t->ns > 0 && t->ns < ROUND_NS / 2)
        t->repeat = t->ns < ROUND_NS / MOST_REPEATS ? MOST_REPEATS : (uint32_t)(ROUND_NS / t->ns);
    t->runs++;
    bool late = prepare_clock() - t->start_ms > t->s->model->d->tune_most_ms;
    bool whole = t->runs % t->count == 0 && round > 1;
    if (whole && (round == ROUNDS || !is_close(t))) {
        choose(t, fastest(t));
        job_end(t);
        if (late || !next_job(t)) {
            end(t, DOPPLER_OK);
            return;
        }
        if (!record_job(t)) {
            end(t, DOPPLER_NO_MEMORY);
            return;
        }
    } else if (late) {                               /* too slow a device for this one */
        choose(t, KERNEL_GATHER);
        end(t, DOPPLER_OK);
        return;
    }
    run(t);
}

static void run(tuner *t) {
    gpu_measure(t->s->model->d->g, t->lists[t->runs % t->count], t->repeat, &t->ns, run_done, t);
}

doppler_status tune_start(doppler_session *s, bool *started, doppler_done_fn done, void *user) {
    doppler *d = s->model->d;
    *started = false;
    if (d->is_cpu || d->tuning == DOPPLER_TUNING_OFF) return DOPPLER_OK;   /* one twin serves all */
    tuner *t = calloc(1, sizeof *t);
    if (!t) return fail(&d->error, DOPPLER_NO_MEMORY, "timing kernels");
    *t = (tuner){.s = s, .done = done, .user = user, .start_ms = prepare_clock()};
    *started = next_job(t);
    bool ok = !*started || record_job(t);
    if (*started && ok) {
        run(t);
        return DOPPLER_OK;
    }
    *started = false;
    job_end(t);
    free(t);
    return ok ? DOPPLER_OK : fail(&d->error, DOPPLER_NO_MEMORY, "timing kernels");
}
