/* progress.c - see progress.h. */
#include "tools/progress.h"
#include "tools/host.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BAR_CELLS = 28, REDRAW_MS = 100, LINE_MS = 5000 };

const char *bytes_text(double bytes, char out[BYTES_TEXT]) {
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
    uint32_t unit = 0;
    while (bytes >= 999.5 && unit < 4) {
        bytes /= 1000;
        unit++;
    }
    snprintf(out, BYTES_TEXT, unit && bytes < 99.95 ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
    return out;
}

void progress_start(progress *p, const char *label, bool quiet) {
    double now = now_ms();
    *p = (progress){label, quiet, isatty(STDERR_FILENO), now, now, now, 0};
}

void progress_show(progress *p, uint64_t done_bytes, uint64_t total_bytes) {
    double now = now_ms(), seconds = (now - p->from_ms) / 1e3;
    if (p->quiet || now - p->shown_ms < (p->terminal ? REDRAW_MS : LINE_MS)) return;
    p->shown_ms = now;
    double part = total_bytes ? (double)done_bytes / (double)total_bytes : 1;
    double made = (double)(done_bytes - p->from_bytes);
    double speed = seconds > 0 ? made / seconds : 0;
    double left = speed > 0 ? (double)(total_bytes - done_bytes) / speed : 0;
    char speed_text[BYTES_TEXT], bar[BAR_CELLS + 1];
    bytes_text(speed, speed_text);
    uint32_t cells = (uint32_t)(part * BAR_CELLS);
    memset(bar, '.', BAR_CELLS);
    memset(bar, '#', cells);
    bar[BAR_CELLS] = 0;
    if (p->terminal)
        fprintf(stderr, "\r\033[K%s [%s] %3.0f %%  %s/s  %.0f s left", p->label, bar, part * 100,
                speed_text, left);
    else
        fprintf(stderr, "%s: %.0f %%, %s/s, %.0f s left\n", p->label, part * 100, speed_text, left);
    fflush(stderr);
}

void progress_skip(progress *p, uint64_t done_bytes) {
    p->from_ms = now_ms();
    p->from_bytes = done_bytes;
}

double progress_end(progress *p) {
    if (!p->quiet && p->terminal) fprintf(stderr, "\r\033[K");
    return (now_ms() - p->start_ms) / 1e3;
}
