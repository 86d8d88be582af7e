/* json.h - JSON text to a tree of nodes in an arena (RFC 8259).
 *
 * Files are hostile: depth is limited, duplicate names, invalid UTF-8, lone surrogates and
 * trailing text are refused, and no count is trusted before it is checked. */
#ifndef MEMORY_JSON_H
#define MEMORY_JSON_H

#include "memory/arena.h"
#include "memory/status.h"

typedef enum json_type {
    JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT
} json_type;

typedef struct json {
    json_type type;
    bool boolean;                /* JSON_BOOL */
    bool is_integer;             /* JSON_NUMBER: written without fraction or exponent, fits i64/u64 */
    uint32_t count;              /* JSON_ARRAY, JSON_OBJECT: children */
    uint32_t key_bytes, text_bytes;
    const char *key;             /* member name, unescaped, NUL-terminated; NULL in arrays */
    const char *text;            /* JSON_STRING: unescaped UTF-8, NUL-terminated (may hold U+0000) */
    double number;               /* JSON_NUMBER */
    int64_t integer;             /* when is_integer; values above INT64_MAX are not is_integer */
    struct json *first, *next;   /* first child; next sibling */
} json;

/* *root lives in a. what names the file in messages. Status: BAD_FILE, NO_MEMORY. */
doppler_status json_parse(error *e, arena *a, const char *what, const char *text, size_t bytes,
                          json **root);

/* Member of an object; NULL when absent or when object is NULL or no object. */
const json *json_get(const json *object, const char *key);
const json *json_said(const json *object, const char *key);     /* NULL when it is null, too */
bool json_is(const json *node, const char *text);      /* a string equal to text */

/* Typed members. Required ones fail with BAD_FILE naming what, the key and the wanted range;
 * an _or variant returns the default when the member is absent or null. what: the object's name
 * in messages, "manifest.json: model". */
doppler_status json_u32(error *e, const char *what, const json *object, const char *key,
                        uint32_t min, uint32_t max, uint32_t *out);
doppler_status json_u64(error *e, const char *what, const json *object, const char *key,
                        uint64_t max, uint64_t *out);
doppler_status json_f32(error *e, const char *what, const json *object, const char *key,
                        float *out);
doppler_status json_string(error *e, const char *what, const json *object, const char *key,
                           const char **out);
doppler_status json_bool_or(error *e, const char *what, const json *object, const char *key,
                            bool otherwise, bool *out);
doppler_status json_u32_or(error *e, const char *what, const json *object, const char *key,
                           uint32_t min, uint32_t max, uint32_t otherwise, uint32_t *out);
doppler_status json_f32_or(error *e, const char *what, const json *object, const char *key,
                           float otherwise, float *out);

#endif
