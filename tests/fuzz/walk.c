/* walk.c - see walk.h. */
#include "tests/fuzz/walk.h"
#include "gpu/gpu_backend.h"
#include "loader/load.h"
#include <stdlib.h>
#include <string.h>

enum {
    MOST_HOST_BYTES = 4 << 20, MOST_REQUESTS = 2048,
    VECTORS_BUFFER = 0           /* whose vectors start at multiples of 16 bytes */
};

const gpu_limits walk_limits = {
    .buffer_bytes = 256 << 20, .binding_bytes = 128 << 20, .offset_alignment = 256,
    .workgroup_bytes = 16384, .workgroup_threads = 256, .grid = 65535};

/* ---- a device that is only handles */

static void null_destroy(gpu *g) {
    gpu_free_tables(g);
    free(g);
}

static void null_buffers_create(gpu *g, const gpu_buffer_desc *descs, size_t count,
                                const gpu_buffer *handles, doppler_done_fn done, void *user) {
    (void)descs, (void)count, (void)handles;
    gpu_later(g, DOPPLER_OK, done, user);
}

static const gpu_ops null_ops = {.destroy = null_destroy, .buffers_create = null_buffers_create};

/* ---- the walk */

typedef struct walk {
    const manifest *m;
    const weights *w;
    loader l;
    uint64_t *placed;            /* bytes of each buffer asked for; [buffers] */
    uint64_t asked, shard_end;   /* bytes of all requests; of the shard at hand */
    uint32_t shard;
} walk;

static void check_host_request(const walk *k, const doppler_request *q, const rdrr_file *file) {
    assert(!strcmp(q->file, file->file) && q->offset == 0 && q->bytes == file->bytes);
    assert(q->sha256 == file->sha256 && q->segment_count == 1);
    const doppler_segment *s = q->segments;
    assert(s->host && s->offset == 0 && s->bytes == q->bytes);
    memset(s->host, 0xA5, s->bytes);
    (void)k;
}

static uint32_t buffer_index(const walk *k, gpu_buffer buffer) {
    uint32_t i = 0;
    while (i < k->w->buffer_count && k->w->buffers[i] != buffer) i++;
    assert(i < k->w->buffer_count);
    return i;
}

/* Blocks of a shard follow each other, of the shards too; segments lie in them and in buffers. */
static void check_block(walk *k, const doppler_request *q) {
    while (k->shard < k->m->shard_count && k->shard_end == k->m->shards[k->shard].bytes) {
        k->shard++;
        k->shard_end = 0;
    }
    assert(k->shard < k->m->shard_count);
    const rdrr_file *shard = &k->m->shards[k->shard];
    assert(!strcmp(q->file, shard->file) && q->offset == k->shard_end);
    assert(q->bytes > 0 && q->bytes <= RDRR_BLOCK_BYTES && q->bytes <= shard->bytes - q->offset);
    assert(q->offset % RDRR_BLOCK_BYTES == 0);
    k->shard_end += q->bytes;
    size_t hash = (size_t)(q->sha256 - k->l.hashes);
    assert(hash % RDRR_HASH_BYTES == 0 && hash + RDRR_HASH_BYTES <= k->m->hashes.bytes);
    uint64_t end = 0;
    for (uint32_t i = 0; i < q->segment_count; i++) {
        const doppler_segment *s = &q->segments[i];
        assert(!s->host && s->bytes > 0 && s->bytes % 4 == 0 && s->offset % 4 == 0);
        assert(s->offset >= end && s->bytes <= q->bytes - s->offset);
        end = (uint64_t)s->offset + s->bytes;
        uint32_t buffer = buffer_index(k, s->buffer);
        uint64_t room = k->w->descs[buffer].bytes;
        assert(s->to % 4 == 0 && s->bytes <= room && s->to <= room - s->bytes);
        k->placed[buffer] += s->bytes;
    }
}

static void check_request(walk *k, const doppler_request *q) {
    if (!k->l.hashes_here && !k->asked) check_host_request(k, q, &k->m->hashes);
    else if (k->asked == k->m->hashes.bytes) check_host_request(k, q, &k->m->tokenizer);
    else check_block(k, q);
    k->asked += q->bytes;
}

/* Whatever order the answers come in, every byte is asked for once and every buffer filled, but for
 * holes between vectors. */
static void ask_all(walk *k, fuzz_input order) {
    uint32_t waiting[2 + LOAD_OUTSTANDING], count = 0, requests = 0;
    while (requests < MOST_REQUESTS) {
        doppler_request q;
        uint8_t choice = fuzz_u8(&order);
        bool may_ask = count == 0 || choice % 2;
        if (may_ask && loader_next(&k->l, true, &q)) {
            check_request(k, &q);
            assert(count < 2 + LOAD_OUTSTANDING);
            waiting[count++] = q.id;
            requests++;
            continue;
        }
        if (count == 0) break;
        uint32_t at = choice / 2 % count;
        loader_fed(&k->l, waiting[at]);
        waiting[at] = waiting[--count];
    }
    if (requests == MOST_REQUESTS) return;
    assert(loader_done(&k->l));
    assert(k->asked == k->l.total_bytes && k->l.fed_bytes == k->asked);
    for (uint32_t i = 0; i < k->w->buffer_count; i++) {
        uint64_t holes = k->w->descs[i].bytes - k->placed[i];
        assert(k->placed[i] <= k->w->descs[i].bytes);
        assert(holes <= (i == VECTORS_BUFFER ? 12 * (uint64_t)k->m->tensor_count : 0));
    }
}

static void ignore(doppler_status status, void *user) { (void)status, (void)user; }

void walk_loader(const manifest *m, const gpu_limits *limits, fuzz_input order) {
    arena a = {0};
    error e = {0};
    weights w;
    doppler_status status = weights_plan(&e, &a, m, limits, &w);
    FUZZ_CHECK_ERROR(status, e);
    gpu *g = calloc(1, sizeof *g);
    assert(g);
    g->ops = &null_ops;
    g->limits = *limits;
    if (!status && m->hashes.bytes + m->tokenizer.bytes <= MOST_HOST_BYTES) {
        gpu_buffers_create(g, w.descs, w.buffer_count, w.buffers, ignore, NULL);
        gpu_poll(g);
        walk k = {.m = m, .w = &w, .placed = arena_array(&a, w.buffer_count, sizeof *k.placed)};
        status = loader_init(&e, &k.l, &a, m, &w, g);
        assert(k.placed && !status);
        ask_all(&k, order);
        weights_bind(&w, &m->model);
    }
    gpu_destroy(g);
    arena_free(&a);
}
