/* package_write.c - see package_write.h.
 *
 * Threads take blocks in order, make and write each by itself. What needs them one after another,
 * the hash of a shard and the journal, is done by the thread whose block is next, for it and all
 * behind it that are written already; the others do not wait. The journal is a file in
 * OUT.partial: the SHA-256 of what the blocks depend on, then that of every block. --resume
 * believes a block when the bytes in its shard still have the journal's hash. */
#include "tools/package_write.h"
#include "storage/files.h"
#include "storage/sha256.h"
#include "storage/syncer.h"
#include "storage/threads.h"
#include "tools/interrupt.h"
#include "tools/progress.h"
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_MEMORY = 256 << 20, SPARES = 2, SYNC_BLOCKS = 16 };
static const char journal[] = "resume.journal";

/* What a thread has for itself. */
typedef struct worker {
    convert_part *part;          /* owned */
    uint8_t *back;               /* [RDRR_BLOCK_BYTES], a block read back */
} worker;

enum { BLOCK_AHEAD, BLOCK_MADE, BLOCK_KEPT };

/* A written block that stays in memory until it is hashed. */
typedef struct held_block { uint64_t index; uint8_t *bytes; } held_block;

typedef struct writer {
    convert *c;
    const package_job *job;
    staging package;
    uint32_t threads;
    worker *workers;             /* [threads] */
    uint8_t *known;              /* owned: [known_blocks, 32], of an earlier run's journal */
    uint64_t known_blocks;

    uint64_t total_bytes;        /* of source tensors */

    uint8_t *room;               /* owned: memory for blocks, whoever has it */
    syncer *to_disk;

    pthread_mutex_t lock;        /* of the next seven */
    uint8_t **spares;            /* owned: [SPARES * threads] memory that nobody uses */
    held_block *held;            /* owned: [SPARES * threads] */
    uint32_t spare_count, held_count;
    uint8_t *states;             /* owned: [blocks] */
    uint64_t turn;               /* the block to be hashed next */
    bool hashing;                /* a thread is at it; what follows is its own meanwhile */
    sha256 whole;                /* of the shard, up to turn */
    uint64_t kept;               /* blocks that were there already */
    progress shown;
} writer;

static bool package_file(const char *name) {
    static const char *const whole[] = {RDRR_MANIFEST, RDRR_HASHES, RDRR_TOKENIZER, journal};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        if (!strcmp(whole[i], name)) return true;
    return !strncmp(name, "shard_", 6) && strlen(name) > 10 &&
           !strcmp(name + strlen(name) - 4, ".bin");
}

/* ---- blocks */

/* Whether an earlier run has written the block; then s->from is it. */
static bool is_there(const writer *w, worker *own, uint64_t index, convert_step *s) {
    error ignored;               /* what cannot be read back is made again */
    if (index >= w->known_blocks ||
        staging_read(&ignored, &w->package, s->file, s->offset, own->back, s->bytes) ||
        sha256_of(&ignored, own->back, s->bytes, s->block_sha256) ||
        memcmp(s->block_sha256, w->known + index * SHA256_BYTES, SHA256_BYTES))
        return false;
    s->from = own->back;
    return true;
}

/* Now and then the shard is sent to the disk while others are made. */
static doppler_status make_block(error *e, const writer *w, worker *own, uint64_t index,
                                 convert_step *s) {
    convert_part_begin(own->part, index, index + 1);
    doppler_status status;
    while (!(status = convert_part_next(e, own->part, s)) && s->action == CONVERT_READ)
        if ((status = w->job->read(e, w->job->user, s))) break;
    if (!status) status = sha256_of(e, s->from, s->bytes, s->block_sha256);
    if (!status) status = staging_write(e, &w->package, s->file, s->offset, s->from, s->bytes);
    bool due = (s->offset / RDRR_BLOCK_BYTES + 1) % SYNC_BLOCKS == 0 || s->file_sha256;
    if (!status && due) syncer_ask(w->to_disk, s->file);
    return status;
}

/* Everything before the block has been hashed. Its bytes are s->from, or in its shard. */
static doppler_status add_block(error *e, writer *w, worker *own, uint64_t index,
                                convert_step s) {
    doppler_status status = DOPPLER_OK;
    if (!s.from) {
        status = staging_read(e, &w->package, s.file, s.offset, own->back, s.bytes);
        s.from = own->back;
    }
    if (!status) status = sha256_add(e, &w->whole, s.from, s.bytes);
    if (!status && s.file_sha256) status = sha256_end(e, &w->whole, s.file_sha256);
    if (!status && w->job->inputs)
        status = staging_write(e, &w->package, journal, (1 + index) * SHA256_BYTES,
                               s.block_sha256, SHA256_BYTES);
    uint64_t done = convert_source_bytes(w->c, index + 1);
    if (w->states[index] == BLOCK_KEPT) {
        w->kept++;
        progress_skip(&w->shown, done);
    }
    progress_show(&w->shown, done, w->total_bytes);
    return status;
}

/* The block waits for its turn where it is, and its thread goes on in other memory. Where there is
 * none to spare, it is read back later. */
static void hold(writer *w, worker *own, uint64_t index, uint8_t state) {
    if (!w->spare_count) return;
    uint8_t *spare = w->spares[--w->spare_count], *bytes = own->back;
    if (state == BLOCK_MADE) bytes = convert_part_swap(own->part, spare);
    else own->back = spare;
    w->held[w->held_count++] = (held_block){index, bytes};
}

/* The bytes of a block that waits; NULL: they are not in memory. */
static uint8_t *let_go(writer *w, uint64_t index) {
    uint32_t i = 0;
    while (i < w->held_count && w->held[i].index != index) i++;
    if (i == w->held_count) return NULL;
    uint8_t *bytes = w->held[i].bytes;
    w->held[i] = w->held[--w->held_count];
    return bytes;
}

/* The block is written; where it is next, it and those behind it are hashed. After a failure
 * `hashing` stays true: nobody goes on. */
static doppler_status take_turns(error *e, writer *w, worker *own, uint64_t index,
                                 const convert_step *s, uint8_t state) {
    doppler_status status = DOPPLER_OK;
    uint64_t blocks = convert_blocks(w->c);
    pthread_mutex_lock(&w->lock);
    w->states[index] = state;
    if (w->hashing || w->turn != index) hold(w, own, index, state);
    while (!status && !w->hashing && w->turn < blocks && w->states[w->turn]) {
        uint64_t turn = w->turn;
        uint8_t *held = let_go(w, turn);
        convert_step block = turn == index ? *s : convert_block(w->c, turn);
        if (held) block.from = held;
        w->hashing = true;
        pthread_mutex_unlock(&w->lock);
        status = add_block(e, w, own, turn, block);
        pthread_mutex_lock(&w->lock);
        if (held) w->spares[w->spare_count++] = held;
        w->hashing = status != DOPPLER_OK;
        w->turn += !status;
    }
    pthread_mutex_unlock(&w->lock);
    return status;
}

static doppler_status do_block(error *e, uint64_t index, uint32_t thread, void *user) {
    writer *w = user;
    worker *own = &w->workers[thread];
    convert_step s = convert_block(w->c, index);
    if (interrupted()) return fail(e, DOPPLER_CANCELLED, "%s: interrupted", w->job->out);
    if (is_there(w, own, index, &s)) return take_turns(e, w, own, index, &s, BLOCK_KEPT);
    doppler_status status = make_block(e, w, own, index, &s);
    return status ? status : take_turns(e, w, own, index, &s, BLOCK_MADE);
}

static doppler_status write_blocks(error *e, writer *w) {
    w->states = calloc((size_t)convert_blocks(w->c), 1);
    if (!w->states) return fail(e, DOPPLER_NO_MEMORY, "%" PRIu64 " blocks", convert_blocks(w->c));
    pthread_mutex_init(&w->lock, NULL);
    w->to_disk = syncer_start(&w->package);
    doppler_status status = parallel_for(e, w->threads, convert_blocks(w->c), do_block, w);
    error late;
    doppler_status synced = syncer_end(&late, w->to_disk);
    if (!status && synced) *e = late;
    pthread_mutex_destroy(&w->lock);
    return status ? status : synced;
}

/* ---- around them */

/* A block of memory for each thread to read back into, and some for blocks that wait. */
static doppler_status make_room(error *e, writer *w, uint64_t threads, uint64_t spares) {
    if (threads == 1) spares = 0;
    else if (spares > SPARES * threads) spares = SPARES * threads;
    w->room = malloc((size_t)(threads + spares) * RDRR_BLOCK_BYTES);
    w->spares = calloc((size_t)threads, SPARES * sizeof *w->spares);
    w->held = calloc((size_t)threads, SPARES * sizeof *w->held);
    w->workers = calloc((size_t)threads, sizeof *w->workers);
    if (!w->room || !w->spares || !w->held || !w->workers)
        return fail(e, DOPPLER_NO_MEMORY, "%" PRIu64 " threads", threads);
    for (uint64_t i = 0; i < threads; i++) w->workers[i].back = w->room + i * RDRR_BLOCK_BYTES;
    for (; w->spare_count < spares; w->spare_count++)
        w->spares[w->spare_count] = w->room + (threads + w->spare_count) * RDRR_BLOCK_BYTES;
    return DOPPLER_OK;
}

/* As many threads as there is memory for. */
static doppler_status start_workers(error *e, writer *w) {
    uint64_t most = w->job->memory ? w->job->memory : DEFAULT_MEMORY;
    uint64_t all = convert_manifest(w->c)->hashes.bytes + convert_manifest(w->c)->tokenizer.bytes;
    uint64_t each = convert_part_bytes(w->c) + RDRR_BLOCK_BYTES;
    if (most < all + each)
        return fail(e, DOPPLER_BAD_ARGUMENT, "--memory of %" PRIu64 " bytes; this model needs %"
                    PRIu64 " for hashes and tokenizer and %" PRIu64 " for each thread", most, all,
                    each);
    uint64_t threads = w->job->threads ? w->job->threads : threads_available();
    if (threads > convert_blocks(w->c)) threads = convert_blocks(w->c);
    if (threads > (most - all) / each) threads = (most - all) / each;
    doppler_status status = make_room(e, w, threads, (most - all - threads * each) /
                                      RDRR_BLOCK_BYTES);
    while (!status && w->threads < threads) {
        status = convert_part_create(e, w->c, &w->workers[w->threads].part);
        w->threads += !status;
    }
    return status;
}

static doppler_status hash_plan(error *e, const writer *w, uint8_t out[SHA256_BYTES]) {
    text plan = {0};
    convert_describe(w->c, &plan);
    text_add(&plan, w->job->inputs, strlen(w->job->inputs));
    doppler_status status = plan.failed ? fail(e, DOPPLER_NO_MEMORY, "%s", w->job->out)
                                        : sha256_of(e, plan.data, plan.bytes, out);
    text_free(&plan);
    return status;
}

/* Takes over what an earlier run of this plan left; *found is false where it left nothing. */
static doppler_status read_journal(error *e, writer *w, const uint8_t plan[SHA256_BYTES],
                                   bool *found) {
    storage_file f = {0};
    uint8_t theirs[SHA256_BYTES];
    doppler_status status = staging_resume(e, &w->package, w->job->out, found);
    if (status || !*found) return status;
    *found = storage_exists(w->package.partial, journal);
    if (*found) status = storage_open(e, &f, w->package.partial, journal);
    *found = *found && f.bytes >= sizeof theirs;
    if (!status && *found) status = storage_read(e, &f, 0, theirs, sizeof theirs);
    if (!status && *found && memcmp(theirs, plan, sizeof theirs))
        status = fail(e, DOPPLER_BAD_ARGUMENT, "%s: begun with another input, other options or "
                      "another version; without --resume it is replaced", w->package.partial);
    uint64_t blocks = *found ? f.bytes / SHA256_BYTES - 1 : 0;
    if (blocks > convert_blocks(w->c)) blocks = convert_blocks(w->c);
    size_t bytes = (size_t)blocks * SHA256_BYTES;
    if (!status && blocks && !(w->known = malloc(bytes)))
        status = fail(e, DOPPLER_NO_MEMORY, "%s: %zu bytes", f.path, bytes);
    if (!status && blocks) status = storage_read(e, &f, sizeof theirs, w->known, bytes);
    w->known_blocks = blocks;
    storage_close(&f);
    return status;
}

static doppler_status open_package(error *e, writer *w) {
    uint8_t plan[SHA256_BYTES];
    bool found = false;
    doppler_status status = w->job->inputs ? hash_plan(e, w, plan) : DOPPLER_OK;
    if (!status && w->job->resume) status = read_journal(e, w, plan, &found);
    if (status || found) return status;
    staging_free(&w->package);
    status = staging_open(e, &w->package, w->job->out, package_file);
    if (!status && w->job->inputs)
        status = staging_write(e, &w->package, journal, 0, plan, sizeof plan);
    return status;
}

/* The files behind the blocks; then the package gets its name. */
static doppler_status finish_package(error *e, writer *w) {
    convert_step s;
    doppler_status status;
    while (!(status = convert_next(e, w->c, &s)) && s.action != CONVERT_DONE)
        if ((status = staging_write(e, &w->package, s.file, s.offset, s.from, s.bytes)) ||
            (status = sha256_of(e, s.from, s.bytes, s.file_sha256)))
            return status;
    if (!status && w->job->inputs) status = staging_remove(e, &w->package, journal);
    return status ? status : staging_commit(e, &w->package);
}

static void tell(const writer *w, double seconds) {
    const manifest *m = convert_manifest(w->c);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < m->shard_count; i++) bytes += m->shards[i].bytes;
    char in_text[BYTES_TEXT], out_text[BYTES_TEXT], speed_text[BYTES_TEXT], id[RDRR_HEX_CHARS];
    rdrr_hex(convert_package_id(w->c), id);
    if (w->job->resume)
        printf("%s: %" PRIu64 " of %" PRIu64 " blocks were there\n", w->job->out, w->kept,
               convert_blocks(w->c));
    printf("%s: %" PRIu32 " tensors, %s -> %s of %s in %" PRIu32 " shard%s, %.1f s, %s/s\n",
           w->job->out, m->tensor_count, bytes_text((double)w->total_bytes, in_text),
           bytes_text((double)bytes, out_text), m->quantization, m->shard_count,
           m->shard_count == 1 ? "" : "s", seconds,
           bytes_text(seconds > 0 ? (double)w->total_bytes / seconds : 0, speed_text));
    printf("package id %s\n", id);
}

/* Leaves what is done, and says so, where another run may do better. */
static void keep_partial(error *e, writer *w) {
    bool none = !w->turn && !w->known_blocks;
    if (!w->job->inputs || none || (e->status != DOPPLER_IO && e->status != DOPPLER_CANCELLED))
        return;
    error was = *e;
    staging_keep(&w->package);
    fail(e, was.status, "%.120s; %.100s.partial is kept for --resume", was.message, w->job->out);
}

doppler_status package_write(error *e, convert *c, const package_job *job) {
    writer w = {.c = c, .job = job};
    w.total_bytes = convert_source_bytes(c, convert_blocks(c));
    doppler_status status = open_package(e, &w);
    if (!status) status = start_workers(e, &w);
    progress_start(&w.shown, "converting", job->quiet);
    if (!status) status = write_blocks(e, &w);
    if (!status) status = finish_package(e, &w);
    double seconds = progress_end(&w.shown);
    if (status) keep_partial(e, &w);
    sha256_free(&w.whole);
    for (uint32_t i = 0; i < w.threads; i++) convert_part_destroy(w.workers[i].part);
    free(w.workers);
    free(w.room);
    free(w.spares);
    free(w.held);
    free(w.known);
    free(w.states);
    staging_free(&w.package);
    if (!status && !job->quiet) tell(&w, seconds);
    return status;
}
