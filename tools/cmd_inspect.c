/* cmd_inspect.c - `doppler inspect`: what a package, a checkpoint or a tokenizer holds, as text or
 * JSON. Every source becomes one listing; two writers print it. */
#include "memory/text.h"
#include "tools/cmd.h"
#include "tools/file.h"
#include "tools/gguf_text.h"
#include "tools/local.h"
#include "tools/options.h"
#include "tools/package.h"
#include "tools/progress.h"
#include "tools/summary.h"
#include "tools/tokenizers.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHAPE_TEXT = 64, NAME_TEXT = 128, MAX_DTYPES = 32, DEFAULT_CONTEXT = 8192 };
enum { MAX_CONFIG_BYTES = 16 << 20 };

typedef struct entry {
    const char *name, *role, *dtype;     /* role "" when not known */
    uint32_t layer;
    bool of_expert;                      /* a matrix of one, or those of all */
    char shape[SHAPE_TEXT];              /* "[512, 64]" */
    uint64_t weights, bytes;
} entry;

typedef struct listing {
    const char *kind, *name, *quantization;
    char id[RDRR_HEX_CHARS];             /* "" when it is no package */
    summary about;                       /* architecture "" when nothing is known */
    const model_config *model;           /* NULL when the engine does not run it; note says why */
    const char *note;
    const gguf *metadata;                /* NULL unless it is GGUF */
    entry *entries;                      /* owned */
    uint32_t count, files;
    uint32_t context;                    /* of the KV estimate */
} listing;

typedef struct dtype_total { const char *dtype; uint32_t tensors; uint64_t bytes; } dtype_total;

/* ---- sources */

static bool make_entries(error *e, listing *l, size_t count) {
    l->entries = calloc(count ? count : 1, sizeof *l->entries);
    if (!l->entries) fail(e, DOPPLER_NO_MEMORY, "%zu tensors", count);
    return l->entries != NULL;
}

static doppler_status list_package(error *e, const package *p, listing *l) {
    const manifest *m = &p->m;
    l->kind = "RDRR package";
    l->name = m->name;
    l->quantization = m->quantization;
    l->model = &m->model;
    summary_of_model(l->model, &l->about);
    l->files = m->shard_count;
    rdrr_hex(p->id, l->id);
    if (!make_entries(e, l, m->tensor_count)) return e->status;
    for (; l->count < m->tensor_count; l->count++) {
        const rdrr_tensor *t = &m->tensors[l->count];
        entry *to = &l->entries[l->count];
        *to = (entry){.name = t->name, .role = roles[t->role].name, .layer = t->layer,
                      .of_expert = model_role_in_expert(l->model, t->role),
                      .dtype = formats[t->format].name, .bytes = t->bytes,
                      .weights = (uint64_t)t->rows * t->cols};
        snprintf(to->shape, sizeof to->shape, "[%" PRIu32 ", %" PRIu32 "]", t->rows, t->cols);
    }
    return DOPPLER_OK;
}

/* shape: slowest first. */
static void shape_text(const uint64_t *shape, uint32_t dims, entry *to) {
    size_t used = (size_t)snprintf(to->shape, sizeof to->shape, "[");
    to->weights = 1;
    for (uint32_t d = 0; d < dims; d++) {
        to->weights *= shape[d];
        if (used < sizeof to->shape)
            used += (size_t)snprintf(to->shape + used, sizeof to->shape - used, "%s%" PRIu64,
                                     d ? ", " : "", shape[d]);
    }
    bool fits = used + 1 < sizeof to->shape;
    snprintf(fits ? to->shape + used : to->shape, sizeof to->shape - (fits ? used : 0), "%s",
             fits ? "]" : "null");
}

static bool ends_with(const char *name, const char *end) {
    size_t bytes = strlen(name), end_bytes = strlen(end);
    return bytes >= end_bytes && !strcmp(name + bytes - end_bytes, end);
}

/* Weights that a tensor's elements are. GPT-OSS keeps MXFP4 as two tensors of bytes: two weights in
 * each byte of *_blocks, and *_scales, which are none. */
static uint64_t count_weights(const safetensors_tensor *t, uint64_t elements) {
    if (t->dtype != ST_U8) return elements;
    return ends_with(t->name, "_blocks") ? 2 * elements : ends_with(t->name, "_scales") ? 0
                                                                                        : elements;
}

/* What config.json says, whether or not the engine runs it. */
static doppler_status read_summary(error *why, checkpoint *c, listing *l) {
    hf_text config;
    doppler_status status = checkpoint_text(why, c, "config.json", MAX_CONFIG_BYTES, &config.data,
                                            &config.bytes);
    if (!status) summary_of_config(config, &l->about);
    return status;
}

static doppler_status list_checkpoint(error *e, checkpoint *c, error *why, listing *l) {
    size_t count = 0;
    for (uint32_t f = 0; f < c->data_count; f++) count += c->files[f].count;
    l->kind = "safetensors checkpoint";
    l->name = c->name;
    l->files = c->data_count;
    if (!checkpoint_has(c, "config.json")) l->note = "no config.json beside the data";
    else if (read_summary(why, c, l) || checkpoint_describe(why, c)) l->note = why->message;
    else l->model = &c->model;
    if (!make_entries(e, l, count)) return e->status;
    for (uint32_t f = 0; f < c->data_count; f++)
        for (uint32_t i = 0; i < c->files[f].count; i++) {
            const safetensors_tensor *t = &c->files[f].tensors[i];
            entry *to = &l->entries[l->count++];
            tensor_role role;
            bool known = hf_name_role(l->model ? l->model->architecture : "", t->name, &role,
                                      &to->layer) == HF_NAME_ROLE;
            to->name = t->name;
            to->role = known ? roles[role].name : "";
            to->of_expert = known && l->model && model_role_in_expert(l->model, role);
            to->dtype = safetensors_dtypes[t->dtype].name;
            to->bytes = t->bytes;
            shape_text(t->shape, t->dims, to);
            to->weights = count_weights(t, to->weights);
        }
    return DOPPLER_OK;
}

static doppler_status list_gguf(error *e, checkpoint *c, error *why, listing *l) {
    size_t count = 0;
    for (uint32_t f = 0; f < c->data_count; f++) count += (size_t)c->ggufs[f].tensor_count;
    l->kind = "GGUF";
    l->name = c->name;
    l->files = c->data_count;
    l->metadata = &c->ggufs[0];
    summary_of_gguf(c->ggufs, c->data_count, &l->about);
    if (checkpoint_describe(why, c)) l->note = why->message;
    else l->model = &c->model;
    if (!make_entries(e, l, count)) return e->status;
    for (uint32_t f = 0; f < c->data_count; f++)
        for (uint64_t i = 0; i < c->ggufs[f].tensor_count; i++) {
            const gguf_tensor *t = &c->ggufs[f].tensors[i];
            entry *to = &l->entries[l->count++];
            tensor_role role;
            uint64_t shape[GGUF_MAX_DIMS];
            for (uint32_t d = 0; d < t->dims; d++) shape[d] = t->shape[t->dims - 1 - d];
            *to = (entry){.name = t->name, .role = "", .dtype = t->type->name, .bytes = t->bytes};
            if (gguf_name_role(l->about.architecture, t->name, &role, &to->layer)) {
                to->role = roles[role].name;
                to->of_expert = l->model && model_role_in_expert(l->model, role);
            }
            shape_text(shape, t->dims, to);
        }
    return DOPPLER_OK;
}

static doppler_status list_doppler_gpu(error *e, checkpoint *c, error *why, listing *l) {
    const doppler_gpu *p = c->package;
    l->kind = "package of doppler-gpu, which `doppler convert` reads";
    l->name = c->name;
    l->quantization = p->quantization;
    l->files = c->data_count;
    if (checkpoint_describe(why, c)) l->note = why->message;
    else {
        l->model = &c->model;
        summary_of_model(l->model, &l->about);
    }
    if (!make_entries(e, l, p->tensor_count)) return e->status;
    for (; l->count < p->tensor_count; l->count++) {
        const doppler_gpu_tensor *t = &p->tensors[l->count];
        entry *to = &l->entries[l->count];
        tensor_role role;
        *to = (entry){.name = t->name, .role = "", .dtype = t->dtype, .bytes = t->bytes};
        if (hf_name_role(l->model ? l->model->architecture : "", t->name, &role, &to->layer) ==
            HF_NAME_ROLE)
            to->role = roles[role].name;
        shape_text(t->shape, t->dims, to);
    }
    return DOPPLER_OK;
}

/* ---- numbers */

static uint32_t sum_dtypes(const listing *l, dtype_total totals[MAX_DTYPES]) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < l->count; i++) {
        uint32_t d = 0;
        while (d < count && strcmp(totals[d].dtype, l->entries[i].dtype)) d++;
        if (d == MAX_DTYPES) continue;
        if (d == count) totals[count++] = (dtype_total){l->entries[i].dtype, 0, 0};
        totals[d].tensors++;
        totals[d].bytes += l->entries[i].bytes;
    }
    return count;
}

static uint64_t sum_weights(const listing *l) {
    uint64_t weights = 0;
    for (uint32_t i = 0; i < l->count; i++) weights += l->entries[i].weights;
    return weights;
}

static uint64_t sum_bytes(const listing *l) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < l->count; i++) bytes += l->entries[i].bytes;
    return bytes;
}

/* Of one expert, in a model that the engine knows. */
static uint64_t expert_bytes(const listing *l) {
    uint64_t bytes = 0;
    if (!l->model || !l->model->experts) return 0;
    for (uint32_t i = 0; i < l->count; i++)
        if (l->entries[i].of_expert) bytes += l->entries[i].bytes;
    return bytes / l->model->layers / l->model->experts;
}

/* Of experts, the part that a token uses; found by name where the engine does not know it. */
static uint64_t sum_active(const listing *l) {
    const summary *a = &l->about;
    uint64_t weights = 0;
    if (l->model && l->model->experts) return model_active_parameters(l->model);
    for (uint32_t i = 0; i < l->count; i++) {
        const entry *t = &l->entries[i];
        bool expert = a->experts && (strstr(t->name, ".experts.") || strstr(t->name, "_exps."));
        weights += expert ? t->weights / a->experts * a->experts_used : t->weights;
    }
    return weights;
}

/* ---- writers */

/* A file's own text as a terminal may show it, cut to NAME_TEXT; returns out. */
static const char *shown(const char *from, char out[NAME_TEXT]) {
    size_t bytes = 0;
    for (; from[bytes] && bytes + 1 < NAME_TEXT; bytes++) {
        unsigned char c = (unsigned char)from[bytes];
        out[bytes] = c < 0x20 || c == 0x7F ? '?' : from[bytes];
    }
    out[bytes] = 0;
    return out;
}

static void print_summary(const listing *l) {
    const summary *a = &l->about;
    char weights[BYTES_TEXT], kv[BYTES_TEXT];
    printf("  architecture  %s: %" PRIu32 " layers, dim %" PRIu32 ", hidden %" PRIu32 ", %" PRIu32
           " heads over %" PRIu32 " KV heads of %" PRIu32 "\n", a->architecture, a->layers, a->dim,
           a->hidden, a->heads, a->kv_heads, a->head_dim);
    printf("                vocabulary %" PRIu32 ", context %" PRIu32 ", %s head\n", a->vocab,
           a->context, a->tied_head ? "tied" : "untied");
    if (a->experts)
        printf("  experts       %" PRIu32 " a layer, %" PRIu32 " for a token: %.3f M parameters "
               "active\n", a->experts, a->experts_used, (double)sum_active(l) / 1e6);
    if (expert_bytes(l))
        printf("                %s each\n", bytes_text((double)expert_bytes(l), weights));
    if (a->sliding_layers)
        printf("  attention     %" PRIu32 " layers see the last %" PRIu32 " positions, %" PRIu32
               " all\n", a->sliding_layers, a->window, a->layers - a->sliding_layers);
    printf("  GPU memory    %s weights + %s KV in f16 at %" PRIu32 " tokens\n",
           bytes_text((double)sum_bytes(l), weights),
           bytes_text((double)summary_kv_bytes(a, l->context), kv), l->context);
}

/* What only a model that the engine runs is asked for. */
static void print_model(const model_config *m) {
    const char *label = "  rope          ";
    for (uint32_t kind = 0; kind < LAYER_KINDS; kind++) {
        if (!model_has_kind(m, (layer_kind)kind)) continue;
        printf("%s%s layers: %s with theta %g\n", label, layer_kind_names[kind],
               rope_names[m->rope[kind].type], (double)m->rope[kind].theta);
        label = "                ";
    }
    if (m->attention_bias || m->mlp_bias) printf("%sbiases\n", label);
    printf("  tokens        bos ");
    if (m->has_bos) printf("%" PRIu32 ", stop", m->bos);
    else printf("none, stop");
    for (uint32_t i = 0; i < m->stop_count; i++) printf(" %" PRIu32, m->stops[i]);
    printf("%s\n", m->stop_count ? "" : " none");
}

static void print_metadata(const gguf *g) {
    text t = {0};
    gguf_text(g, &t);
    if (t.data) fwrite(t.data, 1, t.bytes, stdout);
    text_free(&t);
}

static void print_text(const listing *l, bool tensors) {
    dtype_total totals[MAX_DTYPES];
    char bytes[BYTES_TEXT], name[NAME_TEXT], quantization[NAME_TEXT];
    printf("%s: %s%s%s\n", shown(l->name, name), l->kind, l->quantization ? ", " : "",
           shown(l->quantization ? l->quantization : "", quantization));
    if (l->id[0]) printf("  package id    %s\n", l->id);
    if (l->about.architecture[0]) print_summary(l);
    if (l->model) print_model(l->model);
    else printf("  engine        does not run it: %s\n", l->note);
    printf("  parameters    %.3f M in %" PRIu32 " tensors, %s in %" PRIu32 " file%s\n",
           (double)sum_weights(l) / 1e6, l->count, bytes_text((double)sum_bytes(l), bytes),
           l->files, l->files == 1 ? "" : "s");
    uint32_t dtypes = sum_dtypes(l, totals);
    for (uint32_t d = 0; d < dtypes; d++)
        printf("    %-10s  %s in %" PRIu32 " tensor%s\n", totals[d].dtype,
               bytes_text((double)totals[d].bytes, bytes), totals[d].tensors,
               totals[d].tensors == 1 ? "" : "s");
    if (l->metadata) print_metadata(l->metadata);
    for (uint32_t i = 0; tensors && i < l->count; i++) {
        const entry *t = &l->entries[i];
        printf("  %-48s %-12s %-6s %-16s %12" PRIu64 "\n", shown(t->name, name), t->role,
               t->dtype, t->shape, t->bytes);
    }
}

static void json_text(text *t, const char *key, const char *value) {
    text_format(t, "\"%s\": ", key);
    text_json(t, value, strlen(value));
}

static void json_summary(text *t, const listing *l) {
    const summary *a = &l->about;
    const struct { const char *key; uint32_t value; } numbers[] = {
        {"layers", a->layers}, {"dim", a->dim}, {"hidden", a->hidden}, {"heads", a->heads},
        {"kv_heads", a->kv_heads}, {"head_dim", a->head_dim}, {"vocab", a->vocab},
        {"context", a->context}, {"experts", a->experts}, {"experts_used", a->experts_used},
        {"window", a->window}, {"sliding_layers", a->sliding_layers}};
    text_format(t, ", \"model\": {");
    json_text(t, "architecture", a->architecture);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        text_format(t, ", \"%s\": %" PRIu32, numbers[i].key, numbers[i].value);
    text_format(t, ", \"tied_head\": %s}, \"active_parameters\": %" PRIu64 ", \"expert_bytes\": %"
                PRIu64, a->tied_head ? "true" : "false", sum_active(l), expert_bytes(l));
    text_format(t, ", \"gpu\": {\"weights_bytes\": %" PRIu64 ", \"kv_bytes\": %" PRIu64
                ", \"context\": %" PRIu32 "}", sum_bytes(l), summary_kv_bytes(a, l->context),
                l->context);
}

/* Whether the engine runs it, and why not. */
static void json_engine(text *t, const listing *l) {
    text_format(t, ", \"runs\": %s", l->model ? "true" : "false");
    if (!l->model) {
        text_format(t, ", ");
        json_text(t, "why", l->note);
        return;
    }
    text_format(t, ", \"stop\": [");
    for (uint32_t i = 0; i < l->model->stop_count; i++)
        text_format(t, "%s%" PRIu32, i ? ", " : "", l->model->stops[i]);
    text_format(t, "]");
}

static doppler_status print_json(error *e, const listing *l, bool tensors) {
    dtype_total totals[MAX_DTYPES];
    text t = {0};
    text_format(&t, "{");
    json_text(&t, "kind", l->kind);
    text_format(&t, ", ");
    json_text(&t, "name", l->name);
    if (l->quantization) {
        if (l->id[0]) text_format(&t, ", \"id\": \"%s\"", l->id);
        text_format(&t, ", ");
        json_text(&t, "quantization", l->quantization);
    }
    if (l->about.architecture[0]) json_summary(&t, l);
    json_engine(&t, l);
    text_format(&t, ", \"parameters\": %" PRIu64 ", \"files\": %" PRIu32 ", \"dtypes\": {",
                sum_weights(l), l->files);
    uint32_t dtypes = sum_dtypes(l, totals);
    for (uint32_t d = 0; d < dtypes; d++)
        text_format(&t, "%s\"%s\": {\"tensors\": %" PRIu32 ", \"bytes\": %" PRIu64 "}",
                    d ? ", " : "", totals[d].dtype, totals[d].tensors, totals[d].bytes);
    text_format(&t, "}");
    if (l->metadata) {
        text_format(&t, ", \"metadata\": ");
        gguf_json(l->metadata, &t);
    }
    for (uint32_t i = 0; tensors && i < l->count; i++) {
        const entry *n = &l->entries[i];
        text_format(&t, i ? ",\n  {" : ", \"tensors\": [\n  {");
        json_text(&t, "name", n->name);
        text_format(&t, ", \"role\": \"%s\", \"layer\": %" PRIu32 ", \"dtype\": \"%s\", \"shape\": "
                    "%s, \"bytes\": %" PRIu64 "}%s", n->role, n->layer, n->dtype, n->shape,
                    n->bytes, i + 1 == l->count ? "]" : "");
    }
    text_format(&t, "}\n");
    doppler_status status = DOPPLER_OK;
    if (t.failed) status = fail(e, DOPPLER_NO_MEMORY, "%s: no memory", l->name);
    else fwrite(t.data, 1, t.bytes, stdout);
    text_free(&t);
    return status;
}

/* ---- the verb */

static doppler_status inspect_tokenizer(error *e, const char *path, bool json) {
    loaded_tokenizer loaded;
    doppler_status status = tokenizer_load(e, path, &loaded);
    const tokenizer *t = loaded.t;
    if (status) {
        tokenizer_unload(&loaded);
        return status;
    }
    uint32_t special = 0, tokens = tokenizer_vocab(t);
    for (uint32_t id = 0; id < tokens; id++) special += tokenizer_is_special(t, id);
    printf(json ? "{\"kind\": \"tokenizer\", \"tokens\": %" PRIu32 ", \"special\": %" PRIu32 "}\n"
                : "tokenizer: %" PRIu32 " tokens, %" PRIu32 " of them special\n",
           tokens, special);
    tokenizer_unload(&loaded);
    return DOPPLER_OK;
}

/* By what it is called. */
static bool is_tokenizer(const char *path) {
    static const char *const ends[] = {".json", ".bin", ".model"};
    size_t bytes = strlen(path);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t n = strlen(ends[i]);
        if (bytes > n && !strcmp(path + bytes - n, ends[i])) return true;
    }
    return false;
}

static doppler_status print_listing(error *e, listing *l, uint32_t context, bool json,
                                    bool tensors) {
    l->context = context;
    if (!context)
        l->context = l->about.context < DEFAULT_CONTEXT ? l->about.context : DEFAULT_CONTEXT;
    if (json) return print_json(e, l, tensors);
    print_text(l, tensors);
    return DOPPLER_OK;
}

static doppler_status inspect(error *e, const char *path, uint32_t context, bool json,
                              bool tensors) {
    if (!file_is_folder(path) && is_tokenizer(path))
        return inspect_tokenizer(e, path, json);
    listing l = {0};
    package p = {0};
    checkpoint c = {0};
    error why = {0};             /* the model is not known */
    doppler_status status;
    if (file_is_folder(path) && storage_exists(path, RDRR_MANIFEST) &&
        !local_is_doppler_gpu(path)) {
        status = package_open(e, &p, path);
        if (!status) status = list_package(e, &p, &l);
    } else {
        status = local_open(e, &c, path);
        if (!status)
            status = (c.ggufs ? list_gguf : c.package ? list_doppler_gpu
                                                      : list_checkpoint)(e, &c, &why, &l);
    }
    if (!status) status = print_listing(e, &l, context, json, tensors);
    free(l.entries);
    package_close(&p);
    checkpoint_free(&c);
    return status;
}

int cmd_inspect(int argc, char **argv) {
    const char *path = NULL;
    bool json = false, tensors = false;
    uint32_t context = 0;
    const argument arguments[] = {
        {"PATH", &path, "a package, a checkpoint's folder, a GGUF or safetensors file, a tokenizer",
         false}};
    const option options[] = {
        {"tensors", 't', OPTION_FLAG, &tensors, NULL, "list every tensor", 0, 0},
        {"context", 0, OPTION_U32, &context, "TOKENS",
         "of the KV estimate; default: the model's, at most 8192", 1, MODEL_MAX_CONTEXT},
        {"json", 0, OPTION_FLAG, &json, NULL, "print JSON", 0, 0}};
    const command c = {"inspect", "Tells what a package or checkpoint holds.", arguments, 1,
                       options, sizeof options / sizeof *options};
    int code = options_parse(&c, argc, argv);
    if (code >= 0) return code;
    error e = {0};
    return inspect(&e, path, context, json, tensors) ? command_failed(&c, &e) : 0;
}
