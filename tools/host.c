/* host.c - see host.h. */
#include "tools/host.h"
#include "storage/sha256.h"
#include "tools/file.h"
#include "tools/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

void host_done(doppler_status status, void *answer) {
    *(host_answer *)answer = (host_answer){true, status};
}

doppler_status host_wait(host *h, host_answer *answer) {
    while (!answer->done) doppler_poll(h->d);
    return answer->status;
}

int host_failed(const host *h, doppler_status status) {
    error e = {.status = status};
    snprintf(e.message, sizeof e.message, "%s", doppler_message(h->d));
    return command_failed(h->c, &e);
}

/* ---- loading */

/* The file being read, kept open from request to request, and room for a range of it. */
typedef struct range_reader {
    const char *folder, *name;
    FILE *file;
    char *bytes;
    size_t capacity;
} range_reader;

static void reader_free(range_reader *r) {
    if (r->file) fclose(r->file);
    free(r->bytes);
}

static doppler_status reader_open(error *e, range_reader *r, const char *name) {
    if (r->file && strcmp(r->name, name) == 0) return DOPPLER_OK;
    if (r->file) fclose(r->file);
    char *path = file_join(r->folder, name);
    r->file = path ? fopen(path, "rb") : NULL;
    r->name = name;
    doppler_status status = r->file ? DOPPLER_OK
                                    : fail(e, DOPPLER_IO, "%s/%s: cannot be opened", r->folder,
                                           name);
    free(path);
    return status;
}

/* Reads, verifies and places one request. */
static doppler_status reader_serve(error *e, range_reader *r, const doppler_request *q) {
    doppler_status status = reader_open(e, r, q->file);
    if (status) return status;
    if (q->bytes > r->capacity) {
        free(r->bytes);
        r->bytes = malloc(q->bytes);
        r->capacity = r->bytes ? q->bytes : 0;
        if (!r->bytes) return fail(e, DOPPLER_NO_MEMORY, "%s: %" PRIu32 " bytes", q->file,
                                   q->bytes);
    }
    size_t got = 0;
    if (fseeko(r->file, (off_t)q->offset, SEEK_SET) == 0)
        got = fread(r->bytes, 1, q->bytes, r->file);
    if (got != q->bytes)
        return fail(e, DOPPLER_BAD_FILE, "%s: ends at byte %" PRIu64 ", the manifest wants %"
                    PRIu64, q->file, q->offset + got, q->offset + q->bytes);
    uint8_t hash[SHA256_BYTES];
    status = sha256_of(e, r->bytes, q->bytes, hash);
    if (status) return status;
    if (memcmp(hash, q->sha256, sizeof hash) != 0)
        return fail(e, DOPPLER_BAD_FILE, "%s: SHA-256 of bytes %" PRIu64 " to %" PRIu64
                    " differs from the package's", q->file, q->offset, q->offset + q->bytes);
    for (uint32_t i = 0; i < q->segment_count; i++) {
        const doppler_segment *s = &q->segments[i];
        memcpy(s->host, r->bytes + s->offset, s->bytes);
    }
    return DOPPLER_OK;
}

/* One line on stderr before anything is allocated; a failure is told by what meets it. */
static void tell_memory(host *h, const doppler_session_options *options) {
    doppler_memory m;
    char weights[BYTES_TEXT], kv[BYTES_TEXT], checkpoints[BYTES_TEXT], work[BYTES_TEXT];
    if (doppler_session_memory(h->model, options, &m)) return;
    fprintf(stderr, "memory: %s weights, %s KV cache, %s checkpoints, %s work\n",
            bytes_text((double)m.weights, weights), bytes_text((double)m.kv, kv),
            bytes_text((double)m.checkpoints, checkpoints), bytes_text((double)m.work, work));
}

/* tell: options of the session to come, or NULL. */
static doppler_status load(host *h, const char *folder, const doppler_session_options *tell) {
    error e = {0};
    char *path = file_join(folder, "manifest.json"), *json = NULL;
    size_t bytes = 0;
    doppler_status status = path ? file_read(&e, path, &json, &bytes)
                                 : fail(&e, DOPPLER_NO_MEMORY, "path");
    free(path);
    if (status) {
        command_failed(h->c, &e);
        return status;
    }
    status = doppler_model_create(h->d, json, bytes, &h->model);
    free(json);
    if (!status && tell) tell_memory(h, tell);
    range_reader r = {.folder = folder};
    doppler_next next = status ? DOPPLER_NEXT_FAILED : DOPPLER_NEXT_WAIT;
    while (next == DOPPLER_NEXT_WAIT || next == DOPPLER_NEXT_REQUEST) {
        doppler_request request;
        next = doppler_model_next(h->model, &request);
        if (next == DOPPLER_NEXT_REQUEST) {
            doppler_status served = reader_serve(&e, &r, &request);
            doppler_model_fed(h->model, request.id, served, e.message);
        } else if (next == DOPPLER_NEXT_WAIT) {
            doppler_poll(h->d);
        }
    }
    reader_free(&r);
    if (next == DOPPLER_NEXT_READY) return DOPPLER_OK;
    status = doppler_last_status(h->d);
    host_failed(h, status);
    return status;
}

int host_open(host *h, const command *c, const char *folder, const host_options *o) {
    *h = (host){.c = c};
    error e = {0};
    if (o->device == 2) {
        fail(&e, DOPPLER_NO_GPU, "this program runs on the CPU; `./doppler %s --device gpu` runs "
             "on the GPU through Node", c->verb);
        return command_failed(c, &e);
    }
    h->d = doppler_create(&(doppler_options){.limits = (doppler_limits)o->limits});
    if (!h->d) {
        fail(&e, DOPPLER_NO_MEMORY, "engine");
        return command_failed(c, &e);
    }
    const doppler_session_options options = {
        .context = o->context, .chunk = o->prefill, .kv = (doppler_kv)o->kv,
        .precision = o->precision ? DOPPLER_FAST : DOPPLER_EXACT};
    double start = now_ms();
    if (load(h, folder, o->tell_memory ? &options : NULL)) return 1;
    h->load_ms = now_ms() - start;
    host_answer answer = {0};
    doppler_status status =
        doppler_session_create(h->model, &options, &h->session, host_done, &answer);
    if (!status) status = host_wait(h, &answer);
    return status ? host_failed(h, status) : 0;
}

void host_close(host *h) {
    doppler_session_destroy(h->session);
    doppler_model_destroy(h->model);
    doppler_destroy(h->d);
}
