/* matrices.c - one projection at any shape, over matrices enough that no cache holds them: the same
 * operation for each of them in turn, as it stands in a step. */
#include "bench/bench.h"
#include "bench/fill.h"
#include "browser/flat.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_COPIES = 256 };

/* The first ones are x in each of its forms. */
enum { VECTORS = X_FORMS, Y, OUT, OTHERS };

typedef struct matrices {
    const bench *b;              /* borrowed */
    weight_format format;
    uint32_t rows, cols, tokens, copies;
    gpu_buffer buffers[OTHERS + MOST_COPIES];
    bool allocated;
    uint32_t ticket;
} matrices;

EXPORT(void, bench_matrices_destroy, matrices *m) {
    for (uint32_t i = 0; m && m->allocated && i < OTHERS + m->copies; i++)
        gpu_buffer_destroy(m->b->d->g, m->buffers[i]);
    free(m);
}

static matrix copy_of(const matrices *m, uint32_t i) {
    return (matrix){m->format, m->rows, m->cols, m->buffers[OTHERS + i], 0};
}

static op_context ops(const matrices *m) { return (op_context){m->b->d->g, &m->b->d->programs}; }

/* Of one matrix: experts' are several. */
static bool is_projection(kernel_id id) {
    kernel_link link = kernels[id].link;
    if (kernel_has_experts(id)) return false;
    return link == LINK_PROJECT || link == LINK_TILES || link == LINK_PROJECT_PACKED ||
           link == LINK_PROJECT_MATRIX || kernel_form(id) != X_PLAIN;
}

/* What a projection's kernel reads. */
static x_form form_of(kernel_id id) {
    kernel_link link = kernels[id].link;
    return link == LINK_PROJECT_PACKED ? X_PACKED : link == LINK_PROJECT_MATRIX ? X_HALF
         : kernel_form(id);
}

/* Forms of one token alone. */
static bool is_single(x_form form) { return form == X_F32 || form == X_DIGITS; }

/* The weights, x, and x in its forms. */
static void fill(const matrices *m) {
    gpu *g = m->b->d->g;
    for (uint32_t i = 0; i < m->copies; i++) {
        matrix w = copy_of(m, i);
        fill_matrix(g, m->b->fill, &w, i);
    }
    fill_floats(g, m->b->fill, m->buffers[X_PLAIN], (uint64_t)m->tokens * m->cols, 1, MOST_COPIES);
    for (x_form form = 0; form < X_FORMS; form++)
        if (m->b->d->programs.of[KERNEL_FORM][form])
            op_form(ops(m), form, m->buffers[form], m->buffers[X_PLAIN], m->buffers[VECTORS],
                    (struct form_dims){.k = m->cols, .tokens = is_single(form) ? 1 : m->tokens});
}

static void ended(matrices *m, doppler_status status) {
    if (status) fail(&m->b->d->error, status, "%s", gpu_message(m->b->d->g));
    bench_done(m->ticket, status);
}

static void filled(doppler_status status, void *user) { ended(user, status); }

static void compiled(doppler_status status, void *user) {
    matrices *m = user;
    gpu *g = m->b->d->g;
    gpu_list list = 0;
    if (!status) {
        gpu_record_begin(g);
        fill(m);
        list = gpu_record_end(g);
        if (!list) status = DOPPLER_NO_MEMORY;
    }
    if (status) {
        ended(m, status);
        return;
    }
    gpu_submit(g, list, 1, NULL, filled, m);
    gpu_list_destroy(g, list);
}

static void allocated(doppler_status status, void *user) {
    matrices *m = user;
    const gpu_limits *limits = gpu_get_limits(m->b->d->g);
    program_want wants[KERNEL_COUNT + X_FORMS];
    size_t count = 0;
    m->allocated = status == DOPPLER_OK;
    for (x_form form = 0; form < X_FORMS; form++)
        if (kernel_exists(KERNEL_FORM, form, limits))
            wants[count++] = (program_want){KERNEL_FORM, form};
    for (kernel_id id = 0; id < KERNEL_COUNT; id++)
        if (is_projection(id) && kernel_exists(id, m->format, limits))
            wants[count++] = (program_want){id, m->format};
    if (!status) status = programs_compile(m->b->d, wants, count, compiled, m);
    if (status) ended(m, status);
}

/* NULL: see engine_message. To be used when the ticket has ended. */
EXPORT(matrices *, bench_matrices_create, const bench *b, const char *format, uint32_t rows,
       uint32_t cols, uint32_t tokens, uint32_t copies, uint32_t ticket) {
    gpu_buffer_desc descs[OTHERS + MOST_COPIES];
    matrices *m = calloc(1, sizeof *m);
    weight_format f = format_by_name(format);
    bool known = f < FORMAT_COUNT && rows && rows % 32 == 0 && format_suits(cols) && tokens;
    if (!m || !known || !copies || copies > MOST_COPIES) {
        fail(&b->d->error, m ? DOPPLER_BAD_ARGUMENT : DOPPLER_NO_MEMORY, "%u matrices %ux%u in "
             "%.20s", copies, rows, cols, format);
        free(m);
        return NULL;
    }
    *m = (matrices){.b = b, .format = f, .rows = rows, .cols = cols, .tokens = tokens,
                    .copies = copies, .ticket = ticket};
    uint64_t bytes[OTHERS] = {[VECTORS] = (uint64_t)rows * 4, [Y] = (uint64_t)tokens * rows * 4};
    for (x_form form = 0; form < X_FORMS; form++) {
        bytes[form] = (is_single(form) ? 1 : tokens) * x_form_bytes(form, cols);
        if (x_form_bytes(form, rows) > bytes[OUT]) bytes[OUT] = x_form_bytes(form, rows);
    }
    for (uint32_t i = 0; i < OTHERS; i++) descs[i] = (gpu_buffer_desc){bytes[i], "bench"};
    for (uint32_t i = 0; i < copies; i++)
        descs[OTHERS + i] = (gpu_buffer_desc){rows * format_row_bytes(f, cols), "bench"};
    gpu_buffers_create(b->d->g, descs, OTHERS + copies, m->buffers, allocated, m);
    return m;
}

/* A list of one dispatch for each matrix, by this kernel; 0 where it is none for so many tokens. */
EXPORT(gpu_list, bench_matrices_record, const matrices *m, uint32_t id) {
    doppler *d = m->b->d;
    x_form form = form_of((kernel_id)id);
    bool is_linear = kernel_form((kernel_id)id) != X_PLAIN;
    bool one = is_linear || id == KERNEL_MATVEC;
    if (!is_projection(id) || !d->programs.of[id][m->format] || one != (m->tokens == 1)) return 0;
    op_programs all = d->programs;
    bench_only(&d->programs, (kernel_id)id);
    gpu_record_begin(d->g);
    for (uint32_t i = 0; i < m->copies; i++) {
        matrix w = copy_of(m, i);
        if (is_linear)
            op_linear(ops(m), form, m->buffers[Y], m->buffers[OUT], &w, m->buffers[form],
                      m->buffers[VECTORS], (struct linear_dims){.rows = m->rows, .k = m->cols,
                                                                .out_k = m->rows, .up = m->rows});
        else
            op_project_by(ops(m), (kernel_id)id, m->buffers[Y], 0, m->rows, &w, m->buffers[form],
                          m->tokens, m->buffers[VECTORS], OP_NO_BIAS, false);
    }
    d->programs = all;
    return gpu_record_end(d->g);
}
