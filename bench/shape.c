/* shape.c - a model of random weights at a real one's shape, which no file holds: the manifest is
 * that of the package which `doppler synth` would write, the engine's requests are answered here,
 * and a kernel makes the weights. */
#include "bench/bench.h"
#include "bench/fill.h"
#include "browser/flat.h"
#include "loader/convert.h"
#include "tools/synth.h"

#include <stdlib.h>
#include <string.h>

/* A model on its way. */
typedef struct shape_model {
    const bench *b;              /* borrowed */
    doppler *d;                  /* its */
    doppler_model *model;        /* the caller's in the end */
    text tokenizer;              /* owned */
    uint32_t ticket;
} shape_model;

/* The manifest of a package of the shape. Beside mxfp4 the head is q8_0, as in llama.cpp's files. */
static doppler_status write_manifest(error *e, const synth *s, const text *tokenizer,
                                     convert_target target, text *out) {
    const weight_format q8_0 = FORMAT_Q8_0;
    bool wide = target == TARGET_MXFP4 && !s->shape->tied_head;
    synth_model m;
    convert *c = NULL;
    doppler_status status = synth_model_read(e, s, &m);
    if (!status) {
        const convert_input input = {
            .model = &m.model, .sources = m.sources, .source_count = m.source_count,
            .tokenizer = tokenizer->data, .tokenizer_bytes = tokenizer->bytes,
            .chat_template = "", .name = s->shape->name, .source = "random weights",
            .target = target, .head = wide ? &q8_0 : NULL};
        status = convert_create(e, &input, &c);
    }
    if (!status) {
        manifest_write(convert_manifest(c), out);
        if (out->failed) status = fail(e, DOPPLER_NO_MEMORY, "%s", s->shape->name);
    }
    convert_destroy(c);
    synth_model_free(&m);
    return status;
}

static doppler_status create(shape_model *m, const shape *of, uint32_t layers,
                             convert_target target) {
    error *e = &m->d->error;
    synth s;
    text manifest = {0};
    doppler_status status = synth_open(e, &s, of, layers, 0);
    if (!status) status = synth_tokenizer_compile(e, &s, &m->tokenizer);
    if (!status) status = write_manifest(e, &s, &m->tokenizer, target, &manifest);
    if (!status) status = doppler_model_create(m->d, manifest.data, manifest.bytes, &m->model);
    text_free(&manifest);
    synth_free(&s);
    return status;
}

EXPORT(void, bench_shape_destroy, shape_model *m) {
    if (!m) return;
    text_free(&m->tokenizer);
    free(m);
}

/* full: every layer sees all positions. NULL: see engine_message. The model is destroyed by who
 * asks for it with bench_shape_model. */
EXPORT(shape_model *, bench_shape_create, const bench *b, const char *name, uint32_t layers,
       uint32_t full, const char *quantize) {
    error *e = &b->d->error;
    const shape *found = shape_by_name(name);
    convert_target target = 0;
    while (target < TARGET_COUNT && strcmp(convert_targets[target], quantize)) target++;
    shape_model *m = calloc(1, sizeof *m);
    if (!m || !found || target == TARGET_COUNT) {
        if (!m) fail(e, DOPPLER_NO_MEMORY, "%s", name);
        else fail(e, DOPPLER_BAD_ARGUMENT, "no shape \"%.40s\" in %.20s", name, quantize);
        free(m);
        return NULL;
    }
    shape of = *found;
    if (full) of.window = of.period = 0;
    m->b = b;
    m->d = b->d;
    if (!create(m, &of, layers, target)) return m;
    bench_shape_destroy(m);
    return NULL;
}

EXPORT(doppler_model *, bench_shape_model, const shape_model *m) { return m->model; }

/* What the engine asks for, as far as it matters: the tokenizer. */
static void answer(shape_model *m, const doppler_request *r) {
    for (uint32_t i = 0; i < r->segment_count && !strcmp(r->file, RDRR_TOKENIZER); i++)
        memcpy(r->segments[i].host, m->tokenizer.data + r->offset + r->segments[i].offset,
               r->segments[i].bytes);
    doppler_model_fed(m->model, r->id, DOPPLER_OK, NULL);
}

/* doppler_next: again after the device's callbacks while it is DOPPLER_NEXT_WAIT. */
EXPORT(uint32_t, bench_shape_next, shape_model *m) {
    doppler_request r;
    doppler_next next;
    while ((next = doppler_model_next(m->model, &r)) == DOPPLER_NEXT_REQUEST) answer(m, &r);
    return next;
}

/* ---- weights */

static void fill_projection(const shape_model *m, const projection *p, uint32_t *seed) {
    for (uint32_t i = 0; i < p->count; i++)
        fill_matrix(m->d->g, m->b->fill, &p->part[i], ++*seed);
}

static gpu_list record(const shape_model *m) {
    const model_config *c = &m->model->manifest.model;
    const weights *w = &m->model->weights;
    enum { VECTORS = 0 };        /* its place among w->descs */
    uint32_t seed = 0;
    gpu_record_begin(m->d->g);
    fill_matrix(m->d->g, m->b->fill, &w->embedding, ++seed);
    if (!c->tied_head) fill_projection(m, &w->head, &seed);
    for (uint32_t i = 0; i < c->layers; i++) {
        const layer_weights *l = &w->layers[i];
        const projection *all[] = {&l->qkv, &l->attn_out, &l->router, &l->gate_up, &l->down};
        for (size_t j = 0; j < sizeof all / sizeof *all; j++) fill_projection(m, all[j], &seed);
    }
    fill_floats(m->d->g, m->b->fill, w->vectors, w->descs[VECTORS].bytes / 4, 0.01f, ++seed);
    return gpu_record_end(m->d->g);
}

/* Gains are 1. */
static doppler_status write_gains(const shape_model *m) {
    const model_config *c = &m->model->manifest.model;
    const weights *w = &m->model->weights;
    uint32_t most = c->dim > c->head_dim ? c->dim : c->head_dim;
    float *ones = malloc(most * sizeof *ones);
    if (!ones) return fail(&m->d->error, DOPPLER_NO_MEMORY, "gains");
    for (uint32_t i = 0; i < most; i++) ones[i] = 1;
    for (uint32_t i = 0; i < c->layers; i++) {
        const layer_weights *l = &w->layers[i];
        const struct { uint32_t at, count; } gains[] = {
            {l->attn_norm, c->dim}, {l->ffn_norm, c->dim}, {l->attn_post_norm, c->dim},
            {l->ffn_post_norm, c->dim}, {l->q_norm, c->head_dim}, {l->k_norm, c->head_dim},
            {w->final_norm, c->dim}};
        for (size_t j = 0; j < sizeof gains / sizeof *gains; j++)
            if (gains[j].at != OP_NO_BIAS)
                gpu_write(m->d->g, w->vectors, gains[j].at * sizeof *ones, ones,
                          gains[j].count * sizeof *ones);
    }
    free(ones);
    return DOPPLER_OK;
}

static void filled(doppler_status status, void *user) {
    shape_model *m = user;
    if (status) fail(&m->d->error, status, "%s", gpu_message(m->d->g));
    else status = write_gains(m);
    bench_done(m->ticket, status);
}

/* Makes the weights of a model that is ready. */
EXPORT(uint32_t, bench_shape_fill, shape_model *m, uint32_t ticket) {
    gpu_list list = record(m);
    if (!list) return fail(&m->d->error, DOPPLER_NO_MEMORY, "weights");
    m->ticket = ticket;
    gpu_submit(m->d->g, list, 1, NULL, filled, m);
    gpu_list_destroy(m->d->g, list);
    return DOPPLER_OK;
}
