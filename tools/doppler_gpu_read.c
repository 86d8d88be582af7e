/* doppler_gpu_read.c - see doppler_gpu_read.h. */
#include "tools/doppler_gpu_read.h"
#include "loader/repack.h"
#include "storage/sha256.h"
#include "tools/progress.h"
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 1 << 20, BLOCK = 256, BLOCK_BYTES = 144, BLOCKS_AT_ONCE = 64 };

static doppler_status verify_shard(error *e, const doppler_gpu_shard *s, const storage_file *f,
                                   uint8_t *piece, progress *shown, uint64_t *done,
                                   uint64_t total) {
    sha256 whole = {0};
    uint8_t got[SHA256_BYTES];
    doppler_status status = DOPPLER_OK;
    for (uint64_t at = 0; at < s->bytes && !status; at += PIECE) {
        size_t bytes = s->bytes - at < PIECE ? (size_t)(s->bytes - at) : PIECE;
        status = storage_read(e, f, at, piece, bytes);
        if (!status) status = sha256_add(e, &whole, piece, bytes);
        *done += bytes;
        progress_show(shown, *done, total);
    }
    if (!status) status = sha256_end(e, &whole, got);
    if (!status && memcmp(got, s->sha256, sizeof got))
        status = fail(e, DOPPLER_BAD_FILE, "%s: SHA-256 differs from the manifest's", s->file);
    sha256_free(&whole);
    return status;
}

doppler_status doppler_gpu_verify(error *e, const doppler_gpu *p, const storage_file *files,
                                  bool quiet) {
    uint64_t done = 0, total = 0;
    for (uint32_t i = 0; i < p->shard_count; i++)
        if (p->shards[i].has_sha256) total += p->shards[i].bytes;
    uint8_t *piece = malloc(PIECE);
    if (!piece) return fail(e, DOPPLER_NO_MEMORY, "%d bytes", PIECE);
    progress shown;
    progress_start(&shown, "checking", quiet);
    doppler_status status = DOPPLER_OK;
    for (uint32_t i = 0; i < p->shard_count && !status; i++)
        if (p->shards[i].has_sha256)
            status = verify_shard(e, &p->shards[i], &files[i], piece, &shown, &done, total);
    progress_end(&shown);
    free(piece);
    return status;
}

/* ---- tensors */

/* A range of a tensor's stored bytes, over its spans. */
static doppler_status read_stored(error *e, const storage_file *files,
                                  const doppler_gpu_tensor *t, uint64_t at, uint8_t *to,
                                  uint64_t bytes) {
    assert(at <= t->bytes && bytes <= t->bytes - at);
    while (bytes) {
        uint32_t shard;
        uint64_t offset, room = doppler_gpu_find(t, at, &shard, &offset);
        uint64_t piece = bytes < room ? bytes : room;
        doppler_status status = storage_read(e, &files[shard], offset, to, (size_t)piece);
        if (status) return status;
        at += piece;
        to += piece;
        bytes -= piece;
    }
    return DOPPLER_OK;
}

/* to [count, cols] of rows first.. of a matrix of plain numbers, stored [cols, rows]. */
static doppler_status read_columns(error *e, const storage_file *files,
                                   const doppler_gpu_tensor *t, uint64_t first, uint64_t count,
                                   uint8_t *to, uint8_t *scratch) {
    uint64_t rows = t->shape[0], cols = t->shape[1];
    uint32_t each = source_types[t->type].block_bytes;
    for (uint64_t c = 0; c < cols; c++) {
        doppler_status status = read_stored(e, files, t, (c * rows + first) * each, scratch,
                                            count * each);
        if (status) return status;
        for (uint64_t r = 0; r < count; r++)
            memcpy(to + (r * cols + c) * each, scratch + r * each, each);
    }
    return DOPPLER_OK;
}

/* out[i] = number first + i of blocks that begin at byte `base` of a tensor, i < count. */
static doppler_status read_blocks(error *e, const storage_file *files, const doppler_gpu_tensor *t,
                                  uint64_t base, uint64_t first, uint64_t count, float *out) {
    uint8_t blocks[BLOCKS_AT_ONCE * BLOCK_BYTES];
    float numbers[BLOCKS_AT_ONCE * BLOCK];
    uint64_t at = first, end = first + count;
    while (at < end) {
        uint64_t block = at / BLOCK, left = (end + BLOCK - 1) / BLOCK - block;
        uint32_t some = left < BLOCKS_AT_ONCE ? (uint32_t)left : BLOCKS_AT_ONCE;
        doppler_status status = read_stored(e, files, t, base + block * BLOCK_BYTES, blocks,
                                            (uint64_t)some * BLOCK_BYTES);
        if (status) return status;
        repack_decode(SOURCE_Q4_K, blocks, some * BLOCK, numbers);
        uint64_t stop = (block + some) * BLOCK < end ? (block + some) * BLOCK : end;
        memcpy(out + (at - first), numbers + (at - block * BLOCK), (stop - at) * sizeof *out);
        at = stop;
    }
    return DOPPLER_OK;
}

/* The same as read_columns, of Q4_K: each of the cols stored rows is whole blocks. */
static doppler_status read_block_columns(error *e, const storage_file *files,
                                         const doppler_gpu_tensor *t, uint64_t first,
                                         uint64_t count, uint8_t *to, float *scratch) {
    uint64_t cols = t->shape[1], stored = (t->shape[0] + BLOCK - 1) / BLOCK * BLOCK_BYTES;
    for (uint64_t c = 0; c < cols; c++) {
        doppler_status status = read_blocks(e, files, t, c * stored, first, count, scratch);
        if (status) return status;
        for (uint64_t r = 0; r < count; r++)
            memcpy(to + (r * cols + c) * sizeof(float), &scratch[r], sizeof(float));
    }
    return DOPPLER_OK;
}

doppler_status doppler_gpu_read(error *e, const doppler_gpu *p, const storage_file *files,
                                uint32_t index, uint64_t offset, void *to, size_t bytes) {
    const doppler_gpu_tensor *t = &p->tensors[index];
    if (doppler_gpu_in_order(t)) return read_stored(e, files, t, offset, to, bytes);
    bool blocks = t->type == SOURCE_Q4_K;
    uint64_t row_bytes = t->shape[1] * (blocks ? sizeof(float) : source_types[t->type].block_bytes);
    uint64_t first = offset / row_bytes, count = bytes / row_bytes;
    assert(offset % row_bytes == 0 && bytes % row_bytes == 0 && first + count <= t->shape[0]);
    float *scratch = malloc((size_t)count * sizeof *scratch);
    if (!scratch) return fail(e, DOPPLER_NO_MEMORY, "%s: %zu bytes", t->name, bytes);
    doppler_status status;
    if (!blocks) status = read_columns(e, files, t, first, count, to, (uint8_t *)scratch);
    else if (t->layout == DOPPLER_GPU_COLUMNS)
        status = read_block_columns(e, files, t, first, count, to, scratch);
    else
        status = read_blocks(e, files, t, 0, first * t->shape[1], count * t->shape[1], to);
    free(scratch);
    return status;
}
