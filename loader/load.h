/* load.h - brings a package's bytes to where the plan wants them, as a conversation: the loader
 * says which byte range comes next, the host fetches, verifies and places it. First hashes.bin
 * and the tokenizer, then the shards block by block (1 MiB, each with its SHA-256). */
#ifndef LOADER_LOAD_H
#define LOADER_LOAD_H

#include "loader/weights.h"

enum { LOAD_OUTSTANDING = 8 };

typedef struct load_slot {
    bool busy;
    doppler_segment *segments;   /* room for every tensor that can touch a block */
    uint32_t bytes;
} load_slot;

/* Zero-initialise. Everything it points to belongs to an arena or is borrowed. */
typedef struct loader {
    const manifest *m;           /* borrowed */
    const weights *w;            /* borrowed */
    gpu *g;                      /* borrowed */
    uint8_t *hashes, *tokenizer; /* [bytes of the files], filled by the host */
    bool hashes_asked, hashes_here, tokenizer_asked, tokenizer_here;
    uint32_t shard;              /* next block: shard, its index there, and over all shards */
    uint64_t block, block_index;
    uint32_t next_placement;     /* first that may reach into the next block */
    uint32_t outstanding;
    uint64_t fed_bytes, total_bytes;
    uint32_t segments;           /* room of each slot */
    load_slot slot[LOAD_OUTSTANDING];
} loader;

doppler_status loader_init(error *e, loader *l, arena *a, const manifest *m, const weights *w,
                           gpu *g);
/* Fills the next request. Shard ranges are asked for only with buffers_ready and after the
 * hashes have come. false: nothing to ask for now. */
bool loader_next(loader *l, bool buffers_ready, doppler_request *request);
void loader_fed(loader *l, uint32_t id);
bool loader_done(const loader *l);

#endif
