/* stop.c - one automaton a stop string, by Knuth, Morris and Pratt, "Fast pattern matching in
 * strings", 1977: `matched` is the longest prefix of the string that the text ends with, so the
 * longest of them all is what must be held back. */
#include "tokenizer/stop.h"

#include <stdlib.h>
#include <string.h>

static void find_borders(stop_string *p) {
    uint32_t border = 0;
    p->borders[0] = 0;
    for (uint32_t i = 1; i < p->bytes; i++) {
        while (border && p->text[i] != p->text[border]) border = p->borders[border - 1];
        border += p->text[i] == p->text[border];
        p->borders[i] = border;
    }
}

static doppler_status check(error *e, const char *texts, size_t bytes, uint32_t *count) {
    *count = 0;
    if (bytes > STOP_MAX_BYTES)
        return fail(e, DOPPLER_BAD_ARGUMENT, "stop strings of %zu bytes, at most %d", bytes,
                    STOP_MAX_BYTES);
    if (bytes && texts[bytes - 1])
        return fail(e, DOPPLER_BAD_ARGUMENT, "the last stop string has no end");
    for (size_t at = 0; at < bytes; at += strlen(texts + at) + 1) {
        if (!texts[at]) return fail(e, DOPPLER_BAD_ARGUMENT, "stop string %u is empty", *count);
        ++*count;
    }
    if (*count > STOP_MAX_STRINGS)
        return fail(e, DOPPLER_BAD_ARGUMENT, "%u stop strings, at most %d", *count,
                    STOP_MAX_STRINGS);
    return DOPPLER_OK;
}

doppler_status stop_open(error *e, const char *texts, size_t bytes, stop_scanner *s) {
    *s = (stop_scanner){0};
    uint32_t count;
    doppler_status status = check(e, texts, bytes, &count);
    if (status || !count) return status;
    /* strings, borders, texts, held: in falling alignment */
    size_t strings_bytes = count * sizeof *s->strings, borders_bytes = bytes * sizeof(uint32_t);
    char *memory = malloc(strings_bytes + borders_bytes + 2 * bytes);
    if (!memory) return fail(e, DOPPLER_NO_MEMORY, "stop strings of %zu bytes", bytes);
    char *copy = memory + strings_bytes + borders_bytes;
    memcpy(copy, texts, bytes);
    *s = (stop_scanner){.strings = (stop_string *)memory, .count = count, .memory = memory,
                        .held = copy + bytes, .found = count};
    uint32_t *borders = (uint32_t *)(memory + strings_bytes);
    for (uint32_t i = 0; i < count; i++) {
        stop_string *p = &s->strings[i];
        *p = (stop_string){.text = copy, .bytes = (uint32_t)strlen(copy), .borders = borders};
        find_borders(p);
        if (p->bytes > s->longest_bytes) s->longest_bytes = p->bytes;
        copy += p->bytes + 1;
        borders += p->bytes;
    }
    return DOPPLER_OK;
}

void stop_close(stop_scanner *s) {
    free(s->memory);
    *s = (stop_scanner){0};
}

/* Moves a string's automaton by one byte; true when the text now ends with the whole string. */
static bool step(stop_string *p, char byte) {
    while (p->matched && p->text[p->matched] != byte) p->matched = p->borders[p->matched - 1];
    p->matched += p->text[p->matched] == byte;
    return p->matched == p->bytes;
}

/* The first `bytes` of what was held and then the piece, to out. */
static size_t give(const stop_scanner *s, const char *piece, size_t bytes, char *out) {
    size_t held = bytes < s->held_bytes ? bytes : s->held_bytes;
    memcpy(out, s->held, held);
    memcpy(out + held, piece, bytes - held);
    return bytes;
}

size_t stop_take(stop_scanner *s, const char *piece, size_t bytes, char *out, bool *stopped) {
    *stopped = false;
    if (!bytes) return 0;
    if (!s->count) {
        memcpy(out, piece, bytes);
        return bytes;
    }
    uint32_t longest = 0;
    for (size_t i = 0; i < bytes; i++) {
        longest = 0;
        for (uint32_t k = 0; k < s->count; k++) {
            stop_string *p = &s->strings[k];
            bool whole = step(p, piece[i]), first = s->found == s->count;
            if (whole && (first || p->bytes > s->strings[s->found].bytes)) s->found = k;
            if (p->matched > longest) longest = p->matched;
        }
        if (s->found == s->count) continue;
        *stopped = true;
        return give(s, piece, s->held_bytes + i + 1 - s->strings[s->found].bytes, out);
    }
    size_t given = give(s, piece, s->held_bytes + bytes - longest, out);
    for (uint32_t k = 0; k < s->count; k++)      /* what is held begins a string */
        if (s->strings[k].matched == longest) memcpy(s->held, s->strings[k].text, longest);
    s->held_bytes = longest;
    return given;
}

size_t stop_end(stop_scanner *s, char *out) {
    size_t bytes = s->held_bytes;
    if (bytes) memcpy(out, s->held, bytes);
    s->held_bytes = 0;
    for (uint32_t k = 0; k < s->count; k++) s->strings[k].matched = 0;
    return bytes;
}
