/* tokenize.c - speed of a tokenizer on one core: how long opening takes, from its file and
 * compiled, MB/s of a text over 16 runs of which the fastest counts, as other programs may run, and
 * the time for a MiB of one character and for two, which is twice as long where time is linear.
 * Arguments: a text, then tokenizer files or folders. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/file.h"
#include "tools/tokenizers.h"

enum { RUNS = 16, MEGABYTE = 1 << 20 };

static double seconds(void) {
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Of the fastest of some runs. */
static double time_encode(const tokenizer *t, const char *data, size_t bytes, int runs,
                          size_t *count) {
    double fastest = INFINITY;
    uint32_t *ids = malloc((bytes + 8) * sizeof *ids);
    for (int i = 0; i < runs && ids; i++) {
        double start = seconds();
        *count = tokenizer_encode(t, data, bytes, 0, ids, bytes + 8);
        double took = seconds() - start;
        if (took < fastest) fastest = took;
    }
    free(ids);
    return fastest;
}

static void measure_runs(const tokenizer *t, char *data) {
    static const char *const units[] = {"a", " ", "\n", "\xF0\x9F\x98\x80", "\xE4\xB8\xAD"};
    static const char *const names[] = {"a", "space", "newline", "emoji", "CJK"};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        size_t unit = strlen(units[i]), bytes = 2 * MEGABYTE / unit * unit, count;
        for (size_t at = 0; at < bytes; at += unit) memcpy(data + at, units[i], unit);
        double one = time_encode(t, data, bytes / 2 / unit * unit, 3, &count);
        double two = time_encode(t, data, bytes, 3, &count);
        printf("  %s %.0f, %.0f ms", names[i], one * 1e3, two * 1e3);
    }
    printf("\n");
}

static int measure(const char *path, const char *data, size_t bytes, char *room) {
    error e = {0};
    loaded_tokenizer l;
    double start = seconds();
    if (tokenizer_load(&e, path, &l)) {
        printf("%s\n", e.message);
        return 1;
    }
    double load = seconds() - start, open = INFINITY;
    text compiled = {0};
    tokenizer_compile(l.t, &compiled);
    tokenizer_unload(&l);
    tokenizer *t = NULL;
    for (int i = 0; i < RUNS; i++) {
        tokenizer_close(t);
        start = seconds();
        if (tokenizer_open(&e, compiled.data, compiled.bytes, &t)) {
            printf("%s\n", e.message);
            return 1;
        }
        if (seconds() - start < open) open = seconds() - start;
    }
    size_t count;
    double fastest = time_encode(t, data, bytes, RUNS, &count);
    printf("%s: %u ids, read in %.0f ms, opened in %.1f ms (%.1f MB), %.1f MB/s, %.2f bytes an "
           "id\n", path, tokenizer_vocab(t), load * 1e3, open * 1e3, (double)compiled.bytes * 1e-6,
           (double)bytes / fastest * 1e-6, (double)bytes / (double)count);
    measure_runs(t, room);
    tokenizer_close(t);
    text_free(&compiled);
    return 0;
}

int main(int argc, char **argv) {
    error e = {0};
    char *data, *room = malloc(2 * MEGABYTE);
    size_t bytes;
    if (argc < 3 || !room || file_read(&e, argv[1], &data, &bytes)) {
        fprintf(stderr, "tokenize TEXT TOKENIZER...: %s\n", e.message);
        return 2;
    }
    int failed = 0;
    for (int i = 2; i < argc; i++) failed |= measure(argv[i], data, bytes, room);
    free(data);
    free(room);
    return failed;
}
