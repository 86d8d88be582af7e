/* source.c - see source.h. */
#include "bridge/source.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const source_type_info source_types[SOURCE_TYPE_COUNT] = {
#define X(type, name, weights, bytes, scales) [SOURCE_##type] = {name, weights, bytes, scales},
    SOURCE_TYPES(X)
#undef X
};

const char *source_number(const char *text, uint32_t limit, uint32_t *number) {
    const char *digit = text;
    if (*digit == '0' && digit[1] != '.') return NULL;
    for (*number = 0; *digit >= '0' && *digit <= '9'; digit++) {
        *number = *number * 10 + (uint32_t)(*digit - '0');
        if (*number >= limit) return NULL;
    }
    return *digit == '.' && digit != text ? digit + 1 : NULL;
}

bool source_role(const source_names *n, const char *name, tensor_role *role, uint32_t *layer,
                 const char **rest) {
    size_t prefix = strlen(n->layer_prefix);
    bool has_prefix = !strncmp(name, n->layer_prefix, prefix);
    *rest = has_prefix ? source_number(name + prefix, MODEL_MAX_LAYERS, layer) : NULL;
    bool in_layer = *rest != NULL;
    if (!in_layer) {
        *layer = 0;
        *rest = name;
    }
    for (uint32_t i = 0; i < ROLE_COUNT; i++)
        if (n->names[i] && roles[i].per_layer == in_layer && !strcmp(n->names[i], *rest)) {
            *role = (tensor_role)i;
            return true;
        }
    return false;
}

/* ---- lists */

/* A config that claims many experts is refused before there is room for them. */
doppler_status source_list_create(error *e, arena *a, const model_config *m, uint64_t bytes,
                                  source_list *out) {
    uint32_t count = model_tensor_count(m);
    *out = (source_list){.m = m};
    if (m->experts && count > bytes)
        return fail(e, DOPPLER_BAD_FILE, "%" PRIu64 " bytes of tensors, but the model has %" PRIu32
                    " of them", bytes, count);
    out->tensors = arena_array(a, count, sizeof *out->tensors);
    return out->tensors ? DOPPLER_OK : fail(e, DOPPLER_NO_MEMORY, "%" PRIu32 " tensors", count);
}

doppler_status source_list_add(error *e, source_list *l, const source_tensor *s) {
    source_tensor *to = &l->tensors[model_tensor_index(l->m, s->role, s->layer, s->expert)];
    if (to->name) return fail(e, DOPPLER_BAD_FILE, "tensor \"%.80s\" is there twice", s->name);
    *to = *s;
    return DOPPLER_OK;
}

/* Embedding, then the layers, then what follows them; a layer's experts where gate, up and down
 * of a dense one would be. */
static uint64_t place(const source_tensor *s) {
    uint64_t section = roles[s->role].per_layer ? 1 + s->layer
                       : s->role == ROLE_EMBEDDING ? 0 : 1 + MODEL_MAX_LAYERS;
    bool head = s->role == ROLE_HEAD;
    bool expert = s->role >= ROLE_FFN_GATE && s->role <= ROLE_FFN_DOWN;
    uint64_t group = (section + head) * ROLE_COUNT + (expert ? ROLE_FFN_GATE : s->role);
    return (group * MODEL_MAX_EXPERTS + s->expert) * ROLE_COUNT + s->role;
}

static int compare_places(const void *a, const void *b) {
    uint64_t x = place(a), y = place(b);
    return x < y ? -1 : x > y;
}

static doppler_status missing(error *e, const source_names *n, const model_config *m,
                              tensor_role role, uint32_t layer, uint32_t expert) {
    if (model_role_in_expert(m, role))
        return fail(e, DOPPLER_BAD_FILE, "%s of expert %" PRIu32 " of layer %" PRIu32 " is missing",
                    roles[role].name, expert, layer);
    const char *name = n->names[role] ? n->names[role] : roles[role].name;
    if (!roles[role].per_layer)
        return fail(e, DOPPLER_BAD_FILE, "tensor \"%s\" is missing", name);
    return fail(e, DOPPLER_BAD_FILE, "tensor \"%s%" PRIu32 ".%s\" is missing", n->layer_prefix,
                layer, name);
}

doppler_status source_list_complete(error *e, source_list *l, const source_names *n) {
    const model_config *m = l->m;
    for (uint32_t role = 0, at = 0; role < ROLE_COUNT; role++) {
        uint32_t rows, cols, experts = model_role_experts(m, (tensor_role)role);
        if (!model_role_shape(m, (tensor_role)role, &rows, &cols)) continue;
        uint32_t layers = roles[role].per_layer ? m->layers : 1;
        for (uint32_t i = 0; i < layers * experts; i++, at++) {
            const source_tensor *s = &l->tensors[at], *first = s - i % experts;
            if (!s->name) return missing(e, n, m, (tensor_role)role, i / experts, i % experts);
            if (s->type != first->type)
                return fail(e, DOPPLER_UNSUPPORTED, "tensor \"%.80s\" is %s, that of expert 0 %s",
                            s->name, source_types[s->type].name, source_types[first->type].name);
        }
    }
    qsort(l->tensors, model_tensor_count(m), sizeof *l->tensors, compare_places);
    return DOPPLER_OK;
}
