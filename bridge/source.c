/* source.c - see source.h. */
#include "bridge/source.h"
#include <stdlib.h>
#include <string.h>

const source_type_info source_types[SOURCE_TYPE_COUNT] = {
#define X(type, name, weights, bytes) [SOURCE_##type] = {name, weights, bytes},
    SOURCE_TYPES(X)
#undef X
};

/* PREFIX "12.rest" -> layer 12, "rest"; NULL when the name is of no layer. */
static const char *cut_layer(const char *prefix, const char *name, uint32_t *layer) {
    size_t prefix_bytes = strlen(prefix);
    if (strncmp(name, prefix, prefix_bytes)) return NULL;
    const char *digit = name + prefix_bytes;
    if (*digit == '0' && digit[1] != '.') return NULL;
    for (*layer = 0; *digit >= '0' && *digit <= '9'; digit++) {
        *layer = *layer * 10 + (uint32_t)(*digit - '0');
        if (*layer >= MODEL_MAX_LAYERS) return NULL;
    }
    return *digit == '.' && digit[-1] != '.' ? digit + 1 : NULL;
}

bool source_role(const source_names *n, const char *name, tensor_role *role, uint32_t *layer,
                 const char **rest) {
    *rest = cut_layer(n->layer_prefix, name, layer);
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

/* Embedding, then the layers, then what follows them. */
static uint64_t place(const source_tensor *s) {
    uint64_t section = roles[s->role].per_layer ? 1 + s->layer
                       : s->role == ROLE_EMBEDDING ? 0 : 1 + MODEL_MAX_LAYERS;
    bool head = s->role == ROLE_HEAD;
    return (section + head) * ROLE_COUNT + s->role;
}

static int compare_places(const void *a, const void *b) {
    uint64_t x = place(a), y = place(b);
    return x < y ? -1 : x > y;
}

doppler_status source_complete(error *e, const source_names *n, const model_config *m,
                               source_tensor *s, uint32_t count) {
    if (count) qsort(s, count, sizeof *s, compare_places);
    for (uint32_t i = 1; i < count; i++)
        if (s[i].role == s[i - 1].role && s[i].layer == s[i - 1].layer)
            return fail(e, DOPPLER_BAD_FILE, "tensor \"%.80s\" is there twice", s[i].name);
    for (uint32_t role = 0; role < ROLE_COUNT; role++) {
        source_tensor wanted = {.role = (tensor_role)role};
        uint32_t layers = roles[role].per_layer ? m->layers : 1;
        if (!model_role_shape(m, wanted.role, &wanted.rows, &wanted.cols)) continue;
        for (; wanted.layer < layers; wanted.layer++) {
            if (count && bsearch(&wanted, s, count, sizeof *s, compare_places)) continue;
            if (!roles[role].per_layer)
                return fail(e, DOPPLER_BAD_FILE, "tensor \"%s\" is missing", n->names[role]);
            return fail(e, DOPPLER_BAD_FILE, "tensor \"%s%u.%s\" is missing", n->layer_prefix,
                        wanted.layer, n->names[role]);
        }
    }
    return DOPPLER_OK;
}
