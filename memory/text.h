/* text.h - a growing string, and JSON written into it. */
#ifndef MEMORY_TEXT_H
#define MEMORY_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Zero-initialise; data is owned and NUL-terminated once anything was added. failed turns
 * true, and stays so, when memory ran out: check once at the end. */
typedef struct text {
    char *data;
    size_t bytes, capacity;
    bool failed;
} text;

void text_add(text *t, const char *bytes, size_t count);
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void text_format(text *t, const char *format, ...);
/* A JSON string literal with quotes: control characters, quote and backslash escaped, ill-formed
 * UTF-8 as U+FFFD. */
void text_json(text *t, const char *bytes, size_t count);
void text_free(text *t);

#endif
