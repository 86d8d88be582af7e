/* kernel_test.c - the harness: a state machine whose arrows are the device's callbacks.
 *
 *   start -> programs -> case: buffers -> record, submit, read back -> check -> next case ... */
#include "tests/kernels/kernel_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const kernel_suite *const suites[] = {
    &suite_gather, &suite_rmsnorm, &suite_matvec, &suite_matmul, &suite_matmul_variants,
    &suite_matmul_packed, &suite_matmul_matrix, &suite_rope_kv,
    &suite_attention, &suite_act_mul, &suite_route, &suite_expert_tiles, &suite_combine,
    &suite_argmax, &suite_sample, &suite_nll, &suite_form, &suite_norm_form,
    &suite_gather_form, &suite_linear, &suite_router,
};
enum { SUITES = sizeof suites / sizeof *suites, MAX_PROGRAMS = KERNEL_COUNT * FORMAT_COUNT };

typedef struct kernel_test {
    gpu *g;
    const char *filter;
    bool varied;
    kernel_line_fn line;
    doppler_done_fn done;
    void *user;
    op_programs programs;
    gpu_program handles[MAX_PROGRAMS];       /* the same, as they were created */
    size_t program_count;
    uint32_t suite, index;                   /* of the next case */
    uint32_t passed, failed;
    kernel_case c;                           /* the case that runs */
    gpu_buffer buffers[KERNEL_MAX_BUFFERS];
    gpu_list list;
    uint32_t reads_left;
    doppler_status read_status;
} kernel_test;

static void next_case(kernel_test *t);

static void case_free(kernel_case *c) {
    for (uint32_t i = 0; i < c->buffer_count; i++) free(c->buffer[i].data);
    free(c->user);
}

static void case_end(kernel_test *t, bool ok, const char *why) {
    if (ok) {
        t->passed++;
    } else {
        char text[512];
        snprintf(text, sizeof text, "FAIL %s: %s", t->c.name, why);
        t->line(text, t->user);
        t->failed++;
    }
    gpu_list_destroy(t->g, t->list);
    for (uint32_t i = 0; i < t->c.buffer_count; i++) gpu_buffer_destroy(t->g, t->buffers[i]);
    case_free(&t->c);
    next_case(t);
}

static void read_done(doppler_status status, void *user) {
    kernel_test *t = user;
    if (status != DOPPLER_OK) t->read_status = status;
    if (--t->reads_left > 0) return;
    char why[256] = "";
    bool ok = t->read_status == DOPPLER_OK;
    if (!ok) snprintf(why, sizeof why, "read back: %s", doppler_status_text(t->read_status));
    else ok = t->c.check(&t->c, why, sizeof why);
    case_end(t, ok, why);
}

static void buffers_done(doppler_status status, void *user) {
    kernel_test *t = user;
    if (status != DOPPLER_OK) {
        memset(t->buffers, 0, sizeof t->buffers);
        case_end(t, false, gpu_message(t->g));
        return;
    }
    t->reads_left = 0;
    for (uint32_t i = 0; i < t->c.buffer_count; i++) {
        gpu_write(t->g, t->buffers[i], 0, t->c.buffer[i].data, t->c.buffer[i].bytes);
        if (t->c.buffer[i].read_back) t->reads_left++;
    }
    gpu_record_begin(t->g);
    t->c.record((op_context){t->g, &t->programs}, t->buffers, t->c.user);
    t->list = gpu_record_end(t->g);
    if (!t->list || !t->reads_left) {
        case_end(t, false, t->list ? "the case reads nothing back" : gpu_message(t->g));
        return;
    }
    gpu_submit(t->g, t->list, 1, NULL, NULL, NULL);
    t->read_status = DOPPLER_OK;
    for (uint32_t i = 0; i < t->c.buffer_count; i++)
        if (t->c.buffer[i].read_back)
            gpu_read(t->g, t->buffers[i], 0, t->c.buffer[i].data, t->c.buffer[i].bytes, read_done,
                     t);
}

static void finish(kernel_test *t) {
    char text[96];
    for (size_t i = 0; i < t->program_count; i++) gpu_program_destroy(t->g, t->handles[i]);
    snprintf(text, sizeof text, "%u passed, %u failed", t->passed, t->failed);
    t->line(text, t->user);
    bool ok = t->failed == 0 && (t->passed > 0 || t->varied);
    t->done(ok ? DOPPLER_OK : DOPPLER_GPU_ERROR, t->user);
    free(t);
}

static bool is_wanted(const char *name, const char *filter) {
    if (!filter || !*filter) return true;
    return *filter == '-' ? !strstr(name, filter + 1) : strstr(name, filter) != NULL;
}

/* Whether a suite has the kernel: its name begins with the suite's. */
static bool suite_has(const kernel_suite *suite, kernel_id id) {
    return strncmp(kernels[id].name, suite->name, strlen(suite->name)) == 0;
}

/* Whether a program of the suite is another than the least device's. */
static bool suite_varies(const kernel_suite *suite, const gpu_limits *device) {
    static const gpu_limits least = {.workgroup_bytes = 16384, .workgroup_threads = 256};
    for (uint32_t id = 0; id < KERNEL_COUNT; id++)
        for (uint32_t f = 0; suite_has(suite, id) && f < kernel_formats(id); f++) {
            if (!kernel_exists(id, f, device)) continue;
            if (!kernel_exists(id, f, &least)) return true;
            gpu_program_desc here = kernel_program(id, f, device);
            gpu_program_desc there = kernel_program(id, f, &least);
            if (memcmp(here.sources, there.sources, sizeof here.sources)) return true;
        }
    return false;
}

/* Makes case t->index of t->suite; false when the device or the filter leaves it out. */
static bool make_case(kernel_test *t) {
    if (t->varied && !suite_varies(suites[t->suite], gpu_get_limits(t->g))) return false;
    t->c = (kernel_case){.buffer_count = 0};
    suites[t->suite]->make(t->index, &t->c);
    bool there = !t->c.needs || kernel_exists(t->c.needs, t->c.format, gpu_get_limits(t->g));
    if (there && is_wanted(t->c.name, t->filter)) return true;
    case_free(&t->c);
    return false;
}

/* Makes the next case that the filter lets through. */
static bool make_next(kernel_test *t) {
    for (; t->suite < SUITES; t->suite++, t->index = 0)
        for (; t->index < suites[t->suite]->cases; t->index++)
            if (make_case(t)) {
                t->index++;
                return true;
            }
    return false;
}

/* Whether a case that the filter lets through may use the kernel. */
static bool needs_kernel(kernel_test *t, kernel_id id) {
    bool needed = false;
    for (t->suite = 0; t->suite < SUITES && !needed; t->suite++) {
        if (!suite_has(suites[t->suite], id)) continue;
        for (t->index = 0; t->index < suites[t->suite]->cases && !needed; t->index++) {
            needed = make_case(t);
            if (needed) case_free(&t->c);
        }
    }
    t->suite = t->index = 0;
    return needed;
}

static void next_case(kernel_test *t) {
    if (!make_next(t)) {
        finish(t);
        return;
    }
    gpu_buffer_desc descs[KERNEL_MAX_BUFFERS];
    for (uint32_t i = 0; i < t->c.buffer_count; i++)
        descs[i] = (gpu_buffer_desc){t->c.buffer[i].bytes, t->c.name};
    t->list = 0;
    gpu_buffers_create(t->g, descs, t->c.buffer_count, t->buffers, buffers_done, t);
}

static void programs_done(doppler_status status, void *user) {
    kernel_test *t = user;
    if (status == DOPPLER_OK) {
        next_case(t);
        return;
    }
    t->line(gpu_message(t->g), t->user);
    t->program_count = 0;
    t->failed = 1;
    finish(t);
}

void kernel_test_start(gpu *g, const char *filter, bool varied, kernel_line_fn line,
                       doppler_done_fn done, void *user) {
    kernel_test *t = calloc(1, sizeof *t);
    gpu_program_desc *descs = calloc(MAX_PROGRAMS, sizeof *descs);
    if (!t || !descs) abort();
    *t = (kernel_test){.g = g, .filter = filter, .varied = varied, .line = line, .done = done,
                       .user = user};
    gpu_program *of[MAX_PROGRAMS];                /* where each handle is kept */
    for (uint32_t id = 0; id < KERNEL_COUNT; id++) {
        uint32_t count = needs_kernel(t, id) ? kernel_formats(id) : 0;
        for (uint32_t f = 0; f < count; f++) {
            if (!kernel_exists(id, f, gpu_get_limits(g))) continue;
            of[t->program_count] = &t->programs.of[id][f];
            descs[t->program_count++] = kernel_program(id, f, gpu_get_limits(g));
        }
    }
    gpu_programs_create(g, descs, t->program_count, t->handles, programs_done, t);
    for (size_t i = 0; i < t->program_count; i++) *of[i] = t->handles[i];
    free(descs);
}

/* ---- for the suites */

double kernel_error(const float *got, const double *want, size_t count) {
    double error = 0, largest = 0;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(got[i]) || !isfinite(want[i])) return INFINITY;
        error = fmax(error, fabs(got[i] - want[i]));
        largest = fmax(largest, fabs(want[i]));
    }
    if (error == 0) return 0;
    return largest > 0 ? error / largest : INFINITY;
}

/* splitmix64 (Steele, Lea, Flood 2014). */
uint32_t kernel_random_bits(uint64_t *seed) {
    uint64_t z = *seed += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (uint32_t)((z ^ (z >> 31)) >> 32);
}

float kernel_random(uint64_t *seed) {
    return (float)(int32_t)(kernel_random_bits(seed) >> 8) / 8388608.0f - 1.0f;
}
