/* json_get.c - typed members of a parsed object, refused with the object, the name and the range
 * that was wanted. */
#include "memory/json.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

const json *json_get(const json *object, const char *key) {
    if (!object || object->type != JSON_OBJECT) return NULL;
    size_t bytes = strlen(key);
    for (const json *m = object->first; m; m = m->next)
        if (m->key_bytes == bytes && memcmp(m->key, key, bytes) == 0) return m;
    return NULL;
}

const json *json_said(const json *object, const char *key) {
    const json *node = json_get(object, key);
    return node && node->type != JSON_NULL ? node : NULL;
}

bool json_is(const json *node, const char *text) {
    return node && node->type == JSON_STRING && node->text_bytes == strlen(text) &&
           memcmp(node->text, text, node->text_bytes) == 0;
}

/* `what: "key" is <value>, wanted <wanted>` */
static doppler_status refuse(error *e, const char *what, const char *key, const json *m,
                             const char *wanted) {
    static const char *const words[] = {
        [JSON_NULL] = "null", [JSON_BOOL] = "a boolean", [JSON_ARRAY] = "an array",
        [JSON_OBJECT] = "an object",
    };
    char value[80];
    if (!m) snprintf(value, sizeof value, "missing");
    else if (m->type == JSON_NUMBER) snprintf(value, sizeof value, "%.17g", m->number);
    else if (m->type == JSON_STRING) snprintf(value, sizeof value, "\"%.60s\"", m->text);
    else snprintf(value, sizeof value, "%s", words[m->type]);
    return fail(e, DOPPLER_BAD_FILE, "%s: \"%s\" is %s, wanted %s", what, key, value, wanted);
}

static doppler_status integer(error *e, const char *what, const char *key, const json *m,
                              uint64_t min, uint64_t max, uint64_t *out) {
    if (m && m->type == JSON_NUMBER && m->is_integer && m->integer >= 0) {
        *out = (uint64_t)m->integer;
        if (*out >= min && *out <= max) return DOPPLER_OK;
    }
    char wanted[64];
    snprintf(wanted, sizeof wanted, "an integer from %llu to %llu", (unsigned long long)min,
             (unsigned long long)max);
    return refuse(e, what, key, m, wanted);
}

doppler_status json_u32(error *e, const char *what, const json *object, const char *key,
                        uint32_t min, uint32_t max, uint32_t *out) {
    uint64_t value;
    doppler_status status = integer(e, what, key, json_get(object, key), min, max, &value);
    if (!status) *out = (uint32_t)value;
    return status;
}

doppler_status json_u64(error *e, const char *what, const json *object, const char *key,
                        uint64_t max, uint64_t *out) {
    return integer(e, what, key, json_get(object, key), 0, max, out);
}

doppler_status json_f32(error *e, const char *what, const json *object, const char *key,
                        float *out) {
    const json *m = json_get(object, key);
    if (!m || m->type != JSON_NUMBER || fabs(m->number) > FLT_MAX)
        return refuse(e, what, key, m, "a number that an f32 can hold");
    *out = (float)m->number;
    return DOPPLER_OK;
}

doppler_status json_string(error *e, const char *what, const json *object, const char *key,
                           const char **out) {
    const json *m = json_get(object, key);
    if (!m || m->type != JSON_STRING || strlen(m->text) != m->text_bytes)
        return refuse(e, what, key, m, "a string");
    *out = m->text;
    return DOPPLER_OK;
}

doppler_status json_bool_or(error *e, const char *what, const json *object, const char *key,
                            bool otherwise, bool *out) {
    const json *m = json_said(object, key);
    if (m && m->type != JSON_BOOL) return refuse(e, what, key, m, "true or false");
    *out = m ? m->boolean : otherwise;
    return DOPPLER_OK;
}

doppler_status json_u32_or(error *e, const char *what, const json *object, const char *key,
                           uint32_t min, uint32_t max, uint32_t otherwise, uint32_t *out) {
    *out = otherwise;
    return json_said(object, key) ? json_u32(e, what, object, key, min, max, out) : DOPPLER_OK;
}

doppler_status json_f32_or(error *e, const char *what, const json *object, const char *key,
                           float otherwise, float *out) {
    *out = otherwise;
    return json_said(object, key) ? json_f32(e, what, object, key, out) : DOPPLER_OK;
}
