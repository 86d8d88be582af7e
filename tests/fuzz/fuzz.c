/* fuzz.c - see fuzz.h. */
#include "tests/fuzz/fuzz.h"

uint8_t fuzz_u8(fuzz_input *in) {
    return in->at < in->end ? *in->at++ : 0;
}

uint32_t fuzz_u32(fuzz_input *in) {
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) value |= (uint32_t)fuzz_u8(in) << 8 * i;
    return value;
}

const char *fuzz_part(fuzz_input *in, size_t *bytes) {
    const uint8_t *from = in->at;
    while (in->at < in->end && *in->at) in->at++;
    *bytes = (size_t)(in->at - from);
    if (in->at < in->end) in->at++;
    return (const char *)from;
}
