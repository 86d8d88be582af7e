/* argmax.c - twin of gpu/wgsl/argmax.wgsl: the lowest index of the largest logit. */
#include "gpu/cpu/logits.h"
#include "gpu/cpu/twins.h"

void twin_argmax(const gpu_call *call) {
    const struct sample_dims *d = call->dims;
    for (uint32_t row = 0; row < d->rows; row++) {
        logits_row r = logits_row_of(call, row);
        uint32_t best = 0, id = 0;
        for (uint32_t i = 0; i < d->vocab; i++) {
            uint32_t key = logits_key(&r, i);
            if (key > best) {
                best = key;
                id = i;
            }
        }
        logits_finish(call, row, id);
    }
}
