/* cmd_verify.c - `doppler verify`: every byte of a package against its hashes, then what the
 * hashes cannot know: that the tokenizer opens and that every weight is a number. Both passes are
 * spread over threads; the first thing that is wrong is named, the same with any number of them. */
#include "gpu/cpu/weights.h"
#include "storage/files.h"
#include "storage/sha256.h"
#include "storage/threads.h"
#include "tokenizer/tokenizer.h"
#include "tools/cmd.h"
#include "tools/options.h"
#include "tools/package.h"
#include "tools/progress.h"
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE_BYTES = 4 << 20 };

/* Rows of a tensor that one thread looks at. */
typedef struct piece { uint32_t tensor, row, rows; } piece;

typedef struct check {
    package p;
    uint32_t threads;
    uint8_t *hashes, *tokenizer; /* owned: the files */
    uint64_t *first_block;       /* owned: [shards] of hashes.bin */
    uint64_t blocks;
    piece *pieces;               /* owned */
    uint64_t piece_count;
    uint8_t *room;               /* owned: [threads, room_bytes] */
    size_t room_bytes;           /* a block or a row, whichever is larger */
    pthread_mutex_t lock;        /* of what is below */
    uint64_t done_bytes, total_bytes;
    progress shown;
} check;

static doppler_status no_memory(error *e, const check *c) {
    return fail(e, DOPPLER_NO_MEMORY, "%s: %" PRIu32 " tensors", c->p.folder, c->p.m.tensor_count);
}

static void count_bytes(check *c, uint64_t bytes) {
    pthread_mutex_lock(&c->lock);
    c->done_bytes += bytes;
    progress_show(&c->shown, c->done_bytes, c->total_bytes);
    pthread_mutex_unlock(&c->lock);
}

/* ---- bytes */

static doppler_status open_sized(error *e, const check *c, const rdrr_file *wanted,
                                 storage_file *f) {
    doppler_status status = storage_open(e, f, c->p.folder, wanted->file);
    if (!status && f->bytes != wanted->bytes)
        status = fail(e, DOPPLER_BAD_FILE, "%s: %" PRIu64 " bytes, manifest says %" PRIu64,
                      wanted->file, f->bytes, wanted->bytes);
    return status;
}

static doppler_status compare(error *e, const rdrr_file *wanted,
                              const uint8_t got[SHA256_BYTES]) {
    if (!memcmp(got, wanted->sha256, SHA256_BYTES)) return DOPPLER_OK;
    return fail(e, DOPPLER_BAD_FILE, "%s: SHA-256 differs from the manifest's", wanted->file);
}

/* A file that has one hash; *out is owned by the caller. */
static doppler_status check_file(error *e, check *c, const rdrr_file *wanted, uint8_t **out) {
    storage_file f = {0};
    uint8_t got[SHA256_BYTES];
    doppler_status status = open_sized(e, c, wanted, &f);
    *out = status ? NULL : malloc((size_t)f.bytes);
    if (!status && !*out)
        status = fail(e, DOPPLER_NO_MEMORY, "%s: %" PRIu64 " bytes", wanted->file, f.bytes);
    if (!status) status = storage_read(e, &f, 0, *out, (size_t)f.bytes);
    if (!status) status = sha256_of(e, *out, (size_t)f.bytes, got);
    if (!status) status = compare(e, wanted, got);
    count_bytes(c, status ? 0 : f.bytes);
    storage_close(&f);
    return status;
}

static doppler_status check_shard(error *e, uint64_t index, uint32_t thread, void *user) {
    check *c = user;
    const rdrr_file *shard = &c->p.m.shards[index];
    uint8_t *block = c->room + thread * c->room_bytes, got[SHA256_BYTES];
    const uint8_t *want = c->hashes + c->first_block[index] * SHA256_BYTES;
    storage_file f = {0};
    sha256 whole = {0};
    doppler_status status = open_sized(e, c, shard, &f);
    for (uint64_t at = 0; !status && at < f.bytes; at += RDRR_BLOCK_BYTES) {
        size_t bytes = f.bytes - at < RDRR_BLOCK_BYTES ? (size_t)(f.bytes - at) : RDRR_BLOCK_BYTES;
        status = storage_read(e, &f, at, block, bytes);
        if (!status) status = sha256_of(e, block, bytes, got);
        if (!status && memcmp(got, want, SHA256_BYTES))
            status = fail(e, DOPPLER_BAD_FILE, "%s: block %" PRIu64 " (offset %" PRIu64
                          "): SHA-256 differs", shard->file, at / RDRR_BLOCK_BYTES, at);
        if (!status) status = sha256_add(e, &whole, block, bytes);
        want += SHA256_BYTES;
        count_bytes(c, bytes);
    }
    if (!status) status = sha256_end(e, &whole, got);
    if (!status) status = compare(e, shard, got);
    sha256_free(&whole);
    storage_close(&f);
    return status;
}

/* ---- what the bytes mean */

static doppler_status check_tokenizer(error *e, const check *c) {
    tokenizer *t;
    doppler_status status = tokenizer_open(e, c->tokenizer, (size_t)c->p.m.tokenizer.bytes, &t);
    if (status) return status;
    uint32_t tokens = tokenizer_vocab(t), vocab = c->p.m.model.vocab;
    tokenizer_close(t);
    if (tokens > vocab && !c->shown.quiet)
        fprintf(stderr, "%s: the tokenizer has %" PRIu32 " tokens, the model only %" PRIu32 "\n",
                c->p.folder, tokens, vocab);
    return DOPPLER_OK;
}

/* A range of a tensor's bytes, which may lie in several shards. */
static doppler_status read_tensor(error *e, const check *c, const rdrr_tensor *t, uint64_t offset,
                                  uint8_t *to, size_t bytes) {
    for (uint32_t i = 0; bytes; offset -= t->spans[i++].bytes) {
        const rdrr_span *s = &t->spans[i];
        while (offset >= s->bytes) {
            offset -= s->bytes;
            s = &t->spans[++i];
        }
        size_t part = s->bytes - offset < bytes ? (size_t)(s->bytes - offset) : bytes;
        storage_file f = {0};
        doppler_status status = storage_open(e, &f, c->p.folder, c->p.m.shards[s->shard].file);
        if (!status) status = storage_read(e, &f, s->offset + offset, to, part);
        storage_close(&f);
        if (status) return status;
        to += part;
        bytes -= part;
        offset += part;
    }
    return DOPPLER_OK;
}

/* The first weight of a stored row that is no number; cols when all are. */
static uint32_t find_wrong(const rdrr_tensor *t, const uint8_t *row) {
    float part[WEIGHTS_PART];
    for (uint32_t first = 0; first < t->cols; first += WEIGHTS_PART) {
        uint32_t count = t->cols - first < WEIGHTS_PART ? t->cols - first : WEIGHTS_PART, i = 0;
        if (roles[t->role].matrix) weights_decode_part(t->format, row, t->cols, first, count, part);
        else memcpy(part, row + (size_t)first * sizeof *part, count * sizeof *part);
        while (i < count && isfinite(part[i])) i++;
        if (i < count) return first + i;
    }
    return t->cols;
}

static doppler_status check_piece(error *e, uint64_t index, uint32_t thread, void *user) {
    check *c = user;
    const piece *p = &c->pieces[index];
    const rdrr_tensor *t = &c->p.m.tensors[p->tensor];
    uint8_t *room = c->room + thread * c->room_bytes;
    size_t row_bytes = (size_t)(t->bytes / t->rows);
    uint32_t step = (uint32_t)(c->room_bytes / row_bytes);
    for (uint32_t done = 0; done < p->rows; done += step) {
        uint32_t rows = p->rows - done < step ? p->rows - done : step;
        doppler_status status = read_tensor(e, c, t, (uint64_t)(p->row + done) * row_bytes, room,
                                            rows * row_bytes);
        if (status) return status;
        for (uint32_t i = 0; i < rows; i++) {
            uint32_t wrong = find_wrong(t, room + i * row_bytes);
            if (wrong < t->cols)
                return fail(e, DOPPLER_BAD_FILE, "tensor \"%.80s\": row %" PRIu32 ", column %"
                            PRIu32 " is no number", t->name, p->row + done + i, wrong);
        }
    }
    count_bytes(c, p->rows * row_bytes);
    return DOPPLER_OK;
}

/* ---- the whole */

/* Pieces of every tensor: counts them, and lists them where there is room. */
static uint64_t cut_tensors(const manifest *m, piece *out) {
    uint64_t count = 0;
    for (uint32_t i = 0; i < m->tensor_count; i++) {
        const rdrr_tensor *t = &m->tensors[i];
        uint64_t row_bytes = t->bytes / t->rows;
        uint32_t step = row_bytes < PIECE_BYTES ? (uint32_t)(PIECE_BYTES / row_bytes) : 1;
        for (uint32_t row = 0; row < t->rows; row += step, count++)
            if (out) out[count] = (piece){i, row, t->rows - row < step ? t->rows - row : step};
    }
    return count;
}

static doppler_status plan(error *e, check *c) {
    const manifest *m = &c->p.m;
    c->room_bytes = RDRR_BLOCK_BYTES;
    c->total_bytes = m->hashes.bytes + m->tokenizer.bytes;
    for (uint32_t i = 0; i < m->tensor_count; i++) {
        const rdrr_tensor *t = &m->tensors[i];
        if (t->bytes / t->rows > c->room_bytes) c->room_bytes = (size_t)(t->bytes / t->rows);
        c->total_bytes += t->bytes;
    }
    c->piece_count = cut_tensors(m, NULL);
    c->pieces = calloc((size_t)c->piece_count, sizeof *c->pieces);
    c->first_block = calloc(m->shard_count, sizeof *c->first_block);
    c->room = calloc(c->threads, c->room_bytes);
    if (!c->pieces || !c->first_block || !c->room) return no_memory(e, c);
    cut_tensors(m, c->pieces);
    for (uint32_t i = 0; i < m->shard_count; i++) {
        c->first_block[i] = c->blocks;
        c->blocks += rdrr_block_count(m->shards[i].bytes);
        c->total_bytes += m->shards[i].bytes;
    }
    return DOPPLER_OK;
}

static doppler_status check_all(error *e, check *c, const char *folder) {
    doppler_status status = package_open(e, &c->p, folder);
    if (status || (status = plan(e, c))) return status;
    const manifest *m = &c->p.m;
    if ((status = check_file(e, c, &m->hashes, &c->hashes)) ||
        (status = check_file(e, c, &m->tokenizer, &c->tokenizer)))
        return status;
    if ((status = parallel_for(e, c->threads, m->shard_count, check_shard, c)) ||
        (status = check_tokenizer(e, c)))
        return status;
    return parallel_for(e, c->threads, c->piece_count, check_piece, c);
}

static void tell(const check *c, double seconds) {
    const manifest *m = &c->p.m;
    char bytes[BYTES_TEXT], speed[BYTES_TEXT], id[RDRR_HEX_CHARS];
    uint64_t size = m->hashes.bytes + m->tokenizer.bytes + c->p.manifest_bytes;
    for (uint32_t i = 0; i < m->shard_count; i++) size += m->shards[i].bytes;
    rdrr_hex(c->p.id, id);
    printf("%s: %" PRIu32 " tensors in %" PRIu32 " shard%s, %" PRIu64 " block%s, %s, all as the "
           "manifest says; %.1f s, %s/s on %" PRIu32 " thread%s\npackage id %s\n", c->p.folder,
           m->tensor_count, m->shard_count, m->shard_count == 1 ? "" : "s", c->blocks,
           c->blocks == 1 ? "" : "s", bytes_text((double)size, bytes), seconds,
           bytes_text(seconds > 0 ? (double)size / seconds : 0, speed), c->threads,
           c->threads == 1 ? "" : "s", id);
}

static void close_all(check *c) {
    free(c->pieces);
    free(c->first_block);
    free(c->room);
    free(c->hashes);
    free(c->tokenizer);
    pthread_mutex_destroy(&c->lock);
    package_close(&c->p);
}

int cmd_verify(int argc, char **argv) {
    const char *folder = NULL;
    bool quiet = false;
    check c = {.threads = threads_available()};
    const argument arguments[] = {{"DIR", &folder, "an RDRR package", false}};
    const option options[] = {
        {"threads", 0, OPTION_U32, &c.threads, "N", "default: one per processor", 1, THREADS_MAX},
        {"quiet", 0, OPTION_FLAG, &quiet, NULL, "print nothing but failures", 0, 0}};
    const command command = {"verify", "Checks every hash and number of a package.", arguments, 1,
                             options, sizeof options / sizeof *options};
    int code = options_parse(&command, argc, argv);
    if (code >= 0) return code;
    error e = {0};
    pthread_mutex_init(&c.lock, NULL);
    progress_start(&c.shown, "verifying", quiet);
    doppler_status status = check_all(&e, &c, folder);
    double seconds = progress_end(&c.shown);
    if (!status && !quiet) tell(&c, seconds);
    close_all(&c);
    return status ? command_failed(&command, &e) : 0;
}
