/* selftest.c - before a session uses a program that depends on what a device may do in its own way
 * (subgroups, packed dots, matrices of subgroups, wide workgroups), the program must give what its
 * twin gives, on numbers made up here. A program is tested once on a device; a wrong one is never
 * used.
 *
 * A trial is an operation of op.h with operands. A probe records it twice, for the device and for
 * the CPU backend, with programs among which the one in question has no alternative, and compares
 * what both leave. */
#include "gpu/cpu/half.h"
#include "gpu/cpu/x_form.h"
#include "inference/engine.h"
#include "inference/trials.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_AT_ONCE = 16 };                          /* probes on the device */
static const float PACKED_TOLERANCE = 0.02f;         /* int8 may round to its neighbour */

typedef struct selftest {
    doppler *d;                  /* borrowed */
    gpu *cpu;
    op_programs twins;           /* on cpu: of all that the device has */
    gpu_program tested[KERNEL_COUNT][FORMAT_COUNT];
    bool wrong[KERNEL_COUNT][FORMAT_COUNT];
    uint32_t id, format, trial;  /* of the next probe */
    uint32_t running;
    doppler_status status;       /* of what failed */
    double start_ms;
    doppler_done_fn done;
    void *user;
} selftest;

typedef struct probe {
    selftest *t;
    const trial *trial;
    kernel_id id;
    uint32_t format, count;      /* count: of operands */
    gpu_buffer buffers[GPU_MAX_BINDINGS];
    uint8_t *want[GPU_MAX_BINDINGS], *got[GPU_MAX_BINDINGS];     /* first what is made up */
    gpu_list list;
    uint32_t reads_left;
    doppler_status status;       /* of the reads */
} probe;

static void probe_free(probe *p) {
    for (uint32_t i = 0; i < p->count; i++) {
        free(p->want[i]);
        free(p->got[i]);
    }
    free(p);
}

static void note(doppler_status status, void *user) {
    doppler_status *kept = user;
    if (status) *kept = status;
}

/* ---- what is wanted */

/* Twins of all programs that the device has. */
static doppler_status make_twins(selftest *t) {
    doppler_status status = DOPPLER_OK;
    t->cpu = gpu_cpu_create();
    if (!t->cpu) return DOPPLER_NO_MEMORY;
    gpu_cap_limits(t->cpu, gpu_get_limits(t->d->g));
    for (uint32_t k = 0; k < KERNEL_COUNT; k++)
        for (uint32_t f = 0; f < kernel_formats(k); f++) {
            if (!t->d->programs.of[k][f]) continue;
            const gpu_limits device = program_device(t->d, k, f);
            if (!kernel_exists(k, f, &device)) continue;
            const gpu_program_desc desc = kernel_program(k, f, &device);
            gpu_programs_create(t->cpu, &desc, 1, &t->twins.of[k][f], note, &status);
            while (gpu_poll(t->cpu)) {}
        }
    return status;
}

static void describe(const probe *p, gpu_buffer_desc *descs) {
    for (uint32_t i = 0; i < p->count; i++)
        descs[i] = (gpu_buffer_desc){operand_bytes(&p->trial->operands[i], p->format), "test"};
}

/* Records the trial on g, whose programs `all` are. */
static gpu_list record(const probe *p, gpu *g, const op_programs *all, const gpu_buffer *buffers) {
    op_programs only;
    op_programs_only(all, p->id, &only);
    gpu_record_begin(g);
    p->trial->record((op_context){g, &only}, buffers, p->trial, p->format);
    return gpu_record_end(g);
}

/* want = what the twin leaves */
static doppler_status run_twin(probe *p) {
    gpu *cpu = p->t->cpu;
    gpu_buffer buffers[GPU_MAX_BINDINGS];
    gpu_buffer_desc descs[GPU_MAX_BINDINGS];
    doppler_status status = DOPPLER_OK;
    describe(p, descs);
    gpu_buffers_create(cpu, descs, p->count, buffers, note, &status);
    while (gpu_poll(cpu)) {}
    if (status) return status;
    for (uint32_t i = 0; i < p->count; i++)
        memcpy(gpu_buffer_host(cpu, buffers[i]), p->want[i], (size_t)descs[i].bytes);
    gpu_list list = record(p, cpu, &p->t->twins, buffers);
    if (list) gpu_submit(cpu, list, 1, NULL, note, &status);
    while (gpu_poll(cpu)) {}
    for (uint32_t i = 0; i < p->count; i++) {
        memcpy(p->want[i], gpu_buffer_host(cpu, buffers[i]), (size_t)descs[i].bytes);
        gpu_buffer_destroy(cpu, buffers[i]);
    }
    gpu_list_destroy(cpu, list);
    return list ? status : DOPPLER_NO_MEMORY;
}

/* ---- comparison */

/* Element i of what an operand holds. */
static float element(const operand *o, x_form form, const uint8_t *data, uint32_t i) {
    float x[X_RUN];
    uint16_t half;
    if (o->kind == OPERAND_HALVES) {
        memcpy(&half, data + 2 * i, sizeof half);
        return half_to_float(half);
    }
    if (form == X_PLAIN) {
        memcpy(x, data + 4 * i, sizeof *x);
        return *x;
    }
    x_load(form, data, i / X_RUN * X_RUN, X_RUN, x);
    return x[i % X_RUN];
}

/* Whether the squares that go with what is in a form agree. */
static bool squares_agree(const operand *o, x_form form, const uint8_t *got, const uint8_t *want,
                          float tolerance) {
    if (form == X_PLAIN) return true;
    float wanted = x_square(form, want, o->count);
    return fabsf(x_square(form, got, o->count) - wanted) <= tolerance * wanted;
}

static bool is_close(const operand *o, uint32_t format, const uint8_t *got, const uint8_t *want,
                     float tolerance) {
    x_form form = operand_form(o, format);
    uint64_t bytes = form == X_PLAIN ? 0 : x_form_bytes(form, o->count);       /* of a token */
    float worst = 0, largest = 0;
    if (o->kind == OPERAND_IDS) return memcmp(got, want, 4 * o->count) == 0;
    if (form == X_PACKED && tolerance < PACKED_TOLERANCE) tolerance = PACKED_TOLERANCE;
    for (uint32_t token = 0; token == 0 || (bytes && token < o->width); token++) {
        for (uint32_t i = 0; i < o->count; i++) {
            float wanted = element(o, form, want, i);
            float off = fabsf(element(o, form, got, i) - wanted);
            if (!(off <= worst)) worst = off;        /* NaN stays */
            largest = fmaxf(largest, fabsf(wanted));
        }
        if (!squares_agree(o, form, got, want, tolerance)) return false;
        got += bytes;
        want += bytes;
    }
    return worst <= tolerance * largest && largest > 0;
}

static bool is_right(const probe *p) {
    for (uint32_t i = 0; i < p->count; i++) {
        const operand *o = &p->trial->operands[i];
        if (o->out && !is_close(o, p->format, p->got[i], p->want[i], p->trial->tolerance))
            return false;
    }
    return true;
}

/* ---- the device */

static void go_on(selftest *t);

static void probe_end(probe *p, doppler_status status) {
    selftest *t = p->t;
    gpu *g = t->d->g;
    gpu_list_destroy(g, p->list);
    for (uint32_t i = 0; i < p->count; i++) gpu_buffer_destroy(g, p->buffers[i]);
    if (status) t->status = status;
    else if (!is_right(p)) t->wrong[p->id][p->format] = true;
    probe_free(p);
    t->running--;
    go_on(t);
}

static void read_done(doppler_status status, void *user) {
    probe *p = user;
    if (status) p->status = status;
    if (--p->reads_left == 0) probe_end(p, p->status);
}

static void buffers_done(doppler_status status, void *user) {
    probe *p = user;
    doppler *d = p->t->d;
    if (status) {
        memset(p->buffers, 0, sizeof p->buffers);    /* the backend has destroyed them */
        probe_end(p, status);
        return;
    }
    for (uint32_t i = 0; i < p->count; i++)
        gpu_write(d->g, p->buffers[i], 0, p->got[i],
                  (size_t)operand_bytes(&p->trial->operands[i], p->format));
    if (d->programs.of[p->id][p->format] != p->t->tested[p->id][p->format]) {
        probe_end(p, DOPPLER_OK);                    /* another session has dropped it */
        return;
    }
    p->list = record(p, d->g, &d->programs, p->buffers);
    if (!p->list) {
        probe_end(p, DOPPLER_NO_MEMORY);
        return;
    }
    gpu_submit(d->g, p->list, 1, NULL, NULL, NULL);
    for (uint32_t i = 0; i < p->count; i++) p->reads_left += p->trial->operands[i].out;
    for (uint32_t i = 0; i < p->count; i++) {
        const operand *o = &p->trial->operands[i];
        if (o->out)
            gpu_read(d->g, p->buffers[i], 0, p->got[i], (size_t)operand_bytes(o, p->format),
                     read_done, p);
    }
}

static void probe_start(selftest *t, const trial *about, kernel_id id, uint32_t format) {
    probe *p = calloc(1, sizeof *p);
    if (!p) {
        t->status = DOPPLER_NO_MEMORY;
        return;
    }
    *p = (probe){.t = t, .trial = about, .id = id, .format = format};
    t->tested[id][format] = t->d->programs.of[id][format];
    doppler_status status = DOPPLER_OK;
    while (p->count < GPU_MAX_BINDINGS && about->operands[p->count].count) {
        const operand *o = &about->operands[p->count];
        size_t bytes = (size_t)operand_bytes(o, format);
        uint8_t *want = p->want[p->count] = operand_make(o, format, p->count);
        uint8_t *got = p->got[p->count] = malloc(bytes);
        p->count++;
        if (want && got) memcpy(got, want, bytes);
        else status = DOPPLER_NO_MEMORY;
    }
    if (!status) status = run_twin(p);
    if (status) {
        t->status = status;
        probe_free(p);
        return;
    }
    gpu_buffer_desc descs[GPU_MAX_BINDINGS];
    describe(p, descs);
    t->running++;
    gpu_buffers_create(t->d->g, descs, p->count, p->buffers, buffers_done, p);
}

/* ---- all of them */

/* The next program to test, and how; NULL when there is none. */
static const trial *next_trial(selftest *t, kernel_id *id, uint32_t *format) {
    for (; t->id < KERNEL_COUNT; t->id++, t->format = 0)
        for (; t->format < kernel_formats(t->id); t->format++, t->trial = 0) {
            if (!t->d->programs.of[t->id][t->format] || t->d->trust[t->id][t->format] & TRUST_RIGHT)
                continue;
            while (t->trial < trial_count) {
                const trial *about = &trials[t->trial++];
                if (!trial_is_for(about, t->id, t->format)) continue;
                *id = t->id;
                *format = t->format;
                return about;
            }
        }
    return NULL;
}

static void launch(selftest *t) {
    const trial *about;
    kernel_id id;
    uint32_t format;
    while (!t->status && t->running < MOST_AT_ONCE && (about = next_trial(t, &id, &format)))
        probe_start(t, about, id, format);
}

static void end(selftest *t) {
    t->d->test_ms += prepare_clock() - t->start_ms;
    gpu_destroy(t->cpu);
    free(t);
}

static void go_on(selftest *t) {
    doppler *d = t->d;
    bool wrong = false;
    launch(t);
    if (t->running) return;
    for (uint32_t k = 0; !t->status && k < KERNEL_COUNT; k++)
        for (uint32_t f = 0; f < FORMAT_COUNT; f++) {
            if (!t->tested[k][f] || t->tested[k][f] != d->programs.of[k][f]) continue;
            if (t->wrong[k][f]) program_drop(d, k, f);
            else d->trust[k][f] |= TRUST_RIGHT;
            wrong = wrong || t->wrong[k][f];
            d->news++;
        }
    if (t->status) fail(&d->error, t->status, "tests of kernels: %s", gpu_message(d->g));
    doppler_status status = t->status ? t->status : wrong ? DOPPLER_UNSUPPORTED : DOPPLER_OK;
    doppler_done_fn done = t->done;
    void *user = t->user;
    end(t);
    done(status, user);
}

doppler_status selftest_start(doppler *d, bool *started, doppler_done_fn done, void *user) {
    *started = false;
    selftest *t = calloc(1, sizeof *t);
    if (!t) return fail(&d->error, DOPPLER_NO_MEMORY, "tests of kernels");
    *t = (selftest){.d = d, .start_ms = prepare_clock(), .done = done, .user = user};
    t->status = make_twins(t);
    launch(t);
    *started = t->running > 0;
    if (*started) return DOPPLER_OK;
    doppler_status status = t->status;
    if (status) fail(&d->error, status, "tests of kernels");
    end(t);
    return status;
}
