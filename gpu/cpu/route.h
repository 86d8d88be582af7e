/* route.h - which experts a token goes through. Twin of gpu/wgsl/choice.wgsl. */
#ifndef GPU_CPU_ROUTE_H
#define GPU_CPU_ROUTE_H

#include "gpu/dims.h"

/* The `used` largest of [experts] logits, given as bits, into ids, by rank; the softmax over them
 * into weights. */
void route_token(const struct route_dims *d, const uint32_t *logits, uint32_t *ids,
                 float *weights);

#endif
