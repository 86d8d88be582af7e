/* manifest_tensors.c - the table of tensors in manifest.json: each of the model's once, in its
 * shape, in spans that lie in the shards and apart from each other; experts apart from all else. */
#include "loader/manifest_read.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static doppler_status read_span(manifest_reading *r, const char *tensor, const json *node,
                                uint32_t index, bool last, rdrr_span *out) {
    static const char *const names[] = {"shard", "offset", "bytes", NULL};
    const manifest *m = r->m;
    char what[2 * WHAT_BYTES];
    snprintf(what, sizeof what, "%s.spans[%u]", tensor, index);
    doppler_status status = manifest_only(r, what, node, names);
    if (status ||
        (status = json_u32(r->e, what, node, "shard", 0, m->shard_count - 1, &out->shard)))
        return status;
    uint64_t shard_bytes = m->shards[out->shard].bytes;
    if ((status = json_u64(r->e, what, node, "offset", shard_bytes, &out->offset)) ||
        (status = json_u64(r->e, what, node, "bytes", shard_bytes - out->offset, &out->bytes)))
        return status;
    if (out->offset % RDRR_ALIGN)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: offset %" PRIu64 " is no multiple of %d", what,
                    out->offset, RDRR_ALIGN);
    if (!out->bytes || (!last && out->bytes % RDRR_ALIGN))
        return fail(r->e, DOPPLER_BAD_FILE, "%s: %" PRIu64 " bytes, no multiple of %d, and it is "
                    "not the last", what, out->bytes, RDRR_ALIGN);
    return DOPPLER_OK;
}

static doppler_status read_spans(manifest_reading *r, const char *what, const json *node,
                                 rdrr_tensor *t) {
    const json *array;
    doppler_status status = manifest_member(r, what, node, "spans", JSON_ARRAY, &array);
    if (status) return status;
    t->spans = arena_array(&r->m->memory, array->count, sizeof *t->spans);
    if (array->count && !t->spans) return manifest_no_memory(r);
    uint64_t left = t->bytes;
    for (const json *span = array->first; span; span = span->next) {
        rdrr_span *out = &t->spans[t->span_count];
        if ((status = read_span(r, what, span, t->span_count, !span->next, out))) return status;
        if (out->bytes > left)
            return fail(r->e, DOPPLER_BAD_FILE, "%s: the spans exceed its %" PRIu64 " bytes", what,
                        t->bytes);
        left -= out->bytes;
        t->span_count++;
    }
    if (!left) return DOPPLER_OK;
    return fail(r->e, DOPPLER_BAD_FILE, "%s: the spans hold %" PRIu64 " bytes, \"bytes\" is %"
                PRIu64, what, t->bytes - left, t->bytes);
}

/* shape, dtype and bytes against the model's own shape of the role. */
static doppler_status read_storage(manifest_reading *r, const char *what, const json *node,
                                   rdrr_tensor *t) {
    const char *dtype, *layout;
    const json *shape;
    doppler_status status = json_string(r->e, what, node, "dtype", &dtype);
    if (status || (status = json_string(r->e, what, node, "layout", &layout))) return status;
    t->format = format_by_name(dtype);
    if (t->format == FORMAT_COUNT)
        return fail(r->e, DOPPLER_UNSUPPORTED, "%s: dtype \"%.60s\" is not known", what, dtype);
    if (strcmp(layout, "rows"))
        return fail(r->e, DOPPLER_UNSUPPORTED, "%s: layout \"%.60s\" is not known", what, layout);
    if (!roles[t->role].matrix && t->format != FORMAT_F32)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: a vector's dtype is f32, not %s", what, dtype);
    if (t->role == ROLE_ROUTER && formats[t->format].block_weights > 1)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: a router's dtype is a float's, not %s", what,
                    dtype);
    if ((status = manifest_member(r, what, node, "shape", JSON_ARRAY, &shape))) return status;
    const json *rows = shape->first, *cols = rows ? rows->next : NULL;
    if (shape->count != 2 || !rows->is_integer || !cols->is_integer || rows->integer != t->rows ||
        cols->integer != t->cols)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: \"shape\" is not [%u, %u], which %s has in this "
                    "model", what, t->rows, t->cols, roles[t->role].name);
    if ((status = json_u64(r->e, what, node, "bytes", INT64_MAX, &t->bytes))) return status;
    uint64_t bytes = rdrr_tensor_bytes(t->role, t->format, t->rows, t->cols);
    if (t->bytes == bytes) return DOPPLER_OK;
    return fail(r->e, DOPPLER_BAD_FILE, "%s: %" PRIu64 " bytes, [%u, %u] in %s are %" PRIu64, what,
                t->bytes, t->rows, t->cols, dtype, bytes);
}

/* "layer 3", or "expert 1 of layer 3". */
static void name_place(const model_config *c, tensor_role role, uint32_t layer, uint32_t expert,
                       char out[WHAT_BYTES]) {
    if (model_role_in_expert(c, role))
        snprintf(out, WHAT_BYTES, "expert %" PRIu32 " of layer %" PRIu32, expert, layer);
    else snprintf(out, WHAT_BYTES, "layer %" PRIu32, layer);
}

/* role, layer and expert: which of the model's tensors it is. */
static doppler_status read_place(manifest_reading *r, const char *what, const json *node,
                                 bool *seen, rdrr_tensor *t) {
    const model_config *c = &r->m->model;
    const char *role;
    doppler_status status = json_string(r->e, what, node, "role", &role);
    if (status) return status;
    t->role = role_by_name(role);
    if (t->role == ROLE_COUNT)
        return fail(r->e, DOPPLER_UNSUPPORTED, "%s: role \"%.60s\" is not known", what, role);
    if (!model_role_shape(c, t->role, &t->rows, &t->cols))
        return fail(r->e, DOPPLER_BAD_FILE, "%s: this model has no %s", what, role);
    uint32_t layers = roles[t->role].per_layer ? c->layers : 1;
    if ((status = json_u32(r->e, what, node, "layer", 0, layers - 1, &t->layer))) return status;
    bool in_expert = model_role_in_expert(c, t->role);
    if (in_expert &&
        (status = json_u32(r->e, what, node, "expert", 0, c->experts - 1, &t->expert)))
        return status;
    if (!in_expert && json_get(node, "expert"))
        return fail(r->e, DOPPLER_BAD_FILE, "%s: \"expert\", but %s is of no expert", what, role);
    bool *once = &seen[model_tensor_index(c, t->role, t->layer, t->expert)];
    char where[WHAT_BYTES];
    name_place(c, t->role, t->layer, t->expert, where);
    if (*once) return fail(r->e, DOPPLER_BAD_FILE, "%s: a second %s of %s", what, role, where);
    *once = true;
    return DOPPLER_OK;
}

static doppler_status read_tensor(manifest_reading *r, const char *what, const json *node,
                                  bool *seen, rdrr_tensor *t) {
    static const char *const names[] = {"name", "role", "layer", "expert", "dtype", "layout",
                                        "shape", "bytes", "spans", NULL};
    doppler_status status = manifest_only(r, what, node, names);
    if (status || (status = manifest_text(r, what, node, "name", &t->name)) ||
        (status = read_place(r, what, node, seen, t)) ||
        (status = read_storage(r, what, node, t)))
        return status;
    return read_spans(r, what, node, t);
}

static doppler_status check_complete(manifest_reading *r, const bool *seen) {
    const model_config *c = &r->m->model;
    for (uint32_t role = 0, at = 0; role < ROLE_COUNT; role++) {
        uint32_t rows, cols, experts = model_role_experts(c, (tensor_role)role);
        if (!model_role_shape(c, (tensor_role)role, &rows, &cols)) continue;
        uint32_t count = (roles[role].per_layer ? c->layers : 1) * experts;
        for (uint32_t i = 0; i < count; i++) {
            char where[WHAT_BYTES];
            if (seen[at + i]) continue;
            name_place(c, (tensor_role)role, i / experts, i % experts, where);
            return fail(r->e, DOPPLER_BAD_FILE, RDRR_MANIFEST ": tensor %s of %s is missing",
                        roles[role].name, where);
        }
        at += count;
    }
    return DOPPLER_OK;
}

static int compare_spans(const void *a, const void *b) {
    const rdrr_span *x = a, *y = b;
    if (x->shard != y->shard) return x->shard < y->shard ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* ---- where they lie */

static uint64_t round_up(uint64_t bytes, uint64_t unit) { return (bytes + unit - 1) / unit * unit; }

/* spans: of all tensors, sorted. */
static doppler_status check_overlap(manifest_reading *r, const rdrr_span *spans, size_t count) {
    for (size_t i = 1; i < count; i++)
        if (spans[i].shard == spans[i - 1].shard &&
            spans[i].offset - spans[i - 1].offset < spans[i - 1].bytes)
            return fail(r->e, DOPPLER_BAD_FILE, RDRR_MANIFEST ": two spans overlap in %s at %"
                        PRIu64, r->m->shards[spans[i].shard].file, spans[i].offset);
    return DOPPLER_OK;
}

/* Whether b is where the stream goes on behind a: at the next multiple of RDRR_ALIGN, or at the
 * start of the next shard. */
static bool follows(const manifest *m, const rdrr_span *a, const rdrr_span *b) {
    uint64_t end = round_up(a->offset + a->bytes, RDRR_ALIGN);
    if (b->shard == a->shard) return b->offset == end;
    return b->shard == a->shard + 1 && b->offset == 0 && end >= m->shards[a->shard].bytes;
}

/* Whether a group's blocks are its own: it starts one, and what comes next in the shard of its last
 * span starts another. */
static bool owns_blocks(const rdrr_span *first, const rdrr_span *last, const rdrr_span *spans,
                        size_t count) {
    const rdrr_span *found = bsearch(last, spans, count, sizeof *spans, compare_spans);
    const rdrr_span *next = found + 1;
    if (first->offset % RDRR_BLOCK_BYTES) return false;
    if (next == spans + count || next->shard != last->shard) return true;
    return next->offset >= round_up(last->offset + last->bytes, RDRR_BLOCK_BYTES);
}

/* An expert's tensors are one range of the stream, and if that is as long as a block no other
 * tensor is in its blocks: docs/RDRR_FORMAT.md, expert groups. of: the tensors by their index. */
static doppler_status check_group(manifest_reading *r, rdrr_tensor *const *of, uint32_t layer,
                                  uint32_t expert, const rdrr_span *spans, size_t count) {
    static const tensor_role members[] = {ROLE_FFN_GATE, ROLE_FFN_UP, ROLE_FFN_DOWN};
    enum { MEMBERS = sizeof members / sizeof *members };
    const manifest *m = r->m;
    const rdrr_span *first = NULL, *last = NULL;
    uint64_t sizes[MEMBERS];
    for (uint32_t i = 0; i < MEMBERS; i++) {
        const rdrr_tensor *t = of[model_tensor_index(&m->model, members[i], layer, expert)];
        const rdrr_tensor *same = of[model_tensor_index(&m->model, members[i], layer, 0)];
        if (t->format != same->format)
            return fail(r->e, DOPPLER_BAD_FILE, RDRR_MANIFEST ": %s of expert %u of layer %u is "
                        "%s, that of expert 0 %s", roles[t->role].name, expert, layer,
                        formats[t->format].name, formats[same->format].name);
        if (!first) first = t->spans;
        for (uint32_t s = 0; s < t->span_count; last = &t->spans[s++])
            if (last && !follows(m, last, &t->spans[s]))
                return fail(r->e, DOPPLER_BAD_FILE, RDRR_MANIFEST ": %s of expert %u of layer %u "
                            "is not one piece with the expert's other tensors",
                            roles[t->role].name, expert, layer);
        sizes[i] = t->bytes;
    }
    uint64_t bytes = rdrr_group_bytes(sizes[0], sizes[1], sizes[2]);
    if (bytes < RDRR_BLOCK_BYTES || owns_blocks(first, last, spans, count)) return DOPPLER_OK;
    return fail(r->e, DOPPLER_BAD_FILE, RDRR_MANIFEST ": expert %u of layer %u, %" PRIu64 " bytes, "
                "shares a block of %d with others", expert, layer, bytes, RDRR_BLOCK_BYTES);
}

static doppler_status check_groups(manifest_reading *r, const rdrr_span *spans, size_t count) {
    const model_config *c = &r->m->model;
    rdrr_tensor **of = arena_array(&r->tree, r->m->tensor_count, sizeof *of);
    if (!of) return manifest_no_memory(r);
    for (uint32_t i = 0; i < r->m->tensor_count; i++) {
        rdrr_tensor *t = &r->m->tensors[i];
        of[model_tensor_index(c, t->role, t->layer, t->expert)] = t;
    }
    doppler_status status = DOPPLER_OK;
    for (uint32_t i = 0; i < c->layers * c->experts && !status; i++)
        status = check_group(r, of, i / c->experts, i % c->experts, spans, count);
    return status;
}

static doppler_status check_spans(manifest_reading *r) {
    const manifest *m = r->m;
    size_t total = 0, count = 0;
    for (uint32_t i = 0; i < m->tensor_count; i++) total += m->tensors[i].span_count;
    rdrr_span *spans = arena_array(&r->tree, total, sizeof *spans);
    if (!spans) return manifest_no_memory(r);
    for (uint32_t i = 0; i < m->tensor_count; i++)
        for (uint32_t s = 0; s < m->tensors[i].span_count; s++)
            spans[count++] = m->tensors[i].spans[s];
    qsort(spans, count, sizeof *spans, compare_spans);
    doppler_status status = check_overlap(r, spans, count);
    return status || !m->model.experts ? status : check_groups(r, spans, count);
}

doppler_status manifest_read_tensors(manifest_reading *r, const json *root) {
    manifest *m = r->m;
    const json *array;
    doppler_status status = manifest_member(r, RDRR_MANIFEST, root, "tensors", JSON_ARRAY, &array);
    if (status) return status;
    bool *seen = arena_array(&r->tree, model_tensor_count(&m->model), sizeof *seen);
    m->tensors = arena_array(&m->memory, array->count, sizeof *m->tensors);
    if (!seen || (array->count && !m->tensors)) return manifest_no_memory(r);
    for (const json *node = array->first; node; node = node->next) {
        char what[WHAT_BYTES];
        snprintf(what, sizeof what, RDRR_MANIFEST ": tensors[%u]", m->tensor_count);
        if ((status = read_tensor(r, what, node, seen, &m->tensors[m->tensor_count])))
            return status;
        m->tensor_count++;
    }
    if ((status = check_complete(r, seen))) return status;
    return check_spans(r);
}
