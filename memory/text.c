/* text.c - a growing string; capacity doubles, and failure is remembered instead of returned. */
#include "memory/text.h"
#include "memory/utf8.h"

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Room for count more bytes and the NUL. */
static bool reserve(text *t, size_t count) {
    if (t->failed) return false;
    if (count < t->capacity - t->bytes) return true;
    size_t capacity = t->capacity ? t->capacity : 64;
    while (capacity - t->bytes <= count) {
        if (capacity > SIZE_MAX / 2) return !(t->failed = true);
        capacity *= 2;
    }
    char *data = realloc(t->data, capacity);
    if (!data) return !(t->failed = true);
    t->data = data;
    t->capacity = capacity;
    return true;
}

void text_add(text *t, const char *bytes, size_t count) {
    if (!reserve(t, count)) return;
    if (count) memcpy(t->data + t->bytes, bytes, count);
    t->bytes += count;
    t->data[t->bytes] = 0;
}

void text_format(text *t, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int bytes = vsnprintf(NULL, 0, format, args);
    va_end(args);
    assert(bytes >= 0);
    if (reserve(t, (size_t)bytes)) {
        vsnprintf(t->data + t->bytes, (size_t)bytes + 1, format, again);
        t->bytes += (size_t)bytes;
    }
    va_end(again);
}

static void json_escape(text *t, unsigned char c) {
    static const char letters[] = {
        ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't',
        ['"'] = '"', ['\\'] = '\\',
    };
    if (c < sizeof letters && letters[c]) text_add(t, (char[]){'\\', letters[c]}, 2);
    else text_format(t, "\\u%04x", c);
}

void text_json(text *t, const char *bytes, size_t count) {
    text_add(t, "\"", 1);
    size_t plain = 0;                    /* start of the run that needs no change */
    for (size_t i = 0; i < count;) {
        uint32_t code, step = utf8_decode(bytes + i, count - i, &code);
        bool change = code == UTF8_ILL_FORMED || code < 0x20 || code == '"' || code == '\\' ||
                      code == 0x7F;
        if (change) {
            text_add(t, bytes + plain, i - plain);
            if (code == UTF8_ILL_FORMED) text_add(t, UTF8_REPLACEMENT, 3);
            else json_escape(t, (unsigned char)code);
            plain = i + step;
        }
        i += step;
    }
    text_add(t, bytes + plain, count - plain);
    text_add(t, "\"", 1);
}

void text_free(text *t) {
    free(t->data);
    *t = (text){0};
}
