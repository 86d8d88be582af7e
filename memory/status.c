/* status.c - names and texts of statuses, and the one-line reason behind a failure. */
#include "memory/status.h"
#include "memory/utf8.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct { const char *name, *text; } statuses[DOPPLER_STATUS_COUNT] = {
#define X(name, text) [DOPPLER_##name] = {#name, text},
    DOPPLER_STATUSES(X)
#undef X
};

const char *doppler_status_name(doppler_status status) {
    return (unsigned)status < DOPPLER_STATUS_COUNT ? statuses[status].name : "UNKNOWN";
}

const char *doppler_status_text(doppler_status status) {
    return (unsigned)status < DOPPLER_STATUS_COUNT ? statuses[status].text : "unknown status";
}

/* Messages quote hostile files: control characters and ill-formed UTF-8 (also from cutting)
 * become '?', so that a message stays one line of text. */
static void clean(char *message) {
    size_t bytes = strlen(message);
    for (size_t i = 0; i < bytes;) {
        uint32_t code;
        uint32_t step = utf8_decode(message + i, bytes - i, &code);
        if (code == UTF8_ILL_FORMED || code < 0x20 || (code >= 0x7F && code < 0xA0) ||
            code == 0x2028 || code == 0x2029)
            memset(message + i, '?', step);
        i += step;
    }
}

doppler_status fail(error *e, doppler_status status, const char *format, ...) {
    assert(e && status != DOPPLER_OK);
    va_list args;
    va_start(args, format);
    vsnprintf(e->message, sizeof e->message, format, args);
    va_end(args);
    clean(e->message);
    e->status = status;
    return status;
}
