/* cmd_verify.c - `doppler verify`: every byte of a package against its hashes. The first thing
 * that is wrong is named: the file, its block, and the numbers. */
#include "storage/files.h"
#include "storage/sha256.h"
#include "tools/cmd.h"
#include "tools/options.h"
#include "tools/package.h"
#include "tools/progress.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct check {
    package p;
    uint8_t *hashes, *block;     /* owned: hashes.bin, room for a block */
    uint64_t block_index;        /* over all shards */
    uint64_t done_bytes, total_bytes;
    progress shown;
} check;

static doppler_status open_sized(error *e, const check *c, const rdrr_file *wanted,
                                 storage_file *f) {
    doppler_status status = storage_open(e, f, c->p.folder, wanted->file);
    if (!status && f->bytes != wanted->bytes)
        status = fail(e, DOPPLER_BAD_FILE, "%s: %" PRIu64 " bytes, manifest says %" PRIu64,
                      wanted->file, f->bytes, wanted->bytes);
    return status;
}

static doppler_status compare(error *e, const rdrr_file *wanted, sha256 *whole) {
    uint8_t got[SHA256_BYTES];
    doppler_status status = sha256_end(e, whole, got);
    if (!status && memcmp(got, wanted->sha256, SHA256_BYTES))
        status = fail(e, DOPPLER_BAD_FILE, "%s: SHA-256 differs from the manifest's",
                      wanted->file);
    return status;
}

/* A file that has one hash; its bytes go to keep where that is not NULL. */
static doppler_status check_file(error *e, check *c, const rdrr_file *wanted, uint8_t *keep) {
    storage_file f = {0};
    sha256 whole = {0};
    doppler_status status = open_sized(e, c, wanted, &f);
    for (uint64_t at = 0; !status && at < f.bytes;) {
        size_t bytes = f.bytes - at < RDRR_BLOCK_BYTES ? (size_t)(f.bytes - at) : RDRR_BLOCK_BYTES;
        uint8_t *to = keep ? keep + at : c->block;
        status = storage_read(e, &f, at, to, bytes);
        if (!status) status = sha256_add(e, &whole, to, bytes);
        at += bytes;
        c->done_bytes += bytes;
    }
    if (!status) status = compare(e, wanted, &whole);
    sha256_free(&whole);
    storage_close(&f);
    return status;
}

static doppler_status check_block(error *e, check *c, const rdrr_file *shard, uint64_t at,
                                  size_t bytes) {
    uint8_t got[SHA256_BYTES];
    doppler_status status = sha256_of(e, c->block, bytes, got);
    if (!status && memcmp(got, c->hashes + c->block_index * SHA256_BYTES, SHA256_BYTES))
        status = fail(e, DOPPLER_BAD_FILE, "%s: block %" PRIu64 " (offset %" PRIu64
                      "): SHA-256 differs", shard->file, at / RDRR_BLOCK_BYTES, at);
    c->block_index++;
    c->done_bytes += bytes;
    progress_show(&c->shown, c->done_bytes, c->total_bytes);
    return status;
}

static doppler_status check_shard(error *e, check *c, const rdrr_file *shard) {
    storage_file f = {0};
    sha256 whole = {0};
    doppler_status status = open_sized(e, c, shard, &f);
    for (uint64_t at = 0; !status && at < f.bytes; at += RDRR_BLOCK_BYTES) {
        size_t bytes = f.bytes - at < RDRR_BLOCK_BYTES ? (size_t)(f.bytes - at) : RDRR_BLOCK_BYTES;
        status = storage_read(e, &f, at, c->block, bytes);
        if (!status) status = check_block(e, c, shard, at, bytes);
        if (!status) status = sha256_add(e, &whole, c->block, bytes);
    }
    if (!status) status = compare(e, shard, &whole);
    sha256_free(&whole);
    storage_close(&f);
    return status;
}

static doppler_status check_all(error *e, check *c, const char *folder) {
    doppler_status status = package_open(e, &c->p, folder);
    if (status) return status;
    const manifest *m = &c->p.m;
    c->hashes = malloc((size_t)m->hashes.bytes);
    c->block = malloc(RDRR_BLOCK_BYTES);
    if (!c->hashes || !c->block)
        return fail(e, DOPPLER_NO_MEMORY, "%s: %" PRIu64 " bytes", m->hashes.file, m->hashes.bytes);
    c->total_bytes = m->hashes.bytes + m->tokenizer.bytes;
    for (uint32_t i = 0; i < m->shard_count; i++) c->total_bytes += m->shards[i].bytes;
    if ((status = check_file(e, c, &m->hashes, c->hashes)) ||
        (status = check_file(e, c, &m->tokenizer, NULL)))
        return status;
    for (uint32_t i = 0; i < m->shard_count; i++)
        if ((status = check_shard(e, c, &m->shards[i]))) return status;
    return DOPPLER_OK;
}

int cmd_verify(int argc, char **argv) {
    const char *folder = NULL;
    bool quiet = false;
    const argument arguments[] = {{"DIR", &folder, "an RDRR package", false}};
    const option options[] = {
        {"quiet", 0, OPTION_FLAG, &quiet, NULL, "print nothing but failures", 0, 0}};
    const command command = {"verify", "Checks every hash and number of a package.", arguments, 1,
                             options, 1};
    int code = options_parse(&command, argc, argv);
    if (code >= 0) return code;
    error e = {0};
    check c = {0};
    progress_start(&c.shown, "verifying", quiet);
    doppler_status status = check_all(&e, &c, folder);
    double seconds = progress_end(&c.shown);
    if (!status && !quiet) {
        char bytes[BYTES_TEXT], id[RDRR_HEX_CHARS];
        rdrr_hex(c.p.id, id);
        printf("%s: %" PRIu32 " tensors in %" PRIu32 " shard%s, %" PRIu64 " block%s, %s, all as "
               "the manifest says; %.1f s\npackage id %s\n", folder, c.p.m.tensor_count,
               c.p.m.shard_count, c.p.m.shard_count == 1 ? "" : "s", c.block_index,
               c.block_index == 1 ? "" : "s",
               bytes_text((double)c.done_bytes, bytes), seconds, id);
    }
    free(c.hashes);
    free(c.block);
    package_close(&c.p);
    return status ? command_failed(&command, &e) : 0;
}
