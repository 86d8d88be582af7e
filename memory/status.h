/* status.h - how library code fails: a status and one line that names the thing and the numbers.
 *
 * The world fails with a status; the programmer fails with assert. Every operation that can meet
 * a bad file, a full disk or a lost device takes an `error *` first and returns its status. */
#ifndef MEMORY_STATUS_H
#define MEMORY_STATUS_H

#include "doppler.h"

typedef struct error {
    doppler_status status;
    char message[256];           /* one line, "" when nothing went wrong */
} error;

/* Records why and returns status, so that callers can write
 * `return fail(e, DOPPLER_IO, "shard %u: %s", i, why);`. Overlong messages are cut. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
doppler_status fail(error *e, doppler_status status, const char *format, ...);

#endif
