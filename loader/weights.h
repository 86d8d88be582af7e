/* weights.h - where a model's tensors lie in GPU memory: the plan that the loader fills and the
 * graph reads.
 *
 * Matrices that share their input and their format become one row space: Q, K, V (and gate, up)
 * are one matrix and one dispatch, or two where Q4_K_M gives V another format. All small f32
 * vectors of the model are one buffer. */
#ifndef LOADER_WEIGHTS_H
#define LOADER_WEIGHTS_H

#include "gpu/op.h"
#include "loader/manifest.h"

enum { PROJECTION_PARTS = 3 };

/* Matrices over one input whose outputs lie side by side. Those of experts: rows and first are of
 * one expert, while a part holds all of them, [experts, rows of the part, cols], an expert's rows
 * behind each other (its gate, then its up); so does its bias, [experts, rows of the part]. */
typedef struct projection {
    uint32_t rows;               /* of all parts */
    uint32_t count;              /* of parts; 0: the model has no such projection */
    matrix part[PROJECTION_PARTS];
    uint32_t first[PROJECTION_PARTS];      /* output row where the part starts */
    uint32_t bias[PROJECTION_PARTS];       /* element of vectors, or OP_NO_BIAS */
} projection;

typedef struct layer_weights {
    projection qkv;              /* [(heads + 2 * kv_heads) * head_dim, dim] */
    projection attn_out;         /* [dim, heads * head_dim] */
    projection router;           /* [experts, dim]; count 0 where there are none */
    projection gate_up;          /* [2 * hidden, dim], of each expert */
    projection down;             /* [dim, hidden], of each expert */
    uint32_t attn_norm, ffn_norm;          /* elements of vectors; those that are not: OP_NO_BIAS */
    uint32_t q_norm, k_norm, attn_post_norm, ffn_post_norm;
    uint32_t sinks;              /* [heads] */
} layer_weights;

/* A contiguous piece of a shard and where it goes. */
typedef struct placement {
    uint32_t shard;
    uint64_t offset, bytes;      /* in the shard */
    uint32_t buffer;             /* index into weights.buffers */
    uint64_t to;
} placement;

/* Lives in an arena. */
typedef struct weights {
    matrix embedding;            /* [vocab, dim] */
    projection head;             /* [vocab, dim] */
    layer_weights *layers;
    uint32_t final_norm;
    gpu_buffer vectors;
    gpu_buffer_desc *descs;      /* one per buffer, [buffer_count] */
    gpu_buffer *buffers;
    uint32_t buffer_count;
    placement *placements;       /* ascending (shard, offset) */
    uint32_t placement_count;
    uint64_t gpu_bytes;
} weights;

/* Plans every buffer. Matrices larger than the device can bind are bound in slabs of rows (op.h),
 * or of whole experts, of which one must fit.
 * Fails with NO_MEMORY, or UNSUPPORTED naming what the device cannot hold or bind. Handles are
 * filled by weights_bind once the buffers exist. */
doppler_status weights_plan(error *e, arena *a, const manifest *m, const gpu_limits *limits,
                            weights *w);
/* Copies w->buffers[i] into every matrix that the plan laid there. */
void weights_bind(weights *w, const model_config *m);

#endif
