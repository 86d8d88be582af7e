/* load.c - which bytes come next. See load.h. */
#include "loader/load.h"

#include <assert.h>
#include <inttypes.h>

enum { ID_HASHES = LOAD_OUTSTANDING, ID_TOKENIZER };

/* The most placements that a block touches. They are sorted and apart. */
static uint32_t count_segments(const weights *w) {
    uint32_t most = 1, first = 0;
    for (uint32_t i = 0; i < w->placement_count; i++) {
        const placement *p = &w->placements[i], *q = &w->placements[first];
        uint64_t block = p->offset / RDRR_BLOCK_BYTES;
        while (q->shard != p->shard || (q->offset + q->bytes - 1) / RDRR_BLOCK_BYTES < block)
            q = &w->placements[++first];
        if (i - first + 1 > most) most = i - first + 1;
    }
    return most;
}

doppler_status loader_init(error *e, loader *l, arena *a, const manifest *m, const weights *w,
                           gpu *g) {
    *l = (loader){.m = m, .w = w, .g = g};
    l->hashes = arena_alloc(a, (size_t)m->hashes.bytes);
    l->tokenizer = arena_alloc(a, (size_t)m->tokenizer.bytes);
    bool room = l->hashes && l->tokenizer;
    l->segments = count_segments(w);
    for (uint32_t i = 0; i < LOAD_OUTSTANDING; i++) {
        l->slot[i].segments = arena_array(a, l->segments, sizeof(doppler_segment));
        room = room && l->slot[i].segments;
    }
    if (!room)
        return fail(e, DOPPLER_NO_MEMORY, "loader: hashes of %" PRIu64 " bytes, tokenizer of %"
                    PRIu64, m->hashes.bytes, m->tokenizer.bytes);
    l->total_bytes = m->hashes.bytes + m->tokenizer.bytes;
    for (uint32_t i = 0; i < m->shard_count; i++) l->total_bytes += m->shards[i].bytes;
    return DOPPLER_OK;
}

/* A whole file into host memory, as the last slots' ids. */
static void ask_file(const rdrr_file *file, uint8_t *to, uint32_t id, doppler_segment *segment,
                     doppler_request *request) {
    *segment = (doppler_segment){0, (uint32_t)file->bytes, to, 0, 0};
    *request = (doppler_request){.id = id, .file = file->file, .bytes = (uint32_t)file->bytes,
                                 .sha256 = file->sha256, .segments = segment,
                                 .segment_count = 1};
}

/* Pieces of placements inside [start, start + bytes) of the shard. */
static uint32_t cut_segments(loader *l, uint64_t start, uint32_t bytes, doppler_segment *out) {
    uint32_t count = 0;
    uint64_t end = start + bytes;
    for (uint32_t i = l->next_placement; i < l->w->placement_count; i++) {
        const placement *p = &l->w->placements[i];
        if (p->shard != l->shard || p->offset >= end) break;
        uint64_t from = p->offset > start ? p->offset : start;
        uint64_t to = p->offset + p->bytes < end ? p->offset + p->bytes : end;
        uint64_t place = p->to + (from - p->offset);
        gpu_buffer buffer = l->w->buffers[p->buffer];
        char *host = gpu_buffer_host(l->g, buffer);
        assert(count < l->segments);
        out[count++] = (doppler_segment){(uint32_t)(from - start), (uint32_t)(to - from),
                                         host ? host + place : NULL, buffer, place};
        if (p->offset + p->bytes <= end) l->next_placement = i + 1;
    }
    return count;
}

bool loader_next(loader *l, bool buffers_ready, doppler_request *request) {
    if (!l->hashes_asked) {
        l->hashes_asked = true;
        ask_file(&l->m->hashes, l->hashes, ID_HASHES, &l->slot[0].segments[0], request);
        return true;
    }
    if (!l->tokenizer_asked) {
        l->tokenizer_asked = true;
        ask_file(&l->m->tokenizer, l->tokenizer, ID_TOKENIZER, &l->slot[1].segments[0], request);
        return true;
    }
    if (!buffers_ready || !l->hashes_here || !l->tokenizer_here) return false;
    if (l->shard == l->m->shard_count || l->outstanding == LOAD_OUTSTANDING) return false;
    uint32_t id = 0;
    while (l->slot[id].busy) id++;
    load_slot *slot = &l->slot[id];
    const rdrr_file *shard = &l->m->shards[l->shard];
    uint64_t start = l->block * RDRR_BLOCK_BYTES;
    uint64_t left = shard->bytes - start;
    slot->bytes = left < RDRR_BLOCK_BYTES ? (uint32_t)left : RDRR_BLOCK_BYTES;
    slot->busy = true;
    l->outstanding++;
    uint32_t segments = cut_segments(l, start, slot->bytes, slot->segments);
    *request = (doppler_request){.id = id, .file = shard->file, .offset = start,
                                 .bytes = slot->bytes, .sha256 = l->hashes + 32 * l->block_index,
                                 .segments = slot->segments, .segment_count = segments};
    if (l->m->mirrors) {
        request->urls = l->m->mirrors[l->shard].urls;
        request->url_count = l->m->mirrors[l->shard].count;
    }
    l->block_index++;
    if (left > RDRR_BLOCK_BYTES) l->block++;
    else { l->block = 0; l->shard++; }
    return true;
}

void loader_fed(loader *l, uint32_t id) {
    if (id == ID_HASHES) {
        l->hashes_here = true;
        l->fed_bytes += l->m->hashes.bytes;
    } else if (id == ID_TOKENIZER) {
        l->tokenizer_here = true;
        l->fed_bytes += l->m->tokenizer.bytes;
    } else {
        assert(id < LOAD_OUTSTANDING && l->slot[id].busy);
        l->slot[id].busy = false;
        l->outstanding--;
        l->fed_bytes += l->slot[id].bytes;
    }
}

bool loader_done(const loader *l) {
    return l->hashes_here && l->tokenizer_here && l->shard == l->m->shard_count &&
           l->outstanding == 0;
}
