/* shapes.h - the shapes of models that people run: every number that their config.json needs. */
#ifndef TOOLS_SHAPES_H
#define TOOLS_SHAPES_H

#include <stdbool.h>
#include <stdint.h>

/* How a model's tensors and config are written; one value may serve several model families. */
typedef enum shape_family {
    FAMILY_LLAMA, FAMILY_MISTRAL, FAMILY_GEMMA3, FAMILY_MIXTRAL, FAMILY_GPT_OSS, FAMILY_COUNT
} shape_family;

typedef enum shape_scaling {
    SCALING_NONE, SCALING_LINEAR, SCALING_LLAMA3, SCALING_YARN, SCALING_COUNT
} shape_scaling;

enum { SHAPE_MAX_STOPS = 3 };
#define SHAPE_NO_TOKEN UINT32_MAX

typedef struct shape {
    const char *name;            /* "llama-3.2-1b" */
    const char *like;            /* whose numbers they are */
    shape_family family;
    uint32_t layers, dim, hidden, heads, kv_heads, head_dim, vocab, context;
    double norm_eps, theta;
    bool tied_head;
    uint32_t experts, experts_used;      /* 0: dense */
    uint32_t window;             /* positions that a sliding layer sees; 0: all layers are full */
    uint32_t period;             /* layers i with (i + 1) % period == 0 are full; 0: none */
    double sliding_theta;        /* of sliding layers; 0: the same */
    shape_scaling scaling;
    double factor, low_factor, high_factor;      /* yarn: low 1 is beta_slow, high 32 beta_fast */
    uint32_t original_context;
    uint32_t bos, pad, stops[SHAPE_MAX_STOPS], stop_count;       /* the first stop is the eos */
    uint32_t vision_layers;      /* of a tower beside the language model; 0: none */
} shape;

enum { SHAPE_COUNT = 8 };
extern const shape shapes[SHAPE_COUNT];

/* NULL when unknown. */
const shape *shape_by_name(const char *name);
/* Whether the layer sees all positions. */
bool shape_layer_is_full(const shape *s, uint32_t layer);

#endif
