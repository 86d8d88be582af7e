/* gather.c - twin of gpu/wgsl/gather.wgsl. */
#include "gpu/cpu/twins.h"
#include "gpu/cpu/weights.h"
#include "gpu/dims.h"

/* y[t, :] = W[ids[t] - first, :] * scale. W [rows, k] in the program's format, y [tokens, k]. */
void twin_gather(const gpu_call *call) {
    const struct gather_dims *d = call->dims;
    const uint8_t *weights = call->buffer[0];
    const uint32_t *ids = call->buffer[1];
    uint64_t row_bytes = format_row_bytes(call->format, d->k);
    for (uint32_t t = 0; t < d->tokens; t++) {
        float *y = (float *)call->buffer[2] + (size_t)t * d->k;
        uint32_t row = ids[t] - d->first;                /* wraps to a large number below first */
        if (row >= d->rows) continue;
        weights_decode(call->format, weights + (size_t)(row * row_bytes), d->k, y);
        for (uint32_t i = 0; i < d->k; i++) y[i] *= d->scale;
    }
}
