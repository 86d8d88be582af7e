/* progress.h - how far a long command is, on stderr: a bar that redraws itself on a terminal,
 * a plain line now and then elsewhere. */
#ifndef TOOLS_PROGRESS_H
#define TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

/* Filled by progress_start. */
typedef struct progress {
    const char *label;           /* borrowed */
    bool quiet, terminal;
    double start_ms, shown_ms;
    double from_ms;              /* speed counts from here, */
    uint64_t from_bytes;         /* when so much was done */
} progress;

void progress_start(progress *p, const char *label, bool quiet);
void progress_show(progress *p, uint64_t done_bytes, uint64_t total_bytes);
/* What is done up to here took no work: it says nothing about speed. */
void progress_skip(progress *p, uint64_t done_bytes);
/* Clears the bar; must come before other lines. Returns the seconds since the start. */
double progress_end(progress *p);

enum { BYTES_TEXT = 24 };
/* "17.0 MB" in decimal units; returns out. */
const char *bytes_text(double bytes, char out[BYTES_TEXT]);

#endif
