/* convert_plan.h - what convert.c plans and convert_part.c carries out. */
#ifndef LOADER_CONVERT_PLAN_H
#define LOADER_CONVERT_PLAN_H

#include "loader/convert.h"

typedef enum convert_stage {
    STAGE_TOKENIZER, STAGE_HASHES, STAGE_MANIFEST, STAGE_DONE
} convert_stage;

struct convert {
    convert_input input;         /* borrowed */
    manifest m;                  /* owned; also the arena of the plan */
    uint64_t *starts;            /* [tensors] in the stream */
    uint64_t stream_bytes, shard_bytes;
    uint64_t blocks, shard_blocks;       /* of all shards; of one, the last apart */
    uint8_t *hashes;             /* [blocks, 32] */

    uint64_t in_bytes;           /* room for the rows that must come together */
    uint64_t source_row_bytes;   /* of the longest row, without what lies between its numbers */
    uint64_t row_bytes;          /* largest stored row */
    uint32_t cols;               /* of the longest row, whole runs */

    convert_stage stage;
    text json;
    uint8_t package_id[RDRR_HASH_BYTES];
};

/* How rows of a source lie in its file, and in memory when some have been read. */
typedef struct source_rows {
    uint64_t row_bytes;          /* of a row's numbers, standing close, without scales apart */
    uint64_t scale_bytes;        /* of those; 0: there are none */
    uint64_t row_step, col_step, scales_step;    /* in the file: from one to the next */
    uint64_t span_bytes;         /* of the file from a row's first number to behind its last */
    bool is_close;               /* one range without gaps */
    /* Rows stand across: number c of all rows is read, then c + 1 of all. */
    bool is_turned;
    uint32_t together;           /* rows that must be read at once: those of a head */
    uint64_t in_bytes;           /* of memory for each row */
} source_rows;

source_rows convert_rows(const source_tensor *s);

/* Where a block starts in the stream; behind the last one: where that ends. */
uint64_t convert_block_start(const convert *c, uint64_t index);

/* A read, if rows that must come together need no more; what decoders work in, and the bytes of
 * its widest number. */
enum { CONVERT_READ_BYTES = 1 << 20, CONVERT_RUN = 32, CONVERT_WIDEST = 4 };

#endif
