/* prepare.c - the programs of a session: compiled, then tested where a device may get them wrong,
 * then timed where several do the same.
 *
 * A wrong program is dropped, and what the session wants is asked anew: the same program without a
 * feature that it can do without, another variant, x in another form, at last forward.c for what
 * decode.c does. Each round drops a program, so that it ends. */
#include "inference/engine.h"

#include <time.h>

double prepare_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Whether decode.c finds its programs. */
static bool decode_exists(const doppler_session *s) {
    for (uint32_t f = 0; f < FORMAT_COUNT; f++)
        if ((s->model->linear_formats & 1u << f &&
             !program_exists_any(s->model->d, decode_kernel(s->form), f)) ||
            (s->model->expert_formats & 1u << f &&
             !program_exists_any(s->model->d, experts_kernel(s->form), f)))
            return false;
    return true;
}

bool session_packs(const doppler_session *s, weight_format format) {
    return s->form == X_PACKED && s->model->formats & 1u << format &&
           program_exists(s->model->d, KERNEL_MATMUL_PACKED, format);
}

/* The CPU backend has their twins, but no reason to use them. */
bool session_has_matrices(const doppler_session *s) {
    const doppler *d = s->model->d;
    return s->form == X_PACKED && !d->is_cpu && kernel_matrix_of(gpu_get_limits(d->g));
}

/* Tokens from which subgroup matrices are faster, though most of their tiles be empty. */
enum { MATRIX_TOKENS = 48 };

x_form session_prompt_form(const doppler_session *s, const projection *p, uint32_t tokens) {
    const gpu_program *matrix_programs = s->model->d->programs.of[KERNEL_MATMUL_MATRIX];
    bool packed = true, half = session_has_matrices(s) && tokens >= MATRIX_TOKENS;
    for (uint32_t i = 0; i < p->count; i++) {
        packed &= session_packs(s, p->part[i].format);
        half &= matrix_programs[p->part[i].format] != 0;
    }
    return !packed ? X_PLAIN : half ? X_HALF : X_PACKED;
}

/* Whether the session may use a program, one that depends on its options. */
static bool wants_program(const doppler_session *s, kernel_id id, uint32_t format) {
    kernel_id base = kernel_base(id);
    bool wanted = false;
    if (base == decode_kernel(s->form))
        wanted = !s->plain && s->model->linear_formats & 1u << format;
    if (base == experts_kernel(s->form))
        wanted = !s->plain && s->model->expert_formats & 1u << format;
    if (base == KERNEL_MATMUL_PACKED) wanted = session_packs(s, (weight_format)format);
    if (base == KERNEL_MATMUL_MATRIX)
        wanted = session_has_matrices(s) && session_packs(s, (weight_format)format);
    if (base == KERNEL_FORM) wanted = format == X_HALF && session_has_matrices(s);
    return wanted && program_exists(s->model->d, id, format);
}

static doppler_status compile(doppler_session *s);

static void end(doppler_session *s, doppler_status status) {
    s->prepared(status, s->prepared_user);
}

static void timed(doppler_status status, void *user) { end(user, status); }

static void tune(doppler_session *s) {
    bool started = false;
    doppler_status status = tune_start(s, &started, timed, s);
    if (!started) end(s, status);
}

static void tested(doppler_status status, void *user) {
    doppler_session *s = user;
    if (!status) {
        tune(s);
        return;
    }
    if (status == DOPPLER_UNSUPPORTED) {
        status = compile(s);
        if (!status) return;
    }
    end(s, status);
}

static void compiled(doppler_status status, void *user) {
    doppler_session *s = user;
    bool started = false;
    if (!status) status = selftest_start(s->model->d, &started, tested, s);
    if (started) return;
    if (!status) tune(s);
    else end(s, status);
}

static doppler_status compile(doppler_session *s) {
    s->form = decode_form(s->model, s->precision);
    s->plain = !decode_exists(s);
    uint32_t head_dim = s->model->manifest.model.head_dim;
    program_want wants[12 + KERNEL_COUNT * FORMAT_COUNT] = {
        {KERNEL_ROPE_KV, s->kv}, {KERNEL_ATTENTION, s->kv}, {KERNEL_ATTENTION_TOKEN, 0},
        {KERNEL_ATTENTION_MERGE, X_PLAIN}, {KERNEL_ATTENTION_MERGE, s->form},
        {op_attention_tile(head_dim), s->kv}, {KERNEL_FORM, s->form},
        {KERNEL_NORM_FORM, s->form}, {KERNEL_NORM_FORM_WIDE, s->form},
        {op_gather_kernel(s->form), s->model->weights.embedding.format}};
    size_t count = 10;
    if (attention_token_fits(s->kv, head_dim) && head_dim >= 64) {
        wants[count++] = (program_want){KERNEL_ATTENTION_LANES, lanes_format(head_dim, X_F32)};
        wants[count++] = (program_want){KERNEL_ATTENTION_WHOLE, lanes_format(head_dim, s->form)};
    }
    for (kernel_id id = 0; id < KERNEL_COUNT; id++)
        for (uint32_t f = 0; f < kernel_formats(id); f++)
            if (wants_program(s, id, f)) wants[count++] = (program_want){id, f};
    return programs_compile(s->model->d, wants, count, compiled, s);
}

doppler_status session_prepare(doppler_session *s, doppler_done_fn done, void *user) {
    s->prepared = done;
    s->prepared_user = user;
    return compile(s);
}
