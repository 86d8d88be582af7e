/* package_write.c - see package_write.h. */
#include "tools/package_write.h"
#include "storage/files.h"
#include "storage/sha256.h"
#include "tools/progress.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool package_file(const char *name) {
    static const char *const whole[] = {RDRR_MANIFEST, RDRR_HASHES, RDRR_TOKENIZER};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        if (!strcmp(whole[i], name)) return true;
    return !strncmp(name, "shard_", 6) && strlen(name) > 10 &&
           !strcmp(name + strlen(name) - 4, ".bin");
}

static doppler_status write_step(error *e, staging *package, const convert_step *step,
                                 sha256 *whole) {
    doppler_status status = staging_write(e, package, step->file, step->offset, step->from,
                                          step->bytes);
    if (!status && step->block_sha256)
        status = sha256_of(e, step->from, step->bytes, step->block_sha256);
    if (!status) status = sha256_add(e, whole, step->from, step->bytes);
    if (!status && step->file_sha256) status = sha256_end(e, whole, step->file_sha256);
    return status;
}

static void tell(const convert *c, const char *out, double seconds) {
    const manifest *m = convert_manifest(c);
    uint64_t done, total, bytes = 0;
    for (uint32_t i = 0; i < m->shard_count; i++) bytes += m->shards[i].bytes;
    convert_progress(c, &done, &total);
    char in_text[BYTES_TEXT], out_text[BYTES_TEXT], speed_text[BYTES_TEXT], id[RDRR_HEX_CHARS];
    rdrr_hex(convert_package_id(c), id);
    printf("%s: %" PRIu32 " tensors, %s -> %s of %s in %" PRIu32 " shard%s, %.1f s, %s/s\n",
           out, m->tensor_count, bytes_text((double)total, in_text),
           bytes_text((double)bytes, out_text), m->quantization, m->shard_count,
           m->shard_count == 1 ? "" : "s", seconds,
           bytes_text(seconds > 0 ? (double)total / seconds : 0, speed_text));
    printf("package id %s\n", id);
}

doppler_status package_write(error *e, convert *c, const char *out, read_source_fn read,
                             void *user, bool quiet) {
    staging package = {0};
    sha256 whole = {0};
    convert_step step;
    progress p;
    doppler_status status = staging_open(e, &package, out, package_file);
    progress_start(&p, "converting", quiet);
    while (!status && !(status = convert_next(e, c, &step)) && step.action != CONVERT_DONE) {
        if (step.action == CONVERT_READ) status = read(e, user, &step);
        else status = write_step(e, &package, &step, &whole);
        uint64_t done, total;
        convert_progress(c, &done, &total);
        progress_show(&p, done, total);
    }
    sha256_free(&whole);
    double seconds = progress_end(&p);
    if (!status) status = staging_commit(e, &package);
    staging_free(&package);
    if (!status && !quiet) tell(c, out, seconds);
    return status;
}
