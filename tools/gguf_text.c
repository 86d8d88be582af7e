/* gguf_text.c - see gguf_text.h. */
#include "tools/gguf_text.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SHOWN_BYTES = 60, KEY_COLUMNS = 40 };

/* A file's own text as a terminal may show it, cut. */
static void add_shown(text *out, const char *from, uint64_t bytes) {
    for (uint64_t i = 0; i < bytes && i < SHOWN_BYTES; i++) {
        unsigned char c = (unsigned char)from[i];
        text_add(out, c < 0x20 || c == 0x7F ? "?" : from + i, 1);
    }
    if (bytes > SHOWN_BYTES) text_format(out, "... (%" PRIu64 " bytes)", bytes);
}

static double float_value(const gguf_kv *v) {
    float narrow;
    double wide;
    memcpy(&narrow, v->data, sizeof narrow);
    if (v->type == GGUF_F32) return (double)narrow;
    memcpy(&wide, v->data, sizeof wide);
    return wide;
}

/* A scalar that is no string; quoted where JSON wants that. */
static void add_scalar(text *out, const gguf_kv *v, bool json) {
    int64_t integer;
    uint64_t large = 0;
    if (gguf_integer(v, &integer)) {
        text_format(out, "%" PRId64, integer);
    } else if (v->type == GGUF_BOOL) {
        text_format(out, *v->data ? "true" : "false");
    } else if (v->type == GGUF_F32 || v->type == GGUF_F64) {
        double value = float_value(v);
        const char *quote = json && !isfinite(value) ? "\"" : "";
        text_format(out, "%s%.*g%s", quote, v->type == GGUF_F32 ? 9 : 17, value, quote);
    } else {
        for (int i = 7; i >= 0; i--) large = large << 8 | v->data[i];
        text_format(out, "%" PRIu64, large);
    }
}

void gguf_text(const gguf *g, text *out) {
    text_format(out, "  GGUF %u, alignment %u, %" PRIu64 " metadata values\n", g->version,
                g->alignment, g->value_count);
    for (uint64_t i = 0; i < g->value_count; i++) {
        const gguf_kv *v = &g->values[i];
        const uint8_t *at = v->data;
        uint64_t bytes;
        text_format(out, "    ");
        add_shown(out, v->key, v->key_bytes);
        if (v->key_bytes < KEY_COLUMNS)
            text_format(out, "%*s", (int)(KEY_COLUMNS - v->key_bytes), "");
        text_format(out, " ");
        if (v->is_array) {
            text_format(out, "%" PRIu64 " x %s", v->count, gguf_types[v->type].name);
        } else if (v->type == GGUF_STRING) {
            const char *from = gguf_next_string(&at, &bytes);
            add_shown(out, from, bytes);
        } else {
            add_scalar(out, v, false);
        }
        text_format(out, "\n");
    }
}

void gguf_json(const gguf *g, text *out) {
    text_format(out, "{");
    for (uint64_t i = 0; i < g->value_count; i++) {
        const gguf_kv *v = &g->values[i];
        const uint8_t *at = v->data;
        uint64_t bytes;
        text_format(out, i ? ", " : "");
        text_json(out, v->key, (size_t)v->key_bytes);
        text_format(out, ": ");
        if (v->is_array) {
            text_format(out, "{\"array\": \"%s\", \"count\": %" PRIu64 "}",
                        gguf_types[v->type].name, v->count);
        } else if (v->type == GGUF_STRING) {
            const char *from = gguf_next_string(&at, &bytes);
            text_json(out, from, (size_t)bytes);
        } else {
            add_scalar(out, v, true);
        }
    }
    text_format(out, "}");
}
