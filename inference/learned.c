/* learned.c - what is known of a device, as text that a host keeps between runs: which programs are
 * right on it, and which kernels are the fastest.
 *
 *   doppler VERSION ENGINE DEVICE       hashes: of all programs' texts; of the device's name, its
 *   program linear q4_k 1               features and limits
 *   choice linear_wide q4_k linear 4096 14336 1
 *   end SUM                             a hash of all lines before
 *
 * Text whose first or last line is another's is of another engine or device, or damaged. */
#include "inference/engine.h"
#include "memory/hash.h"
#include "memory/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_BYTES = 48, MOST_BYTES = 1 << 16 };

static uint64_t mix(uint64_t hash, const void *data, size_t bytes) {
    return hash_u64(hash ^ hash_bytes(data, bytes));
}

static uint64_t engine_hash(const doppler *d) {
    uint64_t hash = 0;
    for (uint32_t k = 0; k < KERNEL_COUNT; k++)
        for (uint32_t f = 0; f < kernel_formats(k); f++) {
            if (!kernel_exists(k, f, gpu_get_limits(d->g))) continue;
            const gpu_program_desc p = kernel_program(k, f, gpu_get_limits(d->g));
            hash = mix(hash, p.label, strlen(p.label));
            for (uint32_t i = 0; i < GPU_MAX_SOURCES && p.sources[i]; i++)
                hash = mix(hash, p.sources[i], strlen(p.sources[i]));
            for (uint32_t i = 0; i < GPU_MAX_CONSTANTS && p.constants[i].name; i++)
                hash = mix(hash, &p.constants[i].value, sizeof p.constants[i].value);
        }
    return hash;
}

static uint64_t device_hash(const doppler *d) {
    const gpu_limits *l = gpu_get_limits(d->g);
    const uint64_t numbers[] = {l->binding_bytes, l->workgroup_bytes, l->workgroup_threads, l->grid,
                                l->features};
    return mix(hash_bytes(d->device_name, strlen(d->device_name)), numbers, sizeof numbers);
}

static void first_line(const doppler *d, text *t) {
    text_format(t, "doppler " DOPPLER_VERSION " %016" PRIx64 " %016" PRIx64 "\n", engine_hash(d),
                device_hash(d));
}

/* "q4_k", "f16", or a number. */
static const char *format_name(kernel_id id, uint32_t format, char *number) {
    uint32_t count = kernel_formats(id);
    snprintf(number, WORD_BYTES, "%" PRIu32, format);
    return count == FORMAT_COUNT ? formats[format].name
         : kernels[id].link == LINK_KV ? kv_names[format] : number;
}

char *doppler_learned(const doppler *d) {
    const op_programs *p = &d->programs;
    char number[WORD_BYTES];
    text t = {0};
    first_line(d, &t);
    for (uint32_t k = 0; k < KERNEL_COUNT; k++)
        for (uint32_t f = 0; f < kernel_formats(k); f++)
            if (d->trust[k][f])
                text_format(&t, "program %s %s %u\n", kernels[k].name, format_name(k, f, number),
                            d->trust[k][f]);
    for (uint32_t i = 0; i < p->choice_count; i++) {
        const op_choice *c = &p->choices[i];
        text_format(&t, "choice %s %s %s %" PRIu32 " %" PRIu32 " %" PRIu32 "\n",
                    kernels[c->best].name, format_name(c->best, c->shape.format, number),
                    kernels[c->base].name, c->shape.rows, c->shape.k, c->shape.tokens);
    }
    if (!t.failed) text_format(&t, "end %016" PRIx64 "\n", hash_bytes(t.data, t.bytes));
    if (!t.failed) return t.data;
    text_free(&t);
    return NULL;
}

/* ---- reading */

/* What is left of a text. */
typedef struct reader { const char *at, *end; } reader;

/* The next word of the line; false at its end, or where the word is too long. */
static bool read_word(reader *r, char *out) {
    size_t bytes = 0;
    while (r->at < r->end && *r->at == ' ') r->at++;
    while (r->at < r->end && *r->at != ' ' && *r->at != '\n') {
        if (bytes == WORD_BYTES - 1) return false;
        out[bytes++] = *r->at++;
    }
    out[bytes] = 0;
    return bytes > 0;
}

static bool read_number(reader *r, uint32_t *out) {
    char word[WORD_BYTES], *end;
    if (!read_word(r, word) || word[0] < '0' || word[0] > '9') return false;
    unsigned long long value = strtoull(word, &end, 10);
    *out = (uint32_t)value;
    return !*end && value <= UINT32_MAX;
}

static bool read_kernel(reader *r, kernel_id *id) {
    char name[WORD_BYTES];
    if (!read_word(r, name)) return false;
    for (*id = 0; *id < KERNEL_COUNT; ++*id)
        if (strcmp(kernels[*id].name, name) == 0) return true;
    return false;
}

static bool read_format(reader *r, kernel_id id, uint32_t *format) {
    char name[WORD_BYTES], number[WORD_BYTES];
    if (!read_word(r, name)) return false;
    for (*format = 0; *format < kernel_formats(id); ++*format)
        if (strcmp(format_name(id, *format, number), name) == 0) return true;
    return false;
}

static bool read_line(reader *r, uint8_t trust[][FORMAT_COUNT], op_programs *p) {
    char word[WORD_BYTES];
    kernel_id id;
    uint32_t bits;
    op_choice c = {0};
    if (!read_word(r, word) || !read_kernel(r, &id) || !read_format(r, id, &c.shape.format))
        return false;
    if (strcmp(word, "program") == 0) {
        if (!read_number(r, &bits) || bits > UINT8_MAX) return false;
        trust[id][c.shape.format] = (uint8_t)bits;
    } else {
        c.best = id;
        if (strcmp(word, "choice") != 0 || p->choice_count == OP_MAX_CHOICES ||
            !read_kernel(r, &c.base) || !read_number(r, &c.shape.rows) ||
            !read_number(r, &c.shape.k) ||
            !read_number(r, &c.shape.tokens))
            return false;
        p->choices[p->choice_count++] = c;
    }
    return r->at < r->end && *r->at++ == '\n';
}

/* Whether the last line is there and right; cuts it off. */
static bool check_sum(reader *r) {
    enum { LAST_BYTES = sizeof "end 0123456789abcdef\n" - 1 };
    char last[LAST_BYTES + 1];
    if (r->end - r->at < LAST_BYTES) return false;
    r->end -= LAST_BYTES;
    snprintf(last, sizeof last, "end %016" PRIx64 "\n",
             hash_bytes(r->at, (size_t)(r->end - r->at)));
    return memcmp(r->end, last, LAST_BYTES) == 0;
}

bool doppler_learn(doppler *d, const char *data, size_t bytes) {
    reader r = {data, data + bytes};
    text first = {0};
    uint8_t trust[KERNEL_COUNT][FORMAT_COUNT] = {{0}};
    op_programs p = {.choice_count = 0};
    first_line(d, &first);
    bool ok = !first.failed && bytes <= MOST_BYTES && bytes > first.bytes &&
              memcmp(data, first.data, first.bytes) == 0 && check_sum(&r);
    if (ok) r.at += first.bytes;
    text_free(&first);
    while (ok && r.at < r.end) ok = read_line(&r, trust, &p);
    if (!ok) return false;
    memcpy(d->trust, trust, sizeof trust);
    if (d->tuning == DOPPLER_TUNING_OFF) return true;
    memcpy(d->programs.choices, p.choices, sizeof p.choices);
    d->programs.choice_count = p.choice_count;
    return true;
}

uint32_t doppler_news(const doppler *d) { return d->news; }

void doppler_prepare_times(const doppler *d, double *test_ms, double *tune_ms) {
    *test_ms = d->test_ms;
    *tune_ms = d->tune_ms;
}
